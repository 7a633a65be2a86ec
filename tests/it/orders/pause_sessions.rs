//! A pause stops sessions where they are in no transaction, where the check can tell.

use std::{
    net::SocketAddr,
    thread::{self, JoinHandle},
    time::Duration,
};

use lab::transactions::postgres::Client;
use mainstay::{
    app::{self, Running},
    config::{CheckKind, PostgresCheck},
    failover::{Election, Policy, RevokeMode},
    route::{Position, Session, Verb},
};

use super::{at, becomes_active, order, pause};
use crate::support::{config::tcp_pool, front::end, postgres::Postgres, wait::until};

const LONG: Duration = Duration::from_hours(1);

/// A fault has its chance in this time, and may go unseen.
const WHILE: Duration = Duration::from_millis(150);

fn before(server: &Postgres, user: &str) -> Running {
    let mut config = tcp_pool(&[([127, 0, 0, 1], server.port).into()]);
    config.pools[0].check.kind = CheckKind::Postgres(PostgresCheck { user: user.into(), ..PostgresCheck::default() });
    config.pools[0].check.timeout = Duration::from_secs(10);
    config.pools[0].policy = Policy { election: Election::ByRole, on_down: RevokeMode::Abort, ..Policy::default() };
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    running
}

fn open(address: SocketAddr) -> Client {
    Client::open(address, "postgres").unwrap()
}

/// Asks on a thread of its own.
fn asks(mut client: Client, sql: &'static str) -> JoinHandle<Client> {
    thread::spawn(move || {
        client.query(sql).unwrap();
        client
    })
}

pub(super) fn is_gated(running: &Running) -> bool {
    running.sessions.iter().flat_map(|table| table.oldest("orders", 1)).any(|(_, one)| one.route.revocation.gating().is_some())
}

/// How many sessions have stopped at the gate with a request that nobody has read.
pub(super) fn wait_unread(running: &Running) -> usize {
    let waits = |one: &Session| {
        let stand = one.route.revocation.gating().and_then(|gating| one.gate.stand(gating));
        stand.is_some_and(|stand| stand.position() == Position::Unread)
    };
    running.sessions.iter().flat_map(|table| table.oldest("orders", 1000)).filter(|(_, one)| waits(one)).count()
}

#[test]
fn who_is_in_a_transaction_goes_on_to_its_end_and_who_waits_for_its_lock_as_well() {
    let server = Postgres::primary(&[]);
    server.sql("CREATE TABLE t (n bigint); INSERT INTO t VALUES (0)");
    let running = before(&server, "postgres");
    let [idle, mut open, waits] = [(); 3].map(|()| open(at(&running, 0)));
    open.query("BEGIN").unwrap();
    open.query("UPDATE t SET n = n + 1").unwrap();
    let waits = asks(waits, "UPDATE t SET n = n + 10");
    until("it waits for the lock", || {
        (server.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == "1").then_some(())
    });
    let done = order(&running, pause(LONG)).unwrap();
    assert_eq!(done.lines[1], "sessions with db-a stop where they are in no transaction");
    until("the gate is closed", || is_gated(&running).then_some(()));
    let idle = asks(idle, "UPDATE t SET n = n + 100");
    for _ in 0..20 {
        open.query("UPDATE t SET n = n + 1").unwrap();
    }
    open.query("COMMIT").unwrap();
    let waits = waits.join().unwrap();
    let [open, waits] = [open, waits].map(|client| asks(client, "UPDATE t SET n = n + 100"));
    // A fault needs its chance.
    thread::sleep(WHILE);
    assert!([&idle, &open, &waits].iter().all(|client| !client.is_finished()));
    assert_eq!(server.sql("SELECT n FROM t"), "31");
    // A second pause replaces the first, and changes nothing for sessions.
    order(&running, pause(LONG * 2)).unwrap();
    // A fault needs its chance.
    thread::sleep(WHILE);
    assert_eq!(server.sql("SELECT n FROM t"), "31");
    order(&running, Verb::Resume).unwrap();
    assert!(!is_gated(&running));
    for client in [idle, open, waits] {
        client.join().unwrap();
    }
    assert_eq!(server.sql("SELECT n FROM t"), "331");
    end(running);
}

#[test]
fn a_pause_that_is_over_before_its_login_has_finished_stops_nobody() {
    let server = Postgres::primary(&[]);
    let running = before(&server, "postgres");
    let mut client = open(at(&running, 0));
    for _ in 0..200 {
        order(&running, pause(LONG)).unwrap();
        order(&running, Verb::Resume).unwrap();
    }
    for _ in 0..20 {
        client.query("SELECT 1").unwrap();
        assert!(!is_gated(&running));
    }
    end(running);
}

#[test]
fn sessions_go_on_where_nobody_can_tell_or_the_check_may_not_see() {
    let server = Postgres::primary(&[]);
    server.sql("CREATE ROLE probe LOGIN");
    let running = before(&server, "probe");
    let mut client = open(at(&running, 0));
    order(&running, pause(LONG)).unwrap();
    until("the gate is closed", || is_gated(&running).then_some(()));
    for _ in 0..5 {
        client.query("SELECT 1").unwrap();
    }
    // From now on it may not even log in.
    order(&running, Verb::Resume).unwrap();
    server.sql("ALTER ROLE probe NOLOGIN");
    order(&running, pause(LONG)).unwrap();
    for _ in 0..5 {
        client.query("SELECT 1").unwrap();
    }
    end(running);
}
