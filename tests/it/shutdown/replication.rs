//! A standby that replicates through mainstay gets all that one gets that replicates directly.

use std::{thread, time::Duration};

use super::{Session, pool, until_ended, until_nobody_serves};
use crate::support::{
    front::Front,
    postgres::Postgres,
    wait::{until, within},
};

const DELAYS: [Duration; 4] = [Duration::ZERO, Duration::from_millis(50), Duration::from_secs(1), Duration::from_secs(4)];
const ROWS: u64 = 50_000;

/// A primary, its standby that replicates through the mainstay in front of both, and that.
fn replicated() -> (Postgres, Postgres, Front) {
    let primary = Postgres::primary(&[]);
    primary.sql("CREATE TABLE t (n bigint, padding text)");
    // The standby is not known before it replicates, and it replicates through what must know it.
    let front = Front::with(&pool(&[&primary]));
    let standby = primary.standby(&[&format!("primary_conninfo=host=127.0.0.1 port={} user=postgres", front.address().port())]);
    front.reload(&pool(&[&primary, &standby])).unwrap();
    until_streams(&standby);
    (primary, standby, front)
}

fn until_streams(standby: &Postgres) {
    let streams = || standby.sql("SELECT count(*) FROM pg_stat_wal_receiver WHERE status = 'streaming'") == "1";
    within(Duration::from_mins(1), "the standby streams", || streams().then_some(()));
}

fn insert(primary: &Postgres, batch: usize) {
    primary.sql(&format!("INSERT INTO t SELECT {batch}, repeat('x', 200) FROM generate_series(1, {ROWS})"));
}

fn rows(server: &Postgres) -> u64 {
    server.sql("SELECT count(*) FROM t").parse().unwrap()
}

#[test]
fn a_clean_stop_waits_for_a_receiver_that_is_slow() {
    let (mut primary, standby, front) = replicated();
    for (batch, delay) in (1..).zip(DELAYS) {
        let receiver = standby.process("walreceiver");
        receiver.freeze();
        insert(&primary, batch);
        primary.signal("-INT");
        until_nobody_serves(&front);
        // The time is the subject: for so long nothing is acknowledged.
        thread::sleep(delay);
        receiver.thaw();
        until_ended(&mut primary);
        let expected = ROWS * batch as u64;
        until(&format!("all rows arrive after {delay:?}"), || (rows(&standby) == expected).then_some(()));
        primary.restart(&[]);
        until_streams(&standby);
    }
}

#[test]
fn a_slow_checkpoint_does_not_fork_the_old_primary() {
    let (mut primary, standby, front) = replicated();
    for (batch, delay) in (1..).zip(DELAYS) {
        insert(&primary, batch);
        let checkpointer = primary.process("checkpointer");
        checkpointer.freeze();
        primary.signal("-INT");
        until_nobody_serves(&front);
        // The time is the subject: for so long the server stops.
        thread::sleep(delay);
        checkpointer.thaw();
        until_ended(&mut primary);
        // The last record that the old primary wrote is its shutdown checkpoint. A standby that lacks it goes another way.
        let last = primary.control("Latest checkpoint location");
        let got = format!("SELECT pg_last_wal_receive_lsn() > '{last}'::pg_lsn");
        until(&format!("the last record arrives after {delay:?}"), || (standby.sql(&got) == "t").then_some(()));
        if delay == DELAYS[3] {
            break;
        }
        primary.restart(&[]);
        until_streams(&standby);
    }
    // Nobody is served by two: the new primary is the only one, and has everything.
    standby.promote();
    until("the new primary serves", || front.snapshot().active.filter(|active| active.index() == 1));
    let mut session = Session::through(&front);
    assert_eq!(session.query("SELECT count(*) FROM t").unwrap(), (ROWS * DELAYS.len() as u64).to_string());
    // The old one follows it as it is.
    let follow = format!("primary_conninfo=host=127.0.0.1 port={} user=postgres", front.address().port());
    primary.file("data/standby.signal", b"");
    primary.restart(&[&follow]);
    session.query("INSERT INTO t VALUES (0, 'new')").unwrap();
    until("the old primary follows", || (primary.sql("SELECT count(*) FROM t WHERE n = 0") == "1").then_some(()));
}
