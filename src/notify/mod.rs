//! Notifications without a Prometheus: tells people, through Slack, `PagerDuty`, a webhook or a program, what happens to a pool.
//!
//! It reads what the admin plane reads too, and runs on its thread. Nobody waits for it: a receiver that hangs delays only its own
//! messages.
//!
//! | file | what it holds |
//! |---|---|
//! | [`latch`] | a state that is told when it has lasted, and when it is over |
//! | [`decide`] | what of a pool is told, and when |
//! | [`words`] | in which words |
//! | [`notice`] | one thing that is told |
//! | [`format`](mod@format) | the same for each kind of receiver |
//! | [`outbox`] | what waits for a receiver: queue, rate, tries |
//! | [`send`] | one try |
//! | [`http`], [`exec`] | how: a request, a program |
//! | [`sign`] | the signature of a webhook |
//! | [`failure`] | why a try failed |

mod decide;
mod exec;
mod failure;
mod format;
mod http;
mod latch;
mod notice;
mod outbox;
mod send;
mod sign;
mod words;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use decide::{Decider, Loss, Sight};
use format::Message;
use notice::{Felt, Notice};
use outbox::Outbox;
use send::Sender;
use tokio::{sync::watch, time::sleep};

use crate::{
    config::ReceiverConfig,
    failover::Time,
    lifecycle::{Phase, PhaseWatch},
    metrics::{ListenerMetrics, Metrics, PoolMetrics},
    reason::{ReceiverKind, RejectReason},
    route::{Clock, EventLog, SnapshotWatch},
};

/// The shortest time between two looks, however much happens.
const SHORTEST: Duration = Duration::from_millis(20);
/// Between two looks while something is under way.
const SOON: Duration = Duration::from_millis(100);
/// Between two looks when nothing happens.
const LATER: Duration = Duration::from_secs(1);

/// What a receiver may have open: a program with its outputs takes most.
pub const DESCRIPTORS: usize = 8;

/// Who is told of which pools; replaced when the configuration changes.
#[derive(Debug, Default)]
pub struct Setup {
    /// Who.
    pub receivers: Vec<ReceiverConfig>,
    /// Of what.
    pub pools: Vec<Watched>,
}

/// A pool that is watched.
#[derive(Debug)]
pub struct Watched {
    /// Its state.
    pub snapshot: SnapshotWatch,
    /// Its metrics.
    pub metrics: Arc<PoolMetrics>,
    /// Those of its listeners.
    pub listeners: Vec<Arc<ListenerMetrics>>,
    /// One of its listeners leads to the primary.
    pub is_for_writing: bool,
}

/// Tells receivers what happens.
pub struct Notifier {
    /// The process's clock.
    pub clock: Clock,
    /// The phase of the process: a stop is no outage.
    pub phase: PhaseWatch,
    /// Who is told of what.
    pub setup: watch::Receiver<Arc<Setup>>,
    /// State changes: they say when to look, and how a backend was lost.
    pub events: Arc<EventLog>,
    /// All metrics.
    pub metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Notifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notifier").finish_non_exhaustive()
    }
}

impl Notifier {
    /// Tells until mainstay stops.
    pub async fn run(self) {
        let mut draining = self.phase.clone();
        tokio::select! {
            () = draining.reached(Phase::Draining) => {}
            () = self.tell() => {}
        }
    }

    async fn tell(mut self) {
        let mut newest = self.events.watch();
        let mut teller = Teller::new(self.metrics.clone());
        loop {
            let setup = Arc::clone(&self.setup.borrow_and_update());
            if setup.receivers.is_empty() {
                teller.end();
                if self.setup.changed().await.is_err() {
                    return;
                }
                teller.seen = *newest.borrow();
                continue;
            }
            let news = newest.has_changed().unwrap_or(false);
            newest.mark_unchanged();
            let is_pending = teller.look(self.clock, &setup, &self.events);
            sleep(SHORTEST).await;
            // A snapshot is published a moment after its events.
            let pause = if is_pending || news { SOON } else { LATER };
            tokio::select! {
                changed = self.setup.changed() => if changed.is_err() { return },
                _ = newest.changed() => newest.mark_changed(),
                () = sleep(pause) => {}
            }
        }
    }
}

/// What was told so far, and to whom.
struct Teller {
    metrics: Arc<Metrics>,
    host: Arc<str>,
    /// Distinguishes messages of two processes.
    process: u128,
    count: u64,
    /// The last event that was read.
    seen: u64,
    outboxes: Vec<Outbox>,
    pools: HashMap<Arc<str>, Decider>,
    /// How each pool lost its active backend last.
    losses: HashMap<Arc<str>, Loss>,
}

impl Teller {
    fn new(metrics: Arc<Metrics>) -> Self {
        let process = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        Self {
            metrics,
            host: host(),
            process,
            count: 0,
            seen: 0,
            outboxes: Vec::new(),
            pools: HashMap::new(),
            losses: HashMap::new(),
        }
    }

    /// Nobody is to be told any more.
    fn end(&mut self) {
        self.outboxes.drain(..).for_each(Outbox::end);
        self.pools.clear();
        self.losses.clear();
    }

    /// Reads how backends were lost.
    fn losses(&mut self, events: &EventLog) {
        for event in events.since(self.seen) {
            self.seen = event.id;
            if let ("revoke", Some(backend), Some(cause)) = (event.kind, event.backend, event.cause) {
                let loss = Loss { at: event.at, backend, cause, evidence: event.evidence.to_string() };
                self.losses.insert(event.pool, loss);
            }
        }
    }

    /// Looks at every pool; whether time alone may change something.
    fn look(&mut self, clock: Clock, setup: &Setup, events: &EventLog) -> bool {
        let now = clock.now();
        self.receivers(&setup.receivers);
        let snapshots: Vec<_> = setup.pools.iter().map(|pool| pool.snapshot.get()).collect();
        // After the snapshots: what one shows has been told before.
        self.losses(events);
        let mut before = std::mem::take(&mut self.pools);
        let mut notices = Vec::new();
        for (pool, snapshot) in setup.pools.iter().zip(&snapshots) {
            let mut decider = before.remove(&snapshot.pool).unwrap_or_else(Decider::new);
            let loss = self.losses.get(&snapshot.pool);
            let sight = Sight { snapshot, felt: pool.felt(), is_for_writing: pool.is_for_writing, loss };
            notices.extend(decider.look(now, &sight));
            self.pools.insert(Arc::clone(&snapshot.pool), decider);
        }
        notices.extend(before.iter().flat_map(|(pool, decider)| decider.removed(now, pool)));
        self.losses.retain(|pool, _| self.pools.contains_key(pool));
        for notice in notices {
            self.tell(clock, notice);
        }
        self.pools.values().any(Decider::is_pending)
    }

    /// Receivers that stay keep what waits for them.
    fn receivers(&mut self, receivers: &[ReceiverConfig]) {
        if self.outboxes.iter().map(|outbox| &outbox.config).eq(receivers) {
            return;
        }
        let mut before = std::mem::take(&mut self.outboxes);
        for (position, config) in receivers.iter().enumerate() {
            let same = before.iter().position(|outbox| outbox.config == *config);
            let outbox = same.map(|same| before.remove(same));
            self.outboxes.push(outbox.unwrap_or_else(|| Outbox::start(config, position, &self.metrics)));
        }
        before.into_iter().for_each(Outbox::end);
    }

    fn tell(&mut self, clock: Clock, notice: Notice) {
        self.count += 1;
        let (at, now) = (clock.wall(notice.at), notice.at);
        let id = format!("mainstay-{:x}-{}", self.process, self.count);
        let message = Message { notice: Arc::new(notice), at, host: Arc::clone(&self.host), id, left_out: 0 };
        for outbox in &mut self.outboxes {
            outbox.offer(now, &message);
        }
    }
}

impl Watched {
    /// What its clients have felt so far.
    fn felt(&self) -> Felt {
        let rejected = |reasons: &[RejectReason]| -> u64 {
            let counts =
                self.listeners.iter().flat_map(|listener| reasons.iter().map(|reason| listener.rejected.get(*reason).get()));
            counts.sum()
        };
        let waited_in_vain = rejected(&[RejectReason::HoldTimeout, RejectReason::QueueTimeout, RejectReason::ClientGone]);
        let at_once = [RejectReason::HoldFull, RejectReason::HoldFullPerIp, RejectReason::QueueFull];
        let held = self.metrics.hold_duration.get_sample_count().saturating_sub(rejected(&at_once));
        let turned_away: u64 = self
            .listeners
            .iter()
            .flat_map(|listener| listener.rejected.iter())
            .map(|(reason, count)| {
                let is_ours = !matches!(reason, RejectReason::ClientGone | RejectReason::Denied | RejectReason::Shutdown);
                if is_ours { count.get() } else { 0 }
            })
            .sum();
        Felt { held, late: held.saturating_sub(waited_in_vain), turned_away, waited: self.metrics.hold_duration.get_sample_sum() }
    }
}

/// Tells one receiver that this is a test, with one try.
///
/// # Errors
/// Why it has not taken it.
pub async fn test(receiver: &ReceiverConfig) -> (ReceiverKind, Result<(), String>) {
    let sender = Sender::new(&receiver.to);
    let at = SystemTime::now();
    let id = format!("mainstay-test-{:x}", at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos());
    let message = Message { notice: Arc::new(words::test(Time::ZERO)), at, host: host(), id, left_out: 0 };
    (sender.kind(), sender.once(&message).await.map_err(|failure| failure.why))
}

/// The name of this machine.
fn host() -> Arc<str> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "this machine".into() } else { name.trim().into() }
}
