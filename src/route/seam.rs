//! The ends of a pool's seam: what control publishes, and what the other planes take.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    clients::ClientLog,
    clock::{Clock, whole_millis},
    demand::{Demand, DemandWatch, Wait},
    offer::{Offer, Route, RouteId},
    readers::{Reader, ReaderOffer},
    reports::{ReportReceiver, ReportSender, reports},
    snapshot::Snapshot,
};
use crate::failover::Time;

/// When the active backend last answered, and for how long that counts; shared so that a reader needs no lock.
#[derive(Debug)]
struct Verified {
    millis: AtomicU64,
    max_staleness_millis: AtomicU64,
    /// When the last pause ends, or has ended.
    held_until_millis: AtomicU64,
}

/// Whether waiting clients may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// They may.
    Open,
    /// There is a backend, but its last answer is too old.
    Stale,
    /// There is none.
    Shut,
}

/// The publishing end of a pool's seam. Only the supervisor holds it.
#[derive(Debug)]
pub struct Publisher {
    offer: watch::Sender<Offer>,
    readers: watch::Sender<ReaderOffer>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    verified: Arc<Verified>,
    demand: DemandWatch,
}

/// The byte path's view of a pool.
#[derive(Clone, Debug)]
pub struct RouteWatch {
    offer: watch::Receiver<Offer>,
    readers: watch::Receiver<ReaderOffer>,
    verified: Arc<Verified>,
    demand: Demand,
    clock: Clock,
    clients: Arc<ClientLog>,
}

/// The admin plane's view of a pool.
#[derive(Clone, Debug)]
pub struct SnapshotWatch(watch::Receiver<Arc<Snapshot>>);

/// The seam of one pool: the ends of control, of the byte path and of the admin plane.
#[derive(Debug)]
pub struct Seam {
    /// Control publishes.
    pub publisher: Publisher,
    /// Control receives.
    pub reports: ReportReceiver,
    /// The byte path takes.
    pub routes: RouteWatch,
    /// The byte path reports.
    pub reporter: ReportSender,
    /// The admin plane reads.
    pub snapshots: SnapshotWatch,
}

/// Makes the seam of one pool. A route whose backend has not answered for `max_staleness` is not offered: a process that was
/// frozen, or whose supervisor is stuck, holds its clients instead of trusting an old verdict.
pub fn seam(clock: Clock, max_staleness: Duration, first: Snapshot) -> Seam {
    let staleness = AtomicU64::new(whole_millis(max_staleness));
    let verified =
        Arc::new(Verified { millis: AtomicU64::new(0), max_staleness_millis: staleness, held_until_millis: AtomicU64::new(0) });
    let (offer_tx, offer_rx) = watch::channel(Offer { route: None, why: "no check has finished yet".into() });
    let (readers_tx, readers_rx) = watch::channel(ReaderOffer::default());
    let (snapshot_tx, snapshot_rx) = watch::channel(Arc::new(first));
    let (reporter, reports) = reports();
    let demand = Demand::default();
    Seam {
        publisher: Publisher {
            offer: offer_tx,
            readers: readers_tx,
            snapshot: snapshot_tx,
            verified: Arc::clone(&verified),
            demand: demand.watch(),
        },
        reports,
        routes: RouteWatch { offer: offer_rx, readers: readers_rx, verified, demand, clock, clients: Arc::default() },
        reporter,
        snapshots: SnapshotWatch(snapshot_rx),
    }
}

impl Publisher {
    /// Offers this to new clients from now on.
    pub fn offer(&self, offer: Offer) {
        self.offer.send_replace(offer);
    }

    /// Offers these readers from now on.
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

    /// Why others may not be read; shown to clients that are rejected.
    pub fn explain_readers(&self, why: &str) {
        self.readers.send_if_modified(|offer| {
            if *offer.why != *why {
                offer.why = why.into();
            }
            // Nobody waits for an explanation.
            false
        });
    }

    /// The present offer.
    pub fn current(&self) -> Offer {
        self.offer.borrow().clone()
    }

    /// The active backend answered at `at`.
    pub fn verified(&self, at: Time) {
        self.verified.millis.store(whole_millis(at.since_origin()), Ordering::Release);
    }

    /// From now on an answer counts for this long.
    pub fn max_staleness(&self, max: Duration) {
        self.verified.max_staleness_millis.store(whole_millis(max), Ordering::Release);
    }

    /// A pause ends then, or has ended: the time in which clients waited for it does not count.
    pub fn held_until(&self, end: Time) {
        // A whole millisecond more rather than a part of one less.
        self.verified.held_until_millis.store(whole_millis(end.since_origin()) + 1, Ordering::Release);
    }

    /// Whether clients wait.
    pub fn demand(&self) -> DemandWatch {
        self.demand.clone()
    }

    /// Shows this to the admin plane from now on.
    pub fn snapshot(&self, snapshot: Snapshot) {
        self.snapshot.send_replace(Arc::new(snapshot));
    }
}

impl RouteWatch {
    /// The route to take at `now`, if there is one and it is not stale.
    pub fn take(&self, now: Instant) -> Option<Arc<Route>> {
        let route = self.offer.borrow().route.clone()?;
        (!self.is_stale(now)).then_some(route)
    }

    /// Where it is noted what clients feel.
    pub const fn clients(&self) -> &Arc<ClientLog> {
        &self.clients
    }

    /// A client waits for a route, or for a reader, until the guard is dropped.
    pub fn wait(&self) -> Wait<'_> {
        self.demand.wait()
    }

    /// When the last pause ends, or has ended; a moment before any client came, if there was none.
    pub fn held_until(&self) -> Instant {
        self.clock.instant(Time::from_millis(self.verified.held_until_millis.load(Ordering::Acquire)))
    }

    /// There is a route, even if it is stale.
    pub fn is_offered(&self) -> bool {
        self.offer.borrow().route.is_some()
    }

    /// Why there is no route.
    pub fn why(&self) -> Arc<str> {
        let offer = self.offer.borrow();
        if offer.route.is_some() && self.is_stale(Instant::now()) {
            return "the last verdict is too old; checking again".into();
        }
        Arc::clone(&offer.why)
    }

    /// Whether there is a route.
    pub fn gate(&self) -> Gate {
        match self.is_offered() {
            true if self.is_stale(Instant::now()) => Gate::Stale,
            true => Gate::Open,
            false => Gate::Shut,
        }
    }

    /// Readers, in list order.
    pub fn readers(&self) -> Arc<[Reader]> {
        Arc::clone(&self.readers.borrow().readers)
    }

    /// One route to each backend that may have a session: to every reader, to former readers that still have sessions, and to the
    /// active backend.
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

    /// A reader that was heard of lately enough to trust at `now`.
    pub fn is_fresh(&self, reader: &Reader, now: Instant) -> bool {
        self.is_recent(reader.pulse.heard_millis.load(Ordering::Acquire), now)
    }

    /// Whether new sessions may begin under this very route, with a moment that was just read from the clock.
    pub fn stands(&self, route: &Route, now: Instant) -> bool {
        match route.id {
            RouteId::Active(_) => {
                let offer = self.offer.borrow();
                offer.route.as_ref().is_some_and(|now| now.id == route.id) && !self.is_stale(now)
            }
            RouteId::Reader(_) => {
                let offer = self.readers.borrow();
                offer.readers.iter().any(|reader| reader.route.id == route.id && self.is_fresh(reader, now))
            }
        }
    }

    /// Waits until the offer has changed since the last call: another route, no route any more, or other readers; `None` when the
    /// pool has ended. A stale route becomes valid without being offered again.
    pub async fn changed(&mut self) -> Option<()> {
        tokio::select! {
            changed = self.offer.changed() => changed.ok(),
            changed = self.readers.changed() => changed.ok(),
        }
    }

    fn is_stale(&self, now: Instant) -> bool {
        !self.is_recent(self.verified.millis.load(Ordering::Acquire), now)
    }

    /// An answer of that time still counts.
    fn is_recent(&self, heard_millis: u64, now: Instant) -> bool {
        let age = whole_millis(self.clock.at(now).since_origin()).saturating_sub(heard_millis);
        age <= self.verified.max_staleness_millis.load(Ordering::Acquire)
    }
}

impl SnapshotWatch {
    /// The present state of the pool.
    pub fn get(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.borrow())
    }

    /// Waits for the next change.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
