//! Deadlines. Each connection sets some, and hardly any of them ever comes: to set one and to take it back must cost nothing but
//! memory. One that is taken back stays in the heap, without its task, until it comes or there are too many such.
//!
//! The kernel is told of the nearest one only, through a timerfd(2), and only when there is a nearer one than it knows. So a loop
//! that waits need not say for how long, nor read the clock before and after; the price is a turn in vain when a deadline comes that
//! was taken back.

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

/// Deadlines that were taken back may stay until there are so many, and half of all.
const STALE: usize = 64;

/// Which timer, of all that ever had its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    place: usize,
    number: u64,
}

struct Timer {
    number: u64,
    /// `None` when it has come.
    waiter: Option<Task>,
}

/// The deadlines of a loop.
pub(super) struct Timers {
    alarm: OwnedFd,
    /// When the kernel wakes us.
    armed: Option<Instant>,
    /// Not after the nearest deadline.
    nearest: Option<Instant>,
    heap: BinaryHeap<Reverse<(Instant, Key)>>,
    places: Slab<Timer>,
    /// How many in the heap were taken back.
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

    /// To be watched edge-triggered: to set it again is as good as to read it.
    pub(super) fn alarm(&self) -> BorrowedFd<'_> {
        self.alarm.as_fd()
    }

    /// Has the kernel wake us at the nearest deadline.
    pub(super) fn arm(&mut self) -> io::Result<()> {
        let Some(nearest) = self.nearest.filter(|nearest| self.armed.is_none_or(|armed| *nearest < armed)) else { return Ok(()) };
        self.armed = Some(nearest);
        // Zero would disarm it. What is further away than the kernel can say is as good as never.
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

    /// Whether it has come; `waiter` is woken when it does.
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

    /// The nearest deadline that somebody waits for.
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

    /// The alarm has gone off. Whom to wake, because a deadline has come.
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

/// Whether it was neither taken back nor has come.
fn stands(places: &Slab<Timer>, key: Key) -> bool {
    places.get(key.place).is_some_and(|timer| timer.number == key.number && timer.waiter.is_some())
}
