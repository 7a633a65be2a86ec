//! The record of a session besides its relay: its entry in the list, its counters, and its log line.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    client::{Client, ConnectionGuards, RetryBudget},
    close,
    context::ListenerContext,
    dial::DialedRoute,
    event_loop::Socket,
    relay::Ended,
};
use crate::{
    failover::{Passive, label::Label},
    reason::CloseReason,
    route::{Listening, OpenSession, RouteId, Session, SessionEntry, WaitEnd},
    telemetry::Admitted,
};

/// The record of a session besides its relay.
pub(super) struct SessionRecord {
    pub(super) session: OpenSession,
    /// The session is woken when its route ends.
    pub(super) listening: Listening,
    listed: SessionEntry,
    /// Of the client, in case it needs another backend.
    budget: RetryBudget,
    guards: ConnectionGuards,
}

/// What is left of a session that has ended.
pub(super) enum SessionEnd {
    /// Nothing: closing the sockets was enough.
    Over,
    /// A side has not received everything yet, or not how the session ended.
    Closing(Ended, OpenSession, ConnectionGuards),
    /// The backend dropped the connection before a byte went either way: the client can try another one.
    Retryable(Box<Client>),
}

impl SessionRecord {
    /// Records a session of the client, whose socket it returns for the relay.
    pub(super) fn open(client: Client, dialed: DialedRoute) -> (Socket, Box<Self>) {
        let Client { socket, peer, budget, guards, .. } = client;
        let DialedRoute { route, listening, since } = dialed;
        let listener = &*guards.listener;
        let pool = &*listener.pool;
        let since = pool.process.clock.at(since);
        let session = route.begin(peer, Arc::clone(&listener.frontend), since);
        let id = pool.process.next_id.fetch_add(1, Ordering::Relaxed);
        let listed = guards.load.worker().sessions.enter(id, Arc::clone(&session));
        (socket, Box::new(Self { session, listening, listed, budget, guards }))
    }

    /// The backend serves the client.
    pub(super) fn served(&mut self) {
        let pool = &*self.guards.listener.pool;
        if let RouteId::Active(epoch) = self.session.route.id {
            pool.routes.clients().served(epoch, pool.process.clock);
        }
        self.budget.waited(pool, WaitEnd::Served);
        self.budget.unserved_since = None;
    }

    pub(super) fn listener(&self) -> &ListenerContext {
        &self.guards.listener
    }

    /// The client without a session: its backend has not served it.
    pub(super) fn give_back(self, socket: Socket) -> Client {
        Client::again(socket, self.session.client, self.budget, self.guards)
    }

    /// Accounts for a session that has ended.
    pub(super) fn close(self, mut ended: Ended) -> SessionEnd {
        let Self { session, listening, listed, budget, guards } = self;
        let (id, route) = (listed.id(), &session.route);
        // Its client may have left because of that.
        let is_to_end = listening.concerns_sessions();
        drop((listed, listening));
        let listener = &*guards.listener;
        let pool = &*listener.pool;
        if ended.reason == CloseReason::Revoked && pool.process.lifeline.forced.is_cancelled() {
            ended.reason = CloseReason::Shutdown;
        }
        if matches!(ended.reason, CloseReason::ServerReset | CloseReason::ServerEof) {
            pool.report(route, Passive::SessionLost);
        }
        if ended.reason == CloseReason::ServerReset && ended.untouched {
            close::reset(&ended.server);
            drop(ended.server);
            return SessionEnd::Retryable(Box::new(Client::again(ended.client, session.client, budget, guards)));
        }
        let now = pool.process.clock.now();
        let lasted = now.since(session.since);
        if let RouteId::Active(epoch) = route.id {
            let clients = pool.routes.clients();
            if is_to_end || ended.is_by_server() { clients.lost(epoch, now) } else { clients.left(epoch, now) }
        }
        if ended.is_notable() {
            // A failover ends thousands at once.
            if let Some(Admitted { suppressed }) = listener.ends.admits(ended.reason.as_str()) {
                log(&ended, id, &session, lasted, suppressed);
            }
        } else if tracing::enabled!(tracing::Level::DEBUG) {
            log(&ended, id, &session, lasted, None);
        }
        route.metrics.closed.get(ended.reason).inc();
        pool.metrics.connection_duration.observe(lasted.as_secs_f64());
        // Whoever sees that no session is left finds all of them accounted for.
        session.end();
        if !ended.is_over() {
            return SessionEnd::Closing(ended, session, guards);
        }
        // Before its place is free.
        drop(ended);
        SessionEnd::Over
    }
}

#[cold]
fn log(ended: &Ended, id: u64, session: &Session, lasted: Duration, suppressed: Option<u64>) {
    let (frontend, route) = (&session.frontend, &session.route);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                pool = %frontend.pool,
                listener = %frontend.listener,
                backend = %route.backend,
                epoch = route.id.epoch().map(|epoch| epoch.0),
                generation = route.id.generation().map(|generation| generation.0),
                connection = id,
                client = %session.client,
                reason = ended.reason.as_str(),
                upstream_bytes = ended.upstream_bytes,
                downstream_bytes = ended.downstream_bytes,
                duration_ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
                suppressed,
                "session closed"
            )
        };
    }
    if ended.is_notable() {
        line!(info);
    } else {
        line!(debug);
    }
}
