//! Incidents of a whole mainstay before real servers: what is told of one agrees with what the test's own clients have felt; it
//! outlives mainstay, the disk, and what strangers say.

mod crowd;
mod disk;
mod felt;
mod kept;
mod words;

use std::{net::SocketAddr, path::Path};

use serde_json::{Value, json};

use crate::support::{
    postgres::Postgres,
    process::{Process, settings},
    wait::until,
};

/// A primary and its standby.
struct Pair {
    primary: Postgres,
    standby: Postgres,
}

impl Pair {
    fn start() -> Self {
        let primary = Postgres::primary(&["max_connections=50"]);
        let standby = primary.standby(&["max_connections=50"]);
        Self { primary, standby }
    }

    /// Settings of a pool before both, with state files in `directory`.
    fn settings(&self, directory: &Path) -> Value {
        before(&[local(&self.primary), local(&self.standby)], directory)
    }

    fn kill_primary(&self) {
        self.primary.signal_all("-KILL");
    }
}

fn local(server: &Postgres) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], server.port))
}

fn before(backends: &[SocketAddr], directory: &Path) -> Value {
    let mut settings = settings(backends);
    settings["state_dir"] = json!(directory);
    let pool = &mut settings["pools"][0];
    pool["check"] = json!({"postgres": {"user": "postgres"}, "interval": "200ms", "fast_interval": "50ms", "timeout": "2s"});
    pool["hold"] = json!({"timeout": "60s"});
    settings
}

fn get(process: &Process, path: &str) -> Value {
    serde_json::from_str(&process.get(path).1).unwrap()
}

/// The incidents, newest first.
fn incidents(process: &Process) -> Vec<Value> {
    get(process, "/api/v1/incidents")["incidents"].as_array().unwrap().clone()
}

/// So many are told, and each of them is over; newest first, with their timelines.
fn are_over(process: &Process, count: usize) -> Vec<Value> {
    let found = until("they are over", || {
        let found = incidents(process);
        (found.len() == count && found.iter().all(|incident| incident["open"] == false)).then_some(found)
    });
    found.iter().map(|incident| get(process, &format!("/api/v1/incidents/{}", incident["number"]))).collect()
}

/// The newest one, once `is` holds for it.
fn newest(process: &Process, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    until(what, || incidents(process).into_iter().next().filter(|incident| is(incident)))
}
