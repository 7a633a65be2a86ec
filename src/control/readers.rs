//! Carries out who may be read: a backend that may takes its seat among the readers, which is offered to the byte path; the core
//! says what becomes of its sessions when it has to leave.

use std::{sync::Arc, time::Duration};

use super::{node::Node, notes, supervisor::Supervisor};
use crate::{
    config::{BackendConfig, ListenerRoute, PoolConfig},
    failover::{BackendId, Facts, MaxLag, Reading, RevokeMode, Role, Time, label::Label},
    metrics::BackendMetrics,
    net::addresses::Addresses,
    route::{Generation, Pulse, Reader, ReaderKind, Revocation, Route, Snapshot, Tenure},
};

/// What a pool keeps of its readers besides their seats.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// The generation that was given last.
    last: u64,
    /// Of backends that left the configuration: their sessions end by themselves, or with the process.
    parted: Vec<Arc<Revocation>>,
}

/// A backend's seat among the readers, taken or not.
#[derive(Debug, Default)]
pub(super) struct Seat {
    generation: Generation,
    /// One for all sessions of the generation, also while nobody may be sent there.
    revocation: Arc<Revocation>,
    pulse: Arc<Pulse>,
    /// While the seat is taken.
    route: Option<Arc<Route>>,
}

impl Seat {
    /// The backend was heard of.
    pub(super) fn heard(&self, at: Time) {
        self.pulse.heard(at);
    }

    /// The byte path speaks of this very generation.
    pub(super) fn is_of(&self, generation: Generation) -> bool {
        self.generation == generation && generation != Generation::default()
    }

    fn take(&mut self, last: &mut u64, backend: &BackendConfig, metrics: &Arc<BackendMetrics>, addresses: &Addresses) {
        if self.generation == Generation::default() || self.revocation.is_revoked() {
            // What a server that serves again has left from before is dead.
            self.revocation.revoke(RevokeMode::Abort);
            *last += 1;
            (self.generation, self.revocation) = (Generation(*last), Arc::default());
        }
        self.route = Some(Arc::new(Route {
            backend: Arc::clone(&backend.name),
            metrics: Arc::clone(metrics),
            tenure: Tenure::Reader(self.generation),
            addresses: addresses.clone(),
            revocation: Arc::clone(&self.revocation),
        }));
    }

    /// Clients of the present generation, whatever the addresses were when they came.
    pub(super) fn sessions(&self) -> usize {
        self.revocation.clients()
    }
}

/// Some listener leads to readers.
fn has_readers(pool: &PoolConfig) -> bool {
    pool.listeners.iter().any(|listener| listener.route != ListenerRoute::Primary)
}

impl Supervisor {
    /// Carries out that a backend may be read, or no longer.
    pub(super) fn read(&mut self, now: Time, backend: BackendId, from: Reading, to: Reading, sessions: RevokeMode) {
        let node = &mut self.nodes[backend.index()];
        if !to.may_be_read() {
            node.seat.route = None;
        } else if node.seat.route.is_none() {
            node.seat.take(&mut self.readers.last, &node.config, &node.metrics, &node.resolved);
        }
        self.offer_readers();
        let node = &self.nodes[backend.index()];
        let mut closed = 0;
        if sessions != RevokeMode::Drain {
            let is_counted = node.seat.revocation.is_revoked();
            // What a server that fell silent has left was counted when it was left to it.
            if !is_counted || from == to {
                closed = node.seat.sessions() as u64;
            }
            node.seat.revocation.revoke(sessions);
            if let Some(cause) = to.closes_sessions().filter(|_| !is_counted) {
                node.metrics.sessions_revoked.get(cause).inc_by(closed);
            }
        }
        if has_readers(&self.config) {
            self.tell_reading(now, backend, (from, to), (sessions, closed));
        }
    }

    /// Offers the seats that are taken. One whose leaving is yet to be carried out is left out already.
    pub(super) fn offer_readers(&self) {
        let readers = self.nodes.iter().zip(self.core.ids()).filter_map(|(node, id)| {
            let kind = match self.core.reading(id) {
                Reading::Active => ReaderKind::Active,
                Reading::Reader => ReaderKind::Replica,
                _ => return None,
            };
            let seat = &node.seat;
            seat.route.as_ref().map(|route| Reader { route: Arc::clone(route), kind, pulse: Arc::clone(&seat.pulse) })
        });
        self.carrier.publisher().offer_readers(readers.collect());
    }

    /// A backend's name stands for other addresses now. Same generation: its sessions stay.
    pub(super) fn readdress_reader(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(route) = node.seat.route.as_ref().filter(|route| route.addresses != node.resolved) else { return };
        let route = Route { addresses: node.resolved.clone(), ..Route::clone(route) };
        node.seat.route = Some(Arc::new(route));
        self.offer_readers();
    }

    /// Another backend is about to be active: who reads from a primary that is shutting down, and could still write to it, ends first.
    pub(super) fn abort_last_words(&self) {
        let is_standby = |id| self.core.backend(id).is_some_and(|state| state.facts().role == Some(Role::Standby));
        let could_write =
            self.nodes.iter().zip(self.core.ids()).filter(|(node, id)| node.seat.revocation.is_revoked() && !is_standby(*id));
        could_write.for_each(|(node, _)| node.seat.revocation.revoke(RevokeMode::Abort));
    }

    /// These backends left the configuration. Their sessions go on.
    pub(super) fn part(&mut self, gone: impl Iterator<Item = Node>) {
        self.readers.parted.retain(|revocation| revocation.clients() > 0);
        self.readers.parted.extend(gone.map(|node| node.seat.revocation));
    }

    /// Clients stand under a route, to the active backend or to a reader.
    pub(super) fn has_sessions(&self) -> bool {
        self.carrier.has_sessions()
            || self.nodes.iter().any(|node| node.seat.sessions() > 0)
            || self.readers.parted.iter().any(|revocation| revocation.clients() > 0)
    }

    /// The process is out of patience: every session ends.
    pub(super) fn end_all(&mut self) {
        self.carrier.end_all();
        let publisher = self.carrier.publisher();
        publisher.offer_readers(Arc::from([]));
        publisher.explain_readers("mainstay is shutting down");
        let seats = self.nodes.iter().map(|node| &node.seat.revocation);
        seats.chain(&self.readers.parted).for_each(|revocation| revocation.revoke(RevokeMode::Abort));
    }

    fn tell_reading(&self, now: Time, backend: BackendId, (from, to): (Reading, Reading), (sessions, closed): (RevokeMode, u64)) {
        if from != Reading::Reader && to != Reading::Reader && closed == 0 {
            return;
        }
        let (pool, name) = (&*self.config.name, self.name(backend));
        let why = self.why_not_read(backend, to);
        let reason = to.as_str();
        if to == Reading::Reader {
            tracing::info!(pool, backend = %name, before = from.as_str(), "backend may be read");
        } else if sessions == RevokeMode::Drain {
            tracing::info!(pool, backend = %name, reason, "backend may not be read: {why}; sessions go on");
        } else {
            let sessions_end = sessions.as_str();
            tracing::warn!(pool, backend = %name, reason, sessions = closed, sessions_end, "backend may not be read: {why}");
        }
        notes::push(self, now, Some(backend), "reader", Some(from.as_str()), Some(reason), None, &why);
    }

    /// What a person wants to know beside the word.
    fn why_not_read(&self, backend: BackendId, to: Reading) -> String {
        let Some(state) = self.core.backend(backend) else { return String::new() };
        match to {
            Reading::Reader => String::new(),
            Reading::Active => "it is the active one now".to_owned(),
            Reading::Lag => self.config.policy.max_lag.map_or_else(|| to.to_string(), |max| why_it_lags(state.facts(), max)),
            Reading::Down | Reading::Starting | Reading::InDoubt | Reading::WrongCluster => {
                format!("{to} ({})", state.evidence())
            }
            _ => to.to_string(),
        }
    }
}

/// One sentence for a client that found no reader.
pub(super) fn why(snapshot: &Snapshot) -> String {
    let each = snapshot.backends.iter().map(|backend| format!("{}: {}", backend.name, backend.reading));
    each.collect::<Vec<_>>().join(", ")
}

/// By how much a standby is too far behind.
fn why_it_lags(facts: &Facts, max: MaxLag) -> String {
    let people = |max| match max {
        MaxLag::Bytes(bytes) => size(bytes),
        MaxLag::Time(time) => format!("{time:?}"),
    };
    if let (MaxLag::Time(_), Some(Duration::MAX)) = (max, facts.lag_time) {
        return format!("it applies nothing any more, max_lag {}", people(max));
    }
    let lag = match max {
        MaxLag::Bytes(_) => facts.lag_bytes.map(MaxLag::Bytes),
        MaxLag::Time(_) => facts.lag_time.map(MaxLag::Time),
    };
    match lag.map(people) {
        Some(lag) if max.is_exceeded(facts) => format!("lag {lag} > {}", people(max)),
        Some(lag) => format!("lag {lag} > {}, half of {}", people(max.half()), people(max)),
        None => "lag".to_owned(),
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = UNITS.iter().find(|(_, unit)| bytes >= *unit);
    unit.map_or_else(|| format!("{bytes} B"), |(name, unit)| format!("{:.1} {name}", bytes as f64 / *unit as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_why_a_standby_lags() {
        let lags = |bytes, seconds: Option<u64>, max| {
            let facts = Facts { lag_bytes: bytes, lag_time: seconds.map(Duration::from_secs), ..Facts::default() };
            why_it_lags(&facts, max)
        };
        let (bytes, time) = (MaxLag::Bytes(16 << 20), MaxLag::Time(Duration::from_secs(10)));
        assert_eq!(lags(Some(40 << 20), Some(1), bytes), "lag 40.0 MiB > 16.0 MiB");
        assert_eq!(lags(Some(9 << 20), None, bytes), "lag 9.0 MiB > 8.0 MiB, half of 16.0 MiB");
        assert_eq!(lags(Some(1), Some(12), time), "lag 12s > 10s");
        assert_eq!(lags(None, Some(6), time), "lag 6s > 5s, half of 10s");
        let stopped = Facts { lag_time: Some(Duration::MAX), ..Facts::default() };
        assert_eq!(why_it_lags(&stopped, time), "it applies nothing any more, max_lag 10s");
    }

    #[test]
    fn sizes_are_readable() {
        let told = [0, 1023, 1024, 40 << 20, 16 << 30, 3 << 40, u64::MAX].map(size);
        assert_eq!(told, ["0 B", "1023 B", "1.0 KiB", "40.0 MiB", "16.0 GiB", "3.0 TiB", "16777216.0 TiB"]);
    }
}
