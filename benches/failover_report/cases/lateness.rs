//! Are the checks on time while the byte path keeps every core busy?

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use lab::{failure::Failure, procfs::MachineTime};

use super::{
    Bench, Rows,
    sink::{Behaviour, Sink},
};
use crate::{
    mainstay::{Mainstay, PoolSpec},
    pair::Pair,
    scrape::Scrape,
    table::{
        Bound::{Exactly, Told},
        Row,
        Unit::{Count, Millis, Percent},
    },
};

const LENGTH: Duration = Duration::from_secs(10);
/// Streams at a time; more than cores.
const STREAMS: usize = 6;
const LATENESS: &str = "mainstay_probe_lateness_seconds";
/// A probe that is later is too late.
const BOUND_SECONDS: f64 = 0.05;

#[derive(Debug)]
struct Loaded {
    probes: f64,
    too_late: f64,
    /// Upper bound of the bucket that holds the worst.
    worst_ms: f64,
    /// The worst lateness of a thread of this process that only sleeps.
    bystander_ms: f64,
    stolen: f64,
    transitions: usize,
    busy: f64,
    mebibytes: u64,
}

pub(super) fn run(bench: &mut Bench) -> Rows {
    let pair = Pair::create(&[])?;
    bench.postgres = Some(pair.version()?);
    let sink = Sink::start(Behaviour::Discard)?;
    let pools = [PoolSpec::of_nodes(pair.nodes(), ""), PoolSpec::of_address("bulk", sink.address())];
    let mainstay = Mainstay::start(&pools, &bench.log("lateness"), None)?;
    mainstay.wait_ready(&bench.stop, pair.primary().name())?;
    let runs = (0..bench.runs).map(|run| load(bench, &mainstay, run)).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![
        Row::new("probes more than 50 ms late", Count, Exactly(0.0), runs.iter().map(|run| run.too_late)),
        Row::new("changes of who serves, or of health", Count, Exactly(0.0), runs.iter().map(|run| run.transitions as f64)),
        Row::new("worst lateness, upper bound of its bucket", Millis, Told, runs.iter().map(|run| run.worst_ms)),
        Row::new("worst lateness of a thread that only sleeps", Millis, Told, runs.iter().map(|run| run.bystander_ms)),
        Row::new("processor time the host took away", Percent, Told, runs.iter().map(|run| run.stolen)),
        Row::new("probes", Count, Told, runs.iter().map(|run| run.probes)),
        Row::new("cores busy", Percent, Told, runs.iter().map(|run| run.busy)),
        Row::new("MiB relayed", Count, Told, runs.iter().map(|run| run.mebibytes as f64)),
    ])
}

fn load(bench: &Bench, mainstay: &Mainstay, run: u32) -> Result<Loaded, Failure> {
    let (events, before, time) = (mainstay.newest_event()?, mainstay.scrape()?, MachineTime::now()?);
    let deadline = Instant::now() + LENGTH;
    let streams = (0..STREAMS).map(|_| pour(mainstay.address(1), deadline)).collect::<Result<Vec<_>, _>>()?;
    let bystander = std::thread::Builder::new().name("bystander".into()).spawn(move || sleep_until(deadline))?;
    bench.stop.pause(LENGTH)?;
    let now = MachineTime::now()?;
    let bytes: u64 = streams.into_iter().filter_map(|stream| stream.join().ok()).sum();
    let lateness = observed(&before, &mainstay.scrape()?);
    let probes = lateness.last().map_or(0.0, |(_, count)| *count);
    let in_time = lateness.iter().filter(|(bound, _)| *bound <= BOUND_SECONDS).map(|(_, count)| *count).fold(0.0, f64::max);
    let loaded = Loaded {
        probes,
        too_late: probes - in_time,
        worst_ms: lateness.iter().find(|(_, count)| *count >= probes).map_or(0.0, |(bound, _)| bound * 1000.0),
        bystander_ms: bystander.join().unwrap_or_default().as_secs_f64() * 1000.0,
        stolen: now.stolen_percent_since(time),
        transitions: mainstay.events_since(events)?.iter().filter(|event| event.is_transition()).count(),
        busy: now.busy_percent_since(time),
        mebibytes: bytes >> 20,
    };
    eprintln!("lateness {}/{}: {loaded:?}", run + 1, bench.runs);
    Ok(loaded)
}

/// Sleeps a little again and again; the longest that a sleep took too long. Whoever sleeps on this machine is late so much,
/// whatever program it runs.
fn sleep_until(deadline: Instant) -> Duration {
    let nap = Duration::from_millis(5);
    let mut worst = Duration::ZERO;
    while Instant::now() < deadline {
        let began = Instant::now();
        std::thread::sleep(nap);
        worst = worst.max(began.elapsed().saturating_sub(nap));
    }
    worst
}

/// The buckets' counts of the time between two answers.
fn observed(before: &Scrape, after: &Scrape) -> Vec<(f64, f64)> {
    after
        .buckets(LATENESS)
        .into_iter()
        .zip(before.buckets(LATENESS))
        .map(|((bound, after), (_, before))| (bound, after - before))
        .collect()
}

/// One stream; the bytes it sent.
fn pour(to: SocketAddr, deadline: Instant) -> Result<JoinHandle<u64>, Failure> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let block = vec![0x5a; 256 * 1024];
    Ok(std::thread::Builder::new().name("stream".into()).spawn(move || {
        let mut sent = 0;
        while Instant::now() < deadline {
            match stream.write(&block) {
                Ok(count) => sent += count as u64,
                Err(_) => break,
            }
        }
        sent
    })?)
}
