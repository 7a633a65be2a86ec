//! The seam between the planes. Control publishes, data takes, admin looks; what data learns goes back as bounded, lossy
//! reports. Nothing else crosses.
//!
//! | file | what crosses there |
//! |---|---|
//! | here | [`Route`]: control → data |
//! | [`revocation`] | how a route ends: control → data |
//! | [`readers`] | who may be read: control → data |
//! | [`snapshot`] | a pool as it stands: control → admin |
//! | [`events`] | state changes with their causes: control → admin |
//! | [`reports`] | what the byte path learns: data → control |
//! | [`demand`] | whether somebody waits: data → control |
//! | [`sessions`] | the live sessions: data → admin |

mod demand;
mod events;
mod readers;
mod reports;
mod revocation;
mod sessions;
mod snapshot;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use demand::Demand;
pub use demand::{DemandWatch, Wait};
pub use events::{EventLog, StateEvent};
use readers::ReaderOffer;
pub use readers::{Gate, Generation, Pulse, Reader, ReaderKind, Tenure, Underway};
pub use reports::{PassiveReport, ReportReceiver, ReportSender};
pub use revocation::{Listening, Revocation};
pub use sessions::{Session, SessionEntry, SessionTable};
pub use snapshot::{BackendView, LastFailover, LastProbe, Snapshot};
use tokio::sync::watch;

use crate::{failover::Time, metrics::BackendMetrics, net::addresses::Addresses};

/// The process's monotonic clock with a fixed origin, so that the core, the byte path and the API speak of the same moments.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    origin_wall: SystemTime,
}

impl Clock {
    /// A clock whose origin is now.
    pub fn start() -> Self {
        Self { origin: Instant::now(), origin_wall: SystemTime::now() }
    }

    /// The present moment.
    pub fn now(&self) -> Time {
        self.at(Instant::now())
    }

    /// A moment that was looked at already.
    pub fn at(&self, moment: Instant) -> Time {
        Time::new(moment.saturating_duration_since(self.origin))
    }

    /// `at` on the wall clock, as it was set when the process started.
    pub fn wall(&self, at: Time) -> SystemTime {
        self.origin_wall + at.since_origin()
    }
}

/// Where new clients go: a backend under a tenure, with its own revocation. Taken as one value, so there is no moment at
/// which a connection knows its backend but cannot be told to leave it. It names all there is to know of the backend, which may
/// be gone from the configuration while sessions still go on.
#[derive(Clone, Debug)]
pub struct Route {
    /// Name of the backend.
    pub backend: Arc<str>,
    /// Its numbers.
    pub metrics: Arc<BackendMetrics>,
    /// Under which activation, or as which reader.
    pub tenure: Tenure,
    /// Last known good addresses, in the order to try them. Empty when the name never resolved.
    pub addresses: Addresses,
    /// How the route ends.
    pub revocation: Arc<Revocation>,
}

/// What a pool offers to new clients at this moment.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// Where to go; `None` holds them.
    pub route: Option<Arc<Route>>,
    /// Why not, when `route` is `None`; shown to clients that are refused.
    pub why: Arc<str>,
}

/// When the active backend was last heard of, and for how long that counts; shared so that a reader needs no lock.
#[derive(Debug)]
struct Verified {
    millis: AtomicU64,
    max_staleness_millis: AtomicU64,
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
}

/// The admin plane's view of a pool.
#[derive(Clone, Debug)]
pub struct SnapshotWatch(watch::Receiver<Arc<Snapshot>>);

/// The seam of one pool: the ends that control holds, and those of the byte path and of the admin plane.
#[derive(Debug)]
pub struct Seam {
    /// Control tells.
    pub publisher: Publisher,
    /// Control listens.
    pub reports: ReportReceiver,
    /// The byte path takes.
    pub routes: RouteWatch,
    /// The byte path tells.
    pub reporter: ReportSender,
    /// The admin plane looks.
    pub snapshots: SnapshotWatch,
}

/// Makes the seam of one pool. A route whose backend was not heard of for `max_staleness` is not offered: a process that
/// was frozen, or whose supervisor is stuck, holds its clients instead of trusting an old verdict.
pub fn seam(clock: Clock, max_staleness: Duration, first: Snapshot) -> Seam {
    let staleness = AtomicU64::new(whole_millis(max_staleness));
    let verified = Arc::new(Verified { millis: AtomicU64::new(0), max_staleness_millis: staleness });
    let (offer_tx, offer_rx) = watch::channel(Offer { route: None, why: "no check has finished yet".into() });
    let (readers_tx, readers_rx) = watch::channel(ReaderOffer::default());
    let (snapshot_tx, snapshot_rx) = watch::channel(Arc::new(first));
    let (reporter, reports) = reports::reports();
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
        routes: RouteWatch { offer: offer_rx, readers: readers_rx, verified, demand, clock },
        reporter,
        snapshots: SnapshotWatch(snapshot_rx),
    }
}

impl Publisher {
    /// Offers this to new clients from now on.
    pub fn offer(&self, offer: Offer) {
        self.offer.send_replace(offer);
    }

    /// What is offered now.
    pub fn current(&self) -> Offer {
        self.offer.borrow().clone()
    }

    /// The active backend was heard of at `at`.
    pub fn verified(&self, at: Time) {
        self.verified.millis.store(whole_millis(at.since_origin()), Ordering::Release);
    }

    /// From now on a verdict counts for this long.
    pub fn max_staleness(&self, max: Duration) {
        self.verified.max_staleness_millis.store(whole_millis(max), Ordering::Release);
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
    /// The route to take now, if there is one and it is not stale.
    pub fn take(&self) -> Option<Arc<Route>> {
        self.take_at(Instant::now())
    }

    /// The same, when it was looked at the clock just now.
    pub fn take_at(&self, now: Instant) -> Option<Arc<Route>> {
        let route = self.offer.borrow().route.clone()?;
        (!self.is_stale_at(now)).then_some(route)
    }

    /// A client waits for a route, or for a reader, until the guard is dropped.
    pub fn wait(&self) -> Wait<'_> {
        self.demand.wait()
    }

    /// There is a route, be it stale.
    pub fn is_offered(&self) -> bool {
        self.offer.borrow().route.is_some()
    }

    /// Why there is no route.
    pub fn why(&self) -> Arc<str> {
        let offer = self.offer.borrow();
        if offer.route.is_some() && self.is_stale() {
            return "the last verdict is too old; checking again".into();
        }
        Arc::clone(&offer.why)
    }

    /// Whether there is a route.
    pub fn gate(&self) -> Gate {
        match self.is_offered() {
            true if self.is_stale() => Gate::Stale,
            true => Gate::Open,
            false => Gate::Shut,
        }
    }

    /// Waits until another route is offered, or none any more, or others may be read, than at the end of the last call; `None` when
    /// the pool has ended. What is only stale becomes good without being offered again.
    pub async fn changed(&mut self) -> Option<()> {
        tokio::select! {
            changed = self.offer.changed() => changed.ok(),
            changed = self.readers.changed() => changed.ok(),
        }
    }

    fn is_stale(&self) -> bool {
        self.is_stale_at(Instant::now())
    }

    fn is_stale_at(&self, now: Instant) -> bool {
        !self.is_recent(self.verified.millis.load(Ordering::Acquire), now)
    }

    /// What was heard then still counts.
    fn is_recent(&self, heard_millis: u64, now: Instant) -> bool {
        let age = whole_millis(self.clock.at(now).since_origin()).saturating_sub(heard_millis);
        age <= self.verified.max_staleness_millis.load(Ordering::Acquire)
    }
}

fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl SnapshotWatch {
    /// The pool as it stands.
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
