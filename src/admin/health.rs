//! Is it live, ready, started? Each answer is a list of reasons against; empty means yes.

use super::{AdminState, sentence};
use crate::{failover::Verdict, lifecycle::Phase};

/// Reasons why the process should be restarted. Never depends on a database: a restart cures none.
pub(super) fn not_live(state: &AdminState) -> Vec<String> {
    (state.health)()
}

/// Reasons why no clients should be sent here now.
pub(super) fn not_ready(state: &AdminState) -> Vec<String> {
    let phase = state.phase.get();
    let stopping = (phase != Phase::Running).then(|| format!("mainstay was told to stop and is {phase}"));
    let view = state.view();
    let pools = view.pools.iter().filter_map(|pool| {
        let snapshot = pool.snapshot.get();
        (!pool.serves(&snapshot))
            .then(|| format!("pool {}: {}", snapshot.pool, sentence::summary(&snapshot, pool.metrics.held.get())))
    });
    stopping.into_iter().chain(pools).collect()
}

/// Reasons why it has not started yet: pools whose first election is still to come.
pub(super) fn not_started(state: &AdminState) -> Vec<String> {
    let view = state.view();
    let settling = view.pools.iter().filter_map(|pool| {
        let snapshot = pool.snapshot.get();
        (snapshot.verdict == Verdict::Settling).then(|| format!("pool {}: the first checks are not finished yet", snapshot.pool))
    });
    settling.collect()
}
