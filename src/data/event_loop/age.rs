//! Whether a task has become a second old. Most connections of some never do, and those must not pay for it: no deadline of their
//! own, nothing to take back, no look at a clock. The loop counts seconds while there is somebody young, and wakes those who are
//! not any more.

use std::{
    cell::{Cell, RefCell},
    mem,
    time::Duration,
};

use super::{local, sleep, spawn, task::Key};

/// How often it is looked.
const SECOND: Duration = Duration::from_secs(1);

thread_local! {
    /// That this thread's loop has counted.
    static SECONDS: Cell<u32> = const { Cell::new(0) };
}

/// The young of a loop.
#[derive(Default)]
pub(super) struct Ages {
    /// Of this second and of the one before.
    born: RefCell<Vec<Key>>,
    older: RefCell<Vec<Key>>,
    is_counting: Cell<bool>,
}

impl Ages {
    /// Somebody is young.
    #[cfg(test)]
    pub(super) fn is_counting(&self) -> bool {
        self.is_counting.get()
    }
}

/// The age of a task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Age {
    born: u32,
}

impl Age {
    /// Begins now. The task that has its turn is woken when it is over a second old, and before it is two seconds old.
    pub(crate) fn begin() -> Self {
        let local = local();
        let ages = &local.ages;
        ages.born.borrow_mut().push(Key::current());
        if !ages.is_counting.replace(true) {
            spawn(count());
        }
        Self { born: SECONDS.get() }
    }

    /// Whether it is over a second old.
    pub(crate) fn is_grown(self) -> bool {
        SECONDS.get().wrapping_sub(self.born) >= 2
    }
}

/// Counts seconds until nobody is young.
async fn count() {
    let local = local();
    let ages = &local.ages;
    loop {
        sleep(SECOND).await;
        SECONDS.set(SECONDS.get().wrapping_add(1));
        let grown = ages.older.replace(mem::take(&mut ages.born.borrow_mut()));
        for key in grown {
            local.tasks.wake(key);
        }
        if ages.older.borrow().is_empty() {
            return ages.is_counting.set(false);
        }
    }
}
