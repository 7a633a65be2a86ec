//! The accept loop of one listening socket. It neither ends nor spins: errors of a single connection are ignored, a shortage backs
//! off, and with a reserve descriptor clients can be rejected when no descriptor is left for them.

use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    fs::File,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    rc::{self, Rc},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use rustix::{io::Errno, net::SocketFlags};
use socket2::SockRef;
use tokio::sync::watch;

use super::{
    access::ClientMeta,
    client::{Accepted, ConnectionGuards},
    close,
    connection::{serve, serve_proxied},
    context::ListenerContext,
    event_loop::{Interest, Watched, looks, sleep, spawn, timeout},
    identify::{Identity, judge},
    refusal::serve_refusal,
    worker::{WorkerPool, Workers},
};
use crate::{
    failover::label::Label,
    lifecycle::Phase,
    net::{
        backoff::Backoff,
        endpoint::Peer,
        listener::BoundListener,
        socket::{BACKLOG, reset_leg_options},
    },
    reason::{AcceptError, RejectReason},
    route::Frontend,
    telemetry::{Admitted, LineLimit},
};

/// Most connections accepted in one turn, before the worker's sessions run.
const BATCH: usize = 64;

/// Turns in a row with a client, after which each accepts twice as many.
const PATIENCE: u32 = 4;

/// A running accept loop. Dropping it ends the loop, which first accepts clients that have already connected.
#[derive(Debug)]
pub(super) struct AcceptLoop {
    orders: watch::Sender<Orders>,
    /// It closes with the loop.
    socket: Weak<BoundListener>,
}

/// What an accept loop is to do.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    listener: Arc<ListenerContext>,
    /// While it does not accept, the socket stays open: another process accepts from it.
    accepts: bool,
}

impl AcceptLoop {
    /// Starts to accept for this listener, or waits until it is to.
    pub(super) fn start(pool: &WorkerPool, listener: Arc<ListenerContext>, socket: BoundListener, accepts: bool) -> Self {
        let (name, reserve, workers) = (Arc::clone(&listener.frontend.listener), reserve(), pool.workers());
        let (sender, orders) = watch::channel(Orders { listener, accepts });
        let socket = Arc::new(socket);
        let open = Arc::downgrade(&socket);
        pool.accept(async move || {
            if let Err(error) = accept(orders, socket, reserve, workers).await {
                tracing::error!(listener = %name, %error, "the listener stopped");
            }
        });
        Self { orders: sender, socket: open }
    }

    /// Switches to this listener.
    pub(super) fn serve(&self, listener: Arc<ListenerContext>) {
        self.orders.send_modify(|orders| orders.listener = listener);
    }

    /// Accepts from now on, or leaves its clients to another process.
    pub(super) fn accept(&self, accepts: bool) {
        self.orders.send_modify(|orders| orders.accepts = accepts);
    }

    /// Its socket, unless it has closed.
    pub(super) fn socket(&self) -> Option<Arc<BoundListener>> {
        self.socket.upgrade()
    }
}

/// Accepts until the process drains or the socket is no longer wanted, then accepts clients that have already connected and closes
/// it. The `reserve` descriptor is opened before the first client.
///
/// # Errors
/// When the kernel cannot watch the socket.
async fn accept(
    mut orders: watch::Receiver<Orders>,
    socket: Arc<BoundListener>,
    reserve: Option<File>,
    workers: Arc<Workers>,
) -> io::Result<()> {
    let Orders { listener, accepts } = orders.borrow_and_update().clone();
    let gate = Rc::new(Gate {
        socket: Watched::listener(socket)?,
        acceptor: RefCell::new(Acceptor { listener, workers, reserve, backoff: backoff(), lines: LineLimit::default() }),
        accepts: Cell::new(accepts),
        closes: Cell::new(false),
    });
    if !accepts {
        gate.socket.set_deaf(true)?;
    }
    // A task of its own, so that a client need not check for orders.
    spawn(obey(orders, Rc::downgrade(&gate)));
    let mut batcher = AcceptBatcher::default();
    loop {
        gate.socket.readable().await;
        if gate.closes.get() {
            break;
        }
        if !gate.accepts.get() {
            // An event from before.
            gate.socket.forget(Interest::Readable);
            continue;
        }
        let most = batcher.most(looks());
        let batch = gate.acceptor.borrow_mut().accept_batch(gate.socket.as_ref(), most);
        // The kernel says at the next poll whether others wait: cheaper than an accept that fails, or than asking.
        gate.socket.forget(Interest::Readable);
        match batch {
            Batch::More => {}
            Batch::Drained => batcher = AcceptBatcher::default(),
            Batch::Short => {
                // It would go on reporting waiting clients.
                gate.socket.set_deaf(true)?;
                let pause = gate.acceptor.borrow_mut().backoff.next_pause();
                sleep(pause).await;
                gate.socket.set_deaf(!gate.accepts.get())?;
            }
        }
    }
    if !gate.accepts.get() {
        return Ok(());
    }
    // The close would reset a connection that the kernel completed and nobody accepted. A client behind a full queue came too late.
    let mut turns = 0..=BACKLOG.unsigned_abs() as usize / BATCH;
    let _ = turns.all(|_| matches!(gate.acceptor.borrow_mut().accept_batch(gate.socket.as_ref(), BATCH), Batch::More));
    Ok(())
}

/// A listening socket in use.
struct Gate {
    socket: Watched<Arc<BoundListener>>,
    acceptor: RefCell<Acceptor>,
    accepts: Cell<bool>,
    /// It is no longer wanted.
    closes: Cell<bool>,
}

/// Accepts for the listeners it is given, until the process drains or no order can come any more; then closes the socket.
async fn obey(mut orders: watch::Receiver<Orders>, gate: rc::Weak<Gate>) {
    let Some(process) = gate.upgrade().map(|gate| Arc::clone(&gate.acceptor.borrow().listener.pool.process)) else { return };
    let mut phase = process.lifeline.phase.clone();
    let stop = async {
        phase.reached(Phase::Draining).await;
        // Forced before the delay is over (by a second signal): the delay is over, too.
        let _ = timeout(process.shutdown_delay, phase.reached(Phase::Forced)).await;
    };
    tokio::pin!(stop);
    loop {
        let changed = tokio::select! {
            changed = orders.changed() => changed.is_ok(),
            () = &mut stop => false,
        };
        let Some(gate) = gate.upgrade() else { return };
        if !changed {
            gate.closes.set(true);
            return gate.socket.look_up();
        }
        let Orders { listener, accepts } = orders.borrow_and_update().clone();
        if gate.accepts.replace(accepts) != accepts
            && let Err(error) = gate.socket.set_deaf(!accepts)
        {
            tracing::error!(listener = %listener.frontend.listener, %error, accepts, "the listener cannot be switched");
        }
        if let BoundListener::Tcp(socket) = &**gate.socket.as_ref()
            && let Err(error) = reset_leg_options(&SockRef::from(socket), &listener.client_leg)
        {
            tracing::warn!(listener = %listener.frontend.listener, %error, "new clients keep the socket options from before");
        }
        gate.acceptor.borrow_mut().listener = listener;
    }
}

/// How many clients come at once. An accept that fails is expensive (the kernel creates a file for the connection before it looks
/// for one), so one is accepted for each event; more, when the kernel reports clients at several polls in a row.
#[derive(Debug, Default)]
struct AcceptBatcher {
    last_look: u64,
    /// Polls in a row.
    row: u32,
}

impl AcceptBatcher {
    /// How many to accept after this poll.
    fn most(&mut self, look: u64) -> usize {
        self.row = if look == self.last_look + 1 { self.row + 1 } else { 0 };
        self.last_look = look;
        1_usize.checked_shl(self.row / PATIENCE).unwrap_or(BATCH).min(BATCH)
    }
}

fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(10), Duration::from_secs(1))
}

/// A descriptor to close when none is left for a client.
fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

/// The result of a turn of accepting.
enum Batch {
    /// No client waits.
    Drained,
    /// More may wait.
    More,
    /// The process is short of a resource.
    Short,
}

struct Acceptor {
    listener: Arc<ListenerContext>,
    workers: Arc<Workers>,
    /// Closed to reject a client when there is no other descriptor.
    reserve: Option<File>,
    backoff: Backoff,
    lines: LineLimit<&'static str>,
}

impl Acceptor {
    fn accept_batch(&mut self, socket: &BoundListener, most: usize) -> Batch {
        if self.reserve.is_none() {
            // Another thread took it meanwhile. A client accepted with the next free descriptor would keep it, and nobody could be
            // rejected any more.
            self.reserve = reserve();
            if self.reserve.is_none() {
                return Batch::Short;
            }
        }
        for _ in 0..most {
            match accept_one(socket) {
                Ok((client, peer)) => {
                    self.backoff.reset();
                    self.hand_over(client, peer);
                }
                Err(Errno::AGAIN) => return Batch::Drained,
                Err(errno) => {
                    let kind = classify(errno);
                    self.listener.metrics.accept_errors.get(kind).inc();
                    match kind {
                        AcceptError::Aborted => {}
                        AcceptError::FileDescriptors => {
                            self.tell(kind, "no file descriptor is free");
                            self.shed(socket);
                            return Batch::Short;
                        }
                        AcceptError::Memory | AcceptError::Other => {
                            self.tell(kind, io::Error::from(errno));
                            return Batch::Short;
                        }
                    }
                }
            }
        }
        Batch::More
    }

    /// It lasts as long as the shortage does.
    fn tell(&self, kind: AcceptError, error: impl Display) {
        let (Frontend { pool, listener }, kind) = (&*self.listener.frontend, kind.as_str());
        if let Some(Admitted { suppressed }) = self.lines.admits(kind) {
            tracing::warn!(%pool, %listener, kind, %error, suppressed, "cannot accept");
        }
    }

    fn hand_over(&self, client: OwnedFd, peer: Peer) {
        let listener = &self.listener;
        listener.metrics.accepted.inc();
        let (identity, too_many) = match judge(listener, peer) {
            Ok(identity) => (identity, None),
            Err(reason @ RejectReason::MaxConnectionsPerIp) => (Identity::Known(None), Some(reason)),
            // No error message to strangers.
            Err(reason) => {
                listener.turned_away(reason, peer, "");
                return close::reset(&client);
            }
        };
        // Here, and not in the connection's task: a burst may be over before the first of those tasks runs.
        let place = if too_many.is_some() { None } else { listener.guests.admit() };
        let too_many = if place.is_some() { None } else { Some(too_many.unwrap_or(RejectReason::MaxConnections)) };
        let (place, load) = match too_many {
            None => (place, self.workers.least_loaded()),
            Some(_) => (listener.refusals.admit(), self.workers.own()),
        };
        let Some((place, load)) = place.zip(load) else {
            listener.metrics.rejected.get(too_many.unwrap_or(RejectReason::MaxConnections)).inc();
            return close::reset(&client);
        };
        let active = too_many.is_none().then(|| listener.metrics.active.guard());
        let inbox = load.worker().inbox.clone();
        let (is_proxied, permit) = match identity {
            // A client that is only rejected does not count among those of its address.
            Identity::Known(permit) => (false, permit.filter(|_| too_many.is_none())),
            Identity::Proxied => (true, None),
        };
        let meta = ClientMeta::of(None, permit);
        let guards = ConnectionGuards { listener: Arc::clone(listener), place, meta, load, active };
        let deadline = Instant::now() + listener.pool.hold_config.timeout;
        let accepted = Accepted { socket: client, peer, deadline, guards };
        match too_many {
            // It waits for its header; those behind it must not.
            _ if is_proxied => self.workers.start(inbox, move |counted| serve_proxied(accepted, too_many, counted)),
            Some(reason) => self.workers.start(inbox, move |counted| serve_refusal(accepted, reason, counted)),
            None => {
                let turn = self.workers.draw(peer);
                self.workers.start(inbox, move |counted| serve(accepted, turn, counted));
            }
        }
    }

    /// Rejects waiting clients with the reserve descriptor, one after the other, so that they do not hang in the queue.
    fn shed(&mut self, socket: &BoundListener) {
        let process = Arc::clone(&self.listener.pool.process);
        let _no_dial = process.descriptors.withhold();
        drop(self.reserve.take());
        for _ in 0..BATCH {
            let Ok((client, _)) = accept_one(socket) else { break };
            self.listener.metrics.rejected.get(RejectReason::FileDescriptors).inc();
            close::reset(&client);
        }
        self.reserve = reserve();
    }
}

fn accept_one(socket: &BoundListener) -> Result<(OwnedFd, Peer), Errno> {
    let (client, peer) = rustix::net::acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let peer = match socket {
        BoundListener::Tcp(_) => {
            let address = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
            address.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0))).into()
        }
        BoundListener::Unix(..) => Peer::Unix,
    };
    Ok((client, peer))
}

/// accept(2): errors of the connection itself are ignored; a shortage is ours.
fn classify(errno: Errno) -> AcceptError {
    match errno {
        Errno::MFILE | Errno::NFILE => AcceptError::FileDescriptors,
        Errno::NOMEM | Errno::NOBUFS => AcceptError::Memory,
        Errno::CONNABORTED
        | Errno::INTR
        | Errno::PROTO
        | Errno::PERM
        | Errno::NETDOWN
        | Errno::NOPROTOOPT
        | Errno::HOSTDOWN
        | Errno::NONET
        | Errno::HOSTUNREACH
        | Errno::OPNOTSUPP
        | Errno::NETUNREACH => AcceptError::Aborted,
        _ => AcceptError::Other,
    }
}
