//! Who may be read: a backend that may takes its slot among the readers, which is offered to the byte path.

use std::{sync::Arc, time::Duration};

use super::{node::Node, orders::PAUSED};
use crate::{
    config::{ListenerRoute, PoolConfig},
    failover::{BackendId, BackendState, Facts, MaxLag, Pool, ReadEligibility, RevokeMode, Role},
    route::{Generation, Publisher, ReaderKind, Revocation, RouteId, Snapshot},
};

/// What a pool keeps of its readers besides their slots.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// The generation that was given last.
    last: u64,
    /// Of removed backends: their sessions end by themselves, or with the process.
    parted: Vec<Arc<Revocation>>,
}

impl Readers {
    /// A backend takes its slot, or leaves it, as it may be read or not. That is yet to be offered.
    pub(super) fn update(&mut self, node: &mut Node, to: ReadEligibility) {
        if to.may_be_read() {
            let route = node.route(RouteId::Reader(Generation::default()), Arc::default());
            node.slot.take(&mut self.last, route);
        } else {
            node.slot.give_up();
        }
    }

    /// These backends were removed. Their sessions go on.
    pub(super) fn part(&mut self, gone: impl Iterator<Item = Node>) {
        self.parted.retain(|revocation| revocation.clients() > 0);
        self.parted.extend(gone.map(|node| Arc::clone(node.slot.revocation())));
    }

    /// Whether clients read from any backend, present or removed.
    pub(super) fn has_sessions(&self, nodes: &[Node]) -> bool {
        nodes.iter().any(|node| node.slot.sessions() > 0) || self.parted.iter().any(|revocation| revocation.clients() > 0)
    }

    /// The process is forced: every session ends.
    pub(super) fn end_all(&self, nodes: &[Node], publisher: &Publisher) {
        publisher.offer_readers(Arc::from([]));
        publisher.explain_readers("mainstay is shutting down");
        let slots = nodes.iter().map(|node| node.slot.revocation());
        slots.chain(&self.parted).for_each(|revocation| revocation.revoke(RevokeMode::Abort));
    }
}

/// Whether any listener is for readers.
pub(super) fn are_wanted(pool: &PoolConfig) -> bool {
    pool.listeners.iter().any(|listener| listener.route != ListenerRoute::Primary)
}

/// Offers the slots that are taken, but none while the pool is paused. One whose leaving is yet to be carried out is left out
/// already.
pub(super) fn offer(nodes: &[Node], core: &Pool, canary: impl Fn(BackendId) -> Option<u32>, publisher: &Publisher) {
    let is_open = core.paused_until().is_none();
    let readers = nodes.iter().zip(core.ids()).filter(|_| is_open).filter_map(|(node, id)| match core.read_eligibility(id) {
        ReadEligibility::Active => node.slot.reader(ReaderKind::Active),
        ReadEligibility::Reader => node.slot.reader(ReaderKind::Replica),
        ReadEligibility::Canary => node.slot.reader(ReaderKind::Canary(canary(id)?)),
        _ => None,
    });
    publisher.offer_readers(readers.collect());
}

/// Another backend is about to be active. Sessions of readers on a primary that is shutting down could still write to it, so they
/// end first.
pub(super) fn abort_last_words(nodes: &[Node], core: &Pool) {
    let is_standby = |id| core.backend(id).is_some_and(|state| state.facts.role == Some(Role::Standby));
    let could_write = nodes.iter().zip(core.ids()).filter(|(node, id)| node.slot.revocation().is_revoked() && !is_standby(*id));
    could_write.for_each(|(node, _)| node.slot.revocation().revoke(RevokeMode::Abort));
}

/// Details for people, beside the reason.
pub(super) fn why_not_read(state: &BackendState, to: ReadEligibility, max_lag: Option<MaxLag>) -> String {
    match to {
        ReadEligibility::Reader => String::new(),
        ReadEligibility::Active => "it is the active one now".to_owned(),
        ReadEligibility::Lag => max_lag.map_or_else(|| to.to_string(), |max| why_it_lags(&state.facts, max)),
        ReadEligibility::Down | ReadEligibility::Starting | ReadEligibility::InDoubt | ReadEligibility::WrongCluster => {
            format!("{to} ({})", state.evidence)
        }
        _ => to.to_string(),
    }
}

/// One sentence for a client that found no reader.
pub(super) fn why(snapshot: &Snapshot) -> String {
    let each = snapshot.backends.iter().map(|backend| format!("{}: {}", backend.name, backend.read_eligibility));
    let each = each.collect::<Vec<_>>().join(", ");
    if snapshot.paused { format!("{PAUSED}; {each}") } else { each }
}

/// How much a standby lags too far.
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
