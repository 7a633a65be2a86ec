//! What is kept of one pool.

use std::{collections::VecDeque, fmt::Write as _, sync::Arc};

use super::node_state::NodeState;
use crate::{
    admin::AdminPool,
    config::ListenerRoute,
    failover::{BackendId, Health, Time},
    metrics::BackendMetrics,
    route::{BackendView, Snapshot, StateEvent},
};

/// Steps that are shown, with the one that runs.
pub(super) const STEPS: usize = 360;

/// Of a step that runs, a rate over less time than this says nothing.
const SHORTEST_RATE_SECONDS: f64 = 1.0;

/// The steps that are over, the newest last; those before the first were not sampled.
#[derive(Debug)]
struct Column<T>(VecDeque<T>);

impl<T: Copy> Column<T> {
    fn new() -> Self {
        // All memory at once: it never grows.
        Self(VecDeque::with_capacity(STEPS))
    }

    fn push(&mut self, value: T) {
        if self.0.len() == STEPS {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The last `count` steps up to the one that was running `ago` steps before `running`; `None` where there is no sample.
    fn window(&self, running: T, ago: usize, count: usize) -> impl Iterator<Item = Option<T>> {
        let known = (self.0.len() + 1).saturating_sub(ago);
        let shown = known.min(count);
        let values = self.0.iter().copied().chain([running]).skip(known - shown).take(shown);
        std::iter::repeat_n(None, count - shown).chain(values.map(Some))
    }
}

/// NaN stands for a step without a value.
type Numbers = Column<f32>;

/// The history of a pool.
#[derive(Debug)]
pub(super) struct PoolRing {
    connections: Numbers,
    held: Numbers,
    bytes_per_second: Numbers,
    outage_seconds: Numbers,
    backends: Vec<BackendRing>,
    running: RunningStep,
}

/// Since the last step was over.
#[derive(Debug)]
struct RunningStep {
    since: Time,
    /// The most that was seen.
    held: u64,
    outage_seconds: f64,
}

#[derive(Debug)]
struct BackendRing {
    name: Arc<str>,
    states: Column<NodeState>,
    probe_ms: Numbers,
    lag_bytes: Numbers,
    /// The worst of the step that runs.
    worst: NodeState,
    before: Counters,
}

/// Counters of a backend when the last step was over.
#[derive(Clone, Copy, Debug)]
struct Counters {
    bytes: u64,
    probes: u64,
    probe_seconds: f64,
}

impl Counters {
    fn now(metrics: &BackendMetrics) -> Self {
        Self {
            bytes: metrics.relay_bytes.iter().map(|(_, bytes)| bytes.get()).sum(),
            probes: metrics.probe_duration.get_sample_count(),
            probe_seconds: metrics.probe_duration.get_sample_sum(),
        }
    }
}

/// The values of a step.
struct PoolValues {
    connections: f32,
    held: f32,
    bytes_per_second: f32,
    outage_seconds: f32,
    backends: Vec<BackendValues>,
}

struct BackendValues {
    state: NodeState,
    probe_ms: f32,
    lag_bytes: f32,
}

impl PoolRing {
    pub(super) fn new(pool: &AdminPool, now: Time) -> Self {
        let [connections, held, bytes_per_second, outage_seconds] = std::array::from_fn(|_| Numbers::new());
        let running = RunningStep { since: now, held: 0, outage_seconds: pool.metrics.outage_seconds.get() };
        let mut ring = Self { connections, held, bytes_per_second, outage_seconds, backends: Vec::new(), running };
        ring.configure(pool);
        ring
    }

    /// Takes backends that are new, and forgets those that are gone.
    pub(super) fn configure(&mut self, pool: &AdminPool) {
        let mut before = std::mem::take(&mut self.backends);
        self.backends.extend(pool.backends.iter().map(|(name, metrics)| {
            let kept = before.iter().position(|ring| ring.name == *name).map(|at| before.swap_remove(at));
            kept.unwrap_or_else(|| BackendRing::new(Arc::clone(name), metrics))
        }));
        self.observe(pool);
    }

    /// What an event tells, however short it was.
    pub(super) fn hear(&mut self, event: &StateEvent) {
        let Some(name) = &event.backend else { return };
        if let Some(ring) = self.backends.iter_mut().find(|ring| ring.name == *name) {
            ring.worst = ring.worst.max(NodeState::told_by(event));
        }
    }

    /// What can be seen now.
    pub(super) fn observe(&mut self, pool: &AdminPool) {
        self.running.held = self.running.held.max(pool.metrics.held.get());
        let snapshot = pool.snapshot.get();
        let is_read = pool.listeners.iter().any(|listener| listener.config.route != ListenerRoute::Primary);
        for ring in &mut self.backends {
            let state = named(&snapshot, &ring.name).map(|(view, is_active)| NodeState::of(view, is_active, is_read));
            ring.worst = ring.worst.max(state.unwrap_or_default());
        }
    }

    /// The step that runs is over, and so are `missed` more, of which nothing is known.
    pub(super) fn next_step(&mut self, pool: &AdminPool, now: Time, missed: u64) {
        self.observe(pool);
        let values = self.values(pool, now, f64::MIN_POSITIVE);
        self.push(&values);
        let nothing = PoolValues::nothing(self.backends.len());
        for _ in 0..missed.min(STEPS as u64) {
            self.push(&nothing);
        }
        self.running = RunningStep { since: now, held: 0, outage_seconds: pool.metrics.outage_seconds.get() };
        for (ring, (_, metrics)) in self.backends.iter_mut().zip(&pool.backends) {
            (ring.worst, ring.before) = (NodeState::NoSample, Counters::now(metrics));
        }
        self.observe(pool);
    }

    fn push(&mut self, values: &PoolValues) {
        self.connections.push(values.connections);
        self.held.push(values.held);
        self.bytes_per_second.push(values.bytes_per_second);
        self.outage_seconds.push(values.outage_seconds);
        for (ring, values) in self.backends.iter_mut().zip(&values.backends) {
            ring.states.push(values.state);
            ring.probe_ms.push(values.probe_ms);
            ring.lag_bytes.push(values.lag_bytes);
        }
    }

    /// Of the step that runs, up to now; without a rate if that is less than so many seconds.
    fn values(&self, pool: &AdminPool, now: Time, shortest: f64) -> PoolValues {
        let snapshot = pool.snapshot.get();
        let (mut connections, mut bytes, mut backends) = (0, 0, Vec::with_capacity(self.backends.len()));
        for (ring, (_, metrics)) in self.backends.iter().zip(&pool.backends) {
            let counters = Counters::now(metrics);
            connections += metrics.connections_active.get();
            // A backend with another address counts from zero.
            bytes += counters.bytes.checked_sub(ring.before.bytes).unwrap_or(counters.bytes);
            backends.push(ring.values(named(&snapshot, &ring.name).map(|(view, _)| view), counters));
        }
        let seconds = now.since(self.running.since).as_secs_f64();
        let rate = if seconds < shortest { f64::NAN } else { (bytes as f64 / seconds).round() };
        let outage = (pool.metrics.outage_seconds.get() - self.running.outage_seconds).max(0.0);
        PoolValues {
            connections: short(connections as f64),
            held: short(self.running.held as f64),
            bytes_per_second: short(rate),
            outage_seconds: short((outage * 1000.0).round() / 1000.0),
            backends,
        }
    }

    /// Appends the last `count` steps up to the one that was running `ago` steps before, as JSON.
    pub(super) fn write(&self, out: &mut String, pool: &AdminPool, now: Time, (ago, count): (usize, usize)) {
        let running = self.values(pool, now, SHORTEST_RATE_SECONDS);
        let name = quoted(&pool.snapshot.get().pool);
        let _ = write!(out, "{{\"name\":{name},\"samples\":{count}");
        for (key, column, running) in [
            ("connections", &self.connections, running.connections),
            ("held", &self.held, running.held),
            ("bytes_per_second", &self.bytes_per_second, running.bytes_per_second),
            ("outage_seconds", &self.outage_seconds, running.outage_seconds),
        ] {
            numbers(out, key, column.window(running, ago, count));
        }
        out.push_str(",\"backends\":[");
        for (index, (ring, running)) in self.backends.iter().zip(&running.backends).enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let _ = write!(out, "{comma}{{\"name\":{},\"state\":\"", quoted(&ring.name));
            out.extend(ring.states.window(running.state, ago, count).map(|state| state.unwrap_or_default().letter()));
            out.push('"');
            numbers(out, "probe_ms", ring.probe_ms.window(running.probe_ms, ago, count));
            numbers(out, "lag_bytes", ring.lag_bytes.window(running.lag_bytes, ago, count));
            out.push('}');
        }
        out.push_str("]}");
    }

    /// Bytes that it has.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        let numbers = |column: &Numbers| column.0.capacity() * size_of::<f32>();
        let pool: usize = [&self.connections, &self.held, &self.bytes_per_second, &self.outage_seconds].map(numbers).iter().sum();
        pool + self
            .backends
            .iter()
            .map(|ring| ring.states.0.capacity() * size_of::<NodeState>() + numbers(&ring.probe_ms) + numbers(&ring.lag_bytes))
            .sum::<usize>()
    }
}

impl BackendRing {
    fn new(name: Arc<str>, metrics: &BackendMetrics) -> Self {
        let (states, [probe_ms, lag_bytes]) = (Column::new(), std::array::from_fn(|_| Numbers::new()));
        Self { name, states, probe_ms, lag_bytes, worst: NodeState::NoSample, before: Counters::now(metrics) }
    }

    fn values(&self, view: Option<&BackendView>, counters: Counters) -> BackendValues {
        let restarted = counters.probes < self.before.probes;
        let (count, sum) = if restarted { (0, 0.0) } else { (self.before.probes, self.before.probe_seconds) };
        let probes = counters.probes - count;
        let mean_ms = (counters.probe_seconds - sum).max(0.0) * 1000.0 / probes as f64;
        let lag = view.filter(|view| view.health == Health::Up).and_then(|view| view.facts.lag_bytes);
        BackendValues {
            state: self.worst,
            probe_ms: if probes == 0 { f32::NAN } else { short((mean_ms * 100.0).round() / 100.0) },
            lag_bytes: lag.map_or(f32::NAN, |lag| short(lag as f64)),
        }
    }
}

impl PoolValues {
    fn nothing(backends: usize) -> Self {
        let nothing = || BackendValues { state: NodeState::NoSample, probe_ms: f32::NAN, lag_bytes: f32::NAN };
        let [connections, held, bytes_per_second, outage_seconds] = [f32::NAN; 4];
        let backends = std::iter::repeat_with(nothing).take(backends).collect();
        Self { connections, held, bytes_per_second, outage_seconds, backends }
    }
}

/// The backend of this name, and whether it is active.
fn named<'a>(snapshot: &'a Snapshot, name: &str) -> Option<(&'a BackendView, bool)> {
    let active = snapshot.active.map(BackendId::index);
    let mut backends = snapshot.backends.iter().enumerate();
    backends.find(|(_, view)| *view.name == *name).map(|(index, view)| (view, active == Some(index)))
}

#[allow(clippy::cast_possible_truncation, reason = "seven digits are enough for a plot, and take half of the memory")]
const fn short(value: f64) -> f32 {
    value as f32
}

fn numbers(out: &mut String, key: &str, values: impl Iterator<Item = Option<f32>>) {
    let _ = write!(out, ",\"{key}\":");
    let mut before = '[';
    for value in values {
        out.push(before);
        before = ',';
        match value {
            Some(value) if value.is_finite() => drop(write!(out, "{value}")),
            _ => out.push_str("null"),
        }
    }
    out.push(']');
}

/// As JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        failover::{Admin, Facts, Proof, ReadEligibility, Reason},
        metrics::{Metrics, PoolLabels},
        reason::Direction,
        route::{self, Clock, Publisher},
    };

    fn view(name: &str, health: Health, reason: Reason) -> BackendView {
        BackendView {
            name: name.into(),
            address: "10.0.0.1:1".into(),
            resolved: std::net::SocketAddr::from(([10, 0, 0, 1], 1)).into(),
            health,
            pending: false,
            admin: Admin::Ready,
            reason,
            read_eligibility: ReadEligibility::Active,
            proof: Proof::Proven,
            proof_what: "".into(),
            facts: Facts { lag_bytes: Some(7), ..Facts::default() },
            alert: None,
            alert_evidence: "".into(),
            since: Time::ZERO,
            last_probe: None,
            silent_since: None,
        }
    }

    /// `a` is active, `b` could be.
    fn calm() -> Snapshot {
        let backends = vec![view("a", Health::Up, Reason::Eligible), view("b", Health::Up, Reason::Eligible)];
        Snapshot { pool: "orders".into(), active: Some(BackendId(0)), backends, ..Snapshot::default() }
    }

    fn pool(backends: &[&str]) -> (AdminPool, Publisher) {
        let backends = backends.iter().map(|name| ((*name).into(), "10.0.0.1:1".into())).collect();
        let labels = PoolLabels { name: "orders".into(), listeners: Vec::new(), backends };
        let series = Metrics::new().unwrap().series(&labels).unwrap();
        let seam = route::seam(Clock::start(), Duration::from_mins(1), calm());
        let names = labels.backends.iter().map(|(name, _)| Arc::clone(name));
        let backends = names.zip(series.backends).collect();
        let (metrics, orders) = (Arc::clone(&series.pool), route::orders().0);
        (AdminPool { orders, snapshot: seam.snapshots, metrics, listeners: Vec::new(), backends }, seam.publisher)
    }

    const fn at(seconds: u64) -> Time {
        Time::from_millis(1000 * seconds)
    }

    fn written(ring: &PoolRing, pool: &AdminPool, seconds: u64, window: (usize, usize)) -> serde_json::Value {
        let mut text = String::new();
        ring.write(&mut text, pool, at(seconds), window);
        serde_json::from_str(&text).unwrap()
    }

    fn states(written: &serde_json::Value) -> [String; 2] {
        [0, 1].map(|index| written["backends"][index]["state"].as_str().unwrap().to_owned())
    }

    fn event(backend: &str, kind: &'static str, to: Option<&'static str>) -> StateEvent {
        StateEvent { pool: "orders".into(), backend: Some(backend.into()), kind, to, ..StateEvent::default() }
    }

    #[test]
    fn a_step_has_what_was_counted_in_it() {
        let (pool, _publisher) = pool(&["a", "b"]);
        let mut ring = PoolRing::new(&pool, at(0));
        pool.backends[0].1.relay_bytes.get(Direction::Upstream).inc_by(500);
        pool.backends[1].1.relay_bytes.get(Direction::Downstream).inc_by(1500);
        pool.backends[0].1.probe_duration.observe(0.001);
        pool.backends[0].1.probe_duration.observe(0.002);
        pool.metrics.outage_seconds.inc_by(0.0514);
        let sessions = pool.backends[0].1.connections_active.guard();
        {
            let _held = pool.metrics.held.guard();
            ring.observe(&pool);
        }
        ring.next_step(&pool, at(10), 0);
        drop(sessions);
        let history = written(&ring, &pool, 10, (0, 4));
        let number = |key: &str| history[key].to_string();
        assert_eq!(number("connections"), "[null,null,1,0]");
        assert_eq!(number("held"), "[null,null,1,0]", "the most that was seen");
        assert_eq!(number("bytes_per_second"), "[null,null,200,null]", "no rate of no time");
        assert_eq!(number("outage_seconds"), "[null,null,0.051,0]");
        let a = &history["backends"][0];
        assert_eq!(
            (a["probe_ms"].to_string(), a["lag_bytes"].to_string()),
            ("[null,null,1.5,null]".into(), "[null,null,7,7]".into())
        );
        assert_eq!((history["samples"].as_u64(), states(&history)), (Some(4), ["..AA".into(), "..UU".into()]));
    }

    #[test]
    fn a_failover_between_two_samples_is_seen_by_its_events() {
        let (pool, publisher) = pool(&["a", "b"]);
        let mut ring = PoolRing::new(&pool, at(0));
        ring.next_step(&pool, at(10), 0);
        // When somebody looks, all is over, and `a` is back.
        for told in [event("a", "health", Some("down")), event("a", "revoke", None), event("b", "activate", None)] {
            ring.hear(&told);
        }
        publisher.snapshot(Snapshot { active: Some(BackendId(1)), ..calm() });
        ring.observe(&pool);
        assert_eq!(states(&written(&ring, &pool, 15, (0, 3))), [".AD", ".UU"]);
        ring.next_step(&pool, at(20), 0);
        assert_eq!(states(&written(&ring, &pool, 20, (0, 4))), [".ADU", ".UUA"], "the next step begins as it is");
        ring.hear(&event("a", "eligibility", Some("maint")));
        ring.hear(&event("b", "eligibility", Some("fenced")));
        assert_eq!(states(&written(&ring, &pool, 20, (0, 2))), ["DM", "UR"]);
    }

    #[test]
    fn the_window_stands_still_while_an_answer_is_written() {
        let (pool, _publisher) = pool(&["a", "b"]);
        let mut ring = PoolRing::new(&pool, at(0));
        let down = event("a", "health", Some("down"));
        ring.hear(&down);
        assert_eq!(states(&written(&ring, &pool, 5, (0, 3)))[0], "..D");
        ring.next_step(&pool, at(10), 0);
        assert_eq!(states(&written(&ring, &pool, 10, (1, 3)))[0], "..D", "the step that has just ended is the last one");
        ring.next_step(&pool, at(40), 2);
        assert_eq!(states(&written(&ring, &pool, 40, (0, 6)))[0], ".DA..A", "nothing is known of two steps");
        assert_eq!(states(&written(&ring, &pool, 40, (4, 2)))[0], ".D");
        assert_eq!(states(&written(&ring, &pool, 40, (9, 2)))[0], "..");
    }

    #[test]
    fn an_hour_is_kept_in_a_few_kibibytes() {
        let (pool, _publisher) = pool(&["a", "b"]);
        let mut ring = PoolRing::new(&pool, at(0));
        let before = ring.bytes();
        ring.hear(&event("a", "health", Some("down")));
        for step in 1..=360 {
            ring.next_step(&pool, at(10 * step), 0);
        }
        ring.next_step(&pool, at(0), 100_000);
        assert_eq!((before, ring.bytes()), (5760 + 2 * 3240, before), "docs/admin.md has these numbers");
        assert_eq!(states(&written(&ring, &pool, 0, (0, STEPS)))[0], format!("{}A", ".".repeat(359)));
    }

    #[test]
    fn backends_come_and_go_and_the_others_keep_theirs() {
        let (both, publisher) = pool(&["a", "b"]);
        let mut ring = PoolRing::new(&both, at(0));
        ring.hear(&event("b", "health", Some("down")));
        ring.next_step(&both, at(10), 0);
        let (other, _seam) = pool(&["b", "c"]);
        let other = AdminPool { snapshot: both.snapshot.clone(), ..other };
        publisher.snapshot(Snapshot { backends: vec![view("b", Health::Up, Reason::Standby)], active: None, ..calm() });
        other.backends[0].1.relay_bytes.get(Direction::Upstream).inc_by(100);
        ring.configure(&other);
        let history = written(&ring, &other, 20, (0, 2));
        assert_eq!(history["backends"][0]["name"], "b");
        assert_eq!(states(&history), ["DR", ".."], "nothing is known of `c` yet");
    }
}
