//! The tasks of a loop: which are runnable, and how they are woken.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::Future,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use rustix::{
    event::{EventfdFlags, eventfd},
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::write,
};
use slab::Slab;

thread_local! {
    /// The current task, or the last one.
    static CURRENT: Cell<Key> = const { Cell::new(Key::MAIN) };
}

type BoxFuture = Pin<Box<dyn Future<Output = ()>>>;
type Job = Box<dyn FnOnce() + Send>;

/// Which task, of all that ever had its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    place: u32,
    number: u32,
}

impl Key {
    /// The future that the loop runs for.
    pub(super) const MAIN: Self = Self { place: u32::MAX, number: 0 };

    /// The current task of this thread's loop. The loop's own parts wake it by this, without a waker.
    pub(super) fn current() -> Self {
        CURRENT.get()
    }
}

struct Task {
    future: BoxFuture,
    alarm: Arc<Alarm>,
    /// The same as a waker: made once, not at each turn.
    waker: Waker,
}

struct Place {
    number: u32,
    /// It is among the runnable tasks.
    is_queued: bool,
    /// Taken out while it runs.
    task: Option<Task>,
}

pub(super) struct Tasks {
    places: RefCell<Slab<Place>>,
    /// Runnable tasks, in the order in which they were woken; each is here once.
    ready: RefCell<VecDeque<Key>>,
    /// [`Key::MAIN`] is among them.
    is_main_queued: Cell<bool>,
    main: Arc<Alarm>,
    /// Of the next task.
    number: Cell<u32>,
}

impl Tasks {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> Self {
        let main = Arc::new(Alarm { rings: AtomicBool::new(false), key: Key::MAIN, mailbox });
        Self {
            places: RefCell::default(),
            ready: RefCell::default(),
            is_main_queued: Cell::new(false),
            main,
            number: Cell::new(0),
        }
    }

    pub(super) fn main_waker(&self) -> Waker {
        Arc::clone(&self.main).into()
    }

    /// Adds a task, which is runnable.
    pub(super) fn add(&self, future: BoxFuture) {
        let number = self.number.get();
        self.number.set(number.wrapping_add(1));
        let mut places = self.places.borrow_mut();
        let place = places.vacant_entry();
        let key = Key { place: u32::try_from(place.key()).unwrap_or(u32::MAX - 1), number };
        let alarm = Arc::new(Alarm { rings: AtomicBool::new(false), key, mailbox: Arc::clone(&self.main.mailbox) });
        let waker = Waker::from(Arc::clone(&alarm));
        place.insert(Place { number, is_queued: true, task: Some(Task { future, alarm, waker }) });
        self.ready.borrow_mut().push_back(key);
    }

    pub(super) fn has_work(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    /// The current task.
    pub(super) fn next(&self) -> Option<Key> {
        let key = self.ready.borrow_mut().pop_front()?;
        if key == Key::MAIN {
            self.is_main_queued.set(false);
            self.main.heard();
        }
        CURRENT.set(key);
        Some(key)
    }

    /// Makes it runnable, if it has not ended.
    pub(super) fn wake(&self, key: Key) {
        let was_queued = if key == Key::MAIN {
            self.is_main_queued.replace(true)
        } else {
            self.place(key, |place| mem::replace(&mut place.is_queued, true)).unwrap_or(true)
        };
        if !was_queued {
            self.ready.borrow_mut().push_back(key);
        }
    }

    /// Wakes what an alarm is for; whether that is a task of this loop.
    #[inline]
    pub(super) fn wake_for(&self, alarm: &Alarm) -> bool {
        let is_own = Arc::ptr_eq(&self.main.mailbox, &alarm.mailbox);
        if is_own {
            self.wake(alarm.key);
        }
        is_own
    }

    /// Runs a task, if it has not ended.
    pub(super) fn run(&self, key: Key) {
        let take = |place: &mut Place| {
            place.is_queued = false;
            place.task.take()
        };
        let Some(mut task) = self.place(key, take).flatten() else { return };
        task.alarm.heard();
        let turn = catch_unwind(AssertUnwindSafe(|| task.future.as_mut().poll(&mut Context::from_waker(&task.waker))));
        if let Ok(Poll::Pending) = turn {
            self.place(key, |place| place.task = Some(task));
        } else {
            self.places.borrow_mut().try_remove(key.place as usize);
            // Only now, when the table is not borrowed: dropping it may wake others. A panic in that ends only this task, too.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
        }
    }

    fn place<T>(&self, key: Key, act: impl FnOnce(&mut Place) -> T) -> Option<T> {
        let mut places = self.places.borrow_mut();
        places.get_mut(key.place as usize).filter(|place| place.number == key.number).map(act)
    }

    /// Takes the jobs that other threads have left.
    pub(super) fn empty_mailbox(&self) {
        let jobs = {
            let mut mail = self.main.mailbox.lock();
            mail.woken.drain(..).for_each(|key| self.wake(key));
            mem::take(&mut mail.jobs)
        };
        for job in jobs {
            // As with a task: a panic ends only this job, and the loop goes on.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    /// Drops all tasks, and accepts nothing more from other threads.
    pub(super) fn end(&self) {
        let left = {
            let mut mail = self.main.mailbox.lock();
            mail.is_closed = true;
            mem::take(&mut mail.jobs)
        };
        drop(left);
        loop {
            let tasks = self.places.take();
            if tasks.is_empty() {
                break;
            }
            // Dropping them may have started others.
            drop(tasks);
        }
    }
}

/// Wakes one task, from any thread.
pub(super) struct Alarm {
    /// It was woken by this and has not had its turn yet.
    rings: AtomicBool,
    key: Key,
    mailbox: Arc<Mailbox>,
}

impl Alarm {
    /// It is about to run. Everything done before it was woken is visible to it.
    fn heard(&self) {
        // Mostly the loop itself woke it, and a load costs less than a swap. A thread that wakes it after the load leaves a
        // message.
        if self.rings.load(Ordering::Relaxed) {
            self.rings.swap(false, Ordering::AcqRel);
        }
    }

    /// Whether its loop has yet to know that it rings.
    #[inline]
    pub(super) fn ring(&self) -> bool {
        !self.rings.swap(true, Ordering::AcqRel)
    }

    /// Tells its loop, from another thread.
    pub(super) fn leave_mail(&self) {
        self.mailbox.leave(|mail| mail.woken.push(self.key));
    }
}

/// Where other threads leave jobs for a loop.
pub(super) struct Mailbox {
    mail: Mutex<Mail>,
    /// An eventfd(2), edge-triggered: each write wakes the loop, and nothing reads it.
    bell: OwnedFd,
}

#[derive(Default)]
struct Mail {
    woken: Vec<Key>,
    jobs: Vec<Job>,
    is_closed: bool,
}

impl Mailbox {
    pub(super) fn new() -> io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { mail: Mutex::default(), bell })
    }

    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Leaves a job. It is dropped here when the loop has ended.
    pub(super) fn post(&self, job: Job) {
        self.leave(|mail| mail.jobs.push(job));
    }

    fn leave(&self, add: impl FnOnce(&mut Mail)) {
        let mut mail = self.lock();
        if mail.is_closed {
            return;
        }
        let is_first = mail.woken.is_empty() && mail.jobs.is_empty();
        add(&mut mail);
        drop(mail);
        if is_first {
            // Fails only when it was written to 2^64 times.
            let _ = write(&self.bell, &1_u64.to_ne_bytes());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}
