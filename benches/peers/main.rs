//! mainstay beside its peers: what a proxy costs, measured on `HAProxy`, nginx and Envoy in the same minutes on the same cores.
//!
//! `cargo bench --bench peers -- [--rounds N] [--measure NAME…] [--proxy NAME…] [--bin NAME=PATH]… [--json FILE] [--short]`
//!
//! `benches/peers/install` installs what is compared; `make bench-peers` does both. Two cores are used: one is the proxies', the
//! other that of load, servers and this program. The proxies of a measure run all the time and take turns at the load; the order
//! of the turns moves on by one each round, so that what the machine does to one it does to all. What is compared are medians:
//! mainstay's divided by that of the best of the three peers, beside the bound of the figure. The words are explained in
//! `document.rs`, which writes them into `docs/performance.md` when everything was measured in at least five rounds.
//!
//! # Map
//!
//! | file | what it holds |
//! |---|---|
//! | [`measure`] and its rooms | the measures, their figures and bounds |
//! | [`bench`] | rounds and turns |
//! | [`contestant`], [`configuration`], [`proxy`] | who is compared: programs, configurations, running processes |
//! | [`arena`], [`database`] | servers and the proxies in front of them |
//! | [`load`] and its rooms, [`serve`], [`wire`] | load and servers: what runs in processes of their own |
//! | [`tool`] | the harness's side of these |
//! | [`network`] | a network of the measurement's own |
//! | [`process`] | children, cores |
//! | [`syscalls`] | strace |
//! | [`figure`], [`table`], [`plot`], [`document`] | numbers, verdicts, and how they are shown |
//!
//! What both benches need is in `lab`: Ctrl-C, what could not be measured, what the kernel says of a process, statistics.

mod arena;
mod bench;
mod configuration;
mod contestant;
mod database;
mod document;
mod figure;
mod load;
mod measure;
mod network;
mod plot;
mod process;
mod proxy;
mod serve;
mod syscalls;
mod table;
mod tool;
mod wire;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use bench::Bench;
use clap::{Parser, Subcommand, ValueEnum};
use contestant::{Contestant, Programs};
use document::{Facts, Results};
use lab::{failure::Failure, stop::Stop};
use measure::Measure;
use process::Cores;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Fewer rounds than this are no measurement to write down.
const ROUNDS_TO_WRITE: usize = 5;
/// Descriptors that the most hungry measure needs in one process: two for each of 4,000 connections, and some.
const DESCRIPTORS: u64 = 10_000;

/// Measures mainstay beside `HAProxy`, nginx and Envoy, and tells which ratios hold.
#[derive(Debug, Parser)]
#[command(name = "peers", args_conflicts_with_subcommands = true)]
struct Args {
    /// How often each measure is made; from 5 on, a run of everything writes docs/performance.md.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Only these measures.
    #[arg(long = "measure", value_name = "NAME", num_args = 1..)]
    measures: Vec<Measure>,
    /// Only these contestants.
    #[arg(long = "proxy", value_name = "NAME", num_args = 1..)]
    proxies: Vec<Contestant>,
    /// Another build of a proxy, such as haproxy=/opt/haproxy/sbin/haproxy.
    #[arg(long = "bin", value_name = "NAME=PATH")]
    programs: Vec<String>,
    /// Writes every number to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Everything a tenth as long: to see whether it works, not to measure.
    #[arg(long, visible_alias = "smoke")]
    short: bool,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program is when it calls itself.
#[derive(Clone, Copy, Debug, Subcommand)]
enum Role {
    #[command(hide = true)]
    Serve { kind: serve::Kind },
    #[command(hide = true)]
    Load {
        #[command(subcommand)]
        job: load::Job,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.role {
        Some(Role::Serve { kind }) => serve::run(kind).map(|()| true).map_err(Failure::from),
        Some(Role::Load { job }) => load::run(job).map(|()| true).map_err(Failure::from),
        None => compare(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("At least one ratio was missed or could not be measured; the proxies' logs are in {}", folder().display());
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("peers: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Measures what is asked for; whether everything holds.
fn compare(args: &Args) -> Result<bool, Failure> {
    let bench = prepare(args)?;
    let facts = Facts::gather(&bench)?;
    let measures = if args.measures.is_empty() { Measure::value_variants() } else { &args.measures };
    println!("{} rounds; proxies on core {}, load and servers on core {}", args.rounds, bench.cores.proxy, bench.cores.load);
    let mut results = Results::default();
    for measure in measures {
        if let Some(plan) = measure.plan() {
            results.books.push(bench.race(*measure, &plan)?);
            continue;
        }
        match syscalls::count(&bench) {
            Ok(seen) => results.seen = seen,
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => results.unseen = Some(failure.to_string()),
        }
    }
    print!("{}", facts.text(&results));
    if let Some(file) = &args.json {
        fs::write(file, format!("{:#}\n", facts.json(&results)))?;
    }
    let everything = args.measures.is_empty() && args.proxies.is_empty() && !args.short;
    if everything && bench.rounds >= ROUNDS_TO_WRITE && results.complete() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        fs::write(docs.join("performance.md"), facts.document(&results))?;
        fs::write(docs.join("performance.svg"), plot::svg(&results.books))?;
    }
    Ok(results.hold())
}

fn prepare(args: &Args) -> Result<Bench, Failure> {
    let programs = Programs::new(&args.programs)?;
    let contestants = if args.proxies.is_empty() { Contestant::value_variants().to_vec() } else { args.proxies.clone() };
    // What is missing is told before an hour was spent.
    for contestant in contestants.iter().filter(|contestant| **contestant != Contestant::Direct) {
        programs.path(*contestant)?;
    }
    raise_descriptors()?;
    let congestion = network::enter()?;
    // The thread that handles signals starts before this one is moved, so that it never waits behind the load.
    let stop = Stop::on_signals()?;
    let cores = Cores::take()?;
    fs::create_dir_all(folder())?;
    let rounds = usize::try_from(args.rounds).unwrap_or(1);
    Ok(Bench { rounds, smoke: args.short, stop, cores, congestion, programs, folder: folder(), contestants })
}

/// Children inherit the limit.
fn raise_descriptors() -> Result<(), Failure> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if maximum.is_some_and(|most| most < DESCRIPTORS) {
        let most = maximum.unwrap_or_default();
        return Err(Failure::Said(format!(
            "the limit of open files is {most}; idle_memory needs {DESCRIPTORS}: raise it (ulimit -Hn)"
        )));
    }
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Where configurations and logs of the last run are: in cargo's target directory.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers")
}
