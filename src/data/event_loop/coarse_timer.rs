//! Whether a task has lasted for a second. Most connections of some never do, and those must not pay for it: no deadline of their
//! own, nothing to take back, no look at a clock. The loop counts seconds while such a timer runs, and wakes the tasks whose timers
//! have elapsed.

use std::{
    cell::{Cell, RefCell},
    mem,
    time::Duration,
};

use super::{
    local::{local, spawn},
    sleep::sleep,
    task::Key,
};

/// How often it counts.
const SECOND: Duration = Duration::from_secs(1);

thread_local! {
    /// That this thread's loop has counted.
    static SECONDS: Cell<u32> = const { Cell::new(0) };
    static STARTED: Started = const {
        Started { now: RefCell::new(Vec::new()), before: RefCell::new(Vec::new()), is_counting: Cell::new(false) }
    };
}

/// The tasks whose timers run.
struct Started {
    /// Started in this second.
    now: RefCell<Vec<Key>>,
    /// Started in the one before.
    before: RefCell<Vec<Key>>,
    is_counting: Cell<bool>,
}

/// A timer that elapses between one and two seconds after its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CoarseTimer {
    started: u32,
}

impl CoarseTimer {
    /// Starts now. The task that has its turn is woken when it elapses.
    pub(crate) fn start() -> Self {
        let is_counting = STARTED.with(|started| {
            started.now.borrow_mut().push(Key::current());
            started.is_counting.replace(true)
        });
        if !is_counting {
            spawn(count(Counting));
        }
        Self { started: SECONDS.get() }
    }

    /// Whether it has elapsed.
    pub(crate) fn has_elapsed(self) -> bool {
        SECONDS.get().wrapping_sub(self.started) >= 2
    }
}

/// Counts seconds until no timer runs.
async fn count(_counting: Counting) {
    loop {
        sleep(SECOND).await;
        SECONDS.set(SECONDS.get().wrapping_add(1));
        let (elapsed, is_over) = STARTED.with(|started| {
            let now = mem::take(&mut *started.now.borrow_mut());
            let is_over = now.is_empty();
            (started.before.replace(now), is_over)
        });
        let local = local();
        for key in elapsed {
            local.tasks.wake(key);
        }
        if is_over {
            return;
        }
    }
}

/// Seconds are counted until this is dropped: the last timer has elapsed, or the loop has ended.
struct Counting;

impl Drop for Counting {
    fn drop(&mut self) {
        STARTED.with(|started| {
            started.now.borrow_mut().clear();
            started.before.borrow_mut().clear();
            started.is_counting.set(false);
        });
    }
}

/// A timer runs.
#[cfg(test)]
pub(super) fn is_counting() -> bool {
    STARTED.with(|started| started.is_counting.get())
}
