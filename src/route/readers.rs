//! Who may be read at this moment: control → data. Beside the one route to the active backend stands a set of routes to readers,
//! each with its own revocation. A listener that leads to the primary never looks at it.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use super::{clock::whole_millis, offer::Route};
use crate::{
    failover::Time,
    metrics::{LiveCount, LiveGuard},
};

/// What both planes note of a backend that is read, without a lock.
#[derive(Debug, Default)]
pub struct Pulse {
    /// When it was last heard of, in milliseconds of the process's clock.
    pub(super) heard_millis: AtomicU64,
    /// Clients on their way to it: chosen, and not counted as sessions yet.
    underway: LiveCount,
}

impl Pulse {
    /// It was heard of at `at`.
    pub fn heard(&self, at: Time) {
        self.heard_millis.store(whole_millis(at.since_origin()), Ordering::Release);
    }
}

/// What a reader is to the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderKind {
    /// Not the active backend.
    Replica,
    /// The active backend.
    Active,
}

/// One backend that may be read.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The way there.
    pub route: Arc<Route>,
    /// Who takes it.
    pub kind: ReaderKind,
    /// What is noted of it.
    pub pulse: Arc<Pulse>,
}

impl Reader {
    /// Sessions of this pool with the backend, and clients on their way to it.
    pub fn load(&self) -> u64 {
        self.route.sessions.get() + self.pulse.underway.get()
    }

    /// Counts a client in [`Reader::load`] until the guard is dropped, which is when its session counts itself.
    pub fn underway(&self) -> LiveGuard {
        self.pulse.underway.guard()
    }
}

/// Who may be read at this moment.
#[derive(Clone, Debug)]
pub(super) struct ReaderOffer {
    pub(super) readers: Arc<[Reader]>,
    /// Of those who were offered, whoever has sessions.
    pub(super) earlier: Vec<Weak<Route>>,
    pub(super) why: Arc<str>,
}

impl Default for ReaderOffer {
    fn default() -> Self {
        Self { readers: Arc::from([]), earlier: Vec::new(), why: "no check has finished yet".into() }
    }
}
