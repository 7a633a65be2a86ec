//! Clients that write in transactions, one after the other, and count how each ends: for whoever moves them between servers.
//! They block, and speak each protocol by hand: nothing is between the count and the bytes.
#![allow(
    missing_docs,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    clippy::unwrap_used,
    reason = "for tests and benches"
)]

pub mod mysql;
pub mod postgres;
pub mod redis;

use std::{
    fmt, io,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::wait::patience;

/// How many write at the same time.
pub const WRITERS: usize = 8;
/// After a login that failed.
const PAUSE: Duration = Duration::from_millis(5);

/// How a question failed.
#[derive(Debug)]
pub enum Failed {
    /// With the server's own word: its code.
    Told(String),
    Broke(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Broke(error)
    }
}

/// A session with a database.
pub trait Client: Sized + Send + 'static {
    /// What a transaction says. The first statement begins it, the last commits it; one alone is all of it.
    const TRANSACTION: &'static [&'static str];
    /// The codes with which the server ends a session where nothing is under way.
    const FAREWELLS: &'static [&'static str];

    fn login(address: SocketAddr) -> Result<Self, Failed>;

    fn say(&mut self, statement: &str) -> Result<String, Failed>;
}

/// The answer to what was `asked`. The end may have been told before.
fn answered(asked: io::Result<()>, answer: Result<String, Failed>) -> Result<String, Failed> {
    match answer {
        Err(Failed::Broke(error)) => Err(Failed::Broke(asked.err().unwrap_or(error))),
        answered => answered,
    }
}

/// A connection on which nothing waits for ever, and longer than mainstay holds anybody.
pub(crate) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let limit = Some(5 * patience());
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    // The second is for the connect as well (socket(7)).
    socket.set_read_timeout(limit)?;
    socket.set_write_timeout(limit)?;
    socket.connect(&address.into())?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// How the transactions of all writers ended.
#[derive(Default)]
pub struct Tally {
    pub committed: AtomicU64,
    /// Ended within a transaction.
    pub aborted: AtomicU64,
    /// Without an answer to the statement that commits.
    pub ambiguous: AtomicU64,
    /// Ended between two transactions, by the server's own word.
    pub ended: AtomicU64,
    /// And without it.
    pub untold: AtomicU64,
    /// No login.
    pub refused: AtomicU64,
    /// The longest time that a transaction took, in microseconds: from when its client wanted it, over every login that it needed.
    pub slowest: AtomicU64,
    /// By whom, and when.
    pub commits: Mutex<Vec<(usize, Instant)>>,
    /// What the ends were that are none of the server's farewells.
    pub why: Mutex<Vec<String>>,
    pub stop: AtomicBool,
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally")
            .field("committed", &self.committed)
            .field("aborted", &self.aborted)
            .field("ambiguous", &self.ambiguous)
            .field("ended", &self.ended)
            .field("untold", &self.untold)
            .field("refused", &self.refused)
            .field("slowest", &self.slowest)
            .field("why", &self.why)
            .finish_non_exhaustive()
    }
}

impl Tally {
    pub fn of(count: &AtomicU64) -> u64 {
        count.load(Ordering::SeqCst)
    }

    /// Aborted, ambiguous, refused.
    pub fn broken(&self) -> [u64; 3] {
        [&self.aborted, &self.ambiguous, &self.refused].map(Self::of)
    }

    /// When everybody has committed something again after a moment, if they have.
    pub fn all_since(&self, moment: Instant) -> Option<Instant> {
        let commits = self.commits.lock().unwrap();
        let writers = commits.iter().map(|(writer, _)| *writer).max()? + 1;
        let first = |writer| commits.iter().find(|(by, at)| *by == writer && *at >= moment).map(|(_, at)| *at);
        (0..writers).map(first).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// Writes until it is stopped, and pauses after each transaction.
    pub fn write<C: Client>(&self, writer: usize, address: SocketAddr, mut pause: impl FnMut() -> Duration) {
        let mut wanted = Instant::now();
        while !self.is_stopped() {
            let mut client = match C::login(address) {
                Ok(client) => client,
                Err(why) => {
                    self.count(&self.refused, Some(format!("login: {why:?}")));
                    thread::sleep(PAUSE);
                    continue;
                }
            };
            while !self.is_stopped() && self.transaction(&mut client) {
                self.commits.lock().unwrap().push((writer, Instant::now()));
                let took = wanted.elapsed().as_micros();
                self.slowest.fetch_max(took.try_into().unwrap_or(u64::MAX), Ordering::SeqCst);
                let pause = pause();
                if !pause.is_zero() {
                    thread::sleep(pause);
                }
                wanted = Instant::now();
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn count(&self, count: &AtomicU64, why: Option<String>) {
        count.fetch_add(1, Ordering::SeqCst);
        self.why.lock().unwrap().extend(why);
    }

    /// Whether the session goes on after it.
    fn transaction<C: Client>(&self, client: &mut C) -> bool {
        for (place, statement) in C::TRANSACTION.iter().enumerate() {
            let Err(end) = client.say(statement) else { continue };
            let is_farewell = matches!(&end, Failed::Told(code) if C::FAREWELLS.contains(&&**code));
            let count = match place {
                0 if is_farewell => &self.ended,
                0 => &self.untold,
                last if last + 1 == C::TRANSACTION.len() => &self.ambiguous,
                _ => &self.aborted,
            };
            self.count(count, (place > 0 || !is_farewell).then(|| format!("{statement}: {end:?}")));
            return false;
        }
        self.count(&self.committed, None);
        true
    }
}

/// Writers at work. Dropping them stops them.
#[derive(Debug)]
pub struct Writers {
    tally: Arc<Tally>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    /// `pauses` gives each of them what it pauses by.
    pub fn start<C: Client, P: FnMut() -> Duration + Send + 'static>(address: SocketAddr, pauses: impl FnMut() -> P) -> Self {
        Self::several::<C, P>(WRITERS, address, pauses)
    }

    pub fn several<C: Client, P: FnMut() -> Duration + Send + 'static>(
        count: usize,
        address: SocketAddr,
        mut pauses: impl FnMut() -> P,
    ) -> Self {
        let tally = Arc::new(Tally::default());
        let write = |writer| {
            let (tally, pause) = (Arc::clone(&tally), pauses());
            thread::spawn(move || tally.write::<C>(writer, address, pause))
        };
        let threads = (0..count).map(write).collect();
        Self { tally, threads }
    }

    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    pub fn committed(&self) -> u64 {
        Tally::of(&self.tally.committed)
    }

    /// Stops them, and the result.
    pub fn stop(mut self) -> Arc<Tally> {
        self.end();
        Arc::clone(&self.tally)
    }

    fn end(&mut self) {
        self.tally.stop.store(true, Ordering::SeqCst);
        for writer in self.threads.drain(..) {
            let _ = writer.join();
        }
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.end();
    }
}
