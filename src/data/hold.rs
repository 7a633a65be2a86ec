//! Clients that wait because no backend may serve. They are released in the order they came, at a bounded rate, so that a database
//! that has just taken over is not overloaded.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    event_loop::{Interest, Socket, sleep, sleep_until},
    order::{Order, Turn},
    per_ip::PerIpLimiter,
    target::HoldGate,
};
use crate::{metrics::LiveCount, net::endpoint::Peer, net::socket::is_gone, reason::RejectReason};

/// Clients released at once, and the pause before the next.
const RELEASE_BURST: usize = 32;
const RELEASE_PAUSE: Duration = Duration::from_millis(10);

/// A hold queue of a pool. Clients that wait for the active backend and clients that wait for a reader have different ones.
#[derive(Debug, Default)]
pub(super) struct Hold {
    waiting: AtomicUsize,
    per_ip: Arc<PerIpLimiter>,
    /// A fair queue of tickets. The releaser makes tickets while the gate is open.
    tickets: Tickets,
    arrived: Notify,
    /// Each worker dials for its own clients; this keeps the order of one address among those released at the same time.
    order: Order,
}

/// None at first.
#[derive(Debug)]
struct Tickets(Semaphore);

impl Default for Tickets {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

/// For how long, and among how many, a client may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience<D> {
    /// Gives the end of its time, which a pause puts off.
    pub(super) deadline: D,
    /// Clients that may wait at the same time.
    pub(super) max: usize,
    /// The client's address, if any, and how many clients of it may wait once half of the places are taken.
    pub(super) per_ip: Option<(IpAddr, usize)>,
}

impl Hold {
    /// For the clients of so many workers.
    pub(super) fn among(workers: usize) -> Self {
        Self { order: Order::among(workers), ..Self::default() }
    }

    /// Others wait already; a new client queues behind them.
    pub(super) fn is_occupied(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Waits for its turn. Nothing is read from the client, but its disconnect is noticed.
    ///
    /// # Errors
    /// Why the client is not served.
    pub(super) async fn wait(
        &self,
        (client, peer): (&Socket, Peer),
        patience: Patience<impl Fn() -> Instant>,
        held: &LiveCount,
        retired: &CancellationToken,
    ) -> Result<Option<Turn>, RejectReason> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        if before >= patience.max {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(RejectReason::HoldFull);
        }
        let _waiter = Waiter(&self.waiting);
        let is_scarce = before >= patience.max / 2;
        let permit = patience.per_ip.map(|(ip, share)| self.per_ip.permit(ip, if is_scarce { share } else { patience.max }));
        if matches!(permit, Some(None)) {
            return Err(RejectReason::HoldFullPerIp);
        }
        let _held = held.guard();
        self.arrived.notify_one();
        let turn = self.order.draw(peer);
        let waited = tokio::select! {
            biased;
            ticket = self.tickets.0.acquire() => {
                if let Ok(ticket) = ticket {
                    ticket.forget();
                }
                Ok(())
            }
            () = gone(client) => return Err(RejectReason::ClientGone),
            () = retired.cancelled() => Err(RejectReason::Shutdown),
            () = passed(patience.deadline) => Err(RejectReason::HoldTimeout),
        };
        // What it has sent meanwhile is still in its socket.
        client.look_again();
        if let (Ok(()), Some(turn)) = (&waited, turn.as_ref().filter(|turn| !turn.has_come())) {
            turn.comes().await;
        }
        waited.map(|()| turn)
    }

    /// Hands out tickets while the gate is open; runs as long as the pool.
    pub(super) async fn release(&self, mut gate: HoldGate) {
        while gate.opens().await.is_some() {
            if self.is_occupied() {
                self.tickets.0.add_permits(RELEASE_BURST.min(self.waiting.load(Ordering::Relaxed)));
                sleep(RELEASE_PAUSE).await;
                // Unused tickets (their clients left) must not let a later client pass while no backend may serve.
                self.tickets.0.forget_permits(usize::MAX >> 4);
            } else {
                self.arrived.notified().await;
            }
        }
    }
}

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

/// Resolves when the client closed or reset its connection. A client that only finished sending counts as gone: while it waits, the
/// two look the same. What it has sent stays in its socket; call [`Socket::look_again`] afterwards.
pub(super) async fn gone(client: &Socket) {
    loop {
        client.readable().await;
        if is_gone(client) {
            return;
        }
        // Its first bytes stay in the kernel; only a new event (more bytes, FIN, RST) wakes us again.
        client.forget(Interest::Readable);
    }
}

struct Waiter<'a>(&'a AtomicUsize);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
