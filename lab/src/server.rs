//! A small `PostgreSQL` look-alike in this process: a role, a timeline, rows, and the controls to break it.
//!
//! It speaks enough of protocol 3.0 for a client with simple queries (`psql` too) and for mainstay's `postgres` check. One
//! thread and runtime each, so that a frozen node freezes nobody else. Clients can make it close a connection, never panic.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    sync::{Arc, mpsc as sync_mpsc},
    thread::JoinHandle,
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    port::ReservedPort,
    seats::Seats,
    system::{Build, NodeId, Role, System},
    wire::{self, Outbox, ServerError, Startup},
};

/// What it calls itself before any update.
pub const SERVER_VERSION: &str = "15.0 (mainstay demo)";

/// How long a client may take to log in; the server's own `authentication_timeout` is longer.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a control waits for the node's thread, which only ever does short work.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long sessions may take to end when it stops.
const FAREWELLS: Duration = Duration::from_secs(1);

/// A running or killed node. Dropping it kills it.
#[derive(Debug)]
pub struct MiniServer {
    system: Arc<System>,
    id: NodeId,
    seats: Arc<Seats>,
    port: ReservedPort,
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// What the controls tell the node's thread; each is answered when it is done.
#[derive(Debug)]
enum Order {
    Listen(std::net::TcpListener, sync_mpsc::Sender<()>),
    Kill(sync_mpsc::Sender<()>),
    Stop(sync_mpsc::Sender<()>),
}

impl MiniServer {
    /// Starts a node of `system` with no rows on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When the system has no port, thread or descriptor left.
    pub fn start(system: &Arc<System>, role: Role, timeline: u64) -> io::Result<Self> {
        let port = ReservedPort::new()?;
        let id = system.add(role, timeline, Build::of(SERVER_VERSION));
        let (orders, receiver) = mpsc::unbounded_channel();
        let seats = Arc::<Seats>::default();
        let service = Service { system: Arc::clone(system), id, seats: Arc::clone(&seats) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let thread = std::thread::Builder::new()
            .name(format!("demo-db-{}", port.address().port()))
            .spawn(move || runtime.block_on(service.run(receiver)))?;
        let server = Self { system: Arc::clone(system), id, seats, port, orders: Some(orders), thread: Some(thread) };
        server.start_as(role, timeline)?;
        Ok(server)
    }

    /// Where it listens; the same for its whole life, also after a kill.
    pub const fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Starts again after [`MiniServer::kill`], with the rows it had, as what it is told to be.
    ///
    /// # Errors
    /// When it runs already or its thread does not answer.
    pub fn start_as(&self, role: Role, timeline: u64) -> io::Result<()> {
        let listener = self.port.listen()?;
        self.system.update(self.id, |node| node.start(role, timeline));
        self.tell(|done| Order::Listen(listener, done))
    }

    /// Like `kill -9`: the listener is closed and every connection is reset; returns when that is done. Rows stay.
    ///
    /// # Errors
    /// When its thread does not answer.
    pub fn kill(&self) -> io::Result<()> {
        self.tell(Order::Kill)
    }

    /// Like `pg_ctl stop -m fast`: the listener is closed and every session is told so; returns when that is done.
    ///
    /// # Errors
    /// When its thread does not answer.
    pub fn stop(&self) -> io::Result<()> {
        self.tell(Order::Stop)
    }

    /// Runs these programs from now on, as after an update of its packages.
    pub fn install(&self, build: Build) {
        self.system.update(self.id, |node| node.build = build);
    }

    /// How many clients of this name have logged in so far.
    pub fn logins(&self, user: &str) -> u64 {
        self.seats.logins(user)
    }

    /// Becomes the primary on the next timeline; nothing happens when it is one.
    pub fn promote(&self) {
        self.system.update(self.id, crate::system::Node::promote);
    }

    /// Becomes a synchronous standby of `primary`, with a copy of its rows. Its own other rows are lost, as after a fresh base
    /// backup.
    pub fn follow(&self, primary: &Self) {
        self.system.follow(self.id, primary.id);
    }

    /// Like SIGSTOP: connects still succeed (the kernel's doing), nothing is answered.
    pub fn freeze(&self) {
        self.system.update(self.id, |node| node.frozen = true);
    }

    /// Like SIGCONT.
    pub fn thaw(&self) {
        self.system.update(self.id, |node| node.frozen = false);
    }

    /// Its role.
    pub fn role(&self) -> Role {
        self.system.read(self.id, |node| node.role)
    }

    /// Its timeline.
    pub fn timeline(&self) -> u64 {
        self.system.read(self.id, |node| node.timeline)
    }

    /// The rows it holds, read past its protocol and its state.
    pub fn rows(&self) -> BTreeSet<u64> {
        self.system.read(self.id, |node| node.rows().clone())
    }

    fn tell(&self, order: impl FnOnce(sync_mpsc::Sender<()>) -> Order) -> io::Result<()> {
        let (done, wait) = sync_mpsc::channel();
        let gone = || io::Error::other("the node's thread is gone");
        self.orders.as_ref().ok_or_else(gone)?.send(order(done)).map_err(|_| gone())?;
        wait.recv_timeout(CONTROL_TIMEOUT).map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the node's thread is stuck"))
    }
}

impl Drop for MiniServer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The node's side of the sockets.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) system: Arc<System>,
    pub(crate) id: NodeId,
    pub(crate) seats: Arc<Seats>,
}

/// How sessions are ended: cut off, or told.
#[derive(Clone, Debug, Default)]
struct Ends {
    killed: CancellationToken,
    stopped: CancellationToken,
}

impl Service {
    async fn run(self, mut orders: mpsc::UnboundedReceiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Kill(done) | Order::Stop(done) => drop(done.send(())),
                Order::Listen(listener, done) => {
                    let Ok(listener) = TcpListener::from_std(listener) else { continue };
                    let _ = done.send(());
                    if let Some(done) = self.listen(listener, &mut orders).await {
                        let _ = done.send(());
                    }
                }
            }
        }
    }

    /// Serves until it is killed; gives back whom to tell.
    async fn listen(&self, listener: TcpListener, orders: &mut mpsc::UnboundedReceiver<Order>) -> Option<sync_mpsc::Sender<()>> {
        let (ends, sessions) = (Ends::default(), TaskTracker::new());
        let accept_all = async {
            loop {
                self.system.thawed(self.id).await;
                match listener.accept().await {
                    Ok((stream, from)) => drop(sessions.spawn(self.clone().session(stream, from.port(), ends.clone()))),
                    // Out of descriptors: the look-alike has nothing better to do than to try again shortly.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let order = tokio::select! {
            order = orders.recv() => order,
            never = accept_all => never,
        };
        // First nobody gets in, then every session is cut, then the node is gone: what is killed answers nobody, and is not back for them.
        drop(listener);
        if matches!(order, Some(Order::Stop(_))) {
            ends.stopped.cancel();
            sessions.close();
            // One that waits for a standby, as a commit may, is not waited for.
            let _ = tokio::time::timeout(FAREWELLS, sessions.wait()).await;
        }
        ends.killed.cancel();
        self.system.update(self.id, |node| {
            node.running = false;
            node.frozen = false;
        });
        sessions.close();
        sessions.wait().await;
        match order {
            Some(Order::Kill(done) | Order::Stop(done) | Order::Listen(_, done)) => Some(done),
            None => None,
        }
    }

    async fn session(self, mut stream: TcpStream, port: u16, ends: Ends) {
        tokio::select! {
            biased;
            () = ends.killed.cancelled() => {
                // A process that was killed does not say goodbye: closing with zero linger sends RST.
                let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
            // However a session ends, the next one is not concerned.
            _ = self.converse(&mut stream, port, &ends.stopped) => {}
        }
    }

    async fn converse(&self, stream: &mut TcpStream, port: u16, stopped: &CancellationToken) -> io::Result<()> {
        let (from, mut to) = stream.split();
        let mut from = BufReader::new(from);
        let login = tokio::time::timeout(LOGIN_TIMEOUT, self.login(&mut from, &mut to)).await;
        let Ok(Ok(Some(user))) = login else { return Ok(()) };
        let seat = self.seats.take(port, &user);
        let mut discarding = false;
        loop {
            let message = tokio::select! {
                biased;
                () = stopped.cancelled() => None,
                () = seat.end.cancelled() => None,
                message = wire::read_message(&mut from) => match message? {
                    Some(message) => Some(message),
                    None => return Ok(()),
                },
            };
            let mut out = Outbox::default();
            let Some(message) = message else {
                out.error(&ServerError::fatal("57P01", "terminating connection due to administrator command"));
                return to.write_all(out.bytes()).await;
            };
            seat.begins();
            self.system.thawed(self.id).await;
            match message.tag {
                b'Q' => self.answer(&message, &seat, port, &mut out).await,
                b'X' => return Ok(()),
                b'P' | b'B' | b'D' | b'E' | b'C' | b'F' | b'H' | b'S' => extended(message.tag, &mut discarding, &mut out),
                _ => {
                    out.error(&ServerError::fatal("08P01", "invalid frontend message type"));
                    return to.write_all(out.bytes()).await;
                }
            }
            to.write_all(out.bytes()).await?;
            seat.ends();
        }
    }

    /// As whom the client has logged in.
    async fn login<R, W>(&self, from: &mut R, to: &mut W) -> io::Result<Option<String>>
    where
        R: tokio::io::AsyncRead + Unpin,
        W: tokio::io::AsyncWrite + Unpin,
    {
        while let Some((startup, user)) = wire::read_startup(from).await? {
            self.system.thawed(self.id).await;
            let mut out = Outbox::default();
            match startup {
                Startup::Encryption => {
                    to.write_all(b"N").await?;
                    continue;
                }
                Startup::Cancel => return Ok(None),
                Startup::Unsupported(_) => {
                    out.error(&ServerError::fatal("0A000", "unsupported frontend protocol; this demo server speaks 3.0"));
                    to.write_all(out.bytes()).await?;
                    return Ok(None);
                }
                Startup::Login => {}
            }
            out.authentication_ok();
            let version = self.system.read(self.id, |node| node.build.version.clone());
            for (name, value) in [
                ("server_version", &*version),
                ("server_encoding", "UTF8"),
                ("client_encoding", "UTF8"),
                ("standard_conforming_strings", "on"),
                ("integer_datetimes", "on"),
                ("DateStyle", "ISO, MDY"),
                ("TimeZone", "UTC"),
            ] {
                out.parameter_status(name, value);
            }
            out.backend_key_data(std::process::id(), 0).ready();
            to.write_all(out.bytes()).await?;
            return Ok(Some(user));
        }
        Ok(None)
    }
}

/// A statement that is prepared is never run: mainstay has a query parsed so, and asks it as a simple one.
fn extended(tag: u8, discarding: &mut bool, out: &mut Outbox) {
    match tag {
        b'S' => {
            *discarding = false;
            out.ready();
        }
        _ if *discarding => {}
        b'P' => drop(out.parse_complete()),
        b'D' => drop(out.described()),
        b'C' => drop(out.close_complete()),
        b'H' => {}
        _ => {
            // As the server does after an error in the extended protocol: silence until Sync.
            *discarding = true;
            out.error(&ServerError::error("0A000", "this demo server knows simple queries only"));
        }
    }
}
