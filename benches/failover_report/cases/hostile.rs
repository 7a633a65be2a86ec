//! Clients that mean no good, against a mainstay that may open 64 files.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use lab::{
    failure::Failure,
    procfs,
    stats::{millis, quantile},
};
use mainstay::cli::client::{self, AdminAddr};

use super::{
    Bench, Rows,
    sink::{Behaviour, Sink},
};
use crate::{
    mainstay::{Mainstay, PoolSpec},
    rng::Rng,
    table::{
        Bound::{Exactly, Told, Worst},
        Row,
        Unit::{Count, Kibibytes, Millis},
    },
};

const FILES: u32 = 64;
const GARBAGE: u32 = 10_000;
const GARBAGE_THREADS: u32 = 16;
const SILENT: u32 = 1000;
const SILENT_THREADS: u32 = 50;
/// A client that sends nothing leaves after this long.
const SILENCE: Duration = Duration::from_millis(300);
/// A client that sends garbage waits for an answer this long.
const PATIENCE: Duration = Duration::from_secs(2);
const ASK_EVERY: Duration = Duration::from_millis(10);
/// Longest wait until the last connection is gone.
const CALM: Duration = Duration::from_secs(20);
/// Memory may grow by this much: pages of the allocator and of code that had not run before.
const GROWTH_KIB: f64 = 4096.0;

#[derive(Debug)]
struct Survived {
    alive: bool,
    panics: f64,
    unanswered: usize,
    livez_p99: Option<f64>,
    files_left: usize,
    growth_kib: f64,
}

pub(super) fn run(bench: &mut Bench) -> Rows {
    let runs = (0..bench.runs).map(|run| one_run(bench, run)).collect::<Result<Vec<_>, _>>()?;
    let each = |value: fn(&Survived) -> f64| runs.iter().map(value);
    Ok(vec![
        Row::new("process alive", Count, Exactly(1.0), each(|run| f64::from(u8::from(run.alive)))),
        Row::new("panics", Count, Exactly(0.0), each(|run| run.panics)),
        Row::new("/livez not answered", Count, Exactly(0.0), each(|run| run.unanswered as f64)),
        Row::new("/livez, 99th percentile", Millis, Told, runs.iter().filter_map(|run| run.livez_p99)),
        Row::new("file descriptors left over", Count, Exactly(0.0), each(|run| run.files_left as f64)),
        Row::new("growth of resident memory", Kibibytes, Worst(GROWTH_KIB), each(|run| run.growth_kib)),
    ])
}

fn one_run(bench: &mut Bench, run: u32) -> Result<Survived, Failure> {
    let sink = Sink::start(Behaviour::AnswerOnce)?;
    let pool = PoolSpec::of_address("hostile", sink.address());
    let mut mainstay = Mainstay::start(&[pool], &bench.log("hostile"), Some(FILES))?;
    mainstay.wait_active(&bench.stop)?;
    let (files, memory) = (procfs::open_files(mainstay.pid())?, procfs::resident_bytes(mainstay.pid())?);
    let asker = ProbeClient::start(mainstay.admin())?;

    let since = Instant::now();
    let address = mainstay.address(0);
    let answered = flood(bench, GARBAGE, GARBAGE_THREADS, move |rng| send_garbage(address, rng))?;
    eprintln!(
        "hostile: {GARBAGE} connections with garbage in {:.1} s, {answered} answered by the backend",
        since.elapsed().as_secs_f64()
    );
    bench.stop.pause(Duration::ZERO)?;
    let since = Instant::now();
    let open = flood(bench, SILENT, SILENT_THREADS, move |_| stay_silent(address))?;
    eprintln!("hostile: {SILENT} silent connections in {:.1} s, {open} were not turned away", since.elapsed().as_secs_f64());
    bench.stop.pause(Duration::from_millis(500))?;

    let (answers, failures) = asker.stop();
    let alive = mainstay.is_alive();
    let left = bench
        .stop
        .wait("mainstay closes its files", CALM, || procfs::open_files(mainstay.pid()).ok().filter(|now| *now <= files));
    let left = left.or_else(|_| procfs::open_files(mainstay.pid()))?;
    let growth = procfs::resident_bytes(mainstay.pid())?.saturating_sub(memory) as f64 / 1024.0;
    let panics = mainstay.scrape()?.sum("mainstay_panics_total", &[]);
    eprintln!(
        "hostile: open files {files} before, {left} after; memory grew by {growth:.0} KiB; {} answers of /livez",
        answers.len()
    );
    let survived = Survived {
        alive,
        panics,
        unanswered: failures,
        livez_p99: quantile(&answers, 0.99),
        files_left: left.saturating_sub(files),
        growth_kib: growth,
    };
    eprintln!("hostile {}/{}: {survived:?}", run + 1, bench.runs);
    Ok(survived)
}

/// Runs `one` that often on some threads at a time; how often it said true.
fn flood(
    bench: &mut Bench,
    total: u32,
    threads: u32,
    one: impl Fn(&mut Rng) -> bool + Copy + Send + 'static,
) -> Result<usize, Failure> {
    let threads = (0..threads).map(|_| {
        let mut rng = Rng::new(bench.rng.next());
        std::thread::Builder::new().name("hostile".into()).spawn(move || (0..total / threads).filter(|_| one(&mut rng)).count())
    });
    let threads = threads.collect::<Result<Vec<_>, _>>()?;
    Ok(threads.into_iter().filter_map(|thread| thread.join().ok()).sum())
}

/// Whether anything came back.
fn send_garbage(to: SocketAddr, rng: &mut Rng) -> bool {
    let garbage: Vec<u8> = (0..=rng.next() % 64).flat_map(|_| rng.next().to_le_bytes()).collect();
    let talk = || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&garbage)?;
        stream.read(&mut [0; 64])
    };
    talk().is_ok_and(|count| count > 0)
}

/// Whether mainstay let us stay.
fn stay_silent(to: SocketAddr) -> bool {
    let listen = || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.read(&mut [0; 1])
    };
    listen().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// Asks `/livez` all the time.
#[derive(Debug)]
struct ProbeClient {
    stop: Sender<()>,
    thread: JoinHandle<(Vec<f64>, usize)>,
}

impl ProbeClient {
    fn start(admin: &AdminAddr) -> Result<Self, Failure> {
        let (stop, stopped) = mpsc::channel::<()>();
        let admin = admin.clone();
        let thread = std::thread::Builder::new().name("asker".into()).spawn(move || {
            let (mut answers, mut failures) = (Vec::new(), 0);
            while stopped.recv_timeout(ASK_EVERY) == Err(RecvTimeoutError::Timeout) {
                let since = Instant::now();
                match client::get(&admin, "/livez", client::TIMEOUT) {
                    Ok(answer) if answer.status == 200 => answers.push(millis(since.elapsed())),
                    _ => failures += 1,
                }
            }
            (answers, failures)
        })?;
        Ok(Self { stop, thread })
    }

    /// Milliseconds of each answer, and how often there was none.
    fn stop(self) -> (Vec<f64>, usize) {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}
