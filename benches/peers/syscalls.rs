//! Which system calls a connection and a round trip cost each proxy: strace counts them while the load runs. strace is attached
//! to the running proxy, to every thread of it. What a proxy does by itself meanwhile, its checks above all, is counted too.

use std::{collections::BTreeMap, fs, path::Path, process::Command, process::Stdio, time::Duration};

use lab::failure::Failure;
use rustix::process::Signal;

use crate::{
    arena::Arena,
    bench::Bench,
    contestant::Contestant,
    load::Job,
    process::Guarded,
    proxy::{Backend, Proxy},
    tool::Load,
};

const CONNECTIONS: u64 = 1000;
const TRIPS: u64 = 5000;
/// Longest wait for strace to take hold, and for its summary.
const STRACE_TIMEOUT: Duration = Duration::from_secs(10);
/// What the proxy still does after the last byte.
const SETTLE: Duration = Duration::from_millis(300);

/// Calls by name, per connection or round trip.
pub(crate) type Calls = BTreeMap<String, f64>;

/// What one contestant was seen to call.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) contestant: Contestant,
    pub(crate) connection: Calls,
    pub(crate) trip: Calls,
}

/// Counts them for every proxy.
pub(crate) fn count(bench: &Bench) -> Result<Vec<Seen>, Failure> {
    println!("\nsyscalls: What a connection and a round trip cost, counted by strace.");
    let mut all = Vec::new();
    for contestant in bench.contestants.iter().copied().filter(|one| one.is_peer() || *one == Contestant::Mainstay) {
        let arena = Arena::start(bench.place(), &[Backend::RoundTrip], &[contestant])?;
        let target = arena.target(contestant);
        let Some(proxy) = target.proxy else { continue };
        let [connects, trips] = [CONNECTIONS, TRIPS].map(|count| bench.scaled(count));
        let connection = Job::Connects { target: target.addresses[0], parallel: 1, count: connects };
        let trip = Job::RoundTrips { target: target.addresses[0], connections: 1, count: trips };
        let traced = |job, count| traced(bench, proxy, job, count).map_err(|failure: Failure| failure.during(contestant.name()));
        let seen = Seen { contestant, connection: traced(&connection, connects)?, trip: traced(&trip, trips)? };
        let [connection, trip] = [&seen.connection, &seen.trip].map(|calls| calls.values().sum::<f64>());
        println!("  {:<12}  {connection:.2} a connection   {trip:.2} a round trip", contestant.name());
        all.push(seen);
    }
    Ok(all)
}

fn traced(bench: &Bench, proxy: &Proxy, job: &Job, count: u64) -> Result<Calls, Failure> {
    let mut load = Load::prepare(&bench.stop, job)?;
    bench.stop.pause(SETTLE)?;
    let summary = bench.folder.join("strace.txt");
    let pids = proxy.family();
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-o"]).arg(&summary);
    for pid in &pids {
        command.args(["-p", &pid.to_string()]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut strace = Guarded::spawn("strace", &mut command)?;
    bench.stop.wait("strace follows every thread of the proxy", STRACE_TIMEOUT, || all_traced(&pids).then_some(()))?;
    load.go()?;
    load.outcome(&bench.stop)?;
    bench.stop.pause(SETTLE)?;
    strace.signal(Signal::INT);
    bench.stop.wait("strace writes its summary", STRACE_TIMEOUT, || strace.ended())?;
    parse(&summary, count)
}

/// Whether every thread of these processes is traced.
fn all_traced(pids: &[u32]) -> bool {
    let traced = |status: String| status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() != "0"));
    pids.iter().all(|pid| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks.map(|task| fs::read_to_string(task.path().join("status"))).all(|status| status.is_ok_and(traced))
    })
}

/// `% time  seconds  usecs/call  calls  [errors]  syscall`, between two lines of dashes.
fn parse(summary: &Path, count: u64) -> Result<Calls, Failure> {
    let text = fs::read_to_string(summary)?;
    let lines = text.lines().skip_while(|line| !line.starts_with('-')).skip(1).take_while(|line| !line.starts_with('-'));
    let call = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(((*words.last()?).to_owned(), words.get(3)?.parse::<f64>().ok()? / count as f64))
    };
    let calls: Calls = lines.filter_map(call).collect();
    if calls.is_empty() { Err(Failure::Said(format!("strace counted nothing: {text}"))) } else { Ok(calls) }
}
