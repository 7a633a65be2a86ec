//! Gauges that are functions of a snapshot. They are set at each scrape, from the same snapshot that the API shows, so that the two
//! never disagree.

use super::{AdminPool, AdminState, health};
use crate::{
    failover::{BackendId, FailoverReady, Health, ReadEligibility, Reason, Role},
    metrics::BackendMetrics,
    route::BackendView,
};

/// Sets them all.
pub(super) fn refresh(state: &AdminState) {
    let process = &state.metrics.process;
    process.ready.set(i64::from(health::not_ready(state).is_empty()));
    process.phase.set(state.phase.get());
    for pool in &state.view().pools {
        refresh_pool(pool);
    }
}

fn refresh_pool(pool: &AdminPool) {
    let (metrics, snapshot) = (&pool.metrics, pool.snapshot.get());
    metrics.serving.set(i64::from(pool.has_backend(&snapshot)));
    metrics.epoch.set(saturating(snapshot.epoch.0));
    metrics.primary_conflict.set(i64::from(snapshot.conflict));
    metrics.failover_ready.set(i64::from(snapshot.failover_ready == FailoverReady::Yes));
    metrics.failover_ready_reason.set(snapshot.failover_ready);
    for (index, view) in snapshot.backends.iter().enumerate() {
        let Some(metrics) = pool.backend(&view.name) else { continue };
        refresh_backend(metrics, view);
        metrics.active.set(i64::from(snapshot.active.map(BackendId::index) == Some(index)));
    }
}

fn refresh_backend(metrics: &BackendMetrics, view: &BackendView) {
    metrics.up.set(i64::from(view.health == Health::Up));
    metrics.eligible.set(i64::from(view.reason == Reason::Eligible));
    metrics.health.set(view.health);
    metrics.role.set(view.facts.role.unwrap_or(Role::Unknown));
    metrics.reason.set(view.reason);
    for (outcome, gauge) in &metrics.check_alert {
        gauge.set(i64::from(view.alert == Some(*outcome)));
    }
    metrics.proof.set(view.proof);
    metrics.reader.set(i64::from(view.read_eligibility == ReadEligibility::Reader));
    metrics.reader_reason.set(view.read_eligibility);
    metrics.replication_lag_bytes.set(saturating(view.facts.lag_bytes.unwrap_or(0)));
    metrics.db_epoch.set(saturating(view.facts.db_epoch.unwrap_or(0)));
    metrics.set_info(&view.address, view.facts.version.as_deref().unwrap_or_default());
}

fn saturating(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
