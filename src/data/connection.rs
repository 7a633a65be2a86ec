//! The life of one connection: hold if nobody may serve, dial, relay, close, one log line.

use std::{
    borrow::Cow,
    future::poll_fn,
    net::SocketAddr,
    os::fd::OwnedFd,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{
    PoolContext,
    admission::Place,
    books::{Books, Last},
    close,
    dial::{Footing, dial},
    doors::Papers,
    event_loop::{Socket, sleep, timeout},
    greeting::{self, Next},
    hold::{Hold, Patience},
    listener::ListenerContext,
    order::Turn,
    proxied,
    refuse::refuse,
    relay::{Ended, Relay},
    worker::Load,
};
use crate::{
    config::Refusal,
    failover::Passive,
    metrics::Raised,
    net::{backoff::Backoff, endpoint::Peer, proxy_protocol::Version},
    reason::{CloseReason, DialError, Direction, RejectReason},
    route::{PassiveReport, Route},
};

/// Patience with a peer that does not take what it was sent: when its session was revoked, and when the other side aborted.
const REVOKED_PATIENCE: Duration = Duration::from_secs(1);
pub(super) const RESET_PATIENCE: Duration = Duration::from_secs(30);

/// A client that was accepted, on its way to its worker.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) socket: OwnedFd,
    pub(super) peer: Peer,
    pub(super) origin: Origin,
    pub(super) admitted: Admitted,
    pub(super) deadline: Instant,
    pub(super) visit: Visit,
}

/// A client that has no session.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) socket: Socket,
    /// The client: whoever is at the other end of the socket, or for whom that speaks.
    pub(super) peer: Peer,
    pub(super) origin: Origin,
    pub(super) admitted: Admitted,
    /// To connect to a backend for the first time.
    pub(super) turn: Option<Turn>,
    /// Until then it is tried to find a backend for it.
    pub(super) deadline: Instant,
    /// Sessions that ended before a byte went either way.
    pub(super) attempts: u32,
}

/// What a client's connection has of the process, with a session and without.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) listener: Arc<ListenerContext>,
    /// Among those of its kind, for as long as it is here.
    pub(super) place: Place,
    /// What is kept of it besides, if anything is.
    pub(super) papers: Option<Box<Papers>>,
    pub(super) load: Load,
}

/// Whether a client gets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// It is served.
    Guest,
    /// It is one too many, and is told so.
    TooMany(RejectReason),
}

/// Whether it is known who a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is.
    Known,
    /// A proxy in front has still to name it.
    Untold,
}

/// A client turned away, and why.
pub(super) struct Rejected {
    pub(super) reason: RejectReason,
    pub(super) client: Option<Socket>,
    pub(super) why: Arc<str>,
}

/// A session that may begin to relay.
struct Begun {
    client: Socket,
    server: Socket,
    /// Bytes that went past already, upstream and downstream.
    passed: (u64, u64),
    books: Box<Books>,
}

/// Serves a client to its end.
///
/// What is needed before and after the relay is boxed, and given back before the session idles for hours: only the relay itself
/// and its guards stay. (No `async fn`, which would keep a second copy of its arguments.)
pub(super) fn serve(accepted: Accepted, turn: Option<Turn>, counted: TaskTrackerToken) -> impl Future<Output = ()> {
    let Accepted { socket, peer, origin, admitted, deadline, mut visit } = accepted;
    let client =
        Socket::new(socket).ok().map(|socket| Box::new(Waiting { socket, peer, origin, admitted, turn, deadline, attempts: 0 }));
    if client.is_none() {
        visit.listener.turned_away(RejectReason::FileDescriptors, peer, "");
    }
    async move {
        let _counted = counted;
        let Some(mut client) = client else { return };
        let _active = (client.admitted == Admitted::Guest).then(|| Raised::new(&visit.listener.metrics.active));
        if client.origin == Origin::Untold {
            let Some(told) = Box::pin(proxied::introduce(client, &mut visit)).await else { return };
            client = told;
        }
        loop {
            // A client without a session has been told why.
            let Some(Begun { client: near, server, passed, books }) = Box::pin(begin(client, &visit)).await else { return };
            let mut relay = Relay::new(near, server, passed, &visit.listener.relay, &books.session, &books.route.metrics);
            let reason = relay.run(&books.listening).await;
            let ended = relay.end(reason);
            match books.close(ended, &visit.listener) {
                Last::Over => return,
                Last::Unheard(ended) => return Box::pin(close_both(ended)).await,
                Last::Untouched(again) => client = again,
            }
        }
    }
}

/// Finds a backend for a client, or turns it away when none serves it before its deadline.
async fn begin(mut client: Box<Waiting>, visit: &Visit) -> Option<Begun> {
    let peer = client.peer;
    let mut turn = client.turn.take();
    if let Some(turn) = turn.as_ref().filter(|turn| !turn.has_come()) {
        Box::pin(turn.comes()).await;
    }
    let mut found = pin!(find(*client, visit));
    let found = poll_fn(|cx| {
        let polled = found.as_mut().poll(cx);
        // Over with the first poll: that has begun to connect, or has found something to wait for.
        drop(turn.take());
        polled
    });
    match found.await {
        Ok(begun) => Some(begun),
        Err(rejected) => {
            // Boxed, as all that is rare: whoever is served must not carry it around.
            Box::pin(turn_away(rejected, peer, &visit.listener)).await;
            None
        }
    }
}

/// A session for a client, or why it gets none.
async fn find(client: Waiting, visit: &Visit) -> Result<Begun, Rejected> {
    let Waiting { socket: mut client, peer, admitted, deadline, attempts, .. } = client;
    let listener = &*visit.listener;
    let pool = &*listener.pool;
    if let Admitted::TooMany(reason) = admitted {
        return Err(Rejected { reason, client: Some(client), why: "".into() });
    }
    let header = listener.header.map(|version| header(version, peer, &client, visit));
    let mut pause = retry_pause();
    for _ in 1..attempts {
        pause.next_pause();
    }
    let mut drops = attempts;
    loop {
        if drops > 0 {
            if Instant::now() >= deadline {
                return Err(Rejected { reason: RejectReason::DialFailed, client: Some(client), why: listener.why() });
            }
            pool.metrics.dial_retries.inc();
            sleep(pause.next_pause()).await;
        }
        let (near, mut server, footing) = match &listener.lane {
            None => establish(client, peer, header.as_deref(), listener, deadline).await?,
            Some(lane) => Box::pin(lane.establish(client, peer, header.as_deref(), listener, deadline, drops)).await?,
        };
        let books = Box::new(Books::open(peer, footing, visit, deadline, attempts));
        match introduce(near, &mut server, &books, listener, header.as_deref()).await {
            Ok((client, passed)) => return Ok(Begun { client, server, passed, books }),
            Err(Unserved::Again(near)) => client = near,
            Err(Unserved::TooLate(near)) => {
                let why = format!("no first packet was exchanged with {} within client_login_timeout", books.route.backend);
                return Err(Rejected { reason: RejectReason::LoginTimeout, client: Some(near), why: why.into() });
            }
        }
        drops += 1;
    }
}

/// What the backend is told of a client. Of one that has no address there is nothing to tell.
fn header(version: Version, peer: Peer, client: &Socket, visit: &Visit) -> Cow<'static, [u8]> {
    let Peer::Tcp(address) = peer else { return version.own().into() };
    // Where it connected to: the proxy in front of us, if that has said so.
    let told = visit.papers.as_ref().and_then(|papers| papers.server);
    // Our own address is missing only when the client is gone already.
    let server = told.or_else(|| client.local_addr()).unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
    version.named(address, server).into()
}

/// Waits for a route if there is none, and connects to its backend; retries on the next route until `deadline`.
async fn establish(
    mut client: Socket,
    peer: Peer,
    header: Option<&[u8]>,
    listener: &ListenerContext,
    deadline: Instant,
) -> Result<(Socket, Socket, Footing), Rejected> {
    let pool = &listener.pool;
    let mut pause = retry_pause();
    let mut queue = pool.hold.is_occupied();
    loop {
        let now = Instant::now();
        let route = pool.routes.take_at(now).filter(|_| !queue);
        queue = false;
        let Some(route) = route else {
            client = wait_in(&pool.hold, client, peer, listener, deadline).await?;
            continue;
        };
        match dial(pool, route, now, &listener.server_leg, header).await {
            Ok((server, footing)) => return Ok((client, server, footing)),
            Err(_) if Instant::now() >= deadline => {
                return Err(Rejected { reason: RejectReason::DialFailed, client: Some(client), why: pool.routes.why() });
            }
            Err(error) => {
                pool.metrics.dial_retries.inc();
                if error != DialError::Stale {
                    sleep(pause.next_pause()).await;
                }
            }
        }
    }
}

/// Waits in `room` for a turn.
pub(super) async fn wait_in(
    room: &Hold,
    client: Socket,
    peer: Peer,
    listener: &ListenerContext,
    deadline: Instant,
) -> Result<Socket, Rejected> {
    let pool = &listener.pool;
    let started = Instant::now();
    // One that is turned away at once has waited as well: it may come again.
    let _wait = pool.routes.wait();
    let per_ip = peer.ip().map(|ip| (ip, pool.hold_config.max_per_ip));
    let patience = Patience { deadline, max: pool.hold_config.max, per_ip };
    let held = Box::pin(room.wait(client, patience, &pool.metrics.held, &pool.retired)).await;
    pool.metrics.hold_duration.observe(started.elapsed().as_secs_f64());
    held.map_err(|(reason, client)| Rejected { reason, client, why: listener.why() })
}

pub(super) const fn retry_pause() -> Backoff {
    Backoff::new(Duration::from_millis(2), Duration::from_millis(100))
}

/// A client that its backend has not served. It has lost nothing.
enum Unserved {
    /// The backend does not serve.
    Again(Socket),
    /// One of the two was silent for too long.
    TooLate(Socket),
}

/// Sees whether the backend serves the client. Gives the client back with the bytes that went past, upstream and downstream.
async fn introduce(
    client: Socket,
    server: &mut Socket,
    books: &Books,
    listener: &ListenerContext,
    header: Option<&[u8]>,
) -> Result<(Socket, (u64, u64)), Unserved> {
    let pool = &*listener.pool;
    let Books { route, session, .. } = books;
    if !greeting::is_exchanged(pool.protocol) {
        return Ok((client, (0, 0)));
    }
    let exchange = Box::pin(greeting::exchange(pool.protocol, &client, server, &books.listening));
    let greeting = match listener.login_timeout {
        Some(limit) => timeout(limit, exchange).await,
        None => Ok(exchange.await),
    };
    let Ok(greeting) = greeting else {
        client.look_again();
        return Err(Unserved::TooLate(client));
    };
    session.upstream_bytes.store(greeting.upstream, Ordering::Relaxed);
    session.downstream_bytes.store(greeting.downstream, Ordering::Relaxed);
    route.metrics.relay_bytes.get(Direction::Upstream).inc_by(greeting.upstream);
    route.metrics.relay_bytes.get(Direction::Downstream).inc_by(greeting.downstream);
    if greeting.next != Next::Again {
        if let (Next::Cancel(request), Some(lane)) = (&greeting.next, &listener.lane) {
            Box::pin(lane.cancel(request, route, listener, header)).await;
        }
        return Ok((client, (greeting.upstream, greeting.downstream)));
    }
    if !route.revocation.is_revoked() {
        report(pool, route, Passive::SessionLost);
    }
    close::reset(server);
    // What was shown to the backend is still there.
    client.look_again();
    Err(Unserved::Again(client))
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
        (true, _) => close::finish(ended.client, patience).await,
        (false, _) => close::abort(ended.client, patience).await,
    }
}

async fn turn_away(rejected: Rejected, peer: Peer, listener: &ListenerContext) {
    let Rejected { reason, client, why } = rejected;
    listener.turned_away(reason, peer, &why);
    if let Some(client) = client {
        let why = if listener.refusal == Refusal::Detailed { &*why } else { "" };
        refuse(client, listener.pool.protocol, reason, why).await;
    }
}

pub(super) fn report(pool: &PoolContext, route: &Route, what: Passive) {
    if !pool.reporter.send(PassiveReport { tenure: route.tenure, what }) {
        pool.process.process_metrics().reports_dropped.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the future that a function would give, without calling it.
    fn future_size<A, B, C, F>(_: fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_session_is_a_small_task() {
        let size = future_size(serve);
        assert!(size <= 384, "the task of a session takes {size} bytes");
    }
}
