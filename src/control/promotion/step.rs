//! What the steps of a promotion have in common.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    control::{node::Node, probe::Deadline, resolver},
    failover::Printable,
    net::{addr::BackendAddr, addresses::Addresses},
};

/// Between two questions over a session.
const QUESTION_EVERY: Duration = Duration::from_millis(5);
/// No question begins so shortly before the end, where it could not be answered.
const LAST_QUESTION: Duration = Duration::from_millis(100);
/// Between two logins, each of which may be a line in a log.
const LOGIN_EVERY: Duration = Duration::from_millis(50);

/// What was done; or why not, and what to do.
pub type Done = Result<Printable, Printable>;

/// A backend in a step.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its name.
    pub name: Arc<str>,
    /// Its address as configured.
    pub address: BackendAddr,
    /// Where that was found last; empty when it must be looked up.
    pub addresses: Addresses,
}

impl From<&Node> for Member {
    fn from(node: &Node) -> Self {
        let config = &node.config;
        Self { name: Arc::clone(&config.name), address: config.address.clone(), addresses: node.resolved.clone() }
    }
}

impl Member {
    pub(super) async fn addresses(&self, deadline: Deadline) -> Result<Addresses, Printable> {
        if !self.addresses.is_empty() {
            return Ok(self.addresses.clone());
        }
        match timeout_at(deadline.at(), resolver::lookup(&self.address)).await {
            Ok(found) => found,
            Err(_) => Err(resolver::unresolved(&self.address, deadline.timeout()).evidence),
        }
    }
}

/// Why a step is made, for the environment of the hooks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Occasion {
    /// The pool's epoch.
    pub epoch: u64,
    /// The cause, a word.
    pub cause: &'static str,
}

crate::labels! {
    /// How much a shortcoming matters.
    pub enum Severity {
        /// The candidate does not follow the primary: it would lack what was written last, whoever insists.
        Loses = "loses",
        /// The step would fail.
        Forbids = "forbids",
        /// It would take longer, or less would be sure.
        Costs = "costs",
    }
}

/// What is missing for a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortcoming {
    /// How much it matters.
    pub severity: Severity,
    /// What is missing, what that costs, and what to do.
    pub words: Printable,
}

impl Shortcoming {
    pub(super) fn loses(words: impl Into<Printable>) -> Self {
        Self { severity: Severity::Loses, words: words.into() }
    }

    pub(super) fn forbids(words: impl Into<Printable>) -> Self {
        Self { severity: Severity::Forbids, words: words.into() }
    }

    pub(super) fn costs(words: impl Into<Printable>) -> Self {
        Self { severity: Severity::Costs, words: words.into() }
    }
}

/// A moment until the next question over a session; `false` when the time is over.
pub(super) async fn pause(deadline: Deadline) -> bool {
    pause_for(QUESTION_EVERY, deadline).await
}

/// The same until the next login.
pub(super) async fn pause_before_login(deadline: Deadline) -> bool {
    pause_for(LOGIN_EVERY, deadline).await
}

async fn pause_for(time: Duration, deadline: Deadline) -> bool {
    if left(deadline) <= (deadline.timeout() / 20).min(LAST_QUESTION) {
        return false;
    }
    sleep(time).await;
    true
}

/// What is left of the time.
pub(super) fn left(deadline: Deadline) -> Duration {
    deadline.at().saturating_duration_since(Instant::now())
}

/// `why` a login to `member` failed.
pub(super) fn no_login(member: &Member, why: impl fmt::Display) -> Printable {
    format!("cannot log in to {}: {why}", member.name).into()
}
