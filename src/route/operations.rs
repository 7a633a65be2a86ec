//! Operations as control shows them to the admin plane: those that run, and the last ones, step by step.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use crate::failover::{OperationEnd, OperationKind, OperationResult, Printable, Step, Time, TrialEnd};

/// An operation, as far as it has come.
#[derive(Clone, Debug)]
pub struct OperationView {
    /// Its number, unique in the process.
    pub id: u64,
    /// The pool.
    pub pool: Arc<str>,
    /// What it is for.
    pub kind: OperationKind,
    /// The backend that is active, or in a promotion was the last one.
    pub from: Option<Arc<str>>,
    /// The candidate.
    pub to: Arc<str>,
    /// Who ordered it and from where; `mainstay` for an automatic one.
    pub by: Printable,
    /// Why, in the operator's own words; may be empty.
    pub reason: Printable,
    /// When it began.
    pub at: Time,
    /// All of its steps, in order, also those that have not begun.
    pub steps: Vec<StepView>,
    /// It has not passed its point of no return.
    pub can_abort: bool,
    /// How it ended; `None` while it runs.
    pub end: Option<EndView>,
    /// The trial that follows it, or the way back.
    pub trial: Option<TrialView>,
}

impl OperationView {
    /// The step that has begun last.
    pub fn step(&self) -> Option<&StepView> {
        self.steps.iter().rfind(|step| step.since.is_some())
    }
}

/// A step.
#[derive(Clone, Debug)]
pub struct StepView {
    /// Which.
    pub step: Step,
    /// When it began.
    pub since: Option<Time>,
    /// How long it took; `None` until it is over.
    pub took: Option<Duration>,
    /// What was done, or is missing, one sentence each.
    pub lines: Vec<Printable>,
}

/// How an operation ended.
#[derive(Clone, Debug)]
pub struct EndView {
    /// When.
    pub at: Time,
    /// How.
    pub result: OperationResult,
    /// By which rule.
    pub why: OperationEnd,
    /// For people: what happened, who serves now, and what to do.
    pub sentence: Printable,
}

/// What follows a switchover that is not meant to stay.
#[derive(Clone, Debug)]
pub struct TrialView {
    /// It goes back in any case.
    pub returns: bool,
    /// When it ends by itself.
    pub until: Time,
    /// How it ended; `None` while it runs.
    pub end: Option<TrialEnd>,
    /// What was said of it last.
    pub sentence: Printable,
    /// The operation that goes back.
    pub back: Option<u64>,
}

/// The operations of the process, bounded: written by the supervisors, read by the admin plane.
#[derive(Debug)]
pub struct OperationLog {
    last_id: AtomicU64,
    operations: Mutex<VecDeque<OperationView>>,
    changes: watch::Sender<u64>,
}

impl Default for OperationLog {
    fn default() -> Self {
        Self { last_id: AtomicU64::new(0), operations: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl OperationLog {
    const KEPT: usize = 100;

    /// A number for the next operation; the first one is 1.
    pub fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Shows an operation as it is now, in place of what was shown of it before. The oldest that has ended makes room.
    pub fn show(&self, view: OperationView) {
        let mut operations = self.lock();
        match operations.iter_mut().find(|known| known.id == view.id) {
            Some(known) => *known = view,
            None => operations.push_back(view),
        }
        if operations.len() > Self::KEPT
            && let Some(oldest) = operations.iter().position(|operation| operation.end.is_some())
        {
            operations.remove(oldest);
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Those of a pool, or of all, oldest first.
    pub fn all(&self, pool: Option<&str>) -> Vec<OperationView> {
        self.lock().iter().filter(|operation| pool.is_none_or(|pool| *operation.pool == *pool)).cloned().collect()
    }

    /// The one that runs in a pool.
    pub fn running(&self, pool: &str) -> Option<OperationView> {
        self.lock().iter().rfind(|operation| operation.end.is_none() && *operation.pool == *pool).cloned()
    }

    /// The last one of a pool, if its trial runs.
    pub fn on_trial(&self, pool: &str) -> Option<OperationView> {
        let runs = |operation: &&OperationView| operation.trial.as_ref().is_some_and(|trial| trial.end.is_none());
        self.lock().iter().rfind(|operation| *operation.pool == *pool).filter(runs).cloned()
    }

    /// The one of this number.
    pub fn get(&self, id: u64) -> Option<OperationView> {
        self.lock().iter().find(|operation| operation.id == id).cloned()
    }

    /// Wakes whenever one changes.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<OperationView>> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
