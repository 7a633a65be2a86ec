//! The event loop under the byte path: one thread, one epoll, and the tasks of that thread.
//!
//! | file | what it does |
//! |---|---|
//! | [`local`] | what belongs to the loop of a thread |
//! | [`task`] | who runs next, and how others wake it |
//! | [`socket`] | a socket, and what can be done with it |
//! | [`readiness`] | what the kernel has told of each |
//! | [`timer`] | deadlines, most of which never come |
//! | [`sleep`](mod@sleep) | waiting for one |
//! | [`coarse_timer`] | whether a task lasts for a second |
//!
//! The rest of mainstay runs on tokio, and what is shared with it ([`tokio::sync`], [`tokio::io`]'s traits) works here as well,
//! through wakers. The byte path has its own loop because a general one does more than is needed here: for a round trip mainstay
//! needs 1,500 instructions of its own with this one, 4,700 with tokio's (`docs/performance-tried.md`). It is simpler because a
//! task and its sockets never leave their thread:
//!
//! - Whether a socket is ready is a plain byte, and only the task that owns it waits for it: the task that is running when it asks.
//!   The same is true of deadlines. Neither takes a waker, which must be safe for other threads and costs for that.
//! - A socket is closed without being removed from epoll first: the kernel does that.
//! - A deadline is set and cancelled without a system call, and a loop that waits reads no clock.
//!
//! A turn of the loop: every runnable task runs; then one poll of the kernel, which waits if none is runnable; then the expired
//! deadlines. A task that yields ([`yield_now`]) continues after that poll.

mod coarse_timer;
mod local;
mod readiness;
mod sleep;
mod socket;
mod task;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod timer;

use std::{
    cell::{Cell, RefCell},
    fmt,
    future::Future,
    io,
    mem::MaybeUninit,
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

pub(crate) use coarse_timer::CoarseTimer;
use local::{Local, enter};
pub(super) use local::{after_others, looks};
pub use local::{spawn, yield_now};
pub use readiness::Interest;
use readiness::Registry;
use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
    },
    fd::OwnedFd,
    io::Errno,
};
pub use sleep::{Elapsed, Sleep, sleep, sleep_until, timeout};
pub use socket::{Socket, Watched};
use task::{Key, Mailbox, Tasks};
use timer::Timers;

/// Most events taken in one poll.
const EVENTS: usize = 256;

/// Most tasks that run between two polls: tasks that wake each other must not delay the others.
const TURNS: usize = 256;

/// The data of an event that belongs to no socket: another thread has left a job, or a deadline has expired. (A socket's index is
/// far below these.)
const MAIL: u64 = u64::MAX;
const ALARM: u64 = u64::MAX - 1;

/// A loop that does not run yet.
pub struct EventLoop {
    epoll: OwnedFd,
    mailbox: Arc<Mailbox>,
    timers: Timers,
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").field("epoll", &self.epoll).finish_non_exhaustive()
    }
}

/// How other threads reach a loop.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Mailbox>);

impl Handle {
    /// Has the loop's thread run this soon; never, when the loop has ended.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        self.0.post(Box::new(job));
    }
}

impl EventLoop {
    /// A loop.
    ///
    /// # Errors
    /// When the kernel has no descriptor left for it: it needs three.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mailbox = Mailbox::new()?;
        let timers = Timers::new()?;
        for (descriptor, data) in [(mailbox.bell(), MAIL), (timers.alarm(), ALARM)] {
            epoll::add(&epoll, descriptor, EventData::new_u64(data), EventFlags::IN | EventFlags::ET)?;
        }
        Ok(Self { epoll, mailbox: Arc::new(mailbox), timers })
    }

    /// How other threads reach it.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.mailbox))
    }

    /// Runs on this thread until `future` is ready; then drops every task that has not ended. After an event it polls for
    /// `busy_poll` before it sleeps.
    ///
    /// # Errors
    /// When epoll fails, which no correct program sees.
    ///
    /// # Panics
    /// When the thread already runs a loop.
    pub fn run<F: Future>(self, busy_poll: Option<Duration>, future: F) -> io::Result<F::Output> {
        let local = Rc::new(Local {
            epoll: self.epoll,
            tasks: Tasks::new(self.mailbox),
            sockets: Registry::default(),
            timers: RefCell::new(self.timers),
            yielded: RefCell::default(),
            looks: Cell::new(0),
        });
        let _leave = enter(&local);
        let mut future = pin!(future);
        let waker = local.tasks.main_waker();
        waker.wake_by_ref();
        let mut awake = Awake { moment: busy_poll, until: None };
        loop {
            for _ in 0..TURNS {
                match local.tasks.next() {
                    Some(Key::MAIN) => {
                        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                            return Ok(output);
                        }
                    }
                    Some(key) => local.tasks.run(key),
                    None => break,
                }
            }
            local.look(&mut awake)?;
        }
    }
}

/// Until when a loop with nothing to do does not sleep.
struct Awake {
    moment: Option<Duration>,
    until: Option<Instant>,
}

impl Awake {
    /// An event happened.
    fn prolong(&mut self) {
        self.until = self.moment.map(|moment| Instant::now() + moment);
    }

    fn is_over(&mut self) -> bool {
        self.until = self.until.filter(|until| Instant::now() < *until);
        self.until.is_none()
    }
}

impl Local {
    /// Takes the kernel's events, and waits for them if no task is runnable.
    fn look(&self, awake: &mut Awake) -> io::Result<()> {
        const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.timers.borrow_mut().arm()?;
        let yielded = self.yielded.take();
        let waits = yielded.is_empty() && !self.tasks.has_work() && awake.is_over();
        let mut buffer = [MaybeUninit::<Event>::uninit(); EVENTS];
        let events = match epoll::wait(&self.epoll, &mut buffer, if waits { None } else { Some(&AT_ONCE) }) {
            Ok((events, _)) => &*events,
            Err(Errno::INTR) => &[],
            Err(errno) => return Err(errno.into()),
        };
        self.looks.set(self.looks.get() + 1);
        for event in events {
            match event.data.u64() {
                MAIL => self.tasks.empty_mailbox(),
                ALARM => {
                    let passed = self.timers.borrow_mut().pass();
                    for key in passed {
                        self.tasks.wake(key);
                    }
                }
                _ => {
                    if let Some(key) = self.sockets.tell(event) {
                        self.tasks.wake(key);
                    }
                }
            }
        }
        if !events.is_empty() {
            awake.prolong();
        }
        for key in yielded {
            self.tasks.wake(key);
        }
        Ok(())
    }
}
