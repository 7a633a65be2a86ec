//! Who may be read at this moment: control → data. Beside the one route to the active backend stands a set of routes to readers,
//! each with its own revocation. A listener that leads to the primary never looks at it.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Instant,
};

use super::{Publisher, Route, RouteWatch, whole_millis};
use crate::failover::{Epoch, Time};

/// Number of a reader's time in use. A reader that comes back after its sessions were closed has another; none repeats within a
/// pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a route stands under, and ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenure {
    /// It leads to the active backend, until another activation.
    Active(Epoch),
    /// It leads to a reader, until the sessions of that are closed.
    Reader(Generation),
}

impl Tenure {
    /// Of a route to the active backend.
    pub const fn epoch(self) -> Option<Epoch> {
        match self {
            Self::Active(epoch) => Some(epoch),
            Self::Reader(_) => None,
        }
    }

    /// Of a route to a reader.
    pub const fn generation(self) -> Option<Generation> {
        match self {
            Self::Active(_) => None,
            Self::Reader(generation) => Some(generation),
        }
    }
}

/// What both planes note of a backend that is read, without a lock.
#[derive(Debug, Default)]
pub struct Pulse {
    /// When it was last heard of, in milliseconds of the process's clock.
    heard_millis: AtomicU64,
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
    readers: Arc<[Reader]>,
    /// Of those who were offered, whoever has sessions.
    earlier: Vec<Weak<Route>>,
    why: Arc<str>,
}

impl Default for ReaderOffer {
    fn default() -> Self {
        Self { readers: Arc::from([]), earlier: Vec::new(), why: "no check has finished yet".into() }
    }
}

impl Publisher {
    /// These may be read from now on.
    pub fn offer_readers(&self, readers: Arc<[Reader]>) {
        self.readers.send_modify(|offer| {
            offer.earlier.retain(|route| route.strong_count() > 0);
            for reader in &*offer.readers {
                let route = Arc::downgrade(&reader.route);
                if !offer.earlier.iter().any(|known| known.ptr_eq(&route)) {
                    offer.earlier.push(route);
                }
            }
            offer.readers = readers;
        });
    }

    /// Tells why others may not be read; shown to clients that are refused.
    pub fn explain_readers(&self, why: &str) {
        self.readers.send_if_modified(|offer| {
            if *offer.why != *why {
                offer.why = why.into();
            }
            // Nobody waits for an explanation.
            false
        });
    }
}

/// Whether clients who wait may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// They may.
    Open,
    /// There is somebody to go to, who was not heard of lately.
    Stale,
    /// There is nobody.
    Shut,
}

impl RouteWatch {
    /// Who may be read, in list order.
    pub fn readers(&self) -> Arc<[Reader]> {
        Arc::clone(&self.readers.borrow().readers)
    }

    /// One route to each backend that a session may be with: to whoever may be read, to those who could be read when their sessions
    /// began, and to the active one.
    pub fn everybody(&self) -> Vec<Arc<Route>> {
        let offer = self.readers.borrow();
        let readers = offer.readers.iter().map(|reader| Arc::clone(&reader.route));
        let active = self.offer.borrow().route.clone();
        let mut everybody: Vec<Arc<Route>> = Vec::new();
        for route in readers.chain(active).chain(offer.earlier.iter().filter_map(Weak::upgrade)) {
            if !route.revocation.is_revoked() && everybody.iter().all(|known| known.backend != route.backend) {
                everybody.push(route);
            }
        }
        everybody
    }

    /// Why others may not be read.
    pub fn why_not_read(&self) -> Arc<str> {
        Arc::clone(&self.readers.borrow().why)
    }

    /// A reader that was heard of lately enough to trust.
    pub fn is_fresh(&self, reader: &Reader) -> bool {
        self.is_fresh_at(reader, Instant::now())
    }

    fn is_fresh_at(&self, reader: &Reader, now: Instant) -> bool {
        self.is_recent(reader.pulse.heard_millis.load(Ordering::Acquire), now)
    }

    /// Whether new sessions may begin under this very route, when it was looked at the clock just now.
    pub fn stands(&self, route: &Route, now: Instant) -> bool {
        match route.tenure {
            Tenure::Active(_) => {
                let offer = self.offer.borrow();
                offer.route.as_ref().is_some_and(|now| now.tenure == route.tenure) && !self.is_stale_at(now)
            }
            Tenure::Reader(_) => {
                let offer = self.readers.borrow();
                offer.readers.iter().any(|reader| reader.route.tenure == route.tenure && self.is_fresh_at(reader, now))
            }
        }
    }
}
