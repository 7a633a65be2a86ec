//! Clients that wait because nobody may serve them. They are served in the order they came, at a bounded rate, so that a database
//! that has just taken over is not trampled.

use std::{
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use prometheus::IntGauge;
use tokio::{
    io::unix::AsyncFd,
    sync::{Notify, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::lane::Goal;
use crate::{
    metrics::Raised,
    net::socket::{is_gone, watch_readable},
    reason::RejectReason,
    route::RouteWatch,
};

/// Clients released at once, and the pause before the next are.
const RELEASE_BURST: usize = 32;
const RELEASE_PAUSE: Duration = Duration::from_millis(10);

/// What lets the clients of a room go.
#[derive(Debug)]
pub(super) enum Door {
    /// A route to the active backend.
    Active(RouteWatch),
    /// Somebody who may be read.
    Reader(RouteWatch, Goal),
}

impl Door {
    /// Waits until it is open; `None` when it never will be.
    async fn opens(&mut self) -> Option<()> {
        match self {
            Self::Active(routes) => routes.wait().await.map(drop),
            Self::Reader(routes, goal) => routes.wait_for(|routes| goal.gate(routes)).await,
        }
    }
}

/// A waiting room of a pool. Those who wait for the active backend and those who wait for a reader have different ones.
#[derive(Debug, Default)]
pub(super) struct Hold {
    waiting: AtomicUsize,
    /// A fair queue: whoever asked first gets the first ticket. The releaser makes tickets while the door is open.
    tickets: Tickets,
    arrived: Notify,
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
pub(super) struct Patience {
    pub(super) deadline: Instant,
    /// Clients that may wait at the same time.
    pub(super) max: usize,
}

impl Hold {
    /// Others wait already; a newcomer queues behind them.
    pub(super) fn is_occupied(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Waits for a turn. Nothing is read from the client; that it left is noticed all the same.
    ///
    /// # Errors
    /// Why the client is not served, with its socket when there is somebody to tell.
    pub(super) async fn wait(
        &self,
        client: TcpStream,
        patience: Patience,
        gauge: &IntGauge,
        retired: &CancellationToken,
    ) -> Result<TcpStream, (RejectReason, Option<TcpStream>)> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= patience.max {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err((RejectReason::HoldFull, Some(client)));
        }
        let _held = Raised::new(gauge);
        let _waiter = Waiter(&self.waiting);
        self.arrived.notify_one();
        let client = match watch_readable(client) {
            Ok(client) => client,
            Err(_no_memory_for_epoll) => return Err((RejectReason::FileDescriptors, None)),
        };
        tokio::select! {
            biased;
            ticket = self.tickets.0.acquire() => {
                if let Ok(ticket) = ticket {
                    ticket.forget();
                }
                Ok(client.into_inner())
            }
            () = gone(&client) => Err((RejectReason::ClientGone, None)),
            () = retired.cancelled() => Err((RejectReason::Shutdown, Some(client.into_inner()))),
            () = tokio::time::sleep_until(patience.deadline) => Err((RejectReason::HoldTimeout, Some(client.into_inner()))),
        }
    }

    /// Hands out tickets while the door is open; runs as long as the pool.
    pub(super) async fn release(&self, mut door: Door) {
        while door.opens().await.is_some() {
            if self.is_occupied() {
                self.tickets.0.add_permits(RELEASE_BURST.min(self.waiting.load(Ordering::Relaxed)));
                tokio::time::sleep(RELEASE_PAUSE).await;
                // Tickets nobody took (their clients left) must not let a later client pass while nobody may serve.
                self.tickets.0.forget_permits(usize::MAX >> 4);
            } else {
                self.arrived.notified().await;
            }
        }
    }
}

/// Resolves when the client closed or reset its connection. A client that only finished sending counts as gone: while it is
/// held, that cannot be told from one that gave up.
async fn gone(client: &AsyncFd<TcpStream>) {
    loop {
        let Ok(mut ready) = client.readable().await else { return };
        if is_gone(client.get_ref()) {
            return;
        }
        // Its first bytes wait in the kernel and stay there; only a new event (more bytes, FIN, RST) wakes us again.
        ready.clear_ready();
    }
}

struct Waiter<'a>(&'a AtomicUsize);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
