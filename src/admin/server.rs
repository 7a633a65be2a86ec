//! Sockets: accepts, bounds time and size, frees places for new clients.
//!
//! No client can block the endpoint: when all places are taken, the connection that has asked nothing for longest and is no event
//! stream is closed, and the next client is served at once. Requests that have already arrived are answered before that. If
//! `/livez` had to wait behind idle connections, or were closed with them, a healthy mainstay would be killed.

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    path::Path,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{Semaphore, watch},
    task::{AbortHandle, JoinSet, yield_now},
    time::timeout,
};

use super::{
    AdminState, api,
    authority::{Caller, User},
    connection::{Busy, Connection},
    host::Reach,
    socket::Socket,
};
use crate::{
    lifecycle::{Phase, PhaseWatch},
    net::{
        backoff::Backoff,
        endpoint::Endpoint,
        listener::{BoundListener, SocketFile},
    },
    telemetry::{Admitted, LineLimit},
};

/// Event streams per listener: one place in this many.
const PLACES_PER_STREAM: usize = 4;
/// The same for orders that are being carried out.
const PLACES_PER_ORDER: usize = 4;
/// For a request line with its headers, and for the idle time before one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// A connection takes no new requests after this long.
const LIFETIME: Duration = Duration::from_mins(1);
/// The same for a stream of events. Browsers open it again.
const STREAM_LIFETIME: Duration = Duration::from_hours(1);
/// For the last answer of a connection.
const LAST_ANSWER: Duration = Duration::from_secs(10);
/// For the last answers when mainstay stops.
const FAREWELL: Duration = Duration::from_millis(250);

/// A listener within the admin plane's runtime.
pub(super) enum Listener {
    Tcp {
        listener: TcpListener,
        reach: Reach,
    },
    Unix {
        listener: UnixListener,
        path: Arc<Path>,
        #[expect(dead_code, reason = "held for its end")]
        file: SocketFile,
    },
}

impl Listener {
    /// Must be called within the runtime.
    pub(super) fn new(bound: BoundListener) -> io::Result<Self> {
        let endpoint = bound.endpoint()?;
        match bound {
            BoundListener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                let reach = Reach::of(listener.local_addr()?.ip());
                Ok(Self::Tcp { listener: TcpListener::from_std(listener)?, reach })
            }
            BoundListener::Unix(file, listener) => {
                listener.set_nonblocking(true)?;
                let Endpoint::Unix(path) = endpoint else { return Err(io::ErrorKind::InvalidInput.into()) };
                Ok(Self::Unix { listener: UnixListener::from_std(listener)?, path, file })
            }
        }
    }

    const fn reach(&self) -> Reach {
        match self {
            Self::Tcp { reach, .. } => *reach,
            Self::Unix { .. } => Reach::File,
        }
    }

    async fn accept(&self) -> io::Result<(Socket, Caller)> {
        Ok(match self {
            Self::Tcp { listener, .. } => {
                let (stream, peer) = listener.accept().await?;
                (Socket::Tcp(stream), Caller::Tcp(peer))
            }
            Self::Unix { listener, path, .. } => {
                let stream = listener.accept().await?.0;
                let user = stream.peer_cred().ok().map(|peer| User { uid: peer.uid(), gid: peer.gid() });
                (Socket::Unix(stream), Caller::Unix { user, socket: Arc::clone(path) })
            }
        })
    }
}

/// Serves until the phase is `Stopped`, each listener `places` connections at a time.
pub(super) async fn serve(listeners: Vec<Listener>, places: usize, state: Arc<AdminState>) {
    let mut phase = state.phase.clone();
    let mut running = JoinSet::new();
    for listener in listeners {
        running.spawn(accept_all(listener, places, Arc::clone(&state)));
    }
    phase.reached(Phase::Stopped).await;
    // Each then ends by itself; a client that does not read must not keep the process.
    let _ = timeout(FAREWELL, async { while running.join_next().await.is_some() {} }).await;
}

async fn accept_all(listener: Listener, places: usize, state: Arc<AdminState>) {
    let mut phase = state.phase.clone();
    let streams = Arc::new(Semaphore::new(places / PLACES_PER_STREAM));
    let orders = Arc::new(Semaphore::new(places / PLACES_PER_ORDER));
    let mut places = OpenConnections { max: places, taken: Vec::new() };
    let requests = Arc::default();
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
    let lines = LineLimit::default();
    let mut connections = JoinSet::new();
    let mut answering = state.answering.clone();
    loop {
        let answers = *answering.borrow_and_update();
        let accepted = tokio::select! {
            accepted = listener.accept(), if answers => accepted,
            _ = answering.changed() => continue,
            () = phase.reached(Phase::Stopped) => break,
        };
        match accepted {
            Ok((socket, caller)) => {
                backoff.reset();
                let busy = Arc::new(Busy::default());
                let connection = Connection {
                    reach: listener.reach(),
                    caller,
                    busy: Arc::clone(&busy),
                    streams: Arc::clone(&streams),
                    orders: Arc::clone(&orders),
                };
                let asked = LastRequest::new(&requests);
                let task = connections.spawn(converse(socket, Arc::clone(&state), connection, asked.clone()));
                places.take(OpenConnection { task, busy, asked, has_had_turn: false }).await;
                while connections.try_join_next().is_some() {}
            }
            Err(error) => {
                let pause = backoff.next_pause();
                if let Some(Admitted { suppressed }) = lines.admits(()) {
                    tracing::warn!(%error, suppressed, "the admin endpoint could not accept a connection");
                }
                tokio::time::sleep(pause).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

/// One connection, from its first request to its last.
async fn converse(socket: Socket, state: Arc<AdminState>, connection: Connection, asked: LastRequest) {
    let stopped = (state.phase.clone(), state.answering.clone());
    let busy = Arc::clone(&connection.busy);
    let may_read = state.authority.may_read(&connection.caller).await;
    let is_first = Cell::new(true);
    let service = service_fn(move |request| {
        asked.again();
        let answer = if may_read { api::respond(&state, &connection, request) } else { api::stranger() };
        let is_first = is_first.replace(false);
        async move {
            if !is_first {
                // Pipelined requests must not delay the other connections.
                yield_now().await;
            }
            Ok::<_, Infallible>(answer.whole().await)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_header_size(MAX_HEADER_BYTES);
    // A client that has finished sending still reads: `nc` and other simple clients do so.
    builder.half_close(true);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(&socket), service));
    let mut left = pin!(socket.left());
    // A reader of events sends nothing: its FIN means that it has left. Without this check, only a comment that it does not read
    // would show that, half a minute later.
    let reader_left = poll_fn(|cx| if busy.is_stream.load(Ordering::Relaxed) { left.as_mut().poll(cx) } else { Poll::Pending });
    // Errors of a client are neither logged nor counted.
    tokio::select! {
        // The request that opens the stream is answered before the stream is watched.
        biased;
        _ = serving.as_mut() => return,
        () = reader_left => return,
        () = end_of(stopped, &busy.is_stream) => serving.as_mut().graceful_shutdown(),
    }
    let _ = timeout(LAST_ANSWER, serving).await;
}

/// When a connection must stop accepting requests.
async fn end_of((mut phase, mut answering): (PhaseWatch, watch::Receiver<bool>), is_stream: &AtomicBool) {
    let lifetime = async {
        tokio::time::sleep(LIFETIME).await;
        if is_stream.load(Ordering::Relaxed) {
            tokio::time::sleep(STREAM_LIFETIME).await;
        }
    };
    tokio::select! {
        () = lifetime => {}
        () = phase.reached(Phase::Stopped) => {}
        // Another process has everything: whoever asks again asks that one.
        Ok(_) = answering.wait_for(|answers| !answers) => {}
    }
}

/// When a connection came, or last asked: a sequence number within its listener.
#[derive(Clone, Debug)]
struct LastRequest {
    all: Arc<AtomicU64>,
    last: Arc<AtomicU64>,
}

impl LastRequest {
    fn new(all: &Arc<AtomicU64>) -> Self {
        let asked = Self { all: Arc::clone(all), last: Arc::default() };
        asked.again();
        asked
    }

    fn again(&self) {
        self.last.store(self.all.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// The open connections of a listener.
#[derive(Debug)]
struct OpenConnections {
    max: usize,
    taken: Vec<OpenConnection>,
}

#[derive(Debug)]
struct OpenConnection {
    task: AbortHandle,
    busy: Arc<Busy>,
    asked: LastRequest,
    /// Answer requests that have already arrived.
    has_had_turn: bool,
}

impl OpenConnections {
    /// Adds a connection. When there are too many, the one that has asked nothing for longest ends, but no stream, and none whose
    /// order is being carried out. There is always one: these are at most half of the places.
    async fn take(&mut self, place: OpenConnection) {
        self.taken.retain(|place| !place.task.is_finished());
        if self.taken.len() >= self.max && self.victim().is_none() {
            // Once for all that came meanwhile: each of the others may have much to do in its turn.
            yield_now().await;
            self.taken.retain_mut(|place| {
                place.has_had_turn = true;
                !place.task.is_finished()
            });
        }
        if self.taken.len() >= self.max {
            let victim = self.victim().unwrap_or(0);
            self.taken.swap_remove(victim).task.abort();
        }
        self.taken.push(place);
    }

    fn victim(&self) -> Option<usize> {
        let is_free_to_go = |place: &OpenConnection| place.has_had_turn && !place.busy.keeps_its_place();
        let free_to_go = self.taken.iter().enumerate().filter(|(_, place)| is_free_to_go(place));
        free_to_go.min_by_key(|(_, place)| place.asked.last.load(Ordering::Relaxed)).map(|(index, _)| index)
    }
}
