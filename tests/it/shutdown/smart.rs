//! `pg_ctl stop -m smart`: the server takes nobody in, serves who is there until they leave, and then ends.

use std::{thread, time::Duration};

use mainstay::{failover::Reason, reason::CloseReason};

use super::{Session, pool, until_ended, until_nobody_serves};
use crate::support::{front::Front, postgres::Postgres, wait::until};

const DELAYS: [Duration; 4] = [Duration::ZERO, Duration::from_millis(50), Duration::from_secs(1), Duration::from_secs(4)];

fn lines(server: &Postgres, text: &str) -> usize {
    server.log().lines().filter(|line| line.contains(text)).count()
}

/// A session that has written and not committed.
fn writing(front: &Front) -> Session {
    let mut session = Session::through(front);
    session.query("BEGIN").unwrap();
    session.query("INSERT INTO t VALUES (1)").unwrap();
    session
}

#[test]
fn a_transaction_is_let_finish() {
    let mut server = Postgres::primary(&[]);
    server.sql("CREATE TABLE t (n bigint)");
    let front = Front::with(&pool(&[&server]));
    for (round, delay) in (1..).zip(DELAYS) {
        let mut session = writing(&front);
        server.signal("-TERM");
        until_nobody_serves(&front);
        // In the middle of a question, and between two.
        session.ask(&format!("SELECT pg_sleep({})", delay.as_secs_f64() / 2.0)).unwrap();
        session.answer().unwrap();
        // The time is the subject.
        thread::sleep(delay / 2);
        session.query("COMMIT").unwrap_or_else(|error| panic!("after {delay:?}: {error}"));
        assert!(!server.has_ended(), "it waits for its client");
        drop(session);
        until_ended(&mut server);
        server.restart(&[]);
        until("it serves again", || front.snapshot().active);
        assert_eq!(server.sql("SELECT count(*) FROM t"), round.to_string(), "after {delay:?}");
    }
}

#[test]
fn a_check_that_is_the_only_session_keeps_no_server_from_ending() {
    let mut server = Postgres::primary(&[]);
    let front = Front::with(&pool(&[&server]));
    server.signal("-TERM");
    until_ended(&mut server);
    let told = lines(&server, "the database system is shutting down");
    assert!(told <= 5, "{told} lines in its log: {}", server.log());
    until("it is down", || (front.snapshot().backends[0].reason == Reason::Down).then_some(()));
}

#[test]
fn a_session_is_cut_when_another_primary_takes_over() {
    let primary = Postgres::primary(&[]);
    primary.sql("CREATE TABLE t (n bigint)");
    let standby = primary.standby(&[]);
    let front = Front::with(&pool(&[&primary, &standby]));
    let mut session = writing(&front);
    primary.signal("-TERM");
    until_nobody_serves(&front);
    standby.promote();
    until("the new primary serves", || front.snapshot().active.filter(|active| active.index() == 1));
    session.query("COMMIT").expect_err("two primaries were written to");
    assert_eq!(Session::through(&front).query("SELECT count(*) FROM t").unwrap(), "0");
}

#[test]
fn a_session_is_cut_when_the_server_falls_silent() {
    let mut server = Postgres::primary(&[]);
    server.sql("CREATE TABLE t (n bigint)");
    let front = Front::with(&pool(&[&server]));
    let mut session = writing(&front);
    server.signal("-TERM");
    until_nobody_serves(&front);
    session.query("SELECT 1").unwrap();
    // Hangs for good, and its kernel goes on accepting for it.
    server.signal("-STOP");
    until("it is down", || (front.snapshot().backends[0].reason == Reason::Down).then_some(()));
    session.query("COMMIT").expect_err("a dead server was written to");
    until("the session is over", || (front.backend().closed.get(CloseReason::Revoked).get() == 1).then_some(()));
    server.signal("-CONT");
    until_ended(&mut server);
}
