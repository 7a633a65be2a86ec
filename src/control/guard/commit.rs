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

/// A commit is tried this long after the one before. It is told within ten seconds that nobody can commit; with [`PATIENCE`] that leaves
/// a busy machine four for a login.
const EVERY: Duration = Duration::from_secs(3);

/// One that takes longer is stuck.
pub(in crate::control) const PATIENCE: Duration = Duration::from_secs(3);

/// Nothing comes back but a position.
const LONGEST_ANSWER: usize = 1024;

/// Longer than anybody waits for one commit.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);

const MESSAGE: &str = "SELECT pg_catalog.pg_logical_emit_message(true, 'mainstay', '')";

/// Where the log ends; for how many seconds an own message has waited for a synchronous standby; and which transactions wait for one,
/// of those that the role may see: its own, and with `pg_monitor` all. One that waits at two looks does not end: how long a session has
/// been at it says nothing, since a long statement waits only at its end, and a procedure with many commits again and again.
const LOOK: &str = "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0'),
  (SELECT extract(epoch FROM max(pg_catalog.clock_timestamp() - a.query_start)) FROM pg_catalog.pg_stat_activity a
   WHERE a.wait_event = 'SyncRep' AND a.query LIKE '%pg_logical_emit_message(true, ''mainstay''%'),
  (SELECT coalesce(pg_catalog.string_agg(a.backend_xid::text, ' '), '') FROM pg_catalog.pg_stat_activity a
   WHERE a.wait_event = 'SyncRep')
WHERE NOT pg_catalog.pg_is_in_recovery()";

/// What the server writes by itself after a message: a checkpoint, and the list of running transactions.
const OWN_BYTES: u64 = 1024;

/// So many refusals in a row are no accident.
const REFUSALS: u32 = 2;

/// What a commit showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) enum Commit {
    /// It took this long; zero where nobody has written and none was tried.
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

    /// Why nobody can commit, if it showed that.
    pub(in crate::control) fn trouble(&self) -> Option<Printable> {
        match self {
            Self::Stuck(since) => {
                let look = "look for a synchronous standby that is gone or frozen, and at the disk";
                Some(format!("a commit has not ended for {since:.0?}: {look}").into())
            }
            Self::Refused(why) => Some(format!("a commit failed: {why}").into()),
            Self::Done(_) | Self::Untried(_) => None,
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
    let (mut seen, mut refusals) = (Seen::default(), 0);
    loop {
        tokio::time::sleep(EVERY).await;
        let told = once(&subject, &mut seen, &mut tell).await;
        refusals = if matches!(told, Some(Commit::Refused(_))) { refusals + 1 } else { 0 };
        match told {
            Some(Commit::Refused(_)) if refusals < REFUSALS => {}
            Some(commit) => tell(commit),
            None => {}
        }
    }
}

/// What the looks before have shown.
#[derive(Default)]
struct Seen {
    /// Where the log ended after the last message.
    end: u64,
    /// The transactions that waited, and since when each look has shown one of them.
    waiting: Vec<String>,
    since: Option<Instant>,
}

impl Seen {
    /// These wait now. Returns for how long one of them has waited at least; zero for all that are new.
    fn waits(&mut self, now: Vec<String>) -> Duration {
        if now.iter().any(|one| self.waiting.contains(one)) {
            self.since.get_or_insert_with(|| Instant::now().checked_sub(EVERY).unwrap_or_else(Instant::now));
        } else {
            self.since = None;
        }
        self.waiting = now;
        self.since.map(|since| since.elapsed()).unwrap_or_default()
    }
}

async fn once(subject: &Subject, seen: &mut Seen, tell: &mut impl FnMut(Commit)) -> Option<Commit> {
    let CheckKind::Postgres(check) = &subject.check.kind else { return None };
    let deadline = |limit| Deadline::after(limit).with_header(subject.check.proxy_header);
    // A login that is late is no reason to begin again.
    let limit = subject.check.timeout.max(PATIENCE);
    let login = Login::new(&subject.address, check);
    let mut session = match login.session(&subject.addresses, deadline(limit)).await {
        Ok((session, _)) => session,
        Err(failure) => return Some(Commit::Untried(Refusal::from(failure).why)),
    };
    let told = tried(&mut session, seen, limit, tell).await;
    Box::new(session).close().await;
    told
}

async fn tried(session: &mut Standing, seen: &mut Seen, limit: Duration, tell: &mut impl FnMut(Commit)) -> Option<Commit> {
    let looked = match session.run(LOOK, Deadline::after(limit)).await {
        Ok(row) => row,
        Err(refusal) => return Some(Commit::Untried(refusal.why)),
    };
    let text = |column: usize| looked.get(column)?.as_deref();
    // No row: it is no primary any more.
    let end = text(0)?.parse::<u64>().ok()?;
    let own = text(1).and_then(|seconds| Duration::try_from_secs_f64(seconds.parse().ok()?).ok()).unwrap_or_default();
    let waits = seen.waits(text(2)?.split_whitespace().map(str::to_owned).collect()).max(own);
    if waits >= PATIENCE {
        return Some(Commit::Stuck(waits));
    }
    if own > Duration::ZERO || end.saturating_sub(seen.end) < OWN_BYTES {
        // One is under way already, or nobody has written.
        return (seen.since.is_none() && own.is_zero()).then_some(Commit::Done(Duration::ZERO));
    }
    let began = Instant::now();
    let commit = session.try_sql(MESSAGE, LONGEST_ANSWER, Deadline::after(FOR_EVER));
    tokio::pin!(commit);
    loop {
        tokio::select! {
            result = &mut commit => {
                return Some(match result {
                    Ok(_) => {
                        seen.end = end + OWN_BYTES / 4;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_transaction_at_two_looks_waits() {
        let mut seen = Seen::default();
        let waits = |seen: &mut Seen, now: &[&str]| seen.waits(now.iter().map(ToString::to_string).collect());
        assert_eq!(waits(&mut seen, &["7", "8"]), Duration::ZERO);
        assert_eq!(waits(&mut seen, &["9"]), Duration::ZERO, "a procedure that commits again and again");
        assert!(waits(&mut seen, &["9", "10"]) >= PATIENCE);
        assert!(waits(&mut seen, &["10"]) >= PATIENCE);
        assert_eq!(waits(&mut seen, &[]), Duration::ZERO);
    }
}
