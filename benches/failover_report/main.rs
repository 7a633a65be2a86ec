//! The failover report: what a failover through mainstay costs, measured on a real `PostgreSQL`.
//!
//! `cargo bench --bench failover_report -- --runs 20 [--case NAME…] [--seed N] [--json FILE]`
//!
//! mainstay runs as its users run it: as a process of its own, built for release, with a generated configuration file that sets
//! nothing but addresses, the check and the check's role. It is read through its admin API. The database is a real primary with a
//! synchronous standby on this machine. Eight clients write through mainstay from this process. A cluster is used for all runs of
//! a case: after each, the old primary is rebuilt as the synchronous standby of the new one, and the next run begins when
//! mainstay says that a failover would succeed. The fault comes at a random phase of the check's rhythm (seeded).
//!
//! # Definitions
//!
//! * **fault**: the moment just before the first signal is sent.
//! * **writable**: the first moment at which the standby itself answers `SELECT pg_is_in_recovery()` with false, over a session
//!   that was opened before the fault, past mainstay, and that asks about every millisecond.
//! * **first write**: the first `INSERT` that the new primary acknowledged through mainstay, of any of the eight clients. Every
//!   acknowledgement carries the port of the node that gave it (`RETURNING inet_server_port()`).
//! * **mainstay's share of the gap**: from the later of fault and writable to the first write. It is what a client waits because
//!   of mainstay, its own new login included.
//! * **detection**: from the fault to the moment at which mainstay published the revocation of the old primary (the event's own
//!   time, in milliseconds cut off, brought to this process's clock). mainstay's own view counts from its first sign of trouble.
//! * **failed connect**: a connect through mainstay that ends before its login is done. Clients wait up to 100 s for it; mainstay
//!   gives up after 15 s, or after the 90 s that a case sets.
//! * **acknowledged writes lost**: rows whose acknowledgement a client has, and that the surviving primary does not hold.
//! * **aborted**, **ambiguous**: a transaction of a switchover's clients that ended after its first statement; one whose COMMIT had no
//!   answer.
//! * **whole hold**, **drain**: of a switchover, in mainstay's own account of its steps.
//! * **added**: the whole hold without the stop of the old primary, as the command that stops it measures it, and without the step
//!   `promote`.
//! * **writes on the old primary after the new one's first**: acknowledgements of the old one that came after the first write of
//!   the new one; and, where the old one can be asked afterwards (it was frozen), rows it holds that were only sent after it.
//!
//! # Map
//!
//! | file | what it holds |
//! |---|---|
//! | [`cases`] | the cases and their bounds |
//! | [`pair`], [`promotion`] | the database under test; the faults; who may write, since when |
//! | [`mainstay`], [`scrape`], [`wall`] | the process under test and its admin API |
//! | [`writers`] | the clients and their books |
//! | [`table`], [`document`] | numbers and how they are shown |
//! | [`rng`] | chance |
//!
//! Its servers, and what else both benches need, are in `lab`.

mod cases;
mod document;
mod mainstay;
mod pair;
mod promotion;
mod rng;
mod scrape;
mod table;
mod wall;
mod writers;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use cases::{Bench, Case};
use clap::{Parser, ValueEnum};
use lab::{failure::Failure, stop::Stop};
use rng::Rng;
use table::CaseResult;

/// Runs of each case with `--long`.
const LONG: u32 = 100;

/// Measures failovers of a real `PostgreSQL` through mainstay, and tells which bounds hold.
#[derive(Debug, Parser)]
#[command(name = "failover_report")]
struct Args {
    /// How often each case is repeated.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Each case is repeated 100 times.
    #[arg(long, conflicts_with = "runs")]
    long: bool,
    /// Only these cases; all of them otherwise, which also writes docs/failover-report.md.
    #[arg(long = "case", value_name = "NAME", num_args = 1..)]
    cases: Vec<Case>,
    /// Repeats the random moments of an earlier report.
    #[arg(long)]
    seed: Option<u64>,
    /// Writes every number to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match report(&args) {
        Ok(results) if results.iter().all(CaseResult::holds) => ExitCode::SUCCESS,
        Ok(_) => {
            eprintln!("At least one bound was missed; mainstay's logs are in {}", logs().display());
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("failover_report: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn report(args: &Args) -> Result<Vec<CaseResult>, Failure> {
    let seed = args.seed.unwrap_or_else(seed);
    let count = if args.long { LONG } else { args.runs };
    fs::create_dir_all(logs())?;
    let mut bench = Bench { runs: count, rng: Rng::new(seed), stop: Stop::on_signals()?, logs: logs(), postgres: None };
    let cases = if args.cases.is_empty() { Case::value_variants() } else { &args.cases };
    println!("{count} runs, seed {seed}");
    let results = cases.iter().map(|case| case.run(&mut bench)).collect::<Result<Vec<_>, _>>()?;
    let facts = document::Facts { runs: count, seed, postgres: bench.postgres };
    print!("{}{}", facts.text(), table::text(&results));
    if let Some(file) = &args.json {
        fs::write(file, format!("{:#}\n", facts.json(&results)))?;
    }
    if args.cases.is_empty() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/failover-report.md");
        fs::write(file, facts.document(&results))?;
    }
    Ok(results)
}

/// Where mainstay's logs of the last report are: in cargo's target directory.
fn logs() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("failover-report")
}

fn seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs() << 20 | u64::from(since.subsec_micros()))
}
