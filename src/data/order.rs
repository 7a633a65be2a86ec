//! Keeps the order of one client address: clients connect to the backend in the order they came, also on different workers.
//!
//! A ticket lock for each of a few groups of addresses. A client takes a number when it is accepted, and connects once those before
//! it have begun to: mostly in its task's first turn, without a wait. A turn is over as soon as the client has to wait for anything
//! (the backend's answer, the hold), so no peer can delay those behind it. Only a worker that does not run can, and not for long.

use std::{
    collections::{BTreeMap, btree_map::OccupiedEntry},
    future::{Future, poll_fn},
    hash::{DefaultHasher, Hash, Hasher},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::event_loop::timeout;
use crate::net::endpoint::Peer;

/// Addresses that share a group sometimes wait for each other, which costs little.
const QUEUES: usize = 64;

/// How long a client waits for those before it: as long as a machine without a free core may delay their worker, or the order would
/// be lost exactly then.
const PATIENCE: Duration = Duration::from_secs(1);

/// Clients that have not begun to connect.
#[derive(Debug, Default)]
pub(super) struct Order(Box<[Arc<Queue>]>);

#[derive(Debug, Default)]
struct Queue {
    /// Number of the next client. Only the accepting thread increments it.
    next: AtomicU64,
    /// Whose turn it is: nobody waits any more for lower numbers.
    serving: AtomicU64,
    /// By number, so that each step wakes one waiter of a burst, not all.
    waiting: Mutex<BTreeMap<u64, Waker>>,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The waiter of this number, whose turn has come. It is woken without the lock, which it takes at once.
    fn due(&self, number: u64) -> Option<Waker> {
        self.waiting().first_entry().filter(|first| *first.key() <= number).map(OccupiedEntry::remove)
    }
}

impl Order {
    /// For this many workers. A single one keeps the order without this, because its tasks start in order.
    pub(super) fn among(workers: usize) -> Self {
        let queues = if workers > 1 { QUEUES } else { 0 };
        Self((0..queues).map(|_| Arc::default()).collect())
    }

    /// The turn of a client that was just accepted. One without an address needs none.
    pub(super) fn draw(&self, peer: Peer) -> Option<Turn> {
        let mut hasher = DefaultHasher::new();
        peer.ip()?.hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % QUEUES as u64).ok()?;
        let queue = Arc::clone(self.0.get(place)?);
        let number = queue.next.fetch_add(1, Ordering::SeqCst);
        Some(Turn { queue, number })
    }
}

/// A client's turn to connect; over when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    queue: Arc<Queue>,
    number: u64,
}

impl Turn {
    /// Those before it have had theirs.
    pub(super) fn has_come(&self) -> bool {
        self.queue.serving.load(Ordering::SeqCst) >= self.number
    }

    /// Waits for those before it, for at most a moment.
    pub(super) async fn comes(&self) {
        let _ = timeout(PATIENCE, poll_fn(|cx| self.poll_comes(cx))).await;
        self.queue.waiting().remove(&self.number);
    }

    fn poll_comes(&self, cx: &Context<'_>) -> Poll<()> {
        let mut waiting = self.queue.waiting();
        // Under the lock: a thread that moves the queue after this check finds the waker.
        if self.has_come() {
            return Poll::Ready(());
        }
        waiting.insert(self.number, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = self.number + 1;
        let before = self.queue.serving.fetch_max(next, Ordering::SeqCst);
        // A client that takes its number after this check finds that its turn has come. Mostly nobody is behind, and a load costs
        // less than the lock.
        if before < next && self.queue.next.load(Ordering::SeqCst) > next {
            while let Some(waker) = self.queue.due(next) {
                waker.wake();
            }
        }
    }
}

/// Runs `future` in this turn, which is over after the first poll: by then it has begun to connect, or waits for something.
pub(super) fn in_turn<F: Future>(mut turn: Option<Turn>, mut future: Pin<&mut F>) -> impl Future<Output = F::Output> {
    poll_fn(move |cx| {
        let polled = future.as_mut().poll(cx);
        drop(turn.take());
        polled
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::data::event_loop::{EventLoop, Handle, spawn, testing, yield_now};

    fn peer(address: &str) -> Peer {
        address.parse::<SocketAddr>().unwrap().into()
    }

    #[test]
    fn a_turn_comes_when_all_before_it_are_over_and_no_address_waits_for_another() {
        let order = Order::among(2);
        let draw = |address| order.draw(peer(address)).unwrap();
        let [first, second, third] = [draw("10.0.0.1:1"), draw("10.0.0.1:2"), draw("10.0.0.1:3")];
        assert_eq!([&first, &second, &third].map(Turn::has_come), [true, false, false]);
        assert!(draw("10.0.0.2:1").has_come(), "another address");
        drop(first);
        assert_eq!([&second, &third].map(Turn::has_come), [true, false]);
        drop(second);
        assert!(third.has_come());
        drop(third);
        assert!(draw("10.0.0.1:4").has_come(), "nobody is before it");
    }

    #[test]
    fn one_worker_and_a_unix_socket_need_no_turns() {
        assert!(Order::among(1).draw(peer("10.0.0.1:1")).is_none());
        assert!(Order::among(2).draw(Peer::Unix).is_none());
    }

    #[test]
    fn nobody_waits_long_for_a_worker_that_stands_still_and_those_behind_do_not_wait_again() {
        let order = Order::among(2);
        let draw = || order.draw(peer("10.0.0.1:1")).unwrap();
        let [stuck, second, third] = [draw(), draw(), draw()];
        testing::run(second.comes());
        assert!(!second.has_come());
        drop(second);
        assert!(third.has_come());
        drop((third, stuck));
        assert!(draw().has_come(), "one that comes late takes nothing back");
    }

    /// A loop on a thread of its own, until the sender is dropped.
    fn worker() -> (Handle, tokio::sync::oneshot::Sender<()>, std::thread::JoinHandle<()>) {
        let (event_loop, (ends, end)) = (EventLoop::new().unwrap(), tokio::sync::oneshot::channel());
        let handle = event_loop.handle();
        (handle, ends, std::thread::spawn(move || drop(event_loop.run(None, end))))
    }

    #[test]
    fn tasks_of_two_workers_go_in_the_order_of_their_numbers() {
        let order = Order::among(2);
        let workers = [worker(), worker()];
        let went = Arc::new(Mutex::new(Vec::new()));
        for number in 0..2000_usize {
            let (turn, went) = (order.draw(peer("10.0.0.1:1")).unwrap(), Arc::clone(&went));
            // Not one each: of two on the same worker, the second must not pass one that waits.
            let on = &workers[usize::from(number % 3 == 0)].0;
            on.run(move || {
                spawn(async move {
                    if number % 7 == 0 {
                        yield_now().await;
                    }
                    poll_fn(|cx| turn.poll_comes(cx)).await;
                    went.lock().unwrap().push(number);
                    drop(turn);
                });
            });
        }
        let last = order.draw(peer("10.0.0.1:1")).unwrap();
        testing::run(poll_fn(|cx| last.poll_comes(cx)));
        for (_, ends, thread) in workers {
            drop(ends);
            thread.join().unwrap();
        }
        let went = went.lock().unwrap();
        assert_eq!(*went, (0..2000).collect::<Vec<_>>());
    }
}
