//! Relays the bytes of one session in both directions until both have ended, one was aborted, or the session must end.
//!
//! Each direction is a small state machine ([`half::Half`]). Half-close is relayed. An abort stays an abort: the other side gets
//! everything that was read before, then RST; a truncated stream never ends in a clean FIN. Each direction decides for itself how
//! bytes are moved: copied by [`copy`], or by the kernel ([`splice`] and [`pipe`]). While the route is gated, [`gated`] decides
//! whether the client is read.

mod copy;
mod gated;
mod half;
mod pipe;
mod splice;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use half::{End, Half};
pub use pipe::{OnPipeError, supply as supply_pipes};
use socket2::SockRef;

use crate::{
    config::RelayMode,
    data::event_loop::{CoarseTimer, Interest, Sleep, Socket, sleep},
    metrics::BackendMetrics,
    net::socket::{Keepalive, has_failed, has_finished, set_keepalive, unsent_bytes},
    reason::{CloseReason, Direction},
    route::{Listening, Session},
};

/// The longest `close_notify`: header, alert vector and MAC of the longest cipher of TLS 1.2, padded to a block.
const FAREWELL_MAX: u64 = 5 + 16 + 64;

/// How a session is relayed.
#[derive(Clone, Copy, Debug)]
pub struct RelaySettings {
    /// Whether bytes are copied or spliced.
    pub mode: RelayMode,
    /// No byte in either direction; `None` never.
    pub idle: Option<Duration>,
    /// One direction finished, no byte in the other.
    pub half_close: Duration,
    /// The client aborted, and the backend reads nothing of what was read before.
    pub reset: Duration,
    /// Set on the backend's socket after the session's first second; `None` when it is already set.
    pub keepalive: Option<Keepalive>,
}

/// A session that moves bytes.
#[derive(Debug)]
pub struct Relay<'a> {
    client: Socket,
    server: Socket,
    upstream: Half,
    downstream: Half,
    /// The last byte that moved was the server's, or the client has said nothing yet.
    server_spoke_last: bool,
    /// Which side finished first, and how many bytes the backend had sent by then.
    first_end: Option<(CloseReason, u64)>,
    settings: &'a RelaySettings,
    /// Armed only when a limit applies; checks the byte counts when it fires, so that bytes cost no timer.
    silence: Option<Box<Silence>>,
    /// Armed only while the backend does not accept what the client sent: nothing is read from the client then, so its abort would
    /// not be seen.
    stall: Option<Box<Stall>>,
    /// Until the backend's socket has keepalive.
    keepalive: DeferredKeepalive,
    session: &'a Session,
    metrics: &'a BackendMetrics,
}

/// Tells when the session is a second old.
#[derive(Clone, Copy, Debug)]
enum DeferredKeepalive {
    Unset,
    Waiting(CoarseTimer),
    Set,
}

#[derive(Debug)]
struct Stall {
    timer: Sleep,
    /// What the backend had not accepted when the client's abort was first seen.
    left_then: Option<(u64, usize)>,
}

#[derive(Debug)]
struct Silence {
    timer: Sleep,
    bytes_then: u64,
    limit: Duration,
    reason: CloseReason,
}

/// How a session ended, and its sockets, which the caller closes.
#[derive(Debug)]
pub struct Ended {
    /// Why.
    pub reason: CloseReason,
    /// The client's socket.
    pub client: Socket,
    /// The backend's socket.
    pub server: Socket,
    /// No byte was taken from either side.
    pub untouched: bool,
    /// The client got everything the backend sent, and FIN; otherwise it must be aborted.
    pub client_finished: bool,
    /// The backend got everything the client sent, and FIN; otherwise it must be aborted.
    pub server_finished: bool,
    /// Where its last bytes went.
    pub last: Direction,
    /// Bytes from the client to the backend.
    pub upstream_bytes: u64,
    /// Bytes from the backend to the client.
    pub downstream_bytes: u64,
}

impl Ended {
    /// The backend ended it, or mainstay did; or the client left without a word after what the backend said, as one does that has
    /// read that its session is terminated.
    pub const fn is_by_server(&self) -> bool {
        match self.reason {
            CloseReason::ServerReset | CloseReason::ServerEof | CloseReason::Revoked | CloseReason::Killed => true,
            CloseReason::ClientEof | CloseReason::ClientReset => matches!(self.last, Direction::Downstream),
            _ => false,
        }
    }

    /// Neither side ended it in an ordinary way.
    pub const fn is_notable(&self) -> bool {
        !matches!(self.reason, CloseReason::ClientEof | CloseReason::ServerEof | CloseReason::ClientReset)
    }

    /// Both sides have sent and received everything: only the close of the sockets is left.
    pub const fn is_over(&self) -> bool {
        self.client_finished && self.server_finished && matches!(self.reason, CloseReason::ClientEof | CloseReason::ServerEof)
    }
}

impl<'a> Relay<'a> {
    /// Prepares to relay between `client` and `server`. `passed` counts the bytes relayed already, upstream and downstream. Owns no
    /// buffer until a side does not accept what the other sent.
    pub const fn new(
        client: Socket,
        server: Socket,
        passed: (u64, u64),
        settings: &'a RelaySettings,
        session: &'a Session,
        metrics: &'a BackendMetrics,
    ) -> Self {
        Self {
            client,
            server,
            upstream: Half::after(passed.0, settings.mode),
            downstream: Half::after(passed.1, settings.mode),
            // What a greeting has passed on of the client is not answered yet.
            server_spoke_last: passed.0 == 0,
            first_end: None,
            settings,
            silence: None,
            stall: None,
            keepalive: match settings.keepalive {
                Some(_) => DeferredKeepalive::Unset,
                None => DeferredKeepalive::Set,
            },
            session,
            metrics,
        }
    }

    /// Relays until the session ends, by itself, because its epoch is aborted, or by command; the task that runs this is woken for
    /// that, and when the gate of its route is closed or opened. (No `async fn`, which would keep a second copy of its arguments for
    /// as long as the session lasts.)
    #[allow(clippy::manual_async_fn, reason = "as said above")]
    pub fn run<'r>(&'r mut self, listening: &'r Listening) -> impl Future<Output = CloseReason> + use<'r, 'a> {
        async move {
            // One load, mostly.
            poll_fn(|cx| if listening.concerns_sessions() { self.poll_ordered(cx, listening) } else { self.poll_both(cx) }).await
        }
    }

    /// Somebody has to end, or the gate is closed.
    #[cold]
    fn poll_ordered(&mut self, cx: &mut Context<'_>, listening: &Listening) -> Poll<CloseReason> {
        let reason = if listening.is_aborted() {
            CloseReason::Revoked
        } else if self.session.is_killed() {
            CloseReason::Killed
        } else {
            return match listening.gating() {
                Some(gating) => self.poll_gated(cx, gating),
                None => self.poll_both(cx),
            };
        };
        // Nothing more goes to the backend. What it has already sent is delivered, as far as one poll shows it.
        let _ = self.poll_downstream();
        Poll::Ready(reason)
    }

    /// What is left when [`Relay::run`] has returned `reason`.
    pub fn end(self, reason: CloseReason) -> Ended {
        Ended {
            reason,
            untouched: self.upstream.is_untouched() && self.downstream.is_untouched(),
            client_finished: self.downstream.ended_cleanly(),
            server_finished: self.upstream.ended_cleanly(),
            last: if self.server_spoke_last { Direction::Downstream } else { Direction::Upstream },
            upstream_bytes: self.upstream.bytes(),
            downstream_bytes: self.downstream.bytes(),
            client: self.client,
            server: self.server,
        }
    }

    fn poll_upstream(&mut self) -> Poll<End> {
        // Half of all polls concern the other direction.
        if self.upstream.rests() {
            ready!(self.client.poll_ready(Interest::Readable));
        }
        let before = self.upstream.bytes();
        let end = self.upstream.poll(&self.client, &self.server, self.downstream.farewell_to_source());
        if tell_growth(&self.upstream, before, Direction::Upstream, &self.session.upstream_bytes, self.metrics) {
            self.server_spoke_last = false;
        }
        end
    }

    fn poll_downstream(&mut self) -> Poll<End> {
        if self.downstream.rests() {
            ready!(self.server.poll_ready(Interest::Readable));
        }
        let before = self.downstream.bytes();
        let end = self.downstream.poll(&self.server, &self.client, self.upstream.farewell_to_source());
        if tell_growth(&self.downstream, before, Direction::Downstream, &self.session.downstream_bytes, self.metrics) {
            self.server_spoke_last = true;
        }
        end
    }

    /// Both directions, one turn each.
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let upstream = self.poll_upstream();
        self.poll_rest(cx, upstream)
    }

    /// What follows the client's turn.
    fn poll_rest(&mut self, cx: &mut Context<'_>, upstream: Poll<End>) -> Poll<CloseReason> {
        if matches!(upstream, Poll::Ready(End::SinkReset)) {
            self.downstream.source_was_reset();
        }
        let downstream = self.poll_downstream();
        if let Some(reason) = aborted(upstream, downstream) {
            return Poll::Ready(self.after_farewell(reason));
        }
        if self.first_end.is_none() {
            let first = match (upstream, downstream) {
                (_, Poll::Ready(End::Finished)) => Some(CloseReason::ServerEof),
                (Poll::Ready(End::Finished), _) => Some(CloseReason::ClientEof),
                _ => None,
            };
            self.first_end = first.map(|reason| (reason, self.downstream.bytes()));
        }
        if !self.upstream.is_over() || !self.downstream.is_over() {
            self.poll_keepalive();
            let stalled = self.poll_stall(cx);
            return if stalled.is_ready() { stalled } else { self.poll_silence(cx) };
        }
        // A client that finished, and then did not accept the answer, has aborted.
        let aborted = self.downstream.is_discarding().then_some(CloseReason::ClientReset);
        Poll::Ready(aborted.or(self.first_end.map(|end| end.0)).unwrap_or(CloseReason::Internal))
    }

    /// A client with TLS sends `close_notify` before it leaves. `PostgreSQL` closes without reading it, so its kernel resets a
    /// connection that both sides have finished: that counts as the client's end. A backend that was about to answer would have
    /// sent more since then.
    fn after_farewell(&self, reason: CloseReason) -> CloseReason {
        let has_left = match self.first_end {
            // A client that has sent nothing may be served by another backend.
            _ if reason != CloseReason::ServerReset || self.upstream.bytes() == 0 => false,
            Some((CloseReason::ClientEof, said)) => self.downstream.bytes() - said <= FAREWELL_MAX,
            Some(_) => false,
            // Its FIN may have come at the same time.
            None => has_finished(&self.client),
        };
        if has_left { CloseReason::ClientEof } else { reason }
    }

    /// Sets keepalive on the backend's socket after the session's first second.
    fn poll_keepalive(&mut self) {
        match self.keepalive {
            DeferredKeepalive::Unset => self.keepalive = DeferredKeepalive::Waiting(CoarseTimer::start()),
            DeferredKeepalive::Waiting(timer) if timer.has_elapsed() => {
                self.keepalive = DeferredKeepalive::Set;
                if let Some(keepalive) = &self.settings.keepalive {
                    // Fails on a connection that is already gone, which the relay notices by itself.
                    let _ = set_keepalive(&SockRef::from(&self.server), keepalive);
                }
            }
            DeferredKeepalive::Waiting(_) | DeferredKeepalive::Set => {}
        }
    }

    /// Ends a session whose client has aborted and whose backend reads nothing of what was read before. Checks twice within the
    /// patience, so that a backend that reads anything in between gets more time.
    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let pause = self.settings.reset / 2;
        let is_blocked = self.upstream.is_blocked();
        let stall = match &mut self.stall {
            Some(stall) => stall,
            None if !is_blocked => return Poll::Pending,
            slot => slot.insert(Box::new(Stall { timer: sleep(pause), left_then: None })),
        };
        while Pin::new(&mut stall.timer).poll(cx).is_ready() {
            if !is_blocked {
                self.stall = None;
                return Poll::Pending;
            }
            let has_aborted = self.downstream.is_discarding() || has_failed(&self.client);
            let left = has_aborted.then(|| (self.upstream.bytes(), unsent_bytes(&self.server).unwrap_or(0)));
            if left.is_some() && left == stall.left_then {
                return Poll::Ready(CloseReason::ClientReset);
            }
            stall.left_then = left;
            stall.timer.reset(Instant::now() + pause);
        }
        Poll::Pending
    }

    /// Ends a session that is silent for longer than allowed.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        let half_closed = self.upstream.is_done() || self.downstream.is_done();
        let wanted = if half_closed {
            let limit = self.settings.idle.map_or(self.settings.half_close, |idle| idle.min(self.settings.half_close));
            Some((limit, CloseReason::HalfCloseTimeout))
        } else {
            self.settings.idle.map(|idle| (idle, CloseReason::IdleTimeout))
        };
        let Some((limit, reason)) = wanted else { return Poll::Pending };
        let bytes = self.upstream.bytes() + self.downstream.bytes();
        let silence = match &mut self.silence {
            Some(silence) if silence.reason == reason => silence,
            slot => slot.insert(Box::new(Silence { timer: sleep(limit), bytes_then: bytes, limit, reason })),
        };
        while Pin::new(&mut silence.timer).poll(cx).is_ready() {
            if silence.bytes_then == bytes {
                return Poll::Ready(reason);
            }
            silence.bytes_then = bytes;
            silence.timer.reset(Instant::now() + silence.limit);
        }
        Poll::Pending
    }
}

/// Counts what a direction has moved in its turn, and whether it has. It had moved this many bytes `before`.
fn tell_growth(half: &Half, before: u64, direction: Direction, live: &AtomicU64, metrics: &BackendMetrics) -> bool {
    let bytes = half.bytes();
    if bytes == before {
        return false;
    }
    live.store(bytes, Ordering::Relaxed);
    metrics.relay_bytes.get(direction).inc_by(bytes - before);
    if half.spliced() > 0 {
        metrics.relay_spliced_bytes.get(direction).inc_by(half.spliced().into());
    }
    true
}

/// Which side aborted, if the results of the directions show it and nothing more can be delivered.
const fn aborted(upstream: Poll<End>, downstream: Poll<End>) -> Option<CloseReason> {
    match (upstream, downstream) {
        // The client is gone, as the source of one direction or as the sink of the other: nobody is left to read.
        (Poll::Ready(End::SourceReset), _) | (_, Poll::Ready(End::SinkReset)) => Some(CloseReason::ClientReset),
        // The backend is gone. As a sink it may have sent something before, which is read to its end first.
        (_, Poll::Ready(End::SourceReset)) | (Poll::Ready(End::SinkReset), Poll::Ready(_)) => Some(CloseReason::ServerReset),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::{
        data::event_loop::{
            testing::{pair, run},
            timeout,
        },
        failover::{Epoch, Time},
        metrics::{Metrics, PoolLabels},
        net::endpoint::Peer,
        route::{Frontend, Route, RouteId},
    };

    #[test]
    fn a_client_that_aborts_while_its_backend_takes_nothing_is_let_go() {
        run(async {
            const PATIENCE: Duration = Duration::from_millis(300);
            let labels =
                PoolLabels { name: "orders".into(), listeners: vec![], backends: vec![("db-a".into(), "db-a:5432".into())] };
            let metrics = Metrics::new().unwrap();
            let series = metrics.series(&labels).unwrap();
            let ((mut client, near_client), (backend, near_backend)) = (pair(), pair());
            let id = RouteId::Active(Epoch(1));
            let route = Route::new("db-a".into(), &series.backends[0], id, [].into(), Arc::default());
            let frontend = Arc::new(Frontend { pool: "orders".into(), listener: "rw".into() });
            let session = Session::new(Peer::Unix, frontend, Arc::new(route), Time::from_millis(0));
            let settings = RelaySettings {
                mode: RelayMode::Auto,
                idle: None,
                half_close: Duration::from_hours(1),
                reset: PATIENCE,
                keepalive: None,
            };
            let listening = Listening::begin(Arc::default()).await;
            let mut relay = Relay::new(near_client, near_backend, (0, 0), &settings, &session, &series.backends[0]);
            let running = relay.run(&listening);
            tokio::pin!(running);
            let endless = vec![0; 64 << 10];
            let full = async { while timeout(PATIENCE, client.write_all(&endless)).await.is_ok() {} };
            tokio::select! {
                reason = &mut running => panic!("ended while the client sends: {reason:?}"),
                () = full => {}
            }
            assert!(timeout(PATIENCE * 2, &mut running).await.is_err(), "a client that waits is not one that aborted");
            crate::data::close::reset(&client);
            drop(client);
            let aborted = Instant::now();
            let reason = timeout(PATIENCE * 10, &mut running).await.expect("the session outlives its client");
            assert_eq!(reason, CloseReason::ClientReset);
            // Two looks, and one pause more for a machine that others share.
            assert!(aborted.elapsed() <= PATIENCE * 3 / 2, "took {:?}", aborted.elapsed());
            drop(backend);
        });
    }
}
