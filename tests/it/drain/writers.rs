//! Clients that write in transactions of two milliseconds, while the gate closes at any moment: not one is broken.

use std::{thread, time::Duration};

use lab::transactions::{Tally, WRITERS, Writers, postgres::Client};

use super::{LONG, Scene, drained, through, took, until_sessions};
use crate::support::{postgres::Postgres, random::Random, wait::until};

/// Gates and drains again and again, each time at another moment. `think` in microseconds, on average.
fn drains(rounds: u64, think: usize, idle: usize) {
    let server = Postgres::primary(&["max_connections=300", "fsync=off"]);
    server.sql("CREATE TABLE t (n bigint); CREATE ROLE app LOGIN; GRANT INSERT ON t TO app");
    server.hba("host all app all trust");
    let scene = Scene::postgres(&server, "postgres");
    let mut random = Random::seeded();
    let writers = Writers::start::<Client, _>(scene.address(), || random.fork().pauses(think));
    let mut times = Vec::new();
    for round in 0..rounds {
        let idlers: Vec<_> = (0..idle).map(|_| through(&scene)).collect();
        let before = writers.committed();
        until("all write", || (writers.committed() > before + 20 && scene.sessions().len() == WRITERS + idle).then_some(()));
        // The time is the subject: a fault needs its chance.
        thread::sleep(Duration::from_micros(random.between(0, 8000) as u64));
        let route = scene.gate();
        let (result, took) = took(|| drained(scene.drain(&route, LONG)));
        times.push(took);
        assert_eq!((result.broken, result.left, &*result.notes), (0, 0, &[][..]), "round {round}");
        assert_eq!(result.ended, (WRITERS + idle) as u64, "round {round}");
        idlers.into_iter().for_each(Client::was_ended);
        until_sessions(&server, "query IN ('COMMIT', 'BEGIN')", 0);
        assert_eq!((writers.tally().broken(), Tally::of(&writers.tally().untold)), ([0; 3], 0), "round {round}");
        scene.give_up(&route);
    }
    let before = writers.committed();
    until("they go on", || (writers.committed() > before + 20).then_some(()));
    let tally = writers.stop();
    assert_eq!(server.sql("SELECT count(*) FROM t"), Tally::of(&tally.committed).to_string());
    times.sort_unstable();
    println!("drain, {WRITERS} writers, {idle} idle, think {think} us: {times:?}, {tally:?}");
}

#[test]
fn no_transaction_breaks_of_writers_that_think() {
    drains(8, 10_000, 0);
}

#[test]
fn no_transaction_breaks_of_writers_that_never_pause() {
    drains(8, 0, 0);
}

#[test]
fn no_transaction_breaks_beside_many_idle_sessions() {
    // A hundred logins are a second of the processor.
    drains(3, 2_000, 100);
}
