//! What happens in the demo: one round is a kill, a promotion, the return of the old primary, and its conversion to a standby.
//! The story plays on its own thread and tells what it does in [`Notes`]; it measures, and judges nothing by itself.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use lab::clients::{Clients, Tally};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    nodes::{NodeError, Nodes},
    stops::Stops,
};
use crate::{
    app::Running,
    failover::{BackendId, Reason},
    route::{Snapshot, StateEvent},
};

/// Normal work before the kill.
const NORMAL: Duration = Duration::from_secs(2);
/// From the kill to the promotion: what the database's own failover manager would need; here short, so that the demo is.
const PROMOTE_AFTER: Duration = Duration::from_millis(500);
/// How long the new primary, and then the old one's return, is watched.
const WATCH: Duration = Duration::from_millis(1500);
/// How long the pair rests before the next round.
const REST: Duration = Duration::from_secs(1);
/// mainstay needs milliseconds; who waits this long waits in vain.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What one round showed. Durations are in milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Round {
    /// From 1.
    pub(super) number: u64,
    /// Who was killed.
    pub(super) from: &'static str,
    /// Who was promoted.
    pub(super) to: &'static str,
    /// From the first sign of trouble to the end of the old route; `None` when mainstay never failed over.
    pub(super) detected_ms: Option<f64>,
    /// From there until the new node was active; most of it is the demo's own wait before the promotion.
    pub(super) gap_ms: Option<f64>,
    /// From the end of the promotion to the first write that was acknowledged after it.
    pub(super) serving_after_promotion_ms: Option<f64>,
    /// Connects that ended in an error during the round.
    pub(super) refused_connects: u64,
    /// Acknowledged writes that the new primary does not hold.
    pub(super) lost_acknowledged_writes: u64,
    /// The old primary that came back was kept out with the reason `fenced`; `None` when the round did not get there.
    pub(super) old_primary_fenced: Option<bool>,
    /// The old primary was active although its timeline was over.
    pub(super) old_primary_active: bool,
    /// Rows that reached the old primary after its return.
    pub(super) writes_to_old_primary: u64,
}

/// What one update showed.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Updated {
    pub(super) node: &'static str,
    pub(super) update: &'static str,
    pub(super) is_bad: bool,
    /// The state of its proof in the end, and when that was told, from the node's return on.
    pub(super) proof: &'static str,
    pub(super) proof_what: String,
    pub(super) decided_ms: Option<f64>,
    /// `done`, or why the switchover to it was refused; empty when none was ordered.
    pub(super) switchover: String,
    /// How long the switchover took, from the order to its end.
    pub(super) switchover_ms: Option<f64>,
    /// Sessions of clients that the node had with this update before it was proven, or at all if it is bad.
    pub(super) sessions_unproven: u64,
}

/// Why a round ended before its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// Ctrl-C.
    Asked,
    /// A node did not do as it was told.
    Failed(String),
}

impl From<NodeError> for Stop {
    fn from(error: NodeError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What was told so far, with the time since the start.
#[derive(Debug)]
pub(super) struct Notes {
    started: Instant,
    told: Mutex<Told>,
}

/// A copy of what was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) lines: Vec<(Duration, String)>,
    pub(super) rounds: Vec<Round>,
    pub(super) round: u64,
    pub(super) updates: Vec<Updated>,
}

impl Notes {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), told: Mutex::default() }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn told(&self) -> Told {
        self.lock().clone()
    }

    pub(super) fn tell(&self, line: impl Into<String>) {
        let at = self.elapsed();
        self.lock().lines.push((at, line.into()));
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything the story plays with.
pub(super) struct Story<'a> {
    pub(super) nodes: &'a Nodes,
    pub(super) running: &'a Running,
    pub(super) clients: &'a Clients,
    pub(super) notes: &'a Notes,
    pub(super) stop: &'a CancellationToken,
    /// Where mainstay's hook asks for the stop of a node.
    pub(super) stops: Option<&'a Stops>,
}

impl Story<'_> {
    /// Plays rounds until it is told to stop, or as many as asked.
    pub(super) fn play(&self, rounds: Option<u64>) -> Result<(), Stop> {
        let mut last_event = 0;
        for number in 1..=rounds.unwrap_or(u64::MAX) {
            let old = usize::from(number % 2 == 0);
            self.notes.lock().round = number;
            match self.round(number, old, &mut last_event) {
                Ok(()) => {}
                Err(Stop::Asked) => return Ok(()),
                Err(failed) => return Err(failed),
            }
        }
        Ok(())
    }

    fn round(&self, number: u64, old: usize, last_event: &mut u64) -> Result<(), Stop> {
        let new = 1 - old;
        let (from, to) = (Nodes::name(old), Nodes::name(new));
        let before = self.clients.tally();
        self.notes.tell(format!("{from} is the primary, {to} its synchronous standby; the clients write through mainstay"));
        self.watch(NORMAL, last_event, || false)?;

        let mut round = self.fail_over(number, old, new, last_event)?;
        self.notes.lock().rounds.push(round.clone());
        self.check_rows(&mut round, new, &before)?;
        if round.gap_ms.is_none() {
            return Err(Stop::Failed(format!("mainstay did not move the clients to {to} within {PATIENCE:?}.")));
        }

        self.old_primary_returns(&mut round, old, last_event)?;
        self.replace(&round);

        self.nodes.rejoin(old, new)?;
        self.notes.tell(format!("{from} is now a standby of {to}"));
        self.watch(PATIENCE, last_event, || self.snapshot().backends[old].reason == Reason::Standby)?;
        self.watch(REST, last_event, || false)?;
        self.check_rows(&mut round, new, &before)
    }

    fn fail_over(&self, number: u64, old: usize, new: usize, last_event: &mut u64) -> Result<Round, Stop> {
        let (from, to) = (Nodes::name(old), Nodes::name(new));
        let epoch = self.snapshot().epoch;
        self.notes.tell(format!("kill -9: {from}, the primary, dies with every connection"));
        self.nodes.kill(old)?;
        self.watch(PROMOTE_AFTER, last_event, || false)?;
        self.notes.tell(format!("{to} is promoted"));
        let promoting = Instant::now();
        self.nodes.promote(new)?;
        let promoted = Instant::now();
        let moved = || {
            let snapshot = self.snapshot();
            snapshot.active.is_some_and(|active| active.index() == new) && snapshot.epoch > epoch
        };
        let served = self.watch(PATIENCE, last_event, || moved() && self.clients.first_since(promoting).is_some())?;
        let first = self.clients.first_since(promoting).filter(|_| served);
        let failover = self.snapshot().last_failover.clone().filter(|failover| served && *failover.to == *to);
        if served {
            self.notes.tell(format!("the clients write to {to}"));
        }
        self.watch(WATCH, last_event, || false)?;
        Ok(Round {
            number,
            from,
            to,
            detected_ms: failover.as_ref().map(|failover| millis(failover.detected)),
            gap_ms: failover.as_ref().map(|failover| millis(failover.gap)),
            serving_after_promotion_ms: first.map(|first| millis(first.saturating_duration_since(promoted))),
            refused_connects: 0,
            lost_acknowledged_writes: 0,
            old_primary_fenced: None,
            old_primary_active: false,
            writes_to_old_primary: 0,
        })
    }

    fn old_primary_returns(&self, round: &mut Round, old: usize, last_event: &mut u64) -> Result<(), Stop> {
        let from = round.from;
        self.notes.tell(format!("{from} comes back and still believes that it is the primary"));
        self.nodes.come_back(old)?;
        let rows = self.nodes.rows(old)?.len();
        let mut active = false;
        let mut look = |wanted: Option<Reason>| {
            let snapshot = self.snapshot();
            active |= snapshot.active.is_some_and(|active| active.index() == old);
            wanted.is_some_and(|reason| snapshot.backends[old].reason == reason)
        };
        let fenced = self.watch(PATIENCE, last_event, || look(Some(Reason::Fenced)))?;
        self.watch(WATCH, last_event, || look(None))?;
        let written = self.nodes.rows(old)?.len().saturating_sub(rows);
        if fenced && !active {
            self.notes.tell(format!("{from} stays fenced: its timeline is over, no client gets there"));
        }
        round.old_primary_fenced = Some(fenced);
        round.old_primary_active = active;
        round.writes_to_old_primary = u64::try_from(written).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Every acknowledged write must be there. The list is taken first: what is acknowledged meanwhile cannot be missing.
    fn check_rows(&self, round: &mut Round, primary: usize, before: &Tally) -> Result<(), Stop> {
        let acknowledged = self.clients.acknowledged();
        let stored = self.nodes.rows(primary)?;
        let lost = acknowledged.iter().filter(|row| !stored.contains(row)).count();
        round.lost_acknowledged_writes = u64::try_from(lost).unwrap_or(u64::MAX);
        round.refused_connects = self.clients.tally().refused - before.refused;
        self.replace(round);
        Ok(())
    }

    fn replace(&self, round: &Round) {
        if let Some(last) = self.notes.lock().rounds.last_mut() {
            last.clone_from(round);
        }
    }

    /// Waits until the condition holds, or the time is over; `Ok(false)` then. Tells mainstay's own events meanwhile.
    pub(super) fn watch(&self, time: Duration, last_event: &mut u64, mut condition: impl FnMut() -> bool) -> Result<bool, Stop> {
        let deadline = Instant::now() + time;
        loop {
            if let Some(stops) = self.stops {
                stops.serve(self.nodes)?;
            }
            for event in self.running.events.since(*last_event) {
                *last_event = event.id;
                // An update stops and starts nodes on purpose, again and again.
                let is_news = match event.kind {
                    "proof" => (event.from, event.to) != (Some("unproven"), Some("proving")),
                    kind => kind == "activate",
                };
                if is_news || self.stops.is_none() {
                    self.notes.tell(sentence(&event));
                }
            }
            if self.stop.is_cancelled() {
                return Err(Stop::Asked);
            }
            if condition() {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub(super) fn snapshot(&self) -> std::sync::Arc<Snapshot> {
        self.running.snapshots[0].get()
    }
}

/// Waits until mainstay has its first active node.
pub(super) fn wait_active(running: &Running, node: usize, stop: &CancellationToken) -> bool {
    let deadline = Instant::now() + PATIENCE;
    let active = || running.snapshots[0].get().active.map(BackendId::index) == Some(node);
    while !active() && Instant::now() < deadline && !stop.is_cancelled() {
        std::thread::sleep(LOOK_EVERY);
    }
    active()
}

/// One of mainstay's own events, in its own words.
fn sentence(event: &StateEvent) -> String {
    let backend = event.backend.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let change = match (event.from, event.to) {
        (Some(from), Some(to)) => format!(" {from} -> {to}"),
        (None, Some(to)) => format!(" {to}"),
        _ => String::new(),
    };
    let cause = event.cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
    let evidence = if event.evidence.is_empty() { String::new() } else { format!(": {}", event.evidence) };
    format!("  mainstay: {}{backend}{change}{cause}{evidence}", event.kind)
}

/// To a tenth of a millisecond; more would be noise.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
