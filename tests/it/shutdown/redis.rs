//! `SHUTDOWN` waits for replicas: what was acknowledged reaches one that replicates through mainstay.

use std::{thread, time::Duration};

use serde_json::json;

use crate::support::{
    process::{Process, settings},
    redis::Redis,
    wait::until,
};

#[test]
fn a_replica_that_is_slow_gets_all_that_was_acknowledged() {
    const KEYS: usize = 50_000;
    let primary = Redis::primary(&[]);
    let mut settings = settings(&[primary.address()]);
    settings["pools"][0]["check"] = json!("redis");
    let process = Process::start(&settings).serving();
    let replica = Redis::primary(&[&format!("replicaof 127.0.0.1 {}", process.address.port())]);
    until("it replicates", || {
        replica.try_ask(&["INFO", "replication"]).ok().filter(|said| said.contains("master_link_status:up"))
    });
    replica.signal("-STOP");
    let fill = format!("for i = 1, {KEYS} do redis.call('SET', i, string.rep('x', 200)) end");
    primary.ask(&["EVAL", &fill, "0"]);
    primary.signal("-TERM");
    // The time is the subject: for so long nothing is acknowledged.
    thread::sleep(Duration::from_secs(3));
    replica.signal("-CONT");
    until("all keys arrive", || (replica.ask(&["DBSIZE"]) == format!(":{KEYS}")).then_some(()));
}
