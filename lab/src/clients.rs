//! Writing clients, as an application would be: connect, write one row at a time, and when the session is lost connect again at
//! once. They keep the books from which the demo's promises are checked.
//!
//! A write is *acknowledged* when the server said so, *rejected* when the server said no, and *indeterminate* when the session
//! was lost in between: it may or may not be stored, and nobody may claim either.

use std::{
    collections::VecDeque,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::session::{Endpoint, Session, SessionError};

/// Acknowledgements that are kept with their time, for the rate and the pause of the last moments.
const RECENT_KEPT: usize = 20_000;
/// Pause after a failed connect, so that a dead address is not hammered.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// How the clients behave.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// How many at a time.
    pub count: usize,
    /// What a client does between an acknowledgement and its next write: nothing, for this long.
    pub think_time: Duration,
    /// Login role.
    pub user: String,
    /// Database to log in to.
    pub database: String,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { count: 8, think_time: Duration::from_millis(5), user: "postgres".into(), database: "postgres".into() }
    }
}

/// The books so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Writes that were acknowledged.
    pub acknowledged: u64,
    /// Writes whose session was lost before the answer came.
    pub indeterminate: u64,
    /// Writes that the server answered with an error.
    pub rejected: u64,
    /// Sessions that were logged in.
    pub connected: u64,
    /// Sessions that were lost after login.
    pub lost_sessions: u64,
    /// Connects that ended in an error before login was done.
    pub refused: u64,
    /// What the last refused client was told.
    pub last_refusal: Option<String>,
    /// What the last rejected write was told.
    pub last_rejection: Option<String>,
    /// The longest time between two acknowledgements of the same client, in which it kept trying.
    pub longest_pause: Duration,
}

/// What the clients note; one lock, held for a few instructions.
#[derive(Debug, Default)]
struct Ledger {
    tally: Tally,
    acknowledged: Vec<u64>,
    recent: VecDeque<Instant>,
}

#[derive(Debug, Default)]
struct Books {
    ledger: Mutex<Ledger>,
    next_row: AtomicU64,
}

/// Running clients. Dropping them stops them.
#[derive(Debug)]
pub struct Clients {
    books: Arc<Books>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// The statement that makes the table the clients write to; the embedded servers need none.
pub const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS demo (id bigint PRIMARY KEY)";

/// The statement that reads back every row the clients wrote.
pub const READ_ROWS: &str = "SELECT id FROM demo";

impl Clients {
    /// Starts clients that connect to `target`, all on one thread of their own.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn start(target: &Endpoint, options: &ClientOptions) -> io::Result<Self> {
        let (books, stop) = (Arc::new(Books::default()), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let clients: Vec<_> = (0..options.count)
            .map(|_| Client {
                target: target.clone(),
                options: options.clone(),
                books: Arc::clone(&books),
                stop: stop.clone(),
                last_acknowledged: None,
            })
            .collect();
        let thread = std::thread::Builder::new().name("demo-clients".into()).spawn(move || {
            runtime.block_on(async {
                clients.into_iter().map(Client::run).collect::<JoinSet<()>>().join_all().await;
            });
        })?;
        Ok(Self { books, stop, thread: Some(thread) })
    }

    /// The books as they stand.
    pub fn tally(&self) -> Tally {
        self.books.lock().tally.clone()
    }

    /// Every row whose write was acknowledged so far, in the order of the acknowledgements.
    pub fn acknowledged(&self) -> Vec<u64> {
        self.books.lock().acknowledged.clone()
    }

    /// Acknowledgements within the last `window`.
    pub fn recently(&self, window: Duration) -> usize {
        let now = Instant::now();
        self.books.lock().recent.iter().rev().take_while(|at| now.duration_since(**at) <= window).count()
    }

    /// The first acknowledgement at or after `moment`, if it came already.
    pub fn first_since(&self, moment: Instant) -> Option<Instant> {
        let ledger = self.books.lock();
        ledger.recent.iter().rev().take_while(|at| **at >= moment).last().copied()
    }

    /// Stops the clients between two writes, waits for them, and closes the books.
    pub fn stop(mut self) -> Tally {
        self.end();
        self.tally()
    }

    fn end(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.end();
    }
}

impl Books {
    fn lock(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One client.
#[derive(Debug)]
struct Client {
    target: Endpoint,
    options: ClientOptions,
    books: Arc<Books>,
    stop: CancellationToken,
    last_acknowledged: Option<Instant>,
}

impl Client {
    async fn run(mut self) {
        let stop = self.stop.clone();
        while !stop.is_cancelled() {
            let connect = Session::connect(&self.target, &self.options.user, &self.options.database);
            let session = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                session = connect => session,
            };
            match session {
                Ok(session) => {
                    self.books.lock().tally.connected += 1;
                    self.write_until_lost(session).await;
                }
                Err(error) => {
                    self.note_refusal(&error);
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Returns when the session is lost or the clients are told to stop.
    async fn write_until_lost(&mut self, mut session: Session) {
        while !self.stop.is_cancelled() {
            let row = self.books.next_row.fetch_add(1, Ordering::Relaxed) + 1;
            let statement = format!("INSERT INTO demo VALUES ({row})");
            let stop = self.stop.clone();
            let written = tokio::select! {
                written = session.query(&statement) => written,
                () = grace_is_over(&stop) => Err(SessionError::Io(io::ErrorKind::TimedOut.into())),
            };
            match written {
                Ok(_) => self.note_acknowledgement(row),
                Err(error) => {
                    self.note_failure(&error);
                    if error.ends_session() {
                        return;
                    }
                }
            }
            tokio::time::sleep(self.options.think_time).await;
        }
        session.close().await;
    }

    fn note_acknowledgement(&mut self, row: u64) {
        let now = Instant::now();
        let pause = self.last_acknowledged.replace(now).map_or(Duration::ZERO, |last| now.duration_since(last));
        let mut ledger = self.books.lock();
        ledger.tally.acknowledged += 1;
        ledger.tally.longest_pause = ledger.tally.longest_pause.max(pause);
        ledger.acknowledged.push(row);
        if ledger.recent.len() == RECENT_KEPT {
            ledger.recent.pop_front();
        }
        ledger.recent.push_back(now);
    }

    /// An error of the server is an answer, unless it ends the session: then the write may be stored all the same (a shutdown
    /// can come between commit and answer).
    fn note_failure(&self, error: &SessionError) {
        let tally = &mut self.books.lock().tally;
        if error.ends_session() {
            tally.indeterminate += 1;
            tally.lost_sessions += 1;
        } else {
            tally.rejected += 1;
            tally.last_rejection = Some(error.to_string());
        }
    }

    fn note_refusal(&self, error: &SessionError) {
        let tally = &mut self.books.lock().tally;
        tally.refused += 1;
        tally.last_refusal = Some(error.to_string());
    }
}

/// A write in flight when the clients are told to stop gets this long to be answered.
async fn grace_is_over(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
}
