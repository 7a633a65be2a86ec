//! A primary dies that acknowledges before it replicates, and its replica is promoted at once: the same case for each database.

mod mysqld;
mod redis;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use lab::{failure::Failure, stats::millis, transactions::Failed};

use super::{Bench, Rows, delay, run::random_phase};
use crate::{
    mainstay::{Mainstay, PoolSpec},
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

/// A server of `lab`, which panics when it does not do as it should.
pub(crate) trait Database: Sized {
    /// How mainstay checks it.
    const CHECK: &'static str;
    type Client: Client;

    /// A primary, or a replica that has caught up with one.
    fn start(bench: &Bench, of: Option<&Self>) -> Result<Self, Failure>;
    fn address(&self) -> SocketAddr;
    /// By SIGKILL.
    fn kill(&mut self);
}

/// A client's connection.
pub(crate) trait Client: Sized {
    fn open(address: SocketAddr) -> Result<Self, Failed>;
    /// Writes once. The port of the server that did it, in its own words.
    fn write(&mut self) -> Result<u16, Failed>;
    /// Makes its server a primary.
    fn promote(&mut self) -> Result<(), Failed>;
    /// How many writes its server has.
    fn written(&mut self) -> Result<usize, Failed>;
}

/// What a server answered, as a number.
fn number<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(answer: &str) -> Result<T, Failed> {
    answer.parse().map_err(|error| io::Error::other(error).into())
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
    fn start<C: Client>(address: SocketAddr) -> Self {
        let (books, stop) = (Arc::<Mutex<Books>>::default(), Arc::<AtomicBool>::default());
        let write = |writer| {
            let (books, stop) = (Arc::clone(&books), Arc::clone(&stop));
            std::thread::spawn(move || write::<C>(writer, address, &books, &stop))
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

fn write<C: Client>(writer: usize, address: SocketAddr, books: &Mutex<Books>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let mut served = false;
        if let Ok(mut session) = C::open(address) {
            while let Ok(port) = session.write() {
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

pub(super) fn kill9<D: Database>(bench: &mut Bench, case: &'static str) -> Rows {
    let scene = Scene { case, delay: Duration::ZERO, hold: None };
    let runs = (0..bench.runs).map(|run| one_run::<D>(bench, &scene, run)).collect::<Result<Vec<_>, _>>()?;
    let of = |value: fn(&Run) -> f64| runs.iter().map(value).collect::<Vec<_>>();
    Ok(vec![
        Row::new("failed connects", Count, Exactly(0.0), of(|run| run.failed_connects)),
        Row::new("writes on the old primary after the new one's first", Count, Exactly(0.0), of(|run| run.late)),
        Row::new("mainstay's share of the gap", Millis, MedianAndWorst(30.0, 150.0), of(|run| run.share)),
        Row::new("detection", Millis, Told, of(|run| run.detection)),
        Row::new("acknowledged writes lost (acknowledged before they were replicated)", Count, Told, of(|run| run.lost)),
    ])
}

/// The replica is promoted some time after the primary died.
pub(super) fn promotion<D: Database>(bench: &mut Bench, case: &'static str) -> Rows {
    let mut rows = Vec::new();
    for delay in &delay::DELAYS {
        let scene = Scene { case, delay: delay.after, hold: Some(delay::HOLD) };
        let runs = (0..delay.runs(bench.runs)).map(|run| one_run::<D>(bench, &scene, run)).collect::<Result<Vec<_>, _>>()?;
        rows.extend(delay.rows(&runs.iter().map(|run| (run.share, run.failed_connects)).collect::<Vec<_>>()));
    }
    Ok(rows)
}

/// What a run differs in.
struct Scene {
    case: &'static str,
    /// From the fault to the promotion.
    delay: Duration,
    hold: Option<Duration>,
}

fn one_run<D: Database>(bench: &mut Bench, scene: &Scene, run: u32) -> Result<Run, Failure> {
    let mut primary = D::start(bench, None)?;
    let replica = D::start(bench, Some(&primary))?;
    let backends = vec![("db-a".to_owned(), primary.address()), ("db-b".to_owned(), replica.address())];
    let pool = PoolSpec { name: "main", check: D::CHECK.to_owned(), hold: scene.hold, backends };
    let mainstay = Mainstay::start(&[pool], &bench.log(scene.case), None)?;
    mainstay.wait_ready(&bench.stop, "db-a")?;
    let (old, new) = (primary.address().port(), replica.address().port());
    let writers = Writers::start::<D::Client>(mainstay.address(0));
    bench.stop.wait("every client writes", PATIENCE, || writers.all_served_by(old).then_some(()))?;
    let mut order = D::Client::open(replica.address())?;
    random_phase(bench)?;

    let events = mainstay.newest_event()?;
    let fault = Instant::now();
    primary.kill();
    bench.stop.pause(scene.delay)?;
    order.promote()?;
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
    let written = order.written()?;
    let result = Run {
        share: millis(first.saturating_duration_since(writable)),
        detection: millis(revoked.saturating_duration_since(fault)),
        failed_connects: books.failed_connects as f64,
        late: books.acks.iter().filter(|(at, by, _)| *by == old && *at > first).count() as f64,
        lost: books.acks.len().saturating_sub(written) as f64,
    };
    eprintln!(
        "{} {}/{}: promoted after {:.1} ms, revoked after {:.1} ms, share {:.1} ms, failed connects {}, lost {}",
        scene.case,
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
