//! Keeps the order of one client address: who came first connects to the backend first, also when the two are on different workers.
//!
//! A ticket lock for each of a few groups of addresses. A client draws a number when it is accepted, and connects once those before it
//! have begun to: at its task's first turn, mostly, without a wait. A turn is over as soon as the client has to wait for anything
//! (for the backend's answer, in the hold), so that no peer can keep those behind it waiting. Only a worker that stands still can,
//! and not for long.

use std::{
    collections::{BTreeMap, btree_map::OccupiedEntry},
    future::poll_fn,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::event_loop::timeout;
use crate::net::endpoint::Peer;

/// Addresses that share one wait for each other now and then, which costs them little.
const QUEUES: usize = 64;

/// How long a client waits for those before it: for as long as a machine without a free core may keep their worker from its turn, or
/// the order is lost just then.
const PATIENCE: Duration = Duration::from_secs(1);

/// The clients of the process that have not begun to connect yet.
#[derive(Debug)]
pub(super) struct Order(Box<[Arc<Queue>]>);

#[derive(Debug, Default)]
struct Queue {
    /// Number of the next client. Only the thread that accepts draws.
    next: AtomicU64,
    /// Whose turn it is: nobody waits any more for those with lower numbers.
    serving: AtomicU64,
    /// By number, so that each move wakes one of a burst, and not all.
    waiting: Mutex<BTreeMap<u64, Waker>>,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One whose turn has come with this number. It is woken without the lock, which it asks for at once.
    fn due(&self, number: u64) -> Option<Waker> {
        self.waiting().first_entry().filter(|first| *first.key() <= number).map(OccupiedEntry::remove)
    }
}

impl Order {
    /// For so many workers. One alone keeps the order without this: its tasks begin first come first served.
    pub(super) fn among(workers: usize) -> Self {
        let queues = if workers > 1 { QUEUES } else { 0 };
        Self((0..queues).map(|_| Arc::default()).collect())
    }

    /// The turn of a client that was accepted just now. One without an address needs none.
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

    /// Waits for those before it, for a moment at most.
    pub(super) async fn comes(&self) {
        let _ = timeout(PATIENCE, poll_fn(|cx| self.poll_comes(cx))).await;
        self.queue.waiting().remove(&self.number);
    }

    fn poll_comes(&self, cx: &Context<'_>) -> Poll<()> {
        let mut waiting = self.queue.waiting();
        // With the lock: whoever moves the queue after this look finds the waker.
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
        // Whoever draws after this look finds its turn come. Mostly nobody is behind, and a look costs less than the lock.
        if before < next && self.queue.next.load(Ordering::SeqCst) > next {
            while let Some(waker) = self.queue.due(next) {
                waker.wake();
            }
        }
    }
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
