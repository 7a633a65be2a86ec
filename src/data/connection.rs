//! The life of one connection: hold if nobody may serve, dial, relay, close, one log line.

use std::{
    net::{SocketAddr, TcpStream as StdStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{net::TcpStream, time::Instant};

use super::{
    PoolContext, Refusal,
    admission::Place,
    close,
    dial::dial,
    greeting::{self, Next},
    hold::Patience,
    listener::ListenerContext,
    refuse::refuse,
    relay::{Ended, Relay},
    worker::WorkerContext,
};
use crate::{
    failover::{Passive, label::Label},
    metrics::Raised,
    net::backoff::Backoff,
    reason::{CloseReason, DialError, Direction, RejectReason},
    route::{PassiveReport, Route, Session},
};

/// Patience with a peer that does not take what it was sent: when its session was revoked, and when the other side aborted.
const REVOKED_PATIENCE: Duration = Duration::from_secs(1);
pub(super) const RESET_PATIENCE: Duration = Duration::from_secs(30);

/// A client that was accepted, on its way to a worker.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) client: StdStream,
    pub(super) peer: SocketAddr,
    pub(super) listener: Arc<ListenerContext>,
    pub(super) place: Option<Place>,
}

/// A client turned away, and why.
struct Rejected {
    reason: RejectReason,
    client: Option<TcpStream>,
    why: Arc<str>,
}

/// Serves a client to its end.
pub(super) async fn serve(accepted: Accepted, worker: Arc<WorkerContext>) {
    let Accepted { client, peer, listener, place } = accepted;
    let pool = Arc::clone(&listener.pool);
    if place.is_none() {
        let rejected = Rejected { reason: RejectReason::MaxConnections, client: register(client), why: "".into() };
        return Box::pin(turn_away(rejected, peer, &listener)).await;
    }
    let _active = Raised::new(&listener.metrics.active);
    let deadline = Instant::now() + pool.hold_config.timeout;
    let mut waiting = client;
    let mut pause = retry_pause();
    loop {
        // Boxed, like what follows a session: what establishing needs is given back before the session idles for hours.
        let (client, server, route) = match Box::pin(establish(waiting, &listener, deadline)).await {
            Ok(established) => established,
            Err(rejected) => {
                Box::pin(turn_away(rejected, peer, &listener)).await;
                break;
            }
        };
        match session(client, server, &route, peer, &listener, &worker).await {
            // The backend dropped the connection before a byte went either way: nothing is lost by trying again.
            Some(again) if Instant::now() < deadline => {
                pool.metrics.dial_retries.inc();
                tokio::time::sleep(pause.next_pause()).await;
                waiting = again;
            }
            Some(client) => {
                let rejected = Rejected { reason: RejectReason::DialFailed, client: register(client), why: pool.routes.why() };
                Box::pin(turn_away(rejected, peer, &listener)).await;
                break;
            }
            None => break,
        }
    }
    drop(place);
}

/// Waits for a route if there is none, and connects to its backend; retries on the next route until `deadline`.
async fn establish(
    mut client: StdStream,
    listener: &ListenerContext,
    deadline: Instant,
) -> Result<(TcpStream, TcpStream, Arc<Route>), Rejected> {
    let pool = &listener.pool;
    let mut pause = retry_pause();
    let mut queue = pool.hold.is_occupied();
    loop {
        let route = pool.routes.take().filter(|_| !queue);
        queue = false;
        let Some(route) = route else {
            let started = Instant::now();
            let patience = Patience { deadline, max: pool.hold_config.max };
            let held = pool.hold.wait(client, patience, &pool.metrics.held, &pool.retired).await;
            pool.metrics.hold_duration.observe(started.elapsed().as_secs_f64());
            client =
                held.map_err(|(reason, client)| Rejected { reason, client: client.and_then(register), why: pool.routes.why() })?;
            continue;
        };
        match dial(pool, &route, &listener.legs).await {
            Ok(server) => {
                let Some(client) = register(client) else {
                    close::reset(&server);
                    return Err(Rejected { reason: RejectReason::FileDescriptors, client: None, why: "".into() });
                };
                return Ok((client, server, route));
            }
            Err(_) if Instant::now() >= deadline => {
                return Err(Rejected { reason: RejectReason::DialFailed, client: register(client), why: pool.routes.why() });
            }
            Err(error) => {
                pool.metrics.dial_retries.inc();
                if error != DialError::Stale {
                    tokio::time::sleep(pause.next_pause()).await;
                }
            }
        }
    }
}

const fn retry_pause() -> Backoff {
    Backoff::new(Duration::from_millis(2), Duration::from_millis(100))
}

/// Relays until the end. Gives the client back when the backend dropped the connection before a byte went either way.
async fn session(
    client: TcpStream,
    mut server: TcpStream,
    route: &Route,
    peer: SocketAddr,
    listener: &ListenerContext,
    worker: &WorkerContext,
) -> Option<StdStream> {
    let pool = &listener.pool;
    let backend = &*route.metrics;
    let session = Arc::new(Session {
        client: peer,
        pool: Arc::clone(&pool.name),
        listener: Arc::clone(&listener.name),
        backend: Arc::clone(&route.backend),
        epoch: route.epoch,
        since: pool.process.clock.now(),
        upstream_bytes: AtomicU64::new(0),
        downstream_bytes: AtomicU64::new(0),
    });
    let id = pool.process.next_id.fetch_add(1, Ordering::Relaxed);
    let listed = worker.sessions.enter(id, Arc::clone(&session));
    let active = Raised::new(&backend.connections_active);
    let mut passed = (0, 0);
    if pool.refusal == Refusal::Postgres {
        let greeting = Box::pin(greeting::postgres(&client, &mut server, &route.revocation)).await;
        passed = (greeting.upstream, greeting.downstream);
        session.upstream_bytes.store(greeting.upstream, Ordering::Relaxed);
        session.downstream_bytes.store(greeting.downstream, Ordering::Relaxed);
        backend.relay_bytes.get(Direction::Upstream).inc_by(greeting.upstream);
        backend.relay_bytes.get(Direction::Downstream).inc_by(greeting.downstream);
        if greeting.next == Next::Again {
            if !route.revocation.is_revoked() {
                report(pool, route, Passive::SessionLost);
            }
            close::reset(&server);
            return client.into_std().ok();
        }
    }
    let mut relay = Relay::new(client, server, passed, &listener.relay, &session, backend);
    let reason = relay.run(&route.revocation).await;
    let mut ended = relay.end(reason);
    drop((active, listed));

    if ended.reason == CloseReason::Revoked && pool.process.lifeline.forced.is_cancelled() {
        ended.reason = CloseReason::Shutdown;
    }
    if matches!(ended.reason, CloseReason::ServerReset | CloseReason::ServerEof) {
        report(pool, route, Passive::SessionLost);
    }
    if ended.reason == CloseReason::ServerReset && ended.untouched {
        close::reset(&ended.server);
        return ended.client.into_std().ok();
    }
    log(&ended, id, &session, listener, route);
    backend.closed.get(ended.reason).inc();
    pool.metrics.connection_duration.observe(pool.process.clock.now().since(session.since).as_secs_f64());
    drop(session);
    Box::pin(close_both(ended)).await;
    None
}

async fn close_both(ended: Ended) {
    let patience = match ended.reason {
        CloseReason::Revoked | CloseReason::Shutdown => REVOKED_PATIENCE,
        _ => RESET_PATIENCE,
    };
    if !ended.server_finished {
        // What a dead or demoted backend has not taken yet must not reach it.
        if matches!(ended.reason, CloseReason::ClientReset) {
            close::abort(ended.server, REVOKED_PATIENCE).await;
        } else {
            close::reset(&ended.server);
            drop(ended.server);
        }
    }
    match (ended.client_finished, ended.reason) {
        (_, CloseReason::ClientReset) => close::reset(&ended.client),
        (true, CloseReason::ClientEof | CloseReason::ServerEof) if ended.server_finished => {}
        (true, _) => close::finish(ended.client, patience).await,
        (false, _) => close::abort(ended.client, patience).await,
    }
}

fn log(ended: &Ended, id: u64, session: &Session, listener: &ListenerContext, route: &Route) {
    let pool = &listener.pool;
    let millis = pool.process.clock.now().since(session.since).as_millis();
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                pool = %pool.name,
                listener = %listener.name,
                backend = %route.backend,
                epoch = route.epoch.0,
                connection = id,
                client = %session.client,
                reason = ended.reason.as_str(),
                upstream_bytes = ended.upstream_bytes,
                downstream_bytes = ended.downstream_bytes,
                duration_ms = u64::try_from(millis).unwrap_or(u64::MAX),
                "session closed"
            )
        };
    }
    match ended.reason {
        CloseReason::ClientEof | CloseReason::ServerEof | CloseReason::ClientReset => line!(debug),
        _ => line!(info),
    }
}

async fn turn_away(rejected: Rejected, peer: SocketAddr, listener: &ListenerContext) {
    let Rejected { reason, client, why } = rejected;
    listener.metrics.rejected.get(reason).inc();
    tracing::info!(pool = %listener.pool.name, listener = %listener.name, client = %peer, reason = reason.as_str(), %why, "client turned away");
    if let Some(client) = client {
        refuse(client, listener.pool.refusal, reason, &why).await;
    }
}

pub(super) fn report(pool: &PoolContext, route: &Route, what: Passive) {
    if !pool.reporter.send(PassiveReport { epoch: route.epoch, what }) {
        pool.process.process_metrics().reports_dropped.inc();
    }
}

/// Hands a socket to this worker's runtime. `None` when the kernel cannot watch another one; the socket is closed then.
fn register(client: StdStream) -> Option<TcpStream> {
    TcpStream::from_std(client).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the future that a function would give, without calling it.
    fn future_size<A, B, F>(_: fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_session_is_a_small_task() {
        let size = future_size(serve);
        assert!(size <= 1024, "the task of a session takes {size} bytes");
    }
}
