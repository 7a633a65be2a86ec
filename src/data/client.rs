//! A client without a session: from its accept until a backend serves it, and again when that dropped it before a byte.

use std::{borrow::Cow, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Instant};

use super::{
    access::ClientMeta,
    admission::Place,
    context::{ListenerContext, Load, PoolContext},
    event_loop::Socket,
    order::Turn,
};
use crate::{metrics::LiveGuard, net::endpoint::Peer, reason::RejectReason, route::WaitEnd};

/// What a client holds of the process for as long as it is here, with a session and without.
#[derive(Debug)]
pub(super) struct ConnectionGuards {
    pub(super) listener: Arc<ListenerContext>,
    /// Its place among the clients of its address.
    pub(super) place: Place,
    pub(super) meta: Option<Box<ClientMeta>>,
    pub(super) load: Load,
    /// Its place among clients that are served, or wait for that.
    pub(super) active: Option<LiveGuard>,
}

/// How long mainstay has tried to find a backend, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryBudget {
    pub(super) deadline: Instant,
    /// Backends that dropped the client before a byte went either way.
    pub(super) drops: u32,
    /// Since when no backend serves it.
    pub(super) unserved_since: Option<Instant>,
}

impl RetryBudget {
    pub(super) const fn until(deadline: Instant) -> Self {
        Self { deadline, drops: 0, unserved_since: None }
    }

    /// Notes how long the client waited because no backend served it, if it did.
    pub(super) fn waited(&self, pool: &PoolContext, end: WaitEnd) {
        let Some(since) = self.unserved_since else { return };
        let (now, clock) = (Instant::now(), pool.process.clock);
        pool.metrics.client_wait.inc_by(now.saturating_duration_since(since).as_secs_f64());
        pool.routes.clients().waited(clock.at(since), clock.at(now), end);
    }
}

/// A client on its way to its worker.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) socket: OwnedFd,
    pub(super) peer: Peer,
    pub(super) deadline: Instant,
    pub(super) guards: ConnectionGuards,
}

/// A client at its worker.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: Socket,
    /// The peer of the socket, or the client that the peer names.
    pub(super) peer: Peer,
    /// For its first connect to a backend.
    pub(super) turn: Option<Turn>,
    pub(super) budget: RetryBudget,
    pub(super) guards: ConnectionGuards,
}

impl Accepted {
    /// Registers it with the event loop of this thread; `None` when no descriptor is left for that.
    pub(super) fn arrive(self, turn: Option<Turn>) -> Option<Box<Client>> {
        let Self { socket, peer, deadline, guards } = self;
        let Ok(socket) = Socket::new(socket) else {
            guards.listener.turned_away(RejectReason::FileDescriptors, peer, "");
            return None;
        };
        Some(Box::new(Client { socket, peer, turn, budget: RetryBudget::until(deadline), guards }))
    }
}

impl Client {
    /// A client that its backend dropped before a byte went either way.
    pub(super) fn again(socket: Socket, peer: Peer, budget: RetryBudget, guards: ConnectionGuards) -> Self {
        let unserved_since = budget.unserved_since.or_else(|| Some(Instant::now()));
        let budget = RetryBudget { drops: budget.drops + 1, unserved_since, ..budget };
        Self { socket, peer, turn: None, budget, guards }
    }

    /// The end of its time, which is counted from the end of a pause or of a ramp that it waited for.
    pub(super) fn deadline(&self) -> Instant {
        let pool = self.pool();
        let held_until = self.listener().hold.ramped_until().into_iter().fold(pool.routes.held_until(), Instant::max);
        self.budget.deadline.max(held_until + pool.hold_config.timeout)
    }

    pub(super) fn listener(&self) -> &ListenerContext {
        &self.guards.listener
    }

    pub(super) fn pool(&self) -> &PoolContext {
        &self.listener().pool
    }

    /// What the PROXY header tells the backend; nothing for a client without an address.
    pub(super) fn header(&self) -> Option<Cow<'static, [u8]>> {
        let version = self.listener().header?;
        let Peer::Tcp(address) = self.peer else { return Some(version.own().into()) };
        // The address to which it connected: as the proxy in front reports it, if there is one.
        let told = self.guards.meta.as_ref().and_then(|meta| meta.server);
        // Our own address is missing only when the client is already gone.
        let server = told.or_else(|| self.socket.local_addr()).unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        Some(version.named(address, server).into())
    }
}
