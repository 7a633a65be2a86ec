//! Whether the active database can commit. A login and a query succeed while a synchronous standby is frozen or the disk is full; a
//! commit does not.
//!
//! `PostgreSQL` has a commit without a table: `pg_logical_emit_message(true, …)` writes a record and commits, for any role. For the
//! other databases nothing comes near: a write that needs no table of the user has no name there.
//!
//! A commit that waits for a synchronous standby ends neither with its client nor with a deadline: the server sees neither while it
//! waits. So at most one is under way, however long it takes, and none is tried while the server shows one that waits: a mainstay
//! that loses its session, or starts again, would leave one after the other until no connection is left.
//!
//! On a server to which nobody writes nothing is tried: nobody waits there, and each message would be a reason to archive a segment.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, task::JoinHandle};
use tokio_postgres::error::SqlState;

use super::subject::Subject;
use crate::{
    config::CheckKind,
    control::probe::{
        Deadline,
        finding::Refusal,
        postgres::{Login, Standing},
        standing::Standing as _,
    },
    failover::{Epoch, Printable},
};

/// A commit is tried this long after the one before.
const EVERY: Duration = Duration::from_secs(5);

/// One that takes longer is stuck.
pub(in crate::control) const PATIENCE: Duration = Duration::from_secs(4);

/// Nothing comes back but a position.
const LONGEST_ANSWER: usize = 1024;

/// Longer than anybody waits for one commit.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);

const MESSAGE: &str = "SELECT pg_catalog.pg_logical_emit_message(true, 'mainstay', '')";

/// Where the log ends, and for how many seconds the oldest commit has waited for a synchronous standby, of those that the role may
/// see: its own, and with `pg_monitor` all.
const LOOK: &str = "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0'),
  (SELECT extract(epoch FROM max(pg_catalog.clock_timestamp() - a.state_change)) FROM pg_catalog.pg_stat_activity a
   WHERE a.wait_event = 'SyncRep')
WHERE NOT pg_catalog.pg_is_in_recovery()";

/// What the server writes by itself after a message: a checkpoint, and the list of running transactions.
const OWN_BYTES: u64 = 1024;

/// So many refusals in a row are no accident.
const REFUSALS: u32 = 2;

/// What a commit showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) enum Commit {
    /// It took this long.
    Done(Duration),
    /// It has not ended for this long.
    Stuck(Duration),
    /// The server refused it, in its own words.
    Refused(Printable),
    /// It could not be tried.
    Untried(Printable),
}

/// Whether the check of this kind can try one.
pub(in crate::control) const fn can_try(check: &CheckKind) -> bool {
    matches!(check, CheckKind::Postgres(_))
}

impl Commit {
    /// Nobody can commit, as far as it showed. `None`: it showed nothing.
    pub(in crate::control) const fn is_bad(&self) -> Option<bool> {
        match self {
            Self::Done(_) => Some(false),
            Self::Stuck(_) | Self::Refused(_) => Some(true),
            Self::Untried(_) => None,
        }
    }
}

/// The commits of the active backend.
pub(in crate::control) struct Commits {
    task: Option<(Epoch, Subject, JoinHandle<()>)>,
    /// Since when they are told to be bad.
    pub(in crate::control) bad_since: Option<Instant>,
    /// Why none could be tried, as it was told.
    pub(in crate::control) untried: Option<Printable>,
    /// When a switchover away was last ordered.
    pub(in crate::control) left_at: Option<Instant>,
    sender: mpsc::UnboundedSender<(Epoch, Arc<str>, Commit)>,
    heard: mpsc::UnboundedReceiver<(Epoch, Arc<str>, Commit)>,
}

impl Drop for Commits {
    fn drop(&mut self) {
        self.follow(None);
    }
}

impl Commits {
    pub(in crate::control) fn new() -> Self {
        let (sender, heard) = mpsc::unbounded_channel();
        Self { task: None, bad_since: None, untried: None, left_at: None, sender, heard }
    }

    /// Tries them on this backend from now on, which is active under this epoch. Returns whether that is another one than before.
    pub(in crate::control) fn follow(&mut self, active: Option<(Epoch, Arc<str>, Subject)>) -> bool {
        let present = self.task.as_ref().map(|(epoch, subject, _)| (*epoch, subject));
        if present == active.as_ref().map(|(epoch, _, subject)| (*epoch, subject)) {
            return false;
        }
        if let Some((.., task)) = self.task.take() {
            task.abort();
        }
        (self.bad_since, self.untried, self.left_at) = (None, None, None);
        self.task = active.map(|(epoch, name, subject)| {
            let sender = self.sender.clone();
            let tell = move |commit| drop(sender.send((epoch, Arc::clone(&name), commit)));
            (epoch, subject.clone(), tokio::spawn(watch(subject, tell)))
        });
        true
    }

    /// The next one that was tried, and on which backend.
    pub(in crate::control) async fn next(&mut self) -> (Arc<str>, Commit) {
        loop {
            match self.heard.recv().await {
                Some((epoch, name, commit)) if self.task.as_ref().is_some_and(|(present, ..)| *present == epoch) => {
                    return (name, commit);
                }
                Some(_) => {}
                None => std::future::pending().await,
            }
        }
    }
}

/// Tries one commit after the other, and tells what each showed. Ends with the task that runs it.
async fn watch(subject: Subject, mut tell: impl FnMut(Commit)) {
    let (mut last, mut refusals) = (0, 0);
    loop {
        tokio::time::sleep(EVERY).await;
        let told = once(&subject, &mut last, &mut tell).await;
        refusals = if matches!(told, Some(Commit::Refused(_))) { refusals + 1 } else { 0 };
        match told {
            Some(Commit::Refused(_)) if refusals < REFUSALS => {}
            Some(commit) => tell(commit),
            None => {}
        }
    }
}

/// `last` is where the log ended after the last one.
async fn once(subject: &Subject, last: &mut u64, tell: &mut impl FnMut(Commit)) -> Option<Commit> {
    let CheckKind::Postgres(check) = &subject.check.kind else { return None };
    let deadline = |limit| Deadline::after(limit).with_header(subject.check.proxy_header);
    let limit = subject.check.timeout;
    let login = Login::new(&subject.address, check);
    let mut session = match login.session(&subject.addresses, deadline(limit)).await {
        Ok((session, _)) => session,
        Err(failure) => return Some(Commit::Untried(Refusal::from(failure).why)),
    };
    let told = tried(&mut session, last, limit, tell).await;
    Box::new(session).close().await;
    told
}

async fn tried(session: &mut Standing, last: &mut u64, limit: Duration, tell: &mut impl FnMut(Commit)) -> Option<Commit> {
    let looked = match session.run(LOOK, Deadline::after(limit)).await {
        Ok(row) => row,
        Err(refusal) => return Some(Commit::Untried(refusal.why)),
    };
    let number = |column: usize| looked.get(column)?.as_deref()?.parse::<f64>().ok();
    // No row: it is no primary any more.
    let end = looked.first()?.as_deref()?.parse::<u64>().ok()?;
    if let Some(waits) = number(1).filter(|waits| *waits >= PATIENCE.as_secs_f64()) {
        return Some(Commit::Stuck(Duration::try_from_secs_f64(waits).unwrap_or(PATIENCE)));
    }
    if end.saturating_sub(*last) < OWN_BYTES {
        return Some(Commit::Done(Duration::ZERO));
    }
    let began = Instant::now();
    let commit = session.try_sql(MESSAGE, LONGEST_ANSWER, Deadline::after(FOR_EVER));
    tokio::pin!(commit);
    loop {
        tokio::select! {
            result = &mut commit => {
                return Some(match result {
                    Ok(_) => {
                        *last = end + OWN_BYTES / 4;
                        Commit::Done(began.elapsed())
                    }
                    Err(rejected) if is_no_room(rejected.state.as_ref()) => Commit::Refused(rejected.refusal.why),
                    Err(rejected) => Commit::Untried(rejected.refusal.why),
                });
            }
            () = tokio::time::sleep(PATIENCE) => tell(Commit::Stuck(began.elapsed())),
        }
    }
}

/// The server says that it cannot write: insufficient resources (class 53), a system error (58), corrupted data (XX001, XX002).
fn is_no_room(state: Option<&SqlState>) -> bool {
    state.is_some_and(|state| {
        let code = state.code();
        code != "53300" && (code.starts_with("53") || code.starts_with("58")) || ["XX001", "XX002"].contains(&code)
    })
}
