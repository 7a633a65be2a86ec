//! Clients that write in transactions of two milliseconds, while the gate closes at any moment: not one is broken.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{Client, LONG, Scene, drained, took, until_sessions};
use crate::support::{postgres::Postgres, random::Random, wait::until};

pub const WRITERS: usize = 8;
const ROUNDS: u64 = 8;

#[derive(Debug, Default)]
pub struct Tally {
    pub committed: AtomicU64,
    /// Ended within a transaction.
    pub aborted: AtomicU64,
    /// Without an answer to COMMIT.
    pub ambiguous: AtomicU64,
    /// Ended between two transactions, by the server's own word.
    pub ended: AtomicU64,
    /// And without it.
    pub untold: AtomicU64,
    /// No login.
    pub refused: AtomicU64,
    pub stop: AtomicBool,
}

impl Tally {
    pub fn of(count: &AtomicU64) -> u64 {
        count.load(Ordering::SeqCst)
    }

    pub fn write(&self, address: SocketAddr, think: usize, mut random: Random) {
        let add = |count: &AtomicU64| count.fetch_add(1, Ordering::SeqCst);
        while !self.stop.load(Ordering::SeqCst) {
            let Ok(mut client) = Client::open(address, "postgres") else {
                add(&self.refused);
                continue;
            };
            while !self.stop.load(Ordering::SeqCst) {
                if let Err(end) = client.query("BEGIN") {
                    add(if end.is_shutdown() { &self.ended } else { &self.untold });
                    break;
                }
                if client.query("INSERT INTO t VALUES (1)").is_err() || client.query("SELECT pg_sleep(0.001)").is_err() {
                    add(&self.aborted);
                    break;
                }
                if client.query("COMMIT").is_err() {
                    add(&self.ambiguous);
                    break;
                }
                add(&self.committed);
                if think > 0 {
                    // The time is the subject.
                    thread::sleep(Duration::from_micros(random.between(0, 2 * think) as u64));
                }
            }
        }
    }
}

/// Gates and drains again and again, each time at another moment. `think` in microseconds, on average.
fn rounds(think: usize, idle: usize) {
    let server = Postgres::primary(&["max_connections=300", "fsync=off"]);
    server.sql("CREATE TABLE t (n bigint)");
    let scene = Scene::postgres(&server, "postgres");
    let mut random = Random::seeded();
    let tally = Arc::new(Tally::default());
    let address = scene.address();
    let writers: Vec<JoinHandle<()>> = (0..WRITERS)
        .map(|_| {
            let (tally, random) = (Arc::clone(&tally), random.fork());
            thread::spawn(move || tally.write(address, think, random))
        })
        .collect();
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let idlers: Vec<_> = (0..idle).map(|_| Client::through(&scene)).collect();
        let before = Tally::of(&tally.committed);
        until("all write", || {
            (Tally::of(&tally.committed) > before + 20 && scene.sessions().len() == WRITERS + idle).then_some(())
        });
        // The time is the subject: a fault needs its chance.
        thread::sleep(Duration::from_micros(random.between(0, 8000) as u64));
        let route = scene.gate();
        let (result, took) = took(|| drained(scene.drain(&route, LONG)));
        times.push(took);
        assert_eq!((result.broken, result.left, &*result.notes), (0, 0, &[][..]), "round {round}");
        assert_eq!(result.ended, (WRITERS + idle) as u64, "round {round}");
        idlers.into_iter().for_each(Client::was_ended);
        until_sessions(&server, "query IN ('COMMIT', 'BEGIN')", 0);
        let counted = || [&tally.aborted, &tally.ambiguous, &tally.untold, &tally.refused].map(Tally::of);
        assert_eq!(counted(), [0; 4], "round {round}");
        scene.give_up(&route);
    }
    let before = Tally::of(&tally.committed);
    until("they go on", || (Tally::of(&tally.committed) > before + 20).then_some(()));
    tally.stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.join().unwrap();
    }
    assert_eq!(server.sql("SELECT count(*) FROM t"), Tally::of(&tally.committed).to_string());
    times.sort_unstable();
    println!("drain, {WRITERS} writers, {idle} idle, think {think} us: {times:?}, {tally:?}");
}

#[test]
fn no_transaction_breaks_of_writers_that_think() {
    rounds(10_000, 0);
}

#[test]
fn no_transaction_breaks_of_writers_that_never_pause() {
    rounds(0, 0);
}

#[test]
fn no_transaction_breaks_beside_many_idle_sessions() {
    rounds(2_000, 100);
}
