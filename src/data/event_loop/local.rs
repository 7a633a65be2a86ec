//! What belongs to the loop of a thread, and what its tasks do with it.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    mem,
    rc::Rc,
    sync::Arc,
    task::{Poll, Wake},
};

use rustix::fd::OwnedFd;

use super::{
    readiness::Registry,
    task::{Alarm, Key, Tasks},
    timer::Timers,
};

thread_local! {
    static LOCAL: RefCell<Option<Rc<Local>>> = const { RefCell::new(None) };
}

/// The state of a thread's loop.
pub(super) struct Local {
    pub(super) epoll: OwnedFd,
    pub(super) tasks: Tasks,
    pub(super) sockets: Registry,
    pub(super) timers: RefCell<Timers>,
    /// They continue after the next poll.
    pub(super) yielded: RefCell<Vec<Key>>,
    pub(super) looks: Cell<u64>,
}

/// Gives this thread a loop, until what is returned is dropped.
///
/// # Panics
/// When it has one already.
pub(super) fn enter(local: &Rc<Local>) -> Leave<'_> {
    let before = LOCAL.replace(Some(Rc::clone(local)));
    assert!(before.is_none(), "a thread has one event loop");
    Leave(local)
}

/// Removes the loop and its tasks from the thread.
pub(super) struct Leave<'a>(&'a Local);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.tasks.end();
        LOCAL.take();
    }
}

/// The state of this thread's loop.
///
/// # Panics
/// When it runs none.
pub(super) fn local() -> Rc<Local> {
    match LOCAL.with_borrow(Option::clone) {
        Some(local) => local,
        None => panic!("this thread runs no event loop"),
    }
}

/// Does something with it; `None` on a thread without a loop, or at its end.
#[inline]
pub(super) fn try_local<T>(act: impl FnOnce(&Local) -> T) -> Option<T> {
    LOCAL.try_with(|local| local.borrow().as_deref().map(act)).ok().flatten()
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // On the thread of its loop, that knows it now.
        if self.ring() && !try_local(|local| local.tasks.wake_for(self)).unwrap_or(false) {
            self.leave_mail();
        }
    }
}

/// Starts a task on this thread. One that panics ends alone: what it held is dropped, and the panic hook reports it.
///
/// # Panics
/// When the thread runs no loop.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    local().tasks.add(Box::pin(task));
}

/// Lets every other runnable task run, and polls the kernel, before this one continues.
pub async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|_| {
        if mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        after_others();
        Poll::Pending
    })
    .await;
}

/// The current task runs again after all other runnable tasks and a poll of the kernel.
pub(in crate::data) fn after_others() {
    local().yielded.borrow_mut().push(Key::current());
}

/// How often this thread's loop has polled the kernel.
pub(in crate::data) fn looks() -> u64 {
    local().looks.get()
}
