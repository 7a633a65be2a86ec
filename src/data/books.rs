//! What is kept of a session beside its relay: its entry among the live ones, what is counted at its start and its end, and its
//! log line.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    close,
    connection::{Admitted, Origin, Visit, Waiting, report},
    dial::Footing,
    listener::ListenerContext,
    relay::Ended,
};
use crate::{
    failover::{Passive, label::Label},
    metrics::Raised,
    net::endpoint::Peer,
    reason::CloseReason,
    route::{Listening, Route, Session, SessionEntry},
};

/// What is kept of a session beside its relay.
pub(super) struct Books {
    pub(super) route: Arc<Route>,
    pub(super) session: Arc<Session>,
    /// The session is told when its route ends.
    pub(super) listening: Listening,
    listed: SessionEntry,
    active: Raised,
    /// Of the client, should it have to wait again.
    deadline: Instant,
    attempts: u32,
}

/// What is left of a session that has ended.
pub(super) enum Last {
    /// Nothing: closing the sockets is all.
    Over,
    /// A side has not been told everything yet, or how it ended.
    Unheard(Ended),
    /// The backend dropped the connection before a byte went either way: nothing is lost by trying again.
    Untouched(Box<Waiting>),
}

impl Books {
    /// Enters a session.
    pub(super) fn open(peer: Peer, footing: Footing, visit: &Visit, deadline: Instant, attempts: u32) -> Self {
        let Footing { route, listening, since } = footing;
        let listener = &*visit.listener;
        let pool = &*listener.pool;
        let session = Arc::new(Session {
            client: peer,
            pool: Arc::clone(&pool.name),
            listener: Arc::clone(&listener.name),
            backend: Arc::clone(&route.backend),
            epoch: route.tenure.epoch().unwrap_or_default(),
            since: pool.process.clock.at(since),
            upstream_bytes: AtomicU64::new(0),
            downstream_bytes: AtomicU64::new(0),
        });
        let id = pool.process.next_id.fetch_add(1, Ordering::Relaxed);
        let listed = visit.load.worker().sessions.enter(id, Arc::clone(&session));
        let active = Raised::new(&route.metrics.connections_active);
        Self { route, session, listening, listed, active, deadline, attempts }
    }

    /// Accounts for a session that has ended.
    pub(super) fn close(self, mut ended: Ended, listener: &ListenerContext) -> Last {
        let Self { route, session, listening, listed, active, deadline, attempts } = self;
        let pool = &*listener.pool;
        let id = listed.id();
        drop((active, listed, listening));
        if ended.reason == CloseReason::Revoked && pool.process.lifeline.forced.is_cancelled() {
            ended.reason = CloseReason::Shutdown;
        }
        if matches!(ended.reason, CloseReason::ServerReset | CloseReason::ServerEof) {
            report(pool, &route, Passive::SessionLost);
        }
        if ended.reason == CloseReason::ServerReset && ended.untouched {
            close::reset(&ended.server);
            let (socket, peer) = (ended.client, session.client);
            let (origin, admitted, attempts) = (Origin::Known, Admitted::Guest, attempts + 1);
            return Last::Untouched(Box::new(Waiting { socket, peer, origin, admitted, turn: None, deadline, attempts }));
        }
        let lasted = pool.process.clock.now().since(session.since);
        if ended.is_notable() || tracing::enabled!(tracing::Level::DEBUG) {
            log(&ended, id, &session, lasted, listener, &route);
        }
        route.metrics.closed.get(ended.reason).inc();
        pool.metrics.connection_duration.observe(lasted.as_secs_f64());
        if ended.is_over() { Last::Over } else { Last::Unheard(ended) }
    }
}

#[cold]
fn log(ended: &Ended, id: u64, session: &Session, lasted: Duration, listener: &ListenerContext, route: &Route) {
    let pool = &listener.pool;
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                pool = %pool.name,
                listener = %listener.name,
                backend = %route.backend,
                epoch = route.tenure.epoch().map(|epoch| epoch.0),
                generation = route.tenure.generation().map(|generation| generation.0),
                connection = id,
                client = %session.client,
                reason = ended.reason.as_str(),
                upstream_bytes = ended.upstream_bytes,
                downstream_bytes = ended.downstream_bytes,
                duration_ms = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX),
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
