//! `mainstay probe`: one probe, its result, how mainstay would judge such a backend, and what to do.
//!
//! | file | what it holds |
//! |---|---|
//! | [`mod@args`] | the arguments |
//! | `kind` | what a kind of check is here; each kind has a file of its name |
//! | `screen`, `advice` | what is shown |
//! | `source` | where the backend sees the check come from |
//! | [`mod@connect`] | `mainstay check --connect` |

mod advice;
mod args;
mod connect;
mod exchange;
mod exec;
mod http;
mod kind;
mod mysql;
mod postgres;
mod redis;
mod screen;
mod source;
mod tcp;

use std::{io::Write, time::Instant};

use self::screen::Told;
pub use self::{args::Args, connect::connect};
use super::exit;
use crate::{
    config::CheckKind,
    control::{
        drain,
        probe::{self, Deadline},
        promotion::{self, Member, Severity, Shortcoming},
        resolver,
    },
    failover::{Outcome, Printable},
    net::addresses::Addresses,
};

/// Runs the command. 0: the backend answered as asked; 1: it did not; 2: the arguments cannot be used.
pub fn run(args: &Args) -> u8 {
    let mut out = std::io::stdout().lock();
    let check = match kind::check(args) {
        Ok(check) => check,
        Err(error) => {
            eprintln!("mainstay probe: {error}");
            return exit::USAGE;
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mainstay probe: this machine could not start a runtime: {error}");
            return exit::FAILED;
        }
    };
    let started = Instant::now();
    let deadline = Deadline::after(args.timeout).with_header(args.proxy_protocol);
    let result = runtime.block_on(probe::once_by(&args.address, &check, deadline));
    let took = started.elapsed();
    let (lacks, rights) = match &result {
        Ok(finding) if finding.outcome == Outcome::Ok => {
            runtime.block_on(async { (lacks(args, &check).await, rights(args, &check).await) })
        }
        _ => Default::default(),
    };
    let told = Told {
        address: &args.address,
        check: &check,
        timeout: args.timeout,
        took,
        result: &result,
        lacks: &lacks,
        rights: &rights,
    };
    // A hung name server must not delay the command.
    runtime.shutdown_background();
    let text = if args.json { screen::json(&told) } else { screen::screen(&told) };
    let written = writeln!(out, "{text}");
    let ok = written.is_ok() && result.is_ok_and(|finding| finding.outcome == Outcome::Ok);
    if ok { exit::DONE } else { exit::FAILED }
}

/// What the role lacks for a promotion by mainstay, and what to grant.
async fn rights(args: &Args, check: &CheckKind) -> Vec<Shortcoming> {
    let name = args.address.to_string().into();
    let node = Member { name, address: args.address.clone(), addresses: Addresses::default() };
    let deadline = Deadline::after(args.timeout).with_header(args.proxy_protocol);
    promotion::rights(check, &node, deadline).await.unwrap_or_else(|why| {
        let words = format!("the rights on {} are not known: {why}", node.name).into();
        vec![Shortcoming { severity: Severity::Forbids, words }]
    })
}

/// What the role lacks for a switchover that breaks no transaction, and what to grant.
async fn lacks(args: &Args, check: &CheckKind) -> Vec<Printable> {
    if !matches!(check, CheckKind::Postgres(_) | CheckKind::Mysql(_)) {
        return Vec::new();
    }
    let deadline = Deadline::after(args.timeout).with_header(args.proxy_protocol);
    // It was found a moment ago.
    match tokio::time::timeout_at(deadline.at(), resolver::lookup(&args.address)).await {
        Ok(Ok(addresses)) => drain::shortcomings(check, &args.address, &addresses, deadline).await,
        _ => Vec::new(),
    }
}
