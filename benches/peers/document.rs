//! `docs/performance.md`, and the facts that a number means nothing without.

use std::{fmt::Write as _, fs};

use lab::failure::Failure;
use serde_json::{Value, json};

use crate::{
    bench::Bench,
    configuration::{self, Route, Setting},
    contestant::Contestant,
    figure::Book,
    syscalls::Seen,
    table,
};

/// What the numbers depend on.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    rounds: usize,
    cores: usize,
    kernel: String,
    congestion: String,
    processor: String,
    contestants: Vec<Contestant>,
    versions: Vec<(&'static str, String)>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    pub(crate) books: Vec<Book>,
    pub(crate) seen: Vec<Seen>,
    /// Why the system calls could not be counted.
    pub(crate) unseen: Option<String>,
}

impl Results {
    /// Everything was measured and every bound holds.
    pub(crate) fn hold(&self) -> bool {
        self.unseen.is_none() && self.books.iter().all(Book::holds)
    }

    /// Everything was measured.
    pub(crate) fn complete(&self) -> bool {
        self.unseen.is_none() && self.books.iter().all(|book| book.failed.is_none())
    }
}

const HEAD: &str = "\
# Performance

Written by `make bench-peers`; do not edit. It compares mainstay with HAProxy, nginx and Envoy on one machine, and with no proxy
(direct). [performance-tried.md](performance-tried.md) lists experiments that did not help.

![mainstay beside its peers](performance.svg)

";

const DEFINITIONS: &str = "\
## What is measured

Everything runs in a separate network namespace, with a congestion control that sends what the window allows, like cubic, the default of
Linux. (BBR paces each connection by a timer. On loopback those timers cost more than any proxy.)

The proxy runs on one core, load and servers on the other; each is a separate process. One thread of each proxy relays bytes. Every
round measures each proxy, and each round begins with another one. Numbers are medians over the rounds. Short measures (round trips,
connect_close, one_core, pgbench) have three times as many rounds.

| word | meaning |
|---|---|
| ratio | The median of mainstay's numbers divided by that of the best of the three peers in this figure. |
| by round | The smallest and the largest ratio within one round. It shows the noise of the machine. |
| proxy's CPU | Time that all threads of the proxy ran, system calls included, as the kernel's scheduler counts it. |
| added | How much longer it takes than without a proxy in the same round. The ratio compares these differences. |
| bulk | 4 GB in all. The server writes as fast as it can; the receiver discards the bytes (MSG_TRUNC), so that the proxy is the limit. |
| round trip | A request of 100 B and an answer of 300 B. On each connection the next one begins when the last one is done. |
| connect_close | New proxies and a new server each round; 12,000 connections by eight clients at once, each closed by its client after one round trip. |
| one_core | As round_trip_32, but load, server and proxy share one core, so that no time is hidden by running in parallel. |
| idle_memory | New proxies each round; growth of resident memory (smaps_rollup) from one connection to 4,001, 2.5 s after the last traffic. |
| mixed | Streams of 300 MB/s together, paced by their server, and 5,000 round trips per second from another process to another server. A round trip's latency counts from the moment it was meant to begin. The load must reach 95 % of both rates, or the run is repeated. |
| pgbench | `pgbench -S` against a PostgreSQL on the load's core; added latency. |

A figure without a bound is for information. Also for information: `haproxy_copy` is HAProxy without
`splice-auto`; `nginx_half_close` relays a FIN as all the others do, while nginx by default treats the first FIN as the end of both
directions, so that a client that has finished sending gets no answer; `mainstay_busy_poll` has `busy_poll: 50us`.
";

impl Facts {
    pub(crate) fn gather(bench: &Bench) -> Result<Self, Failure> {
        let proxies = bench.contestants.iter().filter(|one| one.is_plain());
        let versions = proxies.map(|one| Ok((one.name(), bench.programs.version(*one)?))).collect::<Result<_, Failure>>()?;
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let mut names =
            cpuinfo.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name));
        Ok(Self {
            rounds: bench.rounds,
            cores: names.clone().count(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.split('-').next().unwrap_or_default().trim().to_owned(),
            congestion: bench.congestion.clone(),
            processor: names.next_back().unwrap_or("unknown").to_owned(),
            contestants: bench.contestants.clone(),
            versions,
        })
    }

    fn rows(&self) -> Vec<(&str, String)> {
        let machine = [
            ("processor", self.processor.clone()),
            ("cores", self.cores.to_string()),
            ("Linux", self.kernel.clone()),
            ("congestion control", self.congestion.clone()),
            ("rounds", self.rounds.to_string()),
        ];
        machine.into_iter().chain(self.versions.iter().map(|(name, version)| (*name, version.clone()))).collect()
    }

    /// For a terminal.
    pub(crate) fn text(&self, results: &Results) -> String {
        let mut out = String::from("\n");
        for (what, value) in self.rows() {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{what}: {value}");
        }
        for book in &results.books {
            if let Some(why) = &book.failed {
                let _ = writeln!(out, "\n{} could not be measured: {why}", book.name);
            }
        }
        if let Some(why) = &results.unseen {
            let _ = writeln!(out, "\nsystem calls could not be counted: {why}");
        }
        if !results.books.is_empty() {
            let _ = write!(out, "\n{}", table::medians(&results.books, &self.contestants).text());
            let _ = write!(out, "\n{}", table::ratios(&results.books).text());
        }
        if !results.seen.is_empty() {
            let _ = write!(out, "\n{}", table::calls(&results.seen, "per connection", |seen| &seen.connection).text());
            let _ = write!(out, "\n{}", table::calls(&results.seen, "per round trip", |seen| &seen.trip).text());
        }
        out
    }

    /// For programs.
    pub(crate) fn json(&self, results: &Results) -> Value {
        let facts: Value = self.rows().into_iter().map(|(what, value)| (what.to_owned(), json!(value))).collect();
        json!({"facts": facts, "results": table::json(&results.books, &results.seen)})
    }

    /// The whole document.
    pub(crate) fn document(&self, results: &Results) -> String {
        let mut out = String::from(HEAD);
        out.push_str("| | |\n|---|---|\n");
        for (what, value) in self.rows() {
            let _ = writeln!(out, "| {what} | {value} |");
        }
        let _ = write!(out, "\n## Ratios\n\n{}", table::ratios(&results.books).markdown());
        let _ = write!(out, "\n{DEFINITIONS}\n## The measures\n\n");
        for book in &results.books {
            let _ = writeln!(out, "* `{}`: {}", book.name, book.title);
        }
        let _ = write!(out, "\n## Every number\n\nMedian (smallest to largest of the rounds).\n\n");
        out.push_str(&table::medians(&results.books, &self.contestants).markdown());
        out.push_str(
            "\n## System calls\n\nCounted by strace on all threads of the proxy, one connection at a time; checks included.\n\n",
        );
        out.push_str(&table::calls(&results.seen, "per connect, round trip and close", |seen| &seen.connection).markdown());
        let _ = write!(out, "\n{}", table::calls(&results.seen, "per round trip", |seen| &seen.trip).markdown());
        out.push_str(&self.configurations());
        out
    }

    /// What each proxy ran with, with made-up ports.
    fn configurations(&self) -> String {
        let route = Route { name: "orders", listen: "127.0.0.1:5432".into(), server: "127.0.0.1:5433".into() };
        let setting = Setting {
            routes: vec![route],
            admin: "127.0.0.1:8432".into(),
            folder: "RUN".into(),
            modules: Some("MODULES".into()),
        };
        let mut out = String::from("\n## Configurations\n");
        for contestant in self.contestants.iter().copied().filter(|one| *one != Contestant::Direct) {
            let arguments = configuration::arguments(contestant, "FILE").join(" ");
            let (program, text) = (contestant.program().name(), configuration::text(contestant, &setting));
            let language = if configuration::ending(contestant) == "yaml" { "yaml" } else { "" };
            let _ = write!(out, "\n### {}\n\n`{program} {arguments}`\n\n```{language}\n{text}```\n", contestant.name());
        }
        out
    }
}
