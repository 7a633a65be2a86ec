//! What the first pool of a mainstay in this process does.

use mainstay::app::Running;

use super::wait::until;

/// The name of its active backend.
pub fn active(running: &Running) -> Option<String> {
    let snapshot = running.snapshots[0].get();
    snapshot.active.map(|id| snapshot.backends[id.index()].name.to_string())
}

#[track_caller]
pub fn becomes_active(running: &Running, name: &str) {
    until(&format!("{name} is active"), || (active(running)? == name).then_some(()));
}

/// How many clients wait.
pub fn held(running: &Running) -> u64 {
    running.series[0].pool.held.get()
}

#[track_caller]
pub fn until_held(running: &Running, count: u64) {
    until(&format!("{count} wait"), || (held(running) == count).then_some(()));
}
