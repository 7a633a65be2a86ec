//! Clients that wait because no backend may serve, or because each that may has `max_connections` sessions. They get places in the
//! order they came, at a bounded rate, so that a database that has just taken over is not overloaded.

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    event_loop::{Interest, Socket, sleep, sleep_until, yield_now},
    order::{Order, Turn},
    per_ip::{PerIpLimiter, Permit},
    target::HoldGate,
};
use crate::{
    metrics::{LiveCount, LiveGuard},
    net::endpoint::Peer,
    net::socket::is_gone,
    reason::RejectReason,
    route::{Busy, Route, TakenRoute},
};

/// Clients released at once, and the pause before the next, where neither a ramp nor a limit says how many.
const RELEASE_BURST: usize = 32;
const RELEASE_PAUSE: Duration = Duration::from_millis(10);

/// A hold queue of a pool. Clients that wait for the active backend and clients that wait for a reader have different ones.
#[derive(Debug, Default)]
pub(super) struct Hold {
    queue: Mutex<Queue>,
    /// The length of the queue: a new client looks without the lock.
    waiting: AtomicUsize,
    per_ip: Arc<PerIpLimiter>,
    arrived: Notify,
    /// Each worker dials for its own clients; this keeps the order of one address among those released at the same time.
    order: Order,
    /// The pool's clients that wait, in this queue and in others.
    held: LiveCount,
    /// The ramp made clients wait until then.
    ramped_until: Mutex<Option<Instant>>,
}

/// Who waits, in the order they came.
#[derive(Debug, Default)]
struct Queue {
    last: u64,
    waiting: BTreeMap<u64, oneshot::Sender<TakenRoute>>,
}

/// A client's number in the queue. It keeps it when it comes back because its backend did not answer.
#[derive(Debug, Default)]
pub(super) struct Number(Option<u64>);

/// For how long, and among how many, a client may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience<D> {
    /// Gives the end of its time, which a pause or a ramp puts off.
    pub(super) deadline: D,
    /// Clients that may wait at the same time.
    pub(super) max: usize,
    /// The client's address, if any, and how many clients of it may wait once half of the places are taken.
    pub(super) per_ip: Option<(IpAddr, usize)>,
}

impl Hold {
    /// For the clients of so many workers; `held` counts those of the pool that wait.
    pub(super) fn among(workers: usize, held: LiveCount) -> Self {
        Self { order: Order::among(workers), held, ..Self::default() }
    }

    /// Others wait already; a new client queues behind them.
    pub(super) fn is_occupied(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// When the ramp last made a client wait: the time that it takes does not count.
    pub(super) fn ramped_until(&self) -> Option<Instant> {
        *self.ramped_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn. Nothing is read from the client, but its disconnect is noticed. A client that has sent something, and for
    /// which `passes` gives a route, need not wait any longer.
    ///
    /// # Errors
    /// Why the client is not served.
    pub(super) async fn wait(
        &self,
        (client, peer): (&Socket, Peer),
        number: &mut Number,
        patience: Patience<impl Fn() -> Instant>,
        passes: impl Fn() -> Option<TakenRoute>,
        retired: &CancellationToken,
    ) -> Result<(Option<Turn>, TakenRoute), RejectReason> {
        let (_waiter, turn, mut handed) = self.enqueue(peer, number, &patience)?;
        let waited = tokio::select! {
            biased;
            // Its sender stays in the queue until it has sent.
            handed = &mut handed => handed.map(|route| (turn, route)).map_err(|_| RejectReason::HoldTimeout),
            route = spoken(client, passes) => route.map(|route| (None, route)).ok_or(RejectReason::ClientGone),
            () = retired.cancelled() => Err(RejectReason::Shutdown),
            () = passed(patience.deadline) => Err(RejectReason::HoldTimeout),
        };
        if !matches!(waited, Err(RejectReason::ClientGone)) {
            // What it has sent meanwhile is still in its socket.
            client.look_again();
        }
        if let Ok((Some(turn), _)) = &waited
            && !turn.has_come()
        {
            turn.comes().await;
        }
        waited
    }

    fn enqueue<D>(&self, peer: Peer, number: &mut Number, patience: &Patience<D>) -> Result<Enqueued<'_>, RejectReason> {
        let mut queue = self.lock();
        let before = queue.waiting.len();
        if before >= patience.max {
            return Err(RejectReason::HoldFull);
        }
        let is_scarce = before >= patience.max / 2;
        let permit = patience.per_ip.map(|(ip, share)| self.per_ip.permit(ip, if is_scarce { share } else { patience.max }));
        if matches!(permit, Some(None)) {
            return Err(RejectReason::HoldFullPerIp);
        }
        // One that comes back is in front of those that would have to go before it.
        let turn = if number.0.is_none() { self.order.draw(peer) } else { None };
        let own = *number.0.get_or_insert_with(|| {
            queue.last += 1;
            queue.last
        });
        let (sender, handed) = oneshot::channel();
        let waiter = Waiter { hold: self, number: own, _permit: permit.flatten(), _held: self.held.guard() };
        queue.waiting.insert(own, sender);
        self.waiting.store(queue.waiting.len(), Ordering::Relaxed);
        drop(queue);
        self.arrived.notify_one();
        Ok((waiter, turn, handed))
    }

    /// Hands out places; runs as long as the pool.
    pub(super) async fn release(&self, mut gate: HoldGate) {
        let mut burst = 0;
        loop {
            while !self.is_occupied() {
                burst = 0;
                self.arrived.notified().await;
            }
            let Some((route, pace)) = self.place(&mut gate).await else { return };
            self.hand_over(route);
            if pace == Pace::Given {
                burst = 0;
                // Many places may be free at once; this worker's sessions must not wait for all of them.
                yield_now().await;
                continue;
            }
            burst += 1;
            if burst == RELEASE_BURST {
                burst = 0;
                sleep(RELEASE_PAUSE).await;
            }
        }
    }

    /// A place for the next client, at the first backend that has one; `None` when the pool has ended.
    async fn place(&self, gate: &mut HoldGate) -> Option<(TakenRoute, Pace)> {
        loop {
            gate.opens().await?;
            let routes = gate.routes(Instant::now());
            let mut places: Vec<Placing<'_>> = Vec::new();
            places.extend(routes.iter().map(|route| Box::pin(self.place_at(route)) as _));
            let first = poll_fn(|cx| {
                let ready = places.iter_mut().find_map(|place| match place.as_mut().poll(cx) {
                    Poll::Ready(place) => Some(place),
                    Poll::Pending => None,
                });
                ready.map_or(Poll::Pending, Poll::Ready)
            });
            tokio::select! {
                biased;
                place = first => return Some(place),
                changed = gate.changed() => changed?,
            }
        }
    }

    async fn place_at(&self, route: &Arc<Route>) -> (TakenRoute, Pace) {
        let turn = route.places.turn().await;
        let mut pace = if route.places.is_ramping() { Pace::Given } else { Pace::Free };
        loop {
            match TakenRoute::take(Arc::clone(route), Instant::now(), &self.held) {
                Ok(taken) => return (taken, pace),
                Err(Busy::Full) => turn.freed().await,
                Err(Busy::Ramp(at)) => {
                    *self.ramped_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
                    sleep_until(at).await;
                }
            }
            pace = Pace::Given;
        }
    }

    /// To the first that is still there.
    fn hand_over(&self, mut route: TakenRoute) {
        let mut queue = self.lock();
        while let Some((_, first)) = queue.waiting.pop_first() {
            self.waiting.store(queue.waiting.len(), Ordering::Relaxed);
            match first.send(route) {
                Ok(()) => return,
                Err(back) => route = back,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a ramp or the end of another session said when a client goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Given,
    Free,
}

type Placing<'a> = Pin<Box<dyn Future<Output = (TakenRoute, Pace)> + 'a>>;

type Enqueued<'a> = (Waiter<'a>, Option<Turn>, oneshot::Receiver<TakenRoute>);

/// Resolves when the deadline is over, which may be put off meanwhile.
async fn passed(deadline: impl Fn() -> Instant) {
    loop {
        let at = deadline();
        sleep_until(at).await;
        if deadline() <= at {
            return;
        }
    }
}

/// Resolves when `passes` gives a route to a client that has sent something; `None` when the client closed or reset its connection.
/// A client that only finished sending counts as gone: while it waits, the two look the same. What it has sent stays in its socket;
/// call [`Socket::look_again`] afterwards.
async fn spoken(client: &Socket, passes: impl Fn() -> Option<TakenRoute>) -> Option<TakenRoute> {
    loop {
        client.readable().await;
        let route = passes();
        if route.is_some() || is_gone(client) {
            return route;
        }
        // Its first bytes stay in the kernel; only a new event (more bytes, FIN, RST) wakes us again.
        client.forget(Interest::Readable);
    }
}

/// A client in the queue, until this is dropped.
struct Waiter<'a> {
    hold: &'a Hold,
    number: u64,
    _permit: Option<Permit>,
    _held: LiveGuard,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut queue = self.hold.lock();
        queue.waiting.remove(&self.number);
        self.hold.waiting.store(queue.waiting.len(), Ordering::Relaxed);
    }
}
