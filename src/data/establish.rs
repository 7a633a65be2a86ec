//! Finds a backend for a client: chooses one, waits while there is none, dials, runs the greeting, and tries the next until the
//! client's deadline. One loop for the primary and for readers.

use std::{
    future::{Future, poll_fn},
    mem::take,
    pin::pin,
    sync::atomic::Ordering,
    task::Poll,
    time::{Duration, Instant},
};

use super::{
    cancel,
    client::Client,
    close,
    dial::{DialedRoute, dial},
    event_loop::{Socket, sleep, timeout},
    greeting::{self, Next},
    hold::{Number, Patience},
    order::{Turn, in_turn},
    refusal::Refused,
    session::SessionRecord,
};
use crate::{
    failover::Passive,
    net::backoff::Backoff,
    reason::{DialError, Direction, RejectReason},
    route::{RouteId, TakenRoute},
    wire::Protocol,
};

/// A client and its backend, ready to relay.
pub(super) struct Ready {
    pub(super) client: Socket,
    pub(super) server: Socket,
    /// Bytes already passed on, upstream and downstream.
    pub(super) passed: (u64, u64),
    pub(super) session: Box<SessionRecord>,
}

/// Finds a backend that serves the client.
///
/// # Errors
/// The client, and why it gets none.
pub(super) async fn establish(mut client: Client) -> Result<Ready, Refused> {
    let header = client.header();
    let header = header.as_deref();
    let mut pause = retry_pause();
    for _ in 1..client.budget.drops {
        pause.next_pause();
    }
    loop {
        if client.budget.drops > 0 {
            if Instant::now() >= client.deadline() {
                return Err(Refused::for_want_of_a_backend(client, RejectReason::DialFailed));
            }
            client.pool().metrics.dial_retries.inc();
            sleep(pause.next_pause()).await;
        }
        let mut unserved_since = client.budget.unserved_since;
        let connected = connect(&client, header, &mut unserved_since).await;
        client.budget.unserved_since = unserved_since;
        let (mut server, route) = match connected {
            Ok(connected) => connected,
            Err(reason) => return Err(Refused::for_want_of_a_backend(client, reason)),
        };
        let (near, mut session) = SessionRecord::open(client, route);
        match greet(&near, &mut server, &session, header).await {
            Greeted::Served(upstream, downstream) => {
                session.served();
                return Ok(Ready { client: near, server, passed: (upstream, downstream), session });
            }
            Greeted::Dropped => {
                // Before its place is free.
                drop(server);
                client = session.give_back(near);
            }
            Greeted::Late => {
                // Not by its close alone: a child process may have a copy.
                let _ = server.finish();
                drop(server);
                let why =
                    format!("no first packet was exchanged with {} within client_login_timeout", session.session.route.backend);
                return Err(Refused { client: session.give_back(near), reason: RejectReason::LoginTimeout, why: why.into() });
            }
        }
    }
}

/// Connects to a backend that the client may use. `unserved_since`: when it was first seen that none serves it.
///
/// # Errors
/// Why there is none before the client's deadline.
async fn connect(
    client: &Client,
    header: Option<&[u8]>,
    unserved_since: &mut Option<Instant>,
) -> Result<(Socket, DialedRoute), RejectReason> {
    let (listener, pool, budget) = (client.listener(), client.pool(), client.budget);
    let mut pause = retry_pause();
    // Readers that did not answer.
    let mut failed = Vec::new();
    // Behind clients that already wait.
    let mut queue = listener.hold.is_occupied();
    // Nobody waits for a canary, so its own clients need not either.
    let mut canary = (budget.drops == 0).then(|| listener.canary(client.peer, Instant::now())).flatten();
    let (mut number, mut turn, mut handed) = (Number::default(), None, None);
    loop {
        let now = Instant::now();
        let chosen = match (canary.take(), handed.take()) {
            (Some(route), _) => Some(route),
            _ if take(&mut queue) => None,
            (_, Some(route)) if listener.is_for_any(budget.drops) => Some(route),
            (_, handed) => listener.choose(&failed, budget.drops, client.peer, now).or(handed),
        };
        let Some(route) = chosen else {
            // It waits: others may pass.
            drop(turn.take());
            if failed.is_empty() {
                if !listener.is_full() {
                    unserved_since.get_or_insert(now);
                }
                let (its_turn, place) = wait(client, &mut number).await?;
                (turn, handed) = (its_turn, Some(place));
            } else {
                failed.clear();
                sleep(pause.next_pause()).await;
            }
            continue;
        };
        let id = route.id;
        match in_turn(turn.take(), pin!(dial(pool, route, now, &listener.server_leg, header))).await {
            Ok(connected) => return Ok(connected),
            Err(error) => {
                unserved_since.get_or_insert(now);
                if Instant::now() >= client.deadline() {
                    return Err(RejectReason::DialFailed);
                }
                pool.metrics.dial_retries.inc();
                match id {
                    // If it was chosen again, it is not among the failed, or may be tried again.
                    _ if error == DialError::Stale => {}
                    // A canary, which is chosen once only; others still wait.
                    _ if queue => {}
                    RouteId::Reader(_) => failed.push(id),
                    // The primary, or the fallback of a client that wanted a reader.
                    RouteId::Active(_) => {
                        failed.clear();
                        sleep(pause.next_pause()).await;
                    }
                }
            }
        }
    }
}

/// Waits in the hold for its turn and a place. A request to cancel a query needs none: what it is to end may be what it waits for.
async fn wait(client: &Client, number: &mut Number) -> Result<(Option<Turn>, TakenRoute), RejectReason> {
    let (listener, pool) = (client.listener(), client.pool());
    let started = Instant::now();
    // A client that is rejected at once counts as waiting, too: it may come again.
    let _wait = pool.routes.wait();
    let per_ip = client.peer.ip().map(|ip| (ip, pool.hold_config.max_per_ip));
    let patience = Patience { deadline: || client.deadline(), max: pool.hold_config.max, per_ip };
    let is_full = listener.is_full();
    let _queued = is_full.then(|| pool.metrics.queued.guard());
    let may_cancel = pool.protocol == Protocol::Postgres;
    let uncounted = || listener.offered().into_iter().next().map(TakenRoute::without_place);
    let passes = || if may_cancel && cancel::is_sent(&client.socket) == Some(true) { uncounted() } else { None };
    let held = Box::pin(listener.hold.wait((&client.socket, client.peer), number, patience, passes, &pool.retired)).await;
    pool.metrics.hold_duration.observe(started.elapsed().as_secs_f64());
    match held {
        Err(RejectReason::HoldFull | RejectReason::HoldFullPerIp)
            if is_full && may_cancel && cancel::is_to_come(&client.socket).await =>
        {
            uncounted().map(|route| (None, route)).ok_or(RejectReason::HoldFull)
        }
        Err(RejectReason::HoldFull) if is_full => Err(RejectReason::QueueFull),
        Err(RejectReason::HoldTimeout) if listener.is_full() => Err(RejectReason::QueueTimeout),
        held => held,
    }
}

const fn retry_pause() -> Backoff {
    Backoff::new(Duration::from_millis(2), Duration::from_millis(100))
}

enum Greeted {
    /// The backend serves the client. Bytes passed on, upstream and downstream.
    Served(u64, u64),
    /// The backend does not serve. The client has lost nothing.
    Dropped,
    /// One of the two was silent for too long.
    Late,
}

async fn greet(client: &Socket, server: &mut Socket, session: &SessionRecord, header: Option<&[u8]>) -> Greeted {
    let listener = session.listener();
    let pool = &*listener.pool;
    if !pool.protocol.is_greeted() {
        return Greeted::Served(0, 0);
    }
    let mut exchange = Box::pin(greeting::exchange(pool.protocol, client, server, &session.listening));
    let exchange =
        poll_fn(move |cx| if session.session.is_killed() { Poll::Ready(None) } else { exchange.as_mut().poll(cx).map(Some) });
    let greeting = match listener.login_timeout {
        Some(limit) => timeout(limit, exchange).await,
        None => Ok(exchange.await),
    };
    let greeting = match greeting {
        Ok(Some(greeting)) => greeting,
        // The relay ends it before it moves a byte.
        Ok(None) => return Greeted::Served(0, 0),
        Err(_) => {
            client.look_again();
            return Greeted::Late;
        }
    };
    let (route, live) = (&session.session.route, &session.session);
    live.upstream_bytes.store(greeting.upstream, Ordering::Relaxed);
    live.downstream_bytes.store(greeting.downstream, Ordering::Relaxed);
    route.metrics.relay_bytes.get(Direction::Upstream).inc_by(greeting.upstream);
    route.metrics.relay_bytes.get(Direction::Downstream).inc_by(greeting.downstream);
    match greeting.next {
        Next::Relay => {}
        Next::Cancel(request) => {
            live.give_place_back();
            Box::pin(cancel::tell_others(&request, route, listener, header)).await;
        }
        Next::Again => {
            if !route.revocation.is_revoked() {
                pool.report(route, Passive::SessionLost);
            }
            close::reset(server);
            // What was shown to the backend is still in the client's socket.
            client.look_again();
            return Greeted::Dropped;
        }
    }
    Greeted::Served(greeting.upstream, greeting.downstream)
}
