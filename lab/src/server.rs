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
    system::{NodeId, Role, System, Written},
    wire::{self, Message, Outbox, ServerError, Startup},
};

/// What it calls itself.
pub const SERVER_VERSION: &str = "15.0 (mainstay demo)";

/// How long a client may take to log in; the server's own `authentication_timeout` is longer.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a control waits for the node's thread, which only ever does short work.
const CONTROL_TIMEOUT: Duration = Duration::from_secs(5);

/// A running or killed node. Dropping it kills it.
#[derive(Debug)]
pub struct MiniServer {
    system: Arc<System>,
    id: NodeId,
    port: ReservedPort,
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// What the controls tell the node's thread; each is answered when it is done.
#[derive(Debug)]
enum Order {
    Listen(std::net::TcpListener, sync_mpsc::Sender<()>),
    Kill(sync_mpsc::Sender<()>),
}

impl MiniServer {
    /// Starts a node of `system` with no rows on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When the system has no port, thread or descriptor left.
    pub fn start(system: &Arc<System>, role: Role, timeline: u64) -> io::Result<Self> {
        let port = ReservedPort::new()?;
        let id = system.add(role, timeline);
        let (orders, receiver) = mpsc::unbounded_channel();
        let service = Service { system: Arc::clone(system), id };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let thread = std::thread::Builder::new()
            .name(format!("demo-db-{}", port.address().port()))
            .spawn(move || runtime.block_on(service.run(receiver)))?;
        let server = Self { system: Arc::clone(system), id, port, orders: Some(orders), thread: Some(thread) };
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
struct Service {
    system: Arc<System>,
    id: NodeId,
}

impl Service {
    async fn run(self, mut orders: mpsc::UnboundedReceiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Kill(done) => drop(done.send(())),
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
        let (killed, sessions) = (CancellationToken::new(), TaskTracker::new());
        let accept_all = async {
            loop {
                self.system.thawed(self.id).await;
                match listener.accept().await {
                    Ok((stream, _)) => drop(sessions.spawn(self.clone().session(stream, killed.clone()))),
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
        killed.cancel();
        self.system.update(self.id, |node| {
            node.running = false;
            node.frozen = false;
        });
        sessions.close();
        sessions.wait().await;
        match order {
            Some(Order::Kill(done) | Order::Listen(_, done)) => Some(done),
            None => None,
        }
    }

    async fn session(self, mut stream: TcpStream, killed: CancellationToken) {
        tokio::select! {
            biased;
            () = killed.cancelled() => {
                // A process that was killed does not say goodbye: closing with zero linger sends RST.
                let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            }
            // However a session ends, the next one is not concerned.
            _ = self.converse(&mut stream) => {}
        }
    }

    async fn converse(&self, stream: &mut TcpStream) -> io::Result<()> {
        let (from, to) = stream.split();
        let mut from = BufReader::new(from);
        let (mut from, mut to) = (&mut from, to);
        let login = tokio::time::timeout(LOGIN_TIMEOUT, self.login(&mut from, &mut to)).await;
        if !matches!(login, Ok(Ok(true))) {
            return Ok(());
        }
        let mut discarding = false;
        while let Some(message) = wire::read_message(&mut from).await? {
            self.system.thawed(self.id).await;
            let mut out = Outbox::default();
            match message.tag {
                b'Q' => self.answer(&message, &mut out).await,
                b'X' => return Ok(()),
                b'S' => {
                    discarding = false;
                    out.ready();
                }
                b'P' | b'B' | b'D' | b'E' | b'C' | b'F' if !discarding => {
                    // As the server does after an error in the extended protocol: silence until Sync.
                    discarding = true;
                    out.error(&ServerError::error("0A000", "this demo server knows simple queries only"));
                }
                b'P' | b'B' | b'D' | b'E' | b'C' | b'F' | b'H' => {}
                _ => {
                    out.error(&ServerError::fatal("08P01", "invalid frontend message type"));
                    return to.write_all(out.bytes()).await;
                }
            }
            to.write_all(out.bytes()).await?;
        }
        Ok(())
    }

    /// `true` when the client is logged in.
    async fn login<R, W>(&self, from: &mut R, to: &mut W) -> io::Result<bool>
    where
        R: tokio::io::AsyncRead + Unpin,
        W: tokio::io::AsyncWrite + Unpin,
    {
        while let Some(startup) = wire::read_startup(from).await? {
            self.system.thawed(self.id).await;
            let mut out = Outbox::default();
            match startup {
                Startup::Encryption => {
                    to.write_all(b"N").await?;
                    continue;
                }
                Startup::Cancel => return Ok(false),
                Startup::Unsupported(_) => {
                    out.error(&ServerError::fatal("0A000", "unsupported frontend protocol; this demo server speaks 3.0"));
                    to.write_all(out.bytes()).await?;
                    return Ok(false);
                }
                Startup::Login => {}
            }
            out.authentication_ok();
            for (name, value) in [
                ("server_version", SERVER_VERSION),
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
            return Ok(true);
        }
        Ok(false)
    }

    async fn answer(&self, message: &Message, out: &mut Outbox) {
        let sql = message.text();
        let sql = sql.trim().to_ascii_lowercase();
        let mut words = sql.split_whitespace();
        let first = words.next().unwrap_or_default();
        if sql.trim_end_matches(';').is_empty() {
            out.empty_query();
        } else if sql.contains("pg_is_in_recovery") {
            self.tell_role(out);
        } else if matches!(first, "insert" | "write") {
            self.write(last_number(&sql), out).await;
        } else if first == "select" && words.next().is_some_and(|word| word.starts_with("count")) {
            let count = self.system.read(self.id, |node| node.rows().len()).to_string();
            out.row_description(&["count"]).data_row(&[Some(&count)]).command_complete("SELECT 1");
        } else if sql.starts_with("select id") {
            let rows = self.system.read(self.id, |node| node.rows().clone());
            out.row_description(&["id"]);
            for row in &rows {
                out.data_row(&[Some(&row.to_string())]);
            }
            out.command_complete(&format!("SELECT {}", rows.len()));
        } else {
            let known = "this demo server knows: insert into demo values (N); select id from demo; select count(*) from demo";
            out.error(&ServerError::error("0A000", known));
        }
        out.ready();
    }

    /// The row of mainstay's `postgres` check.
    fn tell_role(&self, out: &mut Outbox) {
        let (role, timeline) = self.system.read(self.id, |node| (node.role, node.timeline));
        let standby = role != Role::Primary;
        let (timeline, system_id) = (timeline.to_string(), self.system.id().to_string());
        out.row_description(&["in_recovery", "read_only", "timeline", "system_id", "lag_bytes", "version"])
            .data_row(&[
                Some(if standby { "t" } else { "f" }),
                Some(if standby { "on" } else { "off" }),
                Some(&timeline),
                Some(&system_id),
                standby.then_some("0"),
                Some(SERVER_VERSION),
            ])
            .command_complete("SELECT 1");
    }

    async fn write(&self, row: Option<u64>, out: &mut Outbox) {
        let Some(row) = row else {
            out.error(&ServerError::error("42601", "which number? write: insert into demo values (N)"));
            return;
        };
        match self.system.write(self.id, row).await {
            Written::Done => out.command_complete("INSERT 0 1"),
            Written::ReadOnly => out.error(&ServerError::error("25006", "cannot execute INSERT in a read-only transaction")),
            Written::Duplicate => out.error(&ServerError::error("23505", "this row exists already")),
            Written::Gone => out.error(&ServerError::fatal("57P01", "terminating connection")),
        };
    }
}

/// The last number in a statement: what `insert into demo values (N)` and `write N` have in common.
fn last_number(sql: &str) -> Option<u64> {
    sql.split(|c: char| !c.is_ascii_digit()).rfind(|part| !part.is_empty())?.parse().ok()
}
