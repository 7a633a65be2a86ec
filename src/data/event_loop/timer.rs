//! Deadlines. Each connection sets some, and almost all are cancelled: setting and cancelling one must cost nothing but memory. A
//! cancelled one stays in the heap, without its task, until it expires or there are too many of them.
//!
//! The kernel knows only the nearest one, through a timerfd(2), which is set only when there is a nearer one than it knows. So a
//! loop that waits needs no timeout and reads no clock before and after; the price is a spurious wake-up when a cancelled deadline
//! expires.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io,
    task::Poll,
    time::{Duration, Instant},
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime},
};
use slab::Slab;

use super::task::Key as Task;

/// Cancelled deadlines stay until there are this many, and half of all.
const STALE: usize = 64;

/// Which timer, of all that ever had its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    place: usize,
    number: u64,
}

struct Timer {
    number: u64,
    /// `None` when it has expired.
    waiter: Option<Task>,
}

pub(super) struct Timers {
    alarm: OwnedFd,
    /// When the kernel wakes us.
    armed: Option<Instant>,
    /// Not after the nearest deadline.
    nearest: Option<Instant>,
    heap: BinaryHeap<Reverse<(Instant, Key)>>,
    places: Slab<Timer>,
    /// How many in the heap are cancelled.
    stale: usize,
    /// Of the next timer.
    number: u64,
}

impl Timers {
    pub(super) fn new() -> io::Result<Self> {
        let alarm = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let (heap, places) = (BinaryHeap::new(), Slab::new());
        Ok(Self { alarm, armed: None, nearest: None, heap, places, stale: 0, number: 0 })
    }

    /// Watched edge-triggered: setting it again is as good as reading it.
    pub(super) fn alarm(&self) -> BorrowedFd<'_> {
        self.alarm.as_fd()
    }

    /// Sets the timerfd to the nearest deadline.
    #[inline]
    pub(super) fn arm(&mut self) -> io::Result<()> {
        match self.nearest.filter(|nearest| self.armed.is_none_or(|armed| *nearest < armed)) {
            Some(nearest) => self.arm_for(nearest),
            None => Ok(()),
        }
    }

    fn arm_for(&mut self, nearest: Instant) -> io::Result<()> {
        self.armed = Some(nearest);
        // Zero would disarm it. A deadline beyond the kernel's range counts as never.
        let pause = nearest.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let it_value = Timespec::try_from(pause).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
        let once = Itimerspec { it_interval: Timespec::default(), it_value };
        timerfd_settime(&self.alarm, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// How many are set, and how many are in the heap.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.places.len(), self.heap.len())
    }

    #[inline]
    pub(super) fn set(&mut self, deadline: Instant, waiter: Task) -> Key {
        let number = self.number;
        self.number += 1;
        let key = Key { place: self.places.insert(Timer { number, waiter: Some(waiter) }), number };
        self.heap.push(Reverse((deadline, key)));
        self.nearest = Some(self.nearest.map_or(deadline, |nearest| nearest.min(deadline)));
        key
    }

    /// Whether it has expired; `waiter` is woken when it does.
    #[inline]
    pub(super) fn poll(&mut self, key: Key, waiter: Task) -> Poll<()> {
        match self.places.get_mut(key.place) {
            Some(Timer { waiter: Some(known), .. }) => {
                *known = waiter;
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    #[inline]
    pub(super) fn take_back(&mut self, key: Key) {
        let Some(timer) = self.places.try_remove(key.place) else { return };
        if timer.waiter.is_none() {
            return;
        }
        self.stale += 1;
        if self.stale > STALE && self.stale > self.heap.len() / 2 {
            let Self { heap, places, .. } = self;
            heap.retain(|Reverse((_, key))| stands(places, *key));
            self.stale = 0;
        }
    }

    /// The nearest deadline that a task waits for.
    fn next(&mut self) -> Option<Instant> {
        while let Some(Reverse((deadline, key))) = self.heap.peek() {
            if stands(&self.places, *key) {
                return Some(*deadline);
            }
            self.heap.pop();
            self.stale -= 1;
        }
        None
    }

    /// The timerfd has fired. The tasks to wake, because a deadline has expired.
    pub(super) fn pass(&mut self) -> Vec<Task> {
        let now = Instant::now();
        let mut woken = Vec::new();
        self.nearest = self.next();
        while let Some(deadline) = self.nearest
            && deadline <= now
            && let Some(Reverse((_, key))) = self.heap.pop()
        {
            woken.extend(self.places.get_mut(key.place).and_then(|timer| timer.waiter.take()));
            self.nearest = self.next();
        }
        self.armed = None;
        woken
    }
}

/// Whether it was neither cancelled nor has expired.
fn stands(places: &Slab<Timer>, key: Key) -> bool {
    places.get(key.place).is_some_and(|timer| timer.number == key.number && timer.waiter.is_some())
}
