//! The seam between the planes. Control publishes, data takes, admin looks; what data learns goes back as bounded, lossy
//! reports. Nothing else crosses.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use crate::failover::FailoverReady;
use crate::failover::{Admin, BackendId, Cause, Epoch, Facts, Health, Outcome, Passive, Reason, RevokeMode, Time, Verdict};

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
        Time::new(self.origin.elapsed())
    }

    /// `at` on the wall clock, as it was set when the process started.
    pub fn wall(&self, at: Time) -> SystemTime {
        self.origin_wall + at.since_origin()
    }
}

/// Where new clients go: a backend under an epoch, with its own revocation. Taken as one value, so there is no moment at
/// which a connection knows its backend but cannot be told to leave it.
#[derive(Clone, Debug)]
pub struct Route {
    /// Position in the pool's list.
    pub backend: BackendId,
    /// Under which activation.
    pub epoch: Epoch,
    /// Last known good addresses, in the order to try them. Empty when the name never resolved.
    pub addresses: Arc<[SocketAddr]>,
    /// How the route ends.
    pub revocation: Arc<Revocation>,
}

/// The end of an epoch, in one or two steps.
#[derive(Debug)]
pub struct Revocation {
    last_words: CancellationToken,
    aborted: CancellationToken,
}

impl Revocation {
    /// An epoch that stands, until it is revoked or `forced` (the end of the process's patience) is cancelled.
    pub fn under(forced: &CancellationToken) -> Self {
        Self { last_words: forced.child_token(), aborted: forced.child_token() }
    }

    /// Ends the epoch. A later, harsher call overrides an earlier one.
    pub fn revoke(&self, mode: RevokeMode) {
        match mode {
            RevokeMode::Drain => {}
            RevokeMode::LastWords => self.last_words.cancel(),
            RevokeMode::Abort => {
                self.aborted.cancel();
                self.last_words.cancel();
            }
        }
    }

    /// The sessions must stop sending to the backend now (either mode).
    pub fn revoked(&self) -> &CancellationToken {
        &self.last_words
    }

    /// The sessions must end now.
    pub fn aborted(&self) -> &CancellationToken {
        &self.aborted
    }
}

/// What a pool offers to new clients at this moment.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// Where to go; `None` holds them.
    pub route: Option<Arc<Route>>,
    /// Why not, when `route` is `None`; shown to clients that are refused.
    pub why: Arc<str>,
}

/// When the active backend was last heard of; shared so that a reader needs no lock.
#[derive(Debug, Default)]
struct Verified {
    millis: AtomicU64,
}

/// The publishing end of a pool's seam. Only the supervisor holds it.
#[derive(Debug)]
pub struct Publisher {
    offer: watch::Sender<Offer>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    verified: Arc<Verified>,
}

/// The byte path's view of a pool.
#[derive(Clone, Debug)]
pub struct RouteWatch {
    offer: watch::Receiver<Offer>,
    verified: Arc<Verified>,
    max_staleness: Duration,
    clock: Clock,
}

/// The admin plane's view of a pool.
#[derive(Clone, Debug)]
pub struct SnapshotWatch(watch::Receiver<Arc<Snapshot>>);

/// Makes the seam of one pool. A route whose backend was not heard of for `max_staleness` is not offered: a process that
/// was frozen, or whose supervisor is stuck, holds its clients instead of trusting an old verdict.
pub fn seam(clock: Clock, max_staleness: Duration, first: Snapshot) -> (Publisher, RouteWatch, SnapshotWatch) {
    let verified = Arc::new(Verified::default());
    let (offer_tx, offer_rx) = watch::channel(Offer { route: None, why: "no check has finished yet".into() });
    let (snapshot_tx, snapshot_rx) = watch::channel(Arc::new(first));
    (
        Publisher { offer: offer_tx, snapshot: snapshot_tx, verified: Arc::clone(&verified) },
        RouteWatch { offer: offer_rx, verified, max_staleness, clock },
        SnapshotWatch(snapshot_rx),
    )
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
        self.verified.millis.store(millis(at), Ordering::Release);
    }

    /// Shows this to the admin plane from now on.
    pub fn snapshot(&self, snapshot: Snapshot) {
        self.snapshot.send_replace(Arc::new(snapshot));
    }
}

impl RouteWatch {
    /// The route to take now, if there is one and it is not stale.
    pub fn take(&self) -> Option<Arc<Route>> {
        let route = self.offer.borrow().route.clone()?;
        (!self.is_stale()).then_some(route)
    }

    /// Why there is no route.
    pub fn why(&self) -> Arc<str> {
        let offer = self.offer.borrow();
        if offer.route.is_some() && self.is_stale() {
            return "the last verdict is too old; checking again".into();
        }
        Arc::clone(&offer.why)
    }

    /// Waits for a route, for ever. A stale route counts once it was verified again.
    pub async fn wait(&mut self) -> Arc<Route> {
        loop {
            self.offer.mark_unchanged();
            if let Some(route) = self.take() {
                return route;
            }
            // A route that is only stale becomes good without being published again: look back now and then.
            let stale = self.offer.borrow().route.is_some();
            let pause = if stale { Duration::from_millis(20) } else { Duration::from_secs(3600) };
            if let Ok(Err(_closed)) = tokio::time::timeout(pause, self.offer.changed()).await {
                std::future::pending::<()>().await;
            }
        }
    }

    fn is_stale(&self) -> bool {
        let verified = self.verified.millis.load(Ordering::Acquire);
        let age = millis(self.clock.now()).saturating_sub(verified);
        u128::from(age) > self.max_staleness.as_millis()
    }
}

fn millis(at: Time) -> u64 {
    u64::try_from(at.since_origin().as_millis()).unwrap_or(u64::MAX)
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

/// A pool as the supervisor sees it; replaced whole with each change.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The pool's name.
    pub pool: Arc<str>,
    /// The last epoch that was activated.
    pub epoch: Epoch,
    /// Who is active.
    pub active: Option<BackendId>,
    /// The active backend is in doubt; new clients wait for a second opinion.
    pub suspended: bool,
    /// How the last election ended.
    pub verdict: Verdict,
    /// More than one backend claims to be primary.
    pub conflict: bool,
    /// Who would take over if the active backend died now, with the reason when nobody would.
    pub failover_ready: FailoverReady,
    /// The last change from one active backend to another, or to the same after a gap.
    pub last_failover: Option<LastFailover>,
    /// Every backend, in list order.
    pub backends: Vec<BackendView>,
}

/// One failover, as it is told afterwards.
#[derive(Clone, Debug)]
pub struct LastFailover {
    /// When the new backend was activated.
    pub at: Time,
    /// Who was active before.
    pub from: BackendId,
    /// Who is now.
    pub to: BackendId,
    /// Why the old one was revoked.
    pub cause: Cause,
    /// What was seen of it.
    pub evidence: Arc<str>,
    /// From the first sign of trouble to the revocation.
    pub detected: Duration,
    /// From the revocation to the activation: nobody was active.
    pub gap: Duration,
    /// Sessions that the revocation ended.
    pub sessions_closed: u64,
}

/// One backend as the supervisor sees it.
#[derive(Clone, Debug)]
pub struct BackendView {
    /// Its name.
    pub name: Arc<str>,
    /// As configured.
    pub address: Arc<str>,
    /// What the name stands for.
    pub resolved: Arc<[SocketAddr]>,
    /// Observed health.
    pub health: Health,
    /// A verdict is pending: results differ from it, but not yet often enough.
    pub pending: bool,
    /// What it was last told to be by the operator.
    pub admin: Admin,
    /// Why it may or may not be active.
    pub reason: Reason,
    /// What it said of itself when it last answered.
    pub facts: Facts,
    /// The check cannot do its work: `misconfigured`, `saturated`, `wrong_cluster`.
    pub alert: Option<Outcome>,
    /// Since when its health is what it is.
    pub since: Time,
    /// The last probe.
    pub last_probe: Option<LastProbe>,
}

/// The last probe of a backend.
#[derive(Clone, Debug)]
pub struct LastProbe {
    /// What it found.
    pub outcome: Outcome,
    /// What it saw.
    pub evidence: Arc<str>,
    /// When it finished.
    pub at: Time,
    /// How long it took.
    pub took: Duration,
}

/// A state change with its cause, for the events API.
#[derive(Clone, Debug)]
pub struct StateEvent {
    /// Rises by one with each event of the process, from 1.
    pub id: u64,
    /// When.
    pub at: Time,
    /// Which pool.
    pub pool: Arc<str>,
    /// Which backend, if one.
    pub backend: Option<Arc<str>>,
    /// What kind of change, one word (`activate`, `revoke`, `health`, `role`, …).
    pub kind: &'static str,
    /// Before, if it has a before.
    pub from: Option<&'static str>,
    /// After, if it has an after.
    pub to: Option<&'static str>,
    /// Under which epoch.
    pub epoch: Epoch,
    /// Which rule.
    pub cause: Option<&'static str>,
    /// What was seen.
    pub evidence: Arc<str>,
}

/// The latest state changes of the process, bounded: written by the supervisor, read by the admin plane.
#[derive(Debug)]
pub struct EventLog {
    ring: std::sync::Mutex<Ring>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    events: std::collections::VecDeque<StateEvent>,
    last_id: u64,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { ring: std::sync::Mutex::default(), newest: watch::Sender::new(0) }
    }
}

impl EventLog {
    const KEPT: usize = 1000;

    /// Appends an event; its `id` is set here.
    pub fn push(&self, mut event: StateEvent) {
        let mut ring = self.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ring.last_id += 1;
        event.id = ring.last_id;
        if ring.events.len() == Self::KEPT {
            ring.events.pop_front();
        }
        ring.events.push_back(event);
        self.newest.send_replace(ring.last_id);
    }

    /// The kept events with an id above `since`, oldest first.
    pub fn since(&self, since: u64) -> Vec<StateEvent> {
        let ring = self.ring.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ring.events.iter().filter(|event| event.id > since).cloned().collect()
    }

    /// Tells the id of the newest event, and when it changes.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}

/// The byte path's reports to the supervisor: bounded, and lost rather than waited for.
#[derive(Clone, Debug)]
pub struct ReportSender(mpsc::Sender<PassiveReport>);

/// The supervisor's end.
#[derive(Debug)]
pub struct ReportReceiver(mpsc::Receiver<PassiveReport>);

/// Something the byte path learned about a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassiveReport {
    /// Index of the pool in the configuration.
    pub pool: usize,
    /// Which backend.
    pub backend: BackendId,
    /// Under which epoch it was learned.
    pub epoch: Epoch,
    /// What.
    pub what: Passive,
}

/// A bounded channel for reports.
pub fn reports() -> (ReportSender, ReportReceiver) {
    let (tx, rx) = mpsc::channel(1024);
    (ReportSender(tx), ReportReceiver(rx))
}

impl ReportSender {
    /// Sends without waiting; `false` when the report was lost because the supervisor is behind.
    pub fn send(&self, report: PassiveReport) -> bool {
        !matches!(self.0.try_send(report), Err(mpsc::error::TrySendError::Full(_)))
    }
}

impl ReportReceiver {
    /// The next report; waits for ever when no sender is left.
    pub async fn next(&mut self) -> PassiveReport {
        match self.0.recv().await {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }
}

/// One live session, as the API lists it. Byte counts are written by its own worker only.
#[derive(Debug)]
pub struct Session {
    /// The client's address.
    pub client: SocketAddr,
    /// Index of the pool.
    pub pool: usize,
    /// Index of the listener within the pool.
    pub listener: usize,
    /// Where it goes.
    pub backend: BackendId,
    /// Under which epoch.
    pub epoch: Epoch,
    /// Since when.
    pub since: Time,
    /// Bytes relayed from the client to the backend.
    pub upstream_bytes: AtomicU64,
    /// Bytes relayed from the backend to the client.
    pub downstream_bytes: AtomicU64,
}

/// The live sessions of one worker. Its lock is taken by the worker when a session starts and ends, and by the admin plane
/// when somebody asks for the list; never while bytes move.
#[derive(Debug, Default)]
pub struct SessionTable {
    sessions: std::sync::Mutex<std::collections::HashMap<u64, Arc<Session>>>,
}

impl SessionTable {
    /// Lists a session under the connection's own number until the entry is dropped.
    pub fn enter(self: &Arc<Self>, id: u64, session: Arc<Session>) -> SessionEntry {
        self.lock().insert(id, session);
        SessionEntry { table: Arc::clone(self), id }
    }

    /// The sessions of a pool, at most `limit`, with their connection numbers.
    pub fn list(&self, pool: usize, limit: usize) -> Vec<(u64, Arc<Session>)> {
        self.lock().iter().filter(|(_, s)| s.pool == pool).take(limit).map(|(id, s)| (*id, Arc::clone(s))).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<u64, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A session's place in its worker's table.
#[derive(Debug)]
pub struct SessionEntry {
    table: Arc<SessionTable>,
    id: u64,
}

impl Drop for SessionEntry {
    fn drop(&mut self) {
        self.table.lock().remove(&self.id);
    }
}
