//! Settings of the control plane.

use std::{
    convert::Infallible,
    sync::{Arc, mpsc::Sender},
    time::Duration,
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    heartbeat::Heartbeat,
    probe::{self, exec},
    state_file::Remembered,
};
use crate::{
    config::{CheckKind, PoolConfig, PromotionHow, ProofHow, has_print},
    failover::{GuardMode, RevokeMode},
    lifecycle::Lifeline,
    metrics::{Metrics, PoolSeries},
    route::{Clock, EventLog, GuardLog, OperationLog, OrderReceiver, Publisher, RampRate, ReportReceiver, SessionTable},
    state::StateWriter,
};

/// Settings of the process for the control plane.
#[derive(Debug)]
pub struct ControlSettings {
    /// The monotonic clock.
    pub clock: Clock,
    /// The life of the process; every route ends with it.
    pub lifeline: Lifeline,
    /// Where state changes are reported.
    pub events: Arc<EventLog>,
    /// Where operations are shown.
    pub operations: Arc<OperationLog>,
    /// Where it is shown what is proven of each backend.
    pub guards: Arc<GuardLog>,
    /// Keeps the state that survives a restart, if configured.
    pub state: Option<StateWriter>,
    /// Of the process.
    pub metrics: Arc<Metrics>,
    /// The live sessions, one table a worker.
    pub sessions: Vec<Arc<SessionTable>>,
    /// The heartbeat of this plane.
    pub heartbeat: Heartbeat,
    /// How long the sessions of a retired pool may go on.
    pub grace: Duration,
}

/// A pool, as the control plane needs it.
#[derive(Debug)]
pub struct PoolSettings {
    /// As configured.
    pub config: PoolConfig,
    /// Where decisions are published.
    pub publisher: Publisher,
    /// Reports of the byte path.
    pub reports: ReportReceiver,
    /// Its metrics.
    pub series: PoolSeries,
    /// What operators order.
    pub orders: OrderReceiver,
    /// What the process before this one knew, if it has handed the pool over.
    pub known: Option<Remembered>,
    /// Cancelled when the pool is no longer configured. It is supervised until its last session has ended, or for the grace period.
    pub retired: CancellationToken,
}

/// What a supervised pool is told.
#[derive(Debug)]
pub(super) enum Turn {
    /// Another configuration.
    Change(Box<Change>),
    /// Another process decides from now on, or no longer.
    Follow(Option<Lead>),
    /// Tell what a process that takes over must know.
    Tell(oneshot::Sender<Remembered>),
}

/// What the process that decides says of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The name of its active backend.
    pub active: Option<Arc<str>>,
    /// What happens to sessions with another one.
    pub sessions_end: RevokeMode,
}

/// A pool with its new configuration.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) config: PoolConfig,
    pub(super) series: PoolSeries,
    /// Dropped when the status shows it.
    pub(super) shown: Sender<Infallible>,
}

/// How old the last answer of an active backend may be before new clients wait for a newer one: every probe that could have shown
/// its death has failed to finish.
pub fn max_staleness(pool: &PoolConfig) -> Duration {
    2 * (pool.check.interval + pool.check.timeout) + Duration::from_secs(1)
}

/// How fast clients go to a backend that has just become active.
pub(super) fn ramp_rate(pool: &PoolConfig) -> Option<RampRate> {
    let burst = pool.connect_ramp.burst;
    pool.connect_ramp.per_second.map(|per_second| RampRate { per_second, burst })
}

/// Most descriptors that the checks and the operation of a pool hold; they are reserved from clients.
pub fn descriptors(pool: &PoolConfig) -> usize {
    let check = probe::descriptors(&pool.check);
    let promotion = &pool.promotion;
    // The drain logs in where sessions have transactions. Then the promoter does, to both backends.
    let drains = matches!(pool.check.kind, CheckKind::Postgres(_) | CheckKind::Mysql(_));
    let logins = usize::from(drains) + if promotion.how == PromotionHow::None { 0 } else { 2 };
    let runs = matches!(promotion.how, PromotionHow::Exec(_))
        || promotion.demote.is_some()
        || promotion.fence.is_some()
        || promotion.rejoin.is_some();
    pool.backends.len() * check + logins * check + if runs { exec::DESCRIPTORS } else { 0 } + guard(pool)
}

/// Of what looks after backends that have changed: a login to each, which reads its print or runs its proofs, one more for each that
/// compares with the active one, and one that commits there.
fn guard(pool: &PoolConfig) -> usize {
    /// Its socket, a lookup of its name, and a password while it is read.
    const LOGIN: usize = 3;
    if pool.guard.mode == GuardMode::Off || !has_print(&pool.check.kind) {
        return 0;
    }
    let runs = pool.guard.on_unproven.is_some() || pool.guard.proofs.iter().any(|proof| matches!(proof.how, ProofHow::Exec(_)));
    (2 * pool.backends.len() + 1) * LOGIN + if runs { exec::DESCRIPTORS } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_has_its_own_descriptors() {
        let count = |check: &str, promotion: &str| {
            let text = format!(
                "pools: [{{name: p, listen: '127.0.0.1:0', guard: {{mode: 'off'}}, backends: ['a:1', 'b:1'], check: {check}{promotion}}}]"
            );
            descriptors(&crate::config::parse(&text, "m.yaml", &|_| None).unwrap().config.pools[0])
        };
        let sql = "{postgres: {user: m, tls: 'off'}}";
        let (tcp, one) = (count("{tcp: {}}", ""), count(sql, "") / 3);
        assert_eq!(count(sql, ""), 3 * one, "two checks and the drain");
        assert_eq!(count(sql, ", promotion: {how: sql}"), 5 * one, "and the promoter at both");
        let demote = ", promotion: {how: sql, demote: {exec: [/bin/true]}}";
        assert_eq!(count(sql, demote), 5 * one + exec::DESCRIPTORS);
        assert_eq!(tcp % 2, 0, "nobody logs in");
    }

    #[test]
    fn who_looks_after_changes_logs_in_as_well() {
        let count = |check: &str, guard: &str| {
            let text =
                format!("pools: [{{name: p, listen: '127.0.0.1:0', backends: ['a:1', 'b:1'], check: {check}, guard: {guard}}}]");
            descriptors(&crate::config::parse(&text, "m.yaml", &|_| None).unwrap().config.pools[0])
        };
        let more = |check: &str, guard: &str| count(check, guard) - count(check, "{mode: 'off'}");
        let sql = "{postgres: {user: m, tls: 'off'}}";
        assert_eq!(more("{tcp: {}}", "{mode: warn}"), 0);
        assert_eq!(more(sql, "{mode: warn}"), 15);
        assert_eq!(more(sql, "{mode: warn, on_unproven: {exec: [/bin/true]}}"), 15 + exec::DESCRIPTORS);
    }
}
