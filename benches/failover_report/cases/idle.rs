//! What sessions cost that do nothing.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use lab::{
    failure::Failure,
    procfs::{self, MachineTime},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    Bench, Rows,
    sink::{Behaviour, Sink},
};
use crate::{
    mainstay::{Mainstay, PoolSpec},
    table::{
        Bound::{Told, Worst},
        Row,
        Unit::{Count, Kibibytes, Percent},
    },
};

const SESSIONS: usize = 4000;
const LENGTH: Duration = Duration::from_secs(10);
/// Before each look: what was begun is over.
const CALM: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Cost {
    kibibytes: f64,
    cpu_percent: f64,
    /// How often a thread began to run, a second.
    turns: f64,
    /// Processor time that the host took away from this machine meanwhile, in percent.
    stolen_percent: f64,
    files: usize,
}

pub(super) fn run(bench: &mut Bench) -> Rows {
    allow_files()?;
    let runs = (0..bench.runs).map(|run| one_run(bench, run)).collect::<Result<Vec<_>, _>>()?;
    // The bound is on the median of the runs; a single run may meet a page more or less.
    let memory: Vec<f64> = runs.iter().map(|run| run.kibibytes).collect();
    Ok(vec![
        Row::new("resident memory a session, median", Kibibytes, Worst(2.5), lab::stats::median(&memory)),
        Row::new("resident memory a session", Kibibytes, Told, memory),
        Row::new("processor time, of one core", Percent, Worst(0.1), runs.iter().map(|run| run.cpu_percent)),
        Row::new("times a thread began to run, a second", Count, Told, runs.iter().map(|run| run.turns)),
        Row::new("processor time the host took away", Percent, Told, runs.iter().map(|run| run.stolen_percent)),
        Row::new("file descriptors open", Count, Told, runs.iter().map(|run| run.files as f64)),
    ])
}

fn one_run(bench: &Bench, run: u32) -> Result<Cost, Failure> {
    let sink = Sink::start(Behaviour::Echo)?;
    let mainstay = Mainstay::start(&[PoolSpec::of_address("idle", sink.address())], &bench.log("idle"), None)?;
    mainstay.wait_active(&bench.stop)?;
    bench.stop.pause(CALM)?;
    let memory = procfs::resident_bytes(mainstay.pid())?;
    let sessions = (0..SESSIONS).map(|_| open(mainstay.address(0))).collect::<Result<Vec<_>, _>>()?;
    bench.stop.pause(CALM)?;
    let growth = procfs::resident_bytes(mainstay.pid())?.saturating_sub(memory);
    let files = procfs::open_files(mainstay.pid())?;
    let (cpu, turns, machine) = (procfs::cpu_nanos(mainstay.pid())?, procfs::turns(mainstay.pid())?, MachineTime::now()?);
    bench.stop.pause(LENGTH)?;
    let cpu = procfs::cpu_nanos(mainstay.pid())? - cpu;
    let turns = procfs::turns(mainstay.pid())? - turns;
    drop(sessions);
    let cost = Cost {
        kibibytes: growth as f64 / 1024.0 / SESSIONS as f64,
        turns: turns as f64 / LENGTH.as_secs_f64(),
        stolen_percent: MachineTime::now()?.stolen_percent_since(machine),
        cpu_percent: cpu as f64 / LENGTH.as_nanos() as f64 * 100.0,
        files,
    };
    eprintln!("idle {}/{}: {cost:?}", run + 1, bench.runs);
    Ok(cost)
}

/// A session that has carried one byte there and back, so that it is relayed and not only accepted.
fn open(to: SocketAddr) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"x")?;
    stream.read_exact(&mut [0])?;
    Ok(stream)
}

/// This process holds both ends of every session.
fn allow_files() -> Result<(), Failure> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    let needed = SESSIONS as u64 * 2 + 200;
    if maximum.is_some_and(|maximum| maximum < needed) {
        return Err(Failure::Said(format!("this process needs {needed} file descriptors; raise the limit (ulimit -n)")));
    }
    Ok(())
}
