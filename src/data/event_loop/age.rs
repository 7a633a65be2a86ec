//! Whether a task has become a second old. Most connections of some never do, and those must not pay for it: no deadline of their
//! own, nothing to take back, no look at a clock. The loop counts seconds while there is somebody young, and wakes those who are
//! not any more.

use std::{
    cell::{Cell, RefCell},
    mem,
    task::{Context, Waker},
    time::Duration,
};

use super::{local, sleep, spawn};

/// How often it is looked.
const SECOND: Duration = Duration::from_secs(1);

/// The young of a loop.
#[derive(Default)]
pub(super) struct Ages {
    seconds: Cell<u32>,
    /// Of this second and of the one before.
    born: RefCell<Vec<Waker>>,
    older: RefCell<Vec<Waker>>,
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
    /// Begins now. The task is woken when it is over a second old, and before it is two seconds old.
    pub(crate) fn begin(cx: &Context<'_>) -> Self {
        let local = local();
        let ages = &local.ages;
        ages.born.borrow_mut().push(cx.waker().clone());
        if !ages.is_counting.replace(true) {
            spawn(count());
        }
        Self { born: ages.seconds.get() }
    }

    /// Whether it is over a second old.
    pub(crate) fn is_grown(self) -> bool {
        local().ages.seconds.get().wrapping_sub(self.born) >= 2
    }
}

/// Counts seconds until nobody is young.
async fn count() {
    let local = local();
    let ages = &local.ages;
    loop {
        sleep(SECOND).await;
        ages.seconds.set(ages.seconds.get().wrapping_add(1));
        let grown = ages.older.replace(mem::take(&mut ages.born.borrow_mut()));
        grown.into_iter().for_each(Waker::wake);
        if ages.older.borrow().is_empty() {
            return ages.is_counting.set(false);
        }
    }
}
