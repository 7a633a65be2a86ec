//! The measures: what is done to each contestant, what is counted, and which ratio must be reached.

mod bulk;
mod connect_close;
mod idle_memory;
mod mixed;
mod pgbench;
mod round_trip;

use std::time::Duration;

use clap::ValueEnum;
use lab::failure::Failure;

use crate::{
    arena::Target,
    bench::Bench,
    contestant::Contestant,
    figure::{Figure, Sample},
    load::{Job, Outcome},
    proxy::Backend,
    tool::Load,
    wire::Direction,
};

/// Between the last byte and a look at the counters: what a proxy does after it, such as closing, belongs to it.
const SETTLE: Duration = Duration::from_millis(50);

/// One measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measure {
    #[value(name = "bulk_down_1")]
    BulkDown1,
    #[value(name = "bulk_up_1")]
    BulkUp1,
    #[value(name = "bulk_down_8")]
    BulkDown8,
    #[value(name = "bulk_up_8")]
    BulkUp8,
    #[value(name = "round_trip_1")]
    RoundTrip1,
    #[value(name = "round_trip_32")]
    RoundTrip32,
    #[value(name = "round_trip_256")]
    RoundTrip256,
    #[value(name = "connect_close")]
    ConnectClose,
    #[value(name = "one_core")]
    OneCore,
    #[value(name = "idle_memory")]
    IdleMemory,
    #[value(name = "mixed")]
    Mixed,
    #[value(name = "pgbench_1")]
    Pgbench1,
    #[value(name = "pgbench_8")]
    Pgbench8,
    /// No race: which system calls a connection and a round trip cost.
    #[value(name = "syscalls")]
    Syscalls,
}

/// How a measure is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) figures: &'static [Figure],
    /// What stands behind each proxy.
    pub(crate) backends: &'static [Backend],
    /// Whether each round begins with new processes.
    pub(crate) fresh: bool,
    /// Whether the proxies share the core of the load.
    pub(crate) one_core: bool,
    /// Rounds for each one that was asked for: a short run is at the mercy of what the machine does in that second.
    pub(crate) rounds_each: usize,
}

impl Plan {
    /// The usual case: proxies that stay for all rounds, on a core of their own.
    const fn new(name: &'static str, title: &'static str, figures: &'static [Figure], backends: &'static [Backend]) -> Self {
        Self { name, title, figures, backends, fresh: false, one_core: false, rounds_each: 1 }
    }

    const fn fresh(mut self) -> Self {
        self.fresh = true;
        self
    }

    const fn short(mut self) -> Self {
        self.rounds_each = 3;
        self
    }

    const fn on_one_core(mut self) -> Self {
        self.one_core = true;
        self
    }

    /// Whether it says something of this contestant.
    pub(crate) fn takes(&self, contestant: Contestant) -> bool {
        match contestant {
            Contestant::HaproxyCopy => self.backends.len() > 1,
            Contestant::NginxHalfClose => self.name == "connect_close",
            Contestant::MainstayBusyPoll => self.name.starts_with("pgbench"),
            Contestant::Direct => self.name != "idle_memory",
            _ => true,
        }
    }
}

impl Measure {
    /// How it is made; `None` for what is no race.
    pub(crate) const fn plan(self) -> Option<Plan> {
        Some(match self {
            Self::BulkDown1 => bulk::plan("bulk_down_1", "One stream from server to client, as fast as it goes."),
            Self::BulkUp1 => bulk::plan("bulk_up_1", "One stream from client to server, as fast as it goes."),
            Self::BulkDown8 => bulk::plan("bulk_down_8", "Eight streams from server to client, as fast as they go."),
            Self::BulkUp8 => bulk::plan("bulk_up_8", "Eight streams from client to server, as fast as they go."),
            Self::RoundTrip1 => round_trip::plan("round_trip_1", "100 B there, 300 B back, on one connection."),
            Self::RoundTrip32 => round_trip::plan("round_trip_32", "100 B there, 300 B back, on 32 connections at once."),
            Self::RoundTrip256 => round_trip::plan("round_trip_256", "100 B there, 300 B back, on 256 connections at once."),
            Self::ConnectClose => connect_close::PLAN,
            Self::OneCore => round_trip::ONE_CORE,
            Self::IdleMemory => idle_memory::PLAN,
            Self::Mixed => mixed::PLAN,
            Self::Pgbench1 => pgbench::plan("pgbench_1", "pgbench -S with one client."),
            Self::Pgbench8 => pgbench::plan("pgbench_8", "pgbench -S with eight clients."),
            Self::Syscalls => return None,
        })
    }

    /// Measures one contestant once.
    pub(crate) fn run(self, bench: &Bench, target: &Target<'_>) -> Result<Sample, Failure> {
        match self {
            Self::BulkDown1 => bulk::run(bench, target, Direction::Down, 1),
            Self::BulkUp1 => bulk::run(bench, target, Direction::Up, 1),
            Self::BulkDown8 => bulk::run(bench, target, Direction::Down, 8),
            Self::BulkUp8 => bulk::run(bench, target, Direction::Up, 8),
            Self::RoundTrip1 => round_trip::run(bench, target, 1, 20_000),
            Self::RoundTrip32 | Self::OneCore => round_trip::run(bench, target, 32, 80_000),
            Self::RoundTrip256 => round_trip::run(bench, target, 256, 80_000),
            Self::ConnectClose => connect_close::run(bench, target),
            Self::IdleMemory => idle_memory::run(bench, target),
            Self::Mixed => mixed::run(bench, target),
            Self::Pgbench1 => pgbench::run(bench, target, 1),
            Self::Pgbench8 => pgbench::run(bench, target, 8),
            Self::Syscalls => Ok(Sample::new()),
        }
    }
}

/// A job's outcome, and what the proxy worked meanwhile, in nanoseconds.
fn with_cpu(bench: &Bench, target: &Target<'_>, job: &Job) -> Result<(Outcome, f64), Failure> {
    let mut load = Load::prepare(&bench.stop, job)?;
    bench.stop.pause(SETTLE)?;
    let before = target.cpu_nanos()?;
    load.go()?;
    let outcome = load.outcome(&bench.stop)?;
    bench.stop.pause(SETTLE)?;
    Ok((outcome, (target.cpu_nanos()? - before) as f64))
}

/// Leaves out what no proxy was there to cost.
fn without_cpu_of_direct(target: &Target<'_>, mut sample: Sample) -> Sample {
    if target.proxy.is_none() {
        sample.retain(|(key, _)| *key != CPU);
    }
    sample
}

/// The key of every figure that is a proxy's processor time.
const CPU: &str = "cpu";
