//! Each way to promote a standby, some time after its source died, fell silent, or while it lives: clients go to it.
//!
//! Every reaction was once tested at one delay only, and a replica promoted a second after the death of its source was never served
//! (its `Last_IO_Errno` had changed by then). So one source has many replicas here, each in a pool of its own, and each is promoted in
//! another way after another time. Every way, every delay and every state of the source comes once for each database; the failover
//! report (`make failover-report`) has more delays, and says how long clients wait.
//!
//! | | source lives | dead, 0 | dead, 50 ms | dead, 1 s | dead, 10 s | silent, 1 s |
//! |---|---|---|---|---|---|---|
//! | `MariaDB` | `STOP` | `STOP`, `RESET ALL` | `read_only` first | `STOP` | `STOP ALL`, `RESET` | the words of today |
//! | Redis | `REPLICAOF NO ONE`, `FAILOVER`, Sentinel's switchover | `REPLICAOF NO ONE` | the same | the same | the same | the same |
//! | `PostgreSQL` | `pg_promote()` | `pg_ctl promote` | `pg_promote()` | trigger file | `pg_promote()` | `pg_ctl promote` |
//!
//! Sentinel promotes by itself when its source is dead, and Patroni's ways are in `http::cluster`.

pub mod automatic;
mod mariadb;
mod postgres;
mod redis;

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    process::{Process, settings},
    wait::until,
};

pub(crate) const AT_ONCE: Duration = Duration::ZERO;
pub(crate) const SOON: Duration = Duration::from_millis(50);
pub(crate) const LATER: Duration = Duration::from_secs(1);
pub(crate) const LATE: Duration = Duration::from_secs(10);

/// mainstay with a pool for each replica: the source is its `old`, the replica its `new`.
pub(crate) fn pools(check: &Value, source: SocketAddr, replicas: &[SocketAddr]) -> Process {
    let mut settings = settings(&[]);
    let pool = settings["pools"][0].clone();
    let of = |(number, replica): (usize, &SocketAddr)| {
        let mut pool = pool.clone();
        pool["name"] = json!(format!("pool-{number}"));
        pool["check"] = check.clone();
        pool["backends"] =
            json!([{"name": "old", "address": source.to_string()}, {"name": "new", "address": replica.to_string()}]);
        pool
    };
    settings["pools"] = replicas.iter().enumerate().map(of).collect();
    let process = Process::start(&settings);
    for number in 0..replicas.len() {
        until("the replica is known", || (reason(&process, number, 1) == "standby").then_some(()));
        serves(&process, number, "old");
    }
    process
}

/// Why the backend of this number in a pool may be active or not.
pub(crate) fn reason(process: &Process, pool: usize, backend: usize) -> String {
    process.status()["pools"][pool]["backends"][backend]["reason"].as_str().unwrap_or_default().to_owned()
}

/// Waits until this backend serves the pool.
#[track_caller]
pub(crate) fn serves(process: &Process, pool: usize, backend: &str) {
    let what = format!("{backend} serves pool {pool}");
    until(&what, || (process.status()["pools"][pool]["active"] == backend).then_some(()));
}

/// How a replica is promoted, and how long after the fault.
pub(crate) struct Promotion<'a> {
    pool: usize,
    delay: Duration,
    order: Box<dyn FnOnce() + Send + 'a>,
}

impl<'a> Promotion<'a> {
    pub(crate) fn new(pool: usize, delay: Duration, order: impl FnOnce() + Send + 'a) -> Self {
        Self { pool, delay, order: Box::new(order) }
    }
}

/// The fault was a moment ago: carries out each promotion in its time, and waits until each replica serves its pool.
pub(crate) fn promote(process: &Process, promotions: Vec<Promotion<'_>>) {
    let fault = Instant::now();
    thread::scope(|scope| {
        for Promotion { pool, delay, order } in promotions {
            scope.spawn(move || {
                // The time between fault and promotion is what this is about.
                thread::sleep(delay.saturating_sub(fault.elapsed()));
                order();
                serves(process, pool, "new");
            });
        }
    });
}
