//! Which backends may be read now: control → data. Besides the one route to the active backend there is a set of routes to readers,
//! each with its own revocation. A listener that leads to the primary does not use it.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use super::{clock::whole_millis, offer::Route};
use crate::failover::Time;

/// What is recorded of a reader, without a lock.
#[derive(Debug, Default)]
pub struct Pulse {
    /// When it last answered, in milliseconds of the process's clock.
    pub(super) heard_millis: AtomicU64,
}

impl Pulse {
    /// It answered at `at`.
    pub fn heard(&self, at: Time) {
        self.heard_millis.store(whole_millis(at.since_origin()), Ordering::Release);
    }
}

/// The kind of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderKind {
    /// Not the active backend.
    Replica,
    /// The active backend.
    Active,
    /// Not the active one, and it still proves itself: of a hundred new sessions it gets so many.
    Canary(u32),
}

/// One backend that may be read.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The route to it.
    pub route: Arc<Route>,
    /// Which listeners may use it.
    pub kind: ReaderKind,
    /// What is recorded of it.
    pub pulse: Arc<Pulse>,
}

impl Reader {
    /// Of a hundred new sessions it gets so many; `None`: its share.
    pub const fn percent(&self) -> Option<u32> {
        if let ReaderKind::Canary(percent) = self.kind { Some(percent) } else { None }
    }

    /// Sessions of this pool with the backend, and clients on their way to it.
    pub fn load(&self) -> usize {
        self.route.places.used()
    }
}

/// Which backends may be read now.
#[derive(Clone, Debug)]
pub(super) struct ReaderOffer {
    pub(super) readers: Arc<[Reader]>,
    /// Of all that were offered, those that still have sessions.
    pub(super) earlier: Vec<Weak<Route>>,
    pub(super) why: Arc<str>,
}

impl Default for ReaderOffer {
    fn default() -> Self {
        Self { readers: Arc::from([]), earlier: Vec::new(), why: "no check has finished yet".into() }
    }
}
