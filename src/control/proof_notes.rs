//! What is told of prints, proofs and commits.

use std::{sync::Arc, time::Instant};

use super::{
    guard::{self, Commit, Doubt, News},
    notes::{Moment, Teller},
};
use crate::{
    failover::{Printable, Proof, label::Label as _},
    route::StateEvent,
    telemetry::Admitted,
};

impl Teller {
    /// A backend has changed, or has proven itself.
    pub(super) fn proof(&self, at: Moment, backend: &Arc<str>, (from, to): (Proof, Proof), what: &Printable) {
        let pool = &*self.pool;
        let (was, is) = (from.as_str(), to.as_str());
        let warns = !(to.is_good() || to == Proof::Proving || Doubt::is_away(what));
        if let Some(Admitted { suppressed }) = self.proof_lines.admits((Arc::clone(backend), warns)) {
            let help = help(&format!("{pool}/{backend}"), (from, to), what);
            let why = if what.is_empty() { "it is as it was proven" } else { &**what };
            if warns {
                tracing::warn!(pool, %backend, from = was, to = is, what = why, help, suppressed, "proof changed");
            } else {
                tracing::info!(pool, %backend, from = was, to = is, what = why, help, suppressed, "proof changed");
            }
        }
        let evidence = what.clone();
        self.events.push(StateEvent { from: Some(was), to: Some(is), evidence, ..self.event(at, Some(backend), "proof") });
    }

    /// The print of a backend of which nothing is known cannot be read, or can be again.
    pub(super) fn reading(&self, backend: &Arc<str>, news: &News) {
        let (pool, warns) = (&*self.pool, matches!(news, News::Unread(_)));
        if !warns && *news != News::ReadAgain {
            return;
        }
        let Some(Admitted { suppressed }) = self.proof_lines.admits((Arc::clone(backend), warns)) else { return };
        if let News::Unread(why) = news {
            let help = "until it can be read, no change of this backend is seen";
            tracing::warn!(pool, %backend, %why, help, suppressed, "print cannot be read");
        } else {
            tracing::info!(pool, %backend, suppressed, "print can be read again");
        }
    }

    /// Why no commit is tried, where that has changed.
    pub(super) fn untried(&self, backend: &Arc<str>, why: &Printable) {
        if let Some(Admitted { suppressed }) = self.probe_lines.admits((Arc::clone(backend), "untried")) {
            tracing::info!(pool = &*self.pool, %backend, %why, suppressed, "no commit is tried");
        }
    }

    /// The active backend was asked to commit. Only a change is told.
    pub(super) fn commit(&self, at: Moment, backend: &Arc<str>, commit: &Commit, bad_since: Option<Instant>) {
        let pool = &*self.pool;
        let was_bad = bad_since.is_some();
        let (took, good) = match commit {
            Commit::Done(took) if took.is_zero() => (was_bad.then_some(*took), "nobody waits any more".into()),
            Commit::Done(took) => (Some(*took), format!("it commits again, within {took:.1?}")),
            Commit::Stuck(since) => (Some(*since), String::new()),
            Commit::Refused(_) => {
                let since = bad_since.map(|since| since.elapsed()).unwrap_or_default();
                (Some(guard::COMMIT_PATIENCE + since), String::new())
            }
            // What the role may not try tells nothing of the server.
            Commit::Untried(_) => return,
        };
        if let Some(took) = took {
            self.metrics.commit_probe.set(took.as_secs_f64());
        }
        if commit.is_bad() == Some(was_bad) {
            return;
        }
        let evidence = commit.trouble().unwrap_or_else(|| good.into());
        let to = if was_bad {
            tracing::warn!(pool, %backend, %evidence, "commits end again");
            "done"
        } else {
            tracing::error!(pool, %backend, %evidence, "the active backend accepts logins and cannot commit");
            "stuck"
        };
        self.events.push(StateEvent { to: Some(to), evidence, ..self.event(at, Some(backend), "commit") });
    }

    /// Another backend is asked to commit from now on, or none.
    pub(super) fn commits_elsewhere(&self, at: Moment, was_bad: bool) {
        self.metrics.commit_probe.set(0.0);
        if was_bad {
            let evidence = "the backend that could not commit is not active any more".into();
            self.events.push(StateEvent { to: Some("left"), evidence, ..self.event(at, None, "commit") });
        }
    }
}

/// What is to be done about a change of a backend's proof.
fn help(backend: &str, (from, to): (Proof, Proof), what: &Printable) -> Option<String> {
    let approve = format!("mainstay approve {backend} takes it as it is");
    match to {
        Proof::Proven | Proof::Approved | Proof::Proving => None,
        Proof::Unproven if Doubt::is_away(what) => Some("nothing: its print is read as soon as it answers".into()),
        Proof::Unproven if from.is_good() => {
            Some(format!("its proofs begin by themselves; mainstay diff shows what differs; {approve}"))
        }
        Proof::Unproven => {
            Some(format!("its proofs are run again every minute; mainstay prove {backend} does it at once; {approve}"))
        }
        Proof::Failed | Proof::Inconclusive => {
            Some(format!("mend what the proof found; mainstay prove {backend} runs the proofs at once; {approve}"))
        }
    }
}
