//! What a database is asked.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::{
    config::{BuiltIn, CheckKind},
    control::probe::{Deadline, finding::Refusal},
};

/// What one look at one server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// It holds.
    Holds(String),
    /// It follows nobody, which is right for the only one.
    Alone(String),
    /// It does not hold.
    Fails(String),
    /// The role may not ask, or the server cannot tell.
    Unasked(String),
    /// There was no login.
    Unreached(String),
}

/// What a server is made for, and what it has to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) version: String,
    /// Sessions that it takes.
    pub(super) connections: Option<u64>,
    /// The name of the setting that says so.
    pub(super) connections_by: &'static str,
    /// Sessions that it has.
    pub(super) sessions: Option<u64>,
    /// Bytes; 0 is no limit.
    pub(super) max_memory: Option<u64>,
    pub(super) used_memory: Option<u64>,
}

/// The answer to a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) rows: Vec<Vec<Option<String>>>,
    /// There were more rows, which were not read.
    pub(super) is_cut: bool,
    /// On the server, as far as it tells.
    pub(super) took: Duration,
}

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The server refused it, in these words.
    Refused(String),
    /// The role may not.
    Denied(String),
    /// It did not end in time, and was ended.
    Late(String),
    /// The server gave it up for another reason than the query.
    Disturbed(String),
    /// There is no session, or no more.
    Lost(String),
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(why) | Self::Denied(why) | Self::Late(why) | Self::Disturbed(why) | Self::Lost(why)) = self;
        f.write_str(why)
    }
}

/// A login to one server.
#[async_trait]
pub(super) trait Server: Send + Sync {
    /// Looks whether a built-in proof of one server holds; settings in `ignored` do not count.
    async fn look(&mut self, proof: BuiltIn, ignored: &[String], deadline: Deadline) -> Look;

    /// What it is made for, and what it has to do.
    async fn capacity(&mut self, deadline: Deadline) -> Result<Capacity, String>;

    /// Asks one query, in a transaction that cannot write, for as long as `limit`. The session may be over after an error.
    async fn ask(&mut self, sql: &str, limit: Duration) -> Result<Answer, Unanswered>;

    /// A word for all that it has written or applied.
    async fn position(&mut self, deadline: Deadline) -> Option<String>;

    /// Waits until it has applied all that another had at `position`; `false` when it has not in time, or cannot tell.
    async fn reach(&mut self, position: &str, deadline: Deadline) -> bool;

    /// Logs out.
    async fn close(self: Box<Self>);
}

pub(super) type Opened = Result<Box<dyn Server>, String>;

/// The role that asks.
pub(super) fn role(check: &CheckKind) -> &str {
    match check {
        CheckKind::Postgres(check) => &check.user,
        CheckKind::Mysql(check) => &check.user,
        CheckKind::Redis(check) => check.user.as_deref().unwrap_or("default"),
        _ => "the check's role",
    }
}

/// A look that was refused; `grant` says how to allow it.
pub(super) fn unasked(refusal: Refusal, grant: impl FnOnce() -> String) -> Look {
    let why = refusal.why;
    Look::Unasked(if refusal.is_denied { format!("{why}; on the primary: {}", grant()) } else { why.to_string() })
}

/// Names that the server gave, as evidence may show them: not all of a thousand.
pub(super) fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 6;
    const LONGEST: usize = 120;
    let items: Vec<&str> = items.into_iter().collect();
    let shown: Vec<String> = items.iter().take(SHOWN).map(|item| item.chars().take(LONGEST).collect()).collect();
    let more = if items.len() > SHOWN { format!(" and {} more", items.len() - SHOWN) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
