//! A worker that looks for a moment before it sleeps (`busy_poll`, off by default).
//!
//! With little to do, most of what a proxy adds to a query is not work but the wake-up of a core that had gone to sleep: tens of
//! microseconds for each hop. A worker whose sessions moved bytes a moment ago stays awake for that moment and asks the kernel again
//! and again instead. It burns the core for that; a worker that had nothing to do for the whole moment sleeps as ever.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

thread_local! {
    /// Turns that the sessions of this worker had.
    static TURNS: Cell<u64> = const { Cell::new(0) };
    static SLEEPER: RefCell<Option<Arc<Notify>>> = const { RefCell::new(None) };
    static SLEEPS: Cell<bool> = const { Cell::new(false) };
}

/// A session of this worker has a turn.
pub(super) fn has_turn() {
    TURNS.set(TURNS.get().wrapping_add(1));
    if SLEEPS.replace(false) {
        SLEEPER.with_borrow(|sleeper| sleeper.iter().for_each(|sleeper| sleeper.notify_one()));
    }
}

/// Keeps this worker awake for `moment` after each turn of its sessions. Runs as a task of its own for as long as the worker.
pub(super) async fn stay_awake(moment: Duration) {
    let sleeper = Arc::new(Notify::new());
    SLEEPER.set(Some(Arc::clone(&sleeper)));
    loop {
        let (mut seen, mut since) = (TURNS.get(), Instant::now());
        while since.elapsed() < moment {
            // The runtime looks for events, without waiting for any, before this task goes on.
            tokio::task::yield_now().await;
            if TURNS.get() != seen {
                (seen, since) = (TURNS.get(), Instant::now());
            }
        }
        SLEEPS.set(true);
        sleeper.notified().await;
    }
}
