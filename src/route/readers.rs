//! Who may be read at this moment: control → data. Beside the one route to the active backend stands a set of routes to readers,
//! each with its own revocation. A listener that leads to the primary never looks at it.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use super::{clock::whole_millis, offer::Route};
use crate::failover::Time;

/// What both planes note of a backend that is read, without a lock.
#[derive(Debug, Default)]
pub struct Pulse {
    /// When it was last heard of, in milliseconds of the process's clock.
    pub(super) heard_millis: AtomicU64,
    /// Clients on their way to it: chosen, and not counted as sessions yet.
    underway: AtomicI64,
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
    pub fn load(&self) -> i64 {
        self.route.metrics.connections_active.get() + self.pulse.underway.load(Ordering::Relaxed)
    }

    /// Counts a client in [`Reader::load`] until the guard is dropped, which is when its session counts itself.
    pub fn underway(&self) -> Underway {
        self.pulse.underway.fetch_add(1, Ordering::Relaxed);
        Underway(Arc::clone(&self.pulse))
    }
}

/// A client on its way to a reader.
#[derive(Debug)]
pub struct Underway(Arc<Pulse>);

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.underway.fetch_sub(1, Ordering::Relaxed);
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
