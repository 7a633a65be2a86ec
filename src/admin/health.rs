//! Is it live, ready, started? Each answer is a list of reasons why not; empty means yes.

use super::{AdminPool, AdminState, HealthProblems, sentence};
use crate::{failover::Verdict, lifecycle::Phase};

/// Faults of the process. Never depends on a database: a restart would not help.
pub(super) fn ailments(state: &AdminState) -> HealthProblems {
    let mut ailments = (state.health)();
    let now = state.clock.now();
    for pool in &state.view().pools {
        let snapshot = pool.snapshot.get();
        let silent = snapshot.backends.iter().filter_map(|backend| Some((backend, backend.silent_since?)));
        // The cause may be the machine, and a restart would cut the sessions of every pool.
        ailments.others.extend(silent.map(|(backend, since)| {
            let seconds = now.since(since).as_secs();
            format!("pool {}: no probe of {} has finished for {seconds} s", snapshot.pool, backend.name)
        }));
    }
    ailments
}

/// Reasons why no clients should be sent here now.
pub(super) fn not_ready(state: &AdminState) -> Vec<String> {
    let view = state.view();
    stopping(state).into_iter().chain(view.pools.iter().filter_map(|pool| serves_nobody(state, pool))).collect()
}

/// Reasons why no clients of one pool should be sent here now.
pub(super) fn not_ready_for(state: &AdminState, pool: &AdminPool) -> Vec<String> {
    stopping(state).into_iter().chain(serves_nobody(state, pool)).collect()
}

fn stopping(state: &AdminState) -> Option<String> {
    let phase = state.phase.get();
    (phase != Phase::Running).then(|| format!("mainstay was told to stop and is {phase}"))
}

fn serves_nobody(state: &AdminState, pool: &AdminPool) -> Option<String> {
    let snapshot = pool.snapshot.get();
    (!pool.serves(&snapshot)).then(|| {
        let under_way = state.operations.running(&snapshot.pool).map(|one| sentence::under_way(&one, state.clock.now()));
        format!("pool {}: {}", snapshot.pool, sentence::summary(&snapshot, pool.metrics.held.get(), under_way))
    })
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
