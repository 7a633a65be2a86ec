//! A server that answers "not yet" or "no longer" is not asked so often that its log becomes unreadable, and is not found late.

use std::{
    thread,
    time::{Duration, Instant},
};

use mainstay::app;

use super::{Session, pool, until_nobody_serves};
use crate::support::{
    front::{Front, connect, end},
    postgres::Postgres,
    wait::until,
};

/// How long its log is watched.
const WATCHED: Duration = Duration::from_secs(10);

fn refusals(server: &Postgres) -> usize {
    server.log().lines().filter(|line| line.contains("FATAL:  the database system is ")).count()
}

#[test]
fn a_server_that_stops_slowly_hears_of_us_once_a_second() {
    let server = Postgres::primary(&[]);
    let front = Front::with(&pool(&[&server]));
    let checkpointer = server.process("checkpointer");
    checkpointer.freeze();
    let begun = Instant::now();
    server.signal("-INT");
    until_nobody_serves(&front);
    thread::sleep(WATCHED);
    let (told, took) = (refusals(&server), begun.elapsed());
    checkpointer.thaw();
    println!("{told} lines in {took:?}");
    assert!(told as f64 <= took.as_secs_f64() + 2.0, "{told} lines in {took:?}");
}

#[test]
fn a_server_that_starts_slowly_is_asked_at_a_bearable_pace_and_found_at_once() {
    let primary = Postgres::primary(&["log_line_prefix=%n "]);
    primary.sql("CREATE TABLE t (n bigint)");
    // Takes nobody in for as long as it follows another.
    let server = primary.standby_that_serves_nobody(&["log_line_prefix=%n "]);
    let running = app::start(&pool(&[&server])).unwrap();
    until("it was asked", || (refusals(&server) > 0).then_some(()));
    let (before, begun) = (refusals(&server), Instant::now());
    thread::sleep(WATCHED);
    let (told, took) = (refusals(&server) - before, begun.elapsed());
    println!("{told} lines in {took:?}");
    // Ten times a second, and what came faster at the beginning.
    assert!(told as f64 <= 10.0 * took.as_secs_f64() + 20.0, "{told} lines in {took:?}");
    let client = connect(&running);
    let writer =
        thread::spawn(move || Session::open(client).unwrap().query("SELECT extract(epoch FROM clock_timestamp())").unwrap());
    server.promote();
    let written: f64 = writer.join().unwrap().parse().unwrap();
    let log = server.log();
    let ready = log.lines().rfind(|line| line.contains("ready to accept connections")).unwrap();
    let ready: f64 = ready.split(' ').next().unwrap().parse().unwrap();
    println!("served {:.0} ms after it was ready", (written - ready) * 1000.0);
    end(running);
}
