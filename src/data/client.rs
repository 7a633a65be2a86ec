//! A client without a session: from its accept until a backend serves it, and again when that dropped it before a byte.

use std::{borrow::Cow, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Instant};

use super::{
    access::ClientMeta,
    admission::Place,
    context::{ListenerContext, Load, PoolContext},
    event_loop::Socket,
    order::Turn,
};
use crate::{metrics::LiveGuard, net::endpoint::Peer, reason::RejectReason};

/// What a client has of the process for as long as it is here, with a session and without.
#[derive(Debug)]
pub(super) struct ConnectionGuards {
    pub(super) listener: Arc<ListenerContext>,
    /// Among those of its kind.
    pub(super) place: Place,
    pub(super) meta: Option<Box<ClientMeta>>,
    pub(super) load: Load,
    /// It is served, or waits for it.
    pub(super) active: Option<LiveGuard>,
}

/// How long, and how often so far, it was tried to find a backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryBudget {
    pub(super) deadline: Instant,
    /// Backends that dropped the client before a byte went either way.
    pub(super) drops: u32,
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
    /// Whoever is at the other end of the socket, or for whom that speaks.
    pub(super) peer: Peer,
    /// To connect to a backend for the first time.
    pub(super) turn: Option<Turn>,
    pub(super) budget: RetryBudget,
    pub(super) guards: ConnectionGuards,
}

impl Accepted {
    /// Has the event loop of this thread watch it; `None` when there is no descriptor left for that.
    pub(super) fn arrive(self, turn: Option<Turn>) -> Option<Box<Client>> {
        let Self { socket, peer, deadline, guards } = self;
        let Ok(socket) = Socket::new(socket) else {
            guards.listener.turned_away(RejectReason::FileDescriptors, peer, "");
            return None;
        };
        Some(Box::new(Client { socket, peer, turn, budget: RetryBudget { deadline, drops: 0 }, guards }))
    }
}

impl Client {
    /// One that its backend dropped before a byte went either way.
    pub(super) fn again(socket: Socket, peer: Peer, budget: RetryBudget, guards: ConnectionGuards) -> Self {
        let budget = RetryBudget { drops: budget.drops + 1, ..budget };
        Self { socket, peer, turn: None, budget, guards }
    }

    pub(super) fn listener(&self) -> &ListenerContext {
        &self.guards.listener
    }

    pub(super) fn pool(&self) -> &PoolContext {
        &self.listener().pool
    }

    /// What the backend is told of it. Of one that has no address there is nothing to tell.
    pub(super) fn header(&self) -> Option<Cow<'static, [u8]>> {
        let version = self.listener().header?;
        let Peer::Tcp(address) = self.peer else { return Some(version.own().into()) };
        // Where it connected to: the proxy in front of us, if that has said so.
        let told = self.guards.meta.as_ref().and_then(|meta| meta.server);
        // Our own address is missing only when the client is gone already.
        let server = told.or_else(|| self.socket.local_addr()).unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        Some(version.named(address, server).into())
    }
}
