//! `SHUTDOWN WAIT FOR ALL REPLICAS`: what was acknowledged reaches a replica that replicates through mainstay.

use std::{thread, time::Duration};

use serde_json::json;

use crate::support::{
    mariadb::MariaDb,
    process::{Process, settings},
    wait::{patience, until, within},
};

#[test]
fn a_replica_that_is_slow_gets_all_that_was_acknowledged() {
    const ROWS: usize = 50_000;
    let primary = MariaDb::start(&["--binlog-format=ROW"]);
    let mut settings = settings(&[primary.address()]);
    settings["pools"][0]["check"] = json!({"mysql": {"user": "root"}});
    let process = Process::start(&settings).serving();
    let replica = MariaDb::start(&[]);
    replica.follow(process.address.port());
    primary.sql("CREATE DATABASE d; CREATE TABLE d.t (n INT, padding TEXT)");
    until("it replicates", || replica.try_sql("SELECT count(*) FROM d.t").ok().filter(|rows| rows == "0"));
    replica.signal("-STOP");
    primary.sql(&format!("USE d; INSERT INTO t SELECT seq, repeat('x', 200) FROM seq_1_to_{ROWS}"));
    primary.sql("SHUTDOWN WAIT FOR ALL REPLICAS");
    until("the primary is left", || process.status()["pools"][0]["active"].is_null().then_some(()));
    // The time is the subject: for so long nothing is acknowledged.
    thread::sleep(Duration::from_secs(3));
    replica.signal("-CONT");
    let rows = || replica.try_sql("SELECT count(*) FROM d.t").ok();
    within(2 * patience(), "all rows arrive", || rows().filter(|rows| *rows == ROWS.to_string()));
}
