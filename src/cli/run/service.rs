//! What `mainstay run` has to do with the service manager.

use std::sync::Arc;

use crate::{
    app::Running,
    lifecycle::Deadlines,
    systemd::{Followed, Manager, Watchdog},
};

/// The service manager, if there is one.
pub(super) fn manager() -> Manager {
    Manager::of(&|name| std::env::var_os(name)).unwrap_or_else(|error| {
        tracing::warn!(%error, "systemd is not told anything: NOTIFY_SOCKET cannot be used");
        Manager::default()
    })
}

pub(super) fn watchdog() -> Option<Watchdog> {
    let watchdog = Watchdog::of(&|name| std::env::var_os(name)).unwrap_or_else(|error| {
        tracing::warn!("the watchdog of systemd gets no sign of life: {error}");
        None
    });
    if let Some(Watchdog(deadline)) = watchdog.filter(|watchdog| watchdog.is_too_short()) {
        tracing::warn!(
            deadline_ms = deadline.as_millis(),
            "WatchdogSec= is too short: mainstay shows a sign of life each second"
        );
    }
    watchdog
}

pub(super) fn followed(running: &Running, deadlines: Deadlines) -> Followed {
    let heartbeat = running.heartbeat.clone();
    Followed {
        phase: running.phase.clone(),
        deadlines,
        beat: Box::new(move || heartbeat.last()),
        pools: running.watched.clone(),
        metrics: Arc::clone(&running.metrics),
    }
}
