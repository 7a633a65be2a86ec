//! Backends by name: what becomes of them when the name moves, when nobody answers for it, and when it stands for many addresses.
//! Each test has a network and a name server of its own.

mod hanging;
mod moved;
mod outage;
mod several;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    echo::Backend,
    process::{Process, settings},
    wait::until,
};

/// The least time between two lookups of a name whose backend cannot be reached, and what a busy machine adds to that and to the
/// probes after it. Far less than the half minute between two lookups of a name that works.
const FOLLOWED: Duration = Duration::from_millis(1000 + 2500);

fn speaker(name: u8, ip: &str, port: u16) -> Backend {
    Backend::speaker(name, (ip.parse::<std::net::IpAddr>().unwrap(), port).into())
}

/// One pool before these backends: `db-a.test:5432` is called `db-a`.
fn pool(addresses: &[String]) -> Value {
    let mut settings = settings(&[]);
    let name = |address: &str| address.split(['.', ':']).next().unwrap().to_owned();
    settings["pools"][0]["backends"] =
        addresses.iter().map(|address| json!({"name": name(address), "address": address})).collect();
    settings
}

/// A backend as the admin endpoint shows it.
fn shown(process: &Process, index: usize) -> Value {
    process.status()["pools"][0]["backends"][index].clone()
}

/// Waits until the first backend stands for these addresses.
fn stands_for(process: &Process, addresses: &[String]) {
    until("the name stands for its addresses", || (shown(process, 0)["resolved"] == json!(addresses)).then_some(()));
}

/// Nobody was ever active but the first who was.
fn nothing_failed_over(process: &Process) {
    assert_eq!(process.metric("mainstay_pool_epoch", &[]), 1);
    assert_eq!(process.metric("mainstay_failovers_total", &[]), 0);
    assert_eq!(process.metric("mainstay_transitions_total", &[("to", "down")]), 0);
}

fn probes(process: &Process, backend: &str, outcome: &str) -> u64 {
    process.metric("mainstay_probes_total", &[("backend", backend), ("outcome", outcome)])
}
