//! A pause on `MariaDB` (and, in `versions`, on `MySQL`), with writers at work: who is inside a transaction goes on to its end, everybody else waits, and nobody is ended.

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use lab::{
    pairs::{self, Pair as _, mysql::MysqldPair},
    servers::{mariadb::Maria, mysqld::Flavour},
    transactions::{Tally, WRITERS, Writers, mysql::Client},
};
use mainstay::{app::Running, route::Verb};
use serde_json::json;

use super::{
    at, becomes_active, order, pause,
    pause_sessions::{is_gated, wait_unread},
    until_held,
};
use crate::{
    operations::start,
    support::{front::end, random::Random, wait::until},
};

const LONG: Duration = Duration::from_hours(1);

/// A fault has its chance in this time, and may go unseen.
const WHILE: Duration = Duration::from_millis(150);

const INSERT: &str = "INSERT INTO d.t (n) VALUES (2)";

fn before<F: Flavour>(pair: &MysqldPair<F>) -> Running {
    let more = json!({"check": {"mysql": {}, "timeout": "10s"}, "hold": {"timeout": "1s"}});
    let running = start(&pairs::pool(pair, "127.0.0.1:0", &more));
    becomes_active(&running, "db-a");
    running
}

fn open(running: &Running) -> Client {
    Client::open(at(running, 0), "app").unwrap()
}

fn says(mut client: Client, statement: &'static str) -> JoinHandle<Client> {
    thread::spawn(move || {
        client.query(statement).unwrap();
        client
    })
}

pub(crate) fn writers_wait_at_their_boundary<F: Flavour>() {
    let pair = MysqldPair::<F>::start();
    let running = before(&pair);
    let mut random = Random::seeded();
    let writers = Writers::start::<Client, _>(at(&running, 0), || random.fork().pauses(2_000));
    until("they write", || (writers.committed() > 50).then_some(()));
    let [mut explicit, mut autocommit] = [(); 2].map(|()| open(&running));
    autocommit.query(INSERT).unwrap();
    explicit.query("BEGIN").unwrap();
    explicit.query(INSERT).unwrap();
    let done = order(&running, pause(LONG)).unwrap();
    assert_eq!(done.lines[1], "sessions with db-a stop where they are in no transaction");
    until("the gate is closed", || is_gated(&running).then_some(()));
    let autocommit = says(autocommit, INSERT);
    // The writers and the one above; the transaction goes on meanwhile.
    until("all of them stop", || {
        explicit.query(INSERT).unwrap();
        (wait_unread(&running) == WRITERS + 1).then_some(())
    });
    let newcomers: Vec<_> = (0..3)
        .map(|_| {
            let address = at(&running, 0);
            thread::spawn(move || Client::open(address, "app").unwrap().query(INSERT).unwrap())
        })
        .collect();
    until_held(&running, 3);
    explicit.query("COMMIT").unwrap();
    let explicit = says(explicit, "BEGIN");
    // One in a transaction is let pass in a moment.
    let is_open = || pair.servers[0].sql("SHOW ENGINE INNODB STATUS").contains(", ACTIVE ");
    until("it stops as well", || (wait_unread(&running) == WRITERS + 2 && !is_open()).then_some(()));
    let (committed, written) = (writers.committed(), pair.written(0));
    // A fault needs its chance.
    thread::sleep(WHILE);
    assert_eq!((writers.committed(), pair.written(0)), (committed, written), "somebody wrote");
    assert!(!explicit.is_finished() && !autocommit.is_finished() && !newcomers.iter().any(JoinHandle::is_finished));
    order(&running, Verb::Resume).unwrap();
    let mut explicit = explicit.join().unwrap();
    explicit.query(INSERT).unwrap();
    explicit.query("ROLLBACK").unwrap();
    autocommit.join().unwrap();
    for client in newcomers {
        client.join().unwrap();
    }
    until("they write again", || (writers.committed() > committed + 50).then_some(()));
    let tally = writers.stop();
    let ended = [&tally.ended, &tally.untold].map(Tally::of);
    assert_eq!((tally.broken(), ended), ([0; 3], [0; 2]), "broken or ended: {:?}", tally.why);
    // What was written before, after the rest of the transaction; by the autocommit, and the newcomers.
    assert_eq!(pair.written(0), written + (Tally::of(&tally.committed) - committed) + 1 + 3);
    end(running);
}

pub(crate) fn a_transaction_outlives_it<F: Flavour>() {
    const MAX: Duration = Duration::from_secs(3);
    let pair = MysqldPair::<F>::start();
    let running = before(&pair);
    let writers = Writers::start::<Client, _>(at(&running, 0), || || Duration::from_millis(1));
    until("they write", || (writers.committed() > 50).then_some(()));
    let mut explicit = open(&running);
    explicit.query("BEGIN").unwrap();
    explicit.query(INSERT).unwrap();
    let begun = Instant::now();
    order(&running, pause(MAX)).unwrap();
    let (address, waits) = (at(&running, 0), Instant::now());
    let newcomer = thread::spawn(move || {
        Client::open(address, "app").unwrap().query(INSERT).unwrap();
        waits.elapsed()
    });
    let left = until("the pause is over by itself", || (!running.snapshots[0].get().paused).then(|| begun.elapsed()));
    assert!(left >= MAX, "after {left:?}");
    let waited = newcomer.join().unwrap();
    assert!(waited + (waits - begun) >= MAX, "a new client was served after {waited:?}");
    let before = writers.committed();
    until("they write again", || (writers.committed() > before + 50).then_some(()));
    explicit.query("COMMIT").unwrap();
    let tally = writers.stop();
    let ended = [&tally.ended, &tally.untold].map(Tally::of);
    assert_eq!((tally.broken(), ended), ([0; 3], [0; 2]), "broken or ended: {:?}", tally.why);
    assert_eq!(pair.written(0), Tally::of(&tally.committed) + 2);
    end(running);
}

#[test]
fn transactions_end_writers_wait_at_their_boundary_and_nobody_is_broken() {
    writers_wait_at_their_boundary::<Maria>();
}

#[test]
fn a_pause_ends_by_itself_and_a_transaction_that_outlives_it_commits() {
    a_transaction_outlives_it::<Maria>();
}
