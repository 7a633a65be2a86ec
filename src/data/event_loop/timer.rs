//! Deadlines. Each connection sets some, and hardly any of them ever comes: to set one and to take it back must cost nothing but
//! memory. One that is taken back stays in the heap, without its task, until it comes or there are too many such.
//!
//! The kernel is told of the nearest one only, through a timerfd(2), and only when there is a nearer one than it knows. So a loop
//! that waits need not say for how long, nor read the clock before and after; the price is a turn in vain when a deadline comes that
//! was taken back.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime},
};
use slab::Slab;

use super::{LOCAL, local, task::Key as Task};

/// Deadlines that were taken back may stay until there are so many, and half of all.
const STALE: usize = 64;

/// Which timer, of all that ever had its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
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

    fn set(&mut self, deadline: Instant, waiter: Task) -> Key {
        let number = self.number;
        self.number += 1;
        let key = Key { place: self.places.insert(Timer { number, waiter: Some(waiter) }), number };
        self.heap.push(Reverse((deadline, key)));
        self.nearest = Some(self.nearest.map_or(deadline, |nearest| nearest.min(deadline)));
        key
    }

    /// Whether it has come; `waiter` is woken when it does.
    fn poll(&mut self, key: Key, waiter: Task) -> Poll<()> {
        match self.places.get_mut(key.place) {
            Some(Timer { waiter: Some(known), .. }) => {
                *known = waiter;
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    fn take_back(&mut self, key: Key) {
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

/// Ready at its deadline.
#[derive(Debug)]
pub struct Sleep {
    deadline: Instant,
    /// `None` until it is first waited for.
    key: Option<Key>,
}

/// Waits for so long from now on.
pub fn sleep(pause: Duration) -> Sleep {
    // A pause beyond the end of time is one of a century.
    let now = Instant::now();
    sleep_until(now.checked_add(pause).unwrap_or(now + Duration::from_hours(24 * 365 * 100)))
}

/// Waits until then.
pub const fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, key: None }
}

impl Sleep {
    /// Waits until then instead.
    pub(crate) fn reset(&mut self, deadline: Instant) {
        self.take_back();
        self.deadline = deadline;
    }

    fn take_back(&mut self) {
        let Some(key) = self.key.take() else { return };
        // A loop that has ended has forgotten it already.
        let _ = LOCAL.try_with(|local| {
            if let Some(local) = &*local.borrow() {
                local.timers.borrow_mut().take_back(key);
            }
        });
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let local = local();
        let mut timers = local.timers.borrow_mut();
        if let Some(key) = self.key {
            return timers.poll(key, Task::current());
        }
        self.key = Some(timers.set(self.deadline, Task::current()));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.take_back();
    }
}

/// It was not ready in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Waits for `future`, but no longer than `limit` from now on.
///
/// # Errors
/// [`Elapsed`].
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut limit = sleep(limit);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => Pin::new(&mut limit).poll(cx).map(|()| Err(Elapsed)),
    })
    .await
}
