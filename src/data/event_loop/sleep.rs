//! Waiting for a deadline.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    local::{local, try_local},
    task,
    timer::Key,
};

/// Ready at its deadline.
#[derive(Debug)]
pub struct Sleep {
    deadline: Instant,
    /// `None` until it is first waited for.
    key: Option<Key>,
}

/// Waits for this long.
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
    /// Changes the deadline.
    pub(crate) fn reset(&mut self, deadline: Instant) {
        self.take_back();
        self.deadline = deadline;
    }

    fn take_back(&mut self) {
        let Some(key) = self.key.take() else { return };
        // A loop that has ended has already forgotten it.
        let _ = try_local(|local| local.timers.borrow_mut().take_back(key));
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let local = local();
        let mut timers = local.timers.borrow_mut();
        if let Some(key) = self.key {
            return timers.poll(key, task::Key::current());
        }
        self.key = Some(timers.set(self.deadline, task::Key::current()));
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

/// Waits for `future`, but at most for `limit`.
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
