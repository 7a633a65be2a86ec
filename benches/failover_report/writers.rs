//! Eight clients that write through mainstay, and the books from which the promises are checked.
//!
//! The demo's clients are not used here because the report must know more: which node acknowledged a row (the server itself says
//! so, by its port), when the row was sent, and with what words a session ended. Half of the clients write without a pause to
//! speak of, half are idle most of the time; both listen all the time and connect again at once when the session ends.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use lab::{
    failure::Failure,
    session::{Endpoint, Session, SessionError, last_value},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How many there are.
pub(crate) const COUNT: usize = 8;
/// Longer than mainstay holds a client in any case, so that mainstay is the one to give up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(100);
/// Pause after a failed connect.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
const BUSY_PAUSE: Duration = Duration::from_millis(2);
const IDLE_PAUSE: Duration = Duration::from_millis(60);
/// When the clients are stopped, a write that is under way gets this long to be answered.
const GRACE: Duration = Duration::from_secs(1);
/// Rows of different runs must not meet.
const ROWS_PER_RUN: u64 = 100_000_000;

/// An acknowledged row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack {
    pub(crate) writer: usize,
    pub(crate) row: u64,
    /// Port of the node that acknowledged it, in its own words.
    pub(crate) node: u16,
    pub(crate) at: Instant,
}

/// A row that was sent and never acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unanswered {
    pub(crate) row: u64,
    pub(crate) sent: Instant,
}

/// The end of a session after its login.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) writer: usize,
    pub(crate) at: Instant,
    /// SQLSTATE of the whole `ErrorResponse` that said why.
    pub(crate) code: Option<String>,
    /// SQLSTATE of the last whole `NoticeResponse` before the end.
    pub(crate) warned: Option<String>,
    /// What the socket said, when no `ErrorResponse` came.
    pub(crate) cut: Option<String>,
}

/// A connect that ended before its login was done.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) at: Instant,
    pub(crate) what: String,
}

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    pub(crate) acks: Vec<Ack>,
    pub(crate) unanswered: Vec<Unanswered>,
    pub(crate) ends: Vec<End>,
    pub(crate) refusals: Vec<Refusal>,
    /// Statements that the server answered with an error.
    pub(crate) rejected: Vec<String>,
}

impl Books {
    /// The first acknowledgement by this node.
    pub(crate) fn first_by(&self, node: u16) -> Option<Ack> {
        self.acks.iter().find(|ack| ack.node == node).copied()
    }

    /// How the session that a client had at `moment` ended.
    pub(crate) fn end_of(&self, writer: usize, moment: Instant) -> Option<&End> {
        self.ends.iter().find(|end| end.writer == writer && end.at >= moment)
    }

    /// When every client that was served at `moment` was served again, each in a new session.
    pub(crate) fn all_served_again(&self, moment: Instant) -> Option<Instant> {
        let served = (0..COUNT).map(|writer| {
            let end = self.end_of(writer, moment)?;
            self.acks.iter().find(|ack| ack.writer == writer && ack.at > end.at).map(|ack| ack.at)
        });
        served.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Writes that a node took after `moment`: it acknowledged them, or it holds them (`stored`) although they were only sent
    /// after that moment. A row that was on its way before counts for nothing: it was in the node's sockets already.
    pub(crate) fn late_writes(&self, node: u16, moment: Instant, stored: &BTreeSet<u64>) -> usize {
        let acknowledged = self.acks.iter().filter(|ack| ack.node == node && ack.at > moment).count();
        let taken = self.unanswered.iter().filter(|write| write.sent > moment && stored.contains(&write.row)).count();
        acknowledged + taken
    }

    /// Whether every client has a row acknowledged since `moment`.
    pub(crate) fn all_wrote_since(&self, moment: Instant) -> bool {
        (0..COUNT).all(|writer| self.acks.iter().rev().take_while(|ack| ack.at >= moment).any(|ack| ack.writer == writer))
    }

    /// Whether every client has a row acknowledged by this node.
    pub(crate) fn all_wrote_to(&self, node: u16) -> bool {
        (0..COUNT).all(|writer| self.acks.iter().rev().any(|ack| ack.writer == writer && ack.node == node))
    }
}

/// The running clients. Dropping them stops them.
#[derive(Debug)]
pub(crate) struct Writers {
    books: Arc<Mutex<Books>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Writers {
    /// Starts them; `run` keeps the rows of this run apart from those of others.
    pub(crate) fn start(target: SocketAddr, run: u32) -> Result<Self, Failure> {
        let (books, stop) = (Arc::<Mutex<Books>>::default(), CancellationToken::new());
        let next_row = Arc::new(AtomicU64::new(u64::from(run) * ROWS_PER_RUN));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let writers: Vec<_> = (0..COUNT)
            .map(|number| Writer {
                number,
                target,
                pause: if number % 2 == 0 { BUSY_PAUSE } else { IDLE_PAUSE },
                next_row: Arc::clone(&next_row),
                books: Arc::clone(&books),
                stop: stop.clone(),
            })
            .collect();
        let thread = std::thread::Builder::new().name("writers".into()).spawn(move || {
            runtime.block_on(async {
                writers.into_iter().map(Writer::run).collect::<JoinSet<()>>().join_all().await;
            });
        })?;
        Ok(Self { books, stop, thread: Some(thread) })
    }

    /// Looks at the books without stopping.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Books) -> T) -> T {
        look(&lock(&self.books))
    }

    /// Stops the clients and closes the books.
    pub(crate) fn stop(mut self) -> Books {
        self.end();
        lock(&self.books).clone()
    }

    fn end(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Writer {
    number: usize,
    target: SocketAddr,
    pause: Duration,
    next_row: Arc<AtomicU64>,
    books: Arc<Mutex<Books>>,
    stop: CancellationToken,
}

impl Writer {
    async fn run(self) {
        let target = Endpoint::Tcp(self.target);
        while !self.stop.is_cancelled() {
            let connect = tokio::time::timeout(CONNECT_TIMEOUT, Session::connect(&target, "app", "postgres"));
            let session = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                session = connect => session,
            };
            match session {
                Ok(Ok(session)) => self.write_until_lost(session).await,
                Ok(Err(error)) => self.refused(error.to_string()).await,
                Err(_elapsed) => self.refused("no answer".to_owned()).await,
            }
        }
    }

    async fn write_until_lost(&self, mut session: Session) {
        while !self.stop.is_cancelled() {
            let turn = async {
                self.write(&mut session).await?;
                session.idle(self.pause).await
            };
            let turn = tokio::select! {
                turn = turn => turn,
                () = self.grace_is_over() => return,
            };
            match turn {
                Ok(()) => {}
                Err(error) if !error.ends_session() => lock(&self.books).rejected.push(error.to_string()),
                Err(SessionError::Server(error)) => return self.ended(&session, Some(error.code), None),
                Err(error) => return self.ended(&session, None, Some(error.to_string())),
            }
        }
        session.close().await;
    }

    async fn write(&self, session: &mut Session) -> Result<(), SessionError> {
        let row = self.next_row.fetch_add(1, Ordering::Relaxed) + 1;
        let sent = Instant::now();
        let answer = session.query(&format!("INSERT INTO acks VALUES ({row}) RETURNING inet_server_port()")).await;
        let at = Instant::now();
        let mut books = lock(&self.books);
        match answer {
            Ok(rows) => {
                let node = last_value(rows).and_then(|port| port.parse().ok()).unwrap_or(0);
                books.acks.push(Ack { writer: self.number, row, node, at });
                Ok(())
            }
            Err(error) => {
                books.unanswered.push(Unanswered { row, sent });
                Err(error)
            }
        }
    }

    fn ended(&self, session: &Session, code: Option<String>, cut: Option<String>) {
        let end = End { writer: self.number, at: Instant::now(), code, warned: session.warned().map(str::to_owned), cut };
        lock(&self.books).ends.push(end);
    }

    async fn refused(&self, what: String) {
        lock(&self.books).refusals.push(Refusal { at: Instant::now(), what });
        tokio::time::sleep(RETRY_PAUSE).await;
    }

    async fn grace_is_over(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    }
}
