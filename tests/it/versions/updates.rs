//! Rolling updates of Redis and `MariaDB` from the release that is installed to one that `make versions` has unpacked, before a whole
//! mainstay and while clients write: the replica, a switchover, the old primary.

use std::time::Duration;

use lab::{
    pairs::{NAMES, Pair, mysql::MariaDbPair, redis::RedisPair},
    servers::release::unpacked,
    transactions::{Tally, Writers},
};
use serde_json::{Value, json};

use crate::support::{
    scratch::Scratch,
    site::Site,
    wait::{until, within},
};

/// A print is read every ten seconds.
const READ: Duration = Duration::from_mins(2);

fn goes_through<P: Pair>(mode: &str, mut update: impl FnMut(&mut P, usize), version: impl Fn(&P, usize) -> String) {
    let (mut pair, scratch) = (P::start(), Scratch::new());
    let guard = json!({"mode": mode, "soak": "2s"});
    let keys = json!({"guard": guard, "switchover": {"drain_timeout": "20s", "timeout": "20s"}});
    let pool = lab::pairs::pool(&pair, "127.0.0.1:0", &keys);
    let mut settings = json!({"log": {"level": "info", "format": "json"}, "state_dir": scratch.directory(), "pools": [pool]});
    let site = Site::start(&mut settings, &scratch.path("admin.sock"));
    let pool = || site.process.status()["pools"][0].clone();
    let steps = |node: usize| -> Vec<String> {
        let list: Value = serde_json::from_str(&site.process.get("/api/v1/events").1).unwrap();
        let events = list["events"].as_array().unwrap().iter();
        let of = events.filter(|event| event["kind"] == "proof" && event["backend"] == NAMES[node]);
        of.map(|event| event["to"].as_str().unwrap().to_owned()).collect()
    };
    within(READ, "both prints", || {
        let diff: Value = serde_json::from_str(&site.process.get("/api/v1/pools/orders/diff").1).ok()?;
        diff["backends"].as_array()?.iter().all(|backend| backend["print"].is_string()).then_some(())
    });
    let old = version(&pair, 1);
    let writers = Writers::several::<P::Client, _>(4, site.process.address, || || Duration::from_millis(5));
    for (node, name) in [(1, "db-b"), (0, "db-a")] {
        site.run(&["maint", &format!("orders/{name}"), "--reason", "update"]).is_done("");
        update(&mut pair, node);
        site.run(&["ready", &format!("orders/{name}")]).is_done("");
        let is_proven = || {
            let backend = pool()["backends"][node].clone();
            (steps(node).len() >= 3 && backend["proof"] == "proven").then_some(())
        };
        within(READ, &format!("{name} has proven itself"), is_proven);
        println!("{name}: {:?}", steps(node));
        assert_ne!(version(&pair, node), old);
        until("it may take over", || (pool()["failover_ready"] == true).then_some(()));
        site.run(&["switchover", "orders", "--to", name]).is_done(&format!("{name} is active"));
        pair.rejoined(1 - node, node);
    }
    let tally = writers.stop();
    println!("{mode}: {old} to {}: {tally:?}", version(&pair, 0));
    assert_eq!(tally.broken(), [0; 3], "{tally:?}");
    assert_eq!(pair.written(0), Tally::of(&tally.committed), "lost");
}

fn redis(mode: &str) {
    let program = unpacked("redis").join("bin/redis-server");
    let version = |pair: &RedisPair, node: usize| {
        let info = pair.servers[node].ask(&["INFO", "server"]);
        info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap().to_owned()
    };
    goes_through(mode, |pair: &mut RedisPair, node| pair.servers[node].update(&program), version);
}

#[test]
fn redis_with_enforce() {
    redis("enforce");
}

#[test]
fn redis_with_warn() {
    redis("warn");
}

fn mariadb(mode: &str) {
    let place = unpacked("mariadb");
    let files = format!("--basedir={}", place.join("root/usr").display());
    let update = |pair: &mut MariaDbPair, node: usize| {
        // An option of the command line would come before the file's: whoever is the primary, it comes back as a replica.
        pair.servers[node].update(&place.join("bin/mariadbd"), &[&files, "--read-only"]);
    };
    goes_through(mode, update, |pair: &MariaDbPair, node| pair.servers[node].sql("SELECT VERSION()"));
}

#[test]
fn mariadb_with_enforce() {
    mariadb("enforce");
}

#[test]
fn mariadb_with_warn() {
    mariadb("warn");
}
