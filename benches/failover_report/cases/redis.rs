//! A Redis primary dies, and its replica is promoted at once.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mainstay::cli::demo::port::ReservedPort;

use super::{Bench, Rows, run::random_phase};
use crate::{
    failure::Failure,
    mainstay::{Mainstay, PoolSpec},
    stats::millis,
    table::{
        Bound::{Exactly, MedianAndWorst, Told},
        Row,
        Unit::{Count, Millis},
    },
};

const WRITERS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(30);
/// Writers go on for this long after the last of them was served.
const SETTLE: Duration = Duration::from_millis(300);

/// A server in a directory of its own. Dropping it ends it.
struct Server {
    root: PathBuf,
    /// A port of a dead server must not be handed to somebody else.
    port: ReservedPort,
    child: Child,
}

impl Server {
    fn start(bench: &Bench, of: Option<&Self>) -> Result<Self, Failure> {
        let port = ReservedPort::new()?;
        let root = std::env::temp_dir().join(format!("mainstay-report-redis-{}", port.address().port()));
        fs::create_dir(&root)?;
        let (number, path) = (port.address().port(), root.display());
        let follow = of.map_or_else(String::new, |primary| format!("replicaof 127.0.0.1 {}\n", primary.port.address().port()));
        let config = format!(
            "bind 127.0.0.1\nport {number}\nsave \"\"\ndir {path}\nlogfile {path}/log\nrepl-diskless-sync-delay 0\n{follow}"
        );
        fs::write(root.join("redis.conf"), config)?;
        let mut command = Command::new("redis-server");
        command.arg(root.join("redis.conf")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| Failure::Said(format!("redis-server: {error}; run tests/install-deps")))?;
        let server = Self { root, port, child };
        let state = if of.is_some() { "master_link_status:up" } else { "role:master" };
        bench.stop.wait("Redis is ready", PATIENCE, || server.says(state).ok().filter(|says| *says).map(drop))?;
        Ok(server)
    }

    const fn address(&self) -> SocketAddr {
        self.port.address()
    }

    fn says(&self, line: &str) -> io::Result<bool> {
        let mut session = Session::open(self.address())?;
        session.send(&["INFO", "replication"])?;
        for _ in 0..40 {
            if session.line()? == line {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A client's connection.
struct Session(BufReader<TcpStream>);

impl Session {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    fn send(&mut self, words: &[&str]) -> io::Result<()> {
        self.0.get_mut().write_all(command(words).as_bytes())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    /// Counts one up, and asks in the same breath who did it: the port of the server that answered.
    fn count(&mut self) -> io::Result<u16> {
        let both = command(&["INCR", "counter"]) + &command(&["CONFIG", "GET", "port"]);
        self.0.get_mut().write_all(both.as_bytes())?;
        let counted = self.line()?;
        if !counted.starts_with(':') {
            return Err(io::Error::other(counted));
        }
        // *2, $4, port, $N, and the number.
        for _ in 0..4 {
            self.line()?;
        }
        self.line()?.parse().map_err(io::Error::other)
    }
}

fn command(words: &[&str]) -> String {
    let bulks: Vec<String> = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{}", words.len(), bulks.concat())
}

/// What the writers have seen.
#[derive(Default)]
struct Books {
    /// For each acknowledgement: when, by whom, to whom.
    acks: Vec<(Instant, u16, usize)>,
    failed_connects: usize,
}

struct Writers {
    books: Arc<Mutex<Books>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Writers {
    fn start(address: SocketAddr) -> Self {
        let (books, stop) = (Arc::<Mutex<Books>>::default(), Arc::<AtomicBool>::default());
        let write = |writer| {
            let (books, stop) = (Arc::clone(&books), Arc::clone(&stop));
            std::thread::spawn(move || write(writer, address, &books, &stop))
        };
        let threads = (0..WRITERS).map(write).collect();
        Self { books, stop, threads }
    }

    /// Every writer was served by the server on this port.
    fn all_served_by(&self, port: u16) -> bool {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        (0..WRITERS).all(|writer| books.acks.iter().rev().any(|(_, by, to)| (*by, *to) == (port, writer)))
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn write(writer: usize, address: SocketAddr, books: &Mutex<Books>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut served = false;
        if let Ok(mut session) = Session::open(address) {
            while let Ok(port) = session.count() {
                served = true;
                books.lock().unwrap_or_else(PoisonError::into_inner).acks.push((Instant::now(), port, writer));
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
        if !served && !stop.load(Ordering::Relaxed) {
            books.lock().unwrap_or_else(PoisonError::into_inner).failed_connects += 1;
        }
    }
}

struct Run {
    share: f64,
    detection: f64,
    failed_connects: f64,
    late: f64,
    lost: f64,
}

pub(super) fn kill9(bench: &mut Bench) -> Rows {
    let runs = (0..bench.runs).map(|run| one_run(bench, run)).collect::<Result<Vec<_>, _>>()?;
    let of = |value: fn(&Run) -> f64| runs.iter().map(value).collect::<Vec<_>>();
    Ok(vec![
        Row::new("failed connects", Count, Exactly(0.0), of(|run| run.failed_connects)),
        Row::new("writes on the old primary after the new one's first", Count, Exactly(0.0), of(|run| run.late)),
        Row::new("mainstay's share of the gap", Millis, MedianAndWorst(30.0, 150.0), of(|run| run.share)),
        Row::new("detection", Millis, Told, of(|run| run.detection)),
        Row::new("acknowledged writes lost (Redis acknowledges before it replicates)", Count, Told, of(|run| run.lost)),
    ])
}

fn one_run(bench: &mut Bench, run: u32) -> Result<Run, Failure> {
    let mut primary = Server::start(bench, None)?;
    let replica = Server::start(bench, Some(&primary))?;
    let backends = vec![("redis-a".to_owned(), primary.address()), ("redis-b".to_owned(), replica.address())];
    let pool = PoolSpec { name: "sessions", check: "redis".to_owned(), backends };
    let mainstay = Mainstay::start(&[pool], &bench.log("redis_kill9"), None)?;
    mainstay.wait_ready(&bench.stop, "redis-a")?;
    let (old, new) = (primary.address().port(), replica.address().port());
    let writers = Writers::start(mainstay.address(0));
    bench.stop.wait("every client writes", PATIENCE, || writers.all_served_by(old).then_some(()))?;
    let mut order = Session::open(replica.address())?;
    random_phase(bench)?;

    let events = mainstay.newest_event()?;
    let fault = Instant::now();
    primary.child.kill()?;
    primary.child.wait()?;
    order.send(&["REPLICAOF", "NO", "ONE"])?;
    order.line()?;
    let writable = Instant::now();
    bench.stop.wait("every client writes to the new primary", PATIENCE, || writers.all_served_by(new).then_some(()))?;
    bench.stop.pause(SETTLE)?;
    let books = Arc::clone(&writers.books);
    drop(writers);

    let books = books.lock().unwrap_or_else(PoisonError::into_inner);
    let revoked =
        mainstay.events_since(events)?.iter().find(|event| event.kind == "revoke").and_then(|event| mainstay.moment(event));
    let revoked = revoked.ok_or_else(|| Failure::Said("mainstay published no revocation".into()))?;
    let first = books.acks.iter().filter(|(_, by, _)| *by == new).map(|(at, ..)| *at).min();
    let first = first.ok_or_else(|| Failure::Said("the new primary acknowledged nothing".into()))?;
    order.send(&["INCRBY", "counter", "0"])?;
    let counted: usize = order.line()?.trim_start_matches(':').parse().map_err(|_| Failure::Said("no counter".into()))?;
    let result = Run {
        share: millis(first.saturating_duration_since(writable)),
        detection: millis(revoked.saturating_duration_since(fault)),
        failed_connects: books.failed_connects as f64,
        late: books.acks.iter().filter(|(at, by, _)| *by == old && *at > first).count() as f64,
        lost: books.acks.len().saturating_sub(counted) as f64,
    };
    eprintln!(
        "redis_kill9 {}/{}: promoted after {:.1} ms, revoked after {:.1} ms, share {:.1} ms, failed connects {}, lost {}",
        run + 1,
        bench.runs,
        millis(writable.duration_since(fault)),
        result.detection,
        result.share,
        result.failed_connects,
        result.lost,
    );
    Ok(result)
}
