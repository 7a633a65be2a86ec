//! A pause on Redis, with writers at work: a session stops between two commands, and everything that a connection holds is kept.

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use lab::transactions::{Client as _, Tally, WRITERS, Writers, redis::Client};
use mainstay::{
    app::{self, Running},
    config::{CheckKind, RedisCheck},
    failover::{Election, Policy, RevokeMode},
    route::Verb,
};

use super::{
    at, becomes_active, order, pause,
    pause_sessions::{is_gated, wait_unread},
    until_held,
};
use crate::support::{config::tcp_pool, front::end, redis::Redis, wait::until};

const LONG: Duration = Duration::from_hours(1);

/// A fault has its chance in this time, and may go unseen.
const WHILE: Duration = Duration::from_millis(150);

fn before(server: &Redis) -> Running {
    let mut config = tcp_pool(&[server.address()]);
    config.pools[0].check.kind = CheckKind::Redis(RedisCheck::default());
    config.pools[0].check.timeout = Duration::from_secs(10);
    config.pools[0].hold.timeout = Duration::from_secs(1);
    config.pools[0].policy = Policy { election: Election::ByRole, on_down: RevokeMode::Abort, ..Policy::default() };
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    running
}

fn open(running: &Running) -> Client {
    Client::open(at(running, 0)).unwrap()
}

fn says(mut client: Client, command: &'static str) -> JoinHandle<(Client, String)> {
    thread::spawn(move || {
        let answer = client.say(command).unwrap();
        (client, answer)
    })
}

/// How many clients wait in a command that blocks.
fn blocked(server: &Redis) -> bool {
    server.ask(&["INFO", "clients"]).contains("blocked_clients:1\r\n")
}

#[test]
fn writers_wait_between_two_commands_and_multi_blpop_and_subscriptions_are_kept() {
    let server = Redis::primary(&[]);
    let running = before(&server);
    let writers = Writers::start::<Client, _>(at(&running, 0), || || Duration::ZERO);
    until("they write", || (writers.committed() > 50).then_some(()));
    let [mut multi, mut pops, mut hears, mut publishes] = [(); 4].map(|()| open(&running));
    assert_eq!(multi.say("MULTI").unwrap(), "OK");
    assert_eq!(multi.say("INCR multi").unwrap(), "QUEUED");
    hears.say("SUBSCRIBE news").unwrap();
    assert_eq!(publishes.say("PUBLISH news zero").unwrap(), "1");
    assert_eq!(hears.reply().unwrap(), "zero");
    assert_eq!(pops.say("SET own 1").unwrap(), "OK");
    let pops = says(pops, "BLPOP queue 0");
    until("it blocks", || blocked(&server).then_some(()));
    let done = order(&running, pause(LONG)).unwrap();
    assert_eq!(done.lines[1], "sessions with db-a stop where they are in no transaction");
    until("the gate is closed", || is_gated(&running).then_some(()));
    let (multi, publishes) = (says(multi, "EXEC"), says(publishes, "PUBLISH news two"));
    until("all of them stop", || (wait_unread(&running) == WRITERS + 2).then_some(()));
    let newcomers: Vec<_> = (0..3)
        .map(|_| {
            let address = at(&running, 0);
            thread::spawn(move || Client::open(address).unwrap().say("INCR new").unwrap())
        })
        .collect();
    until_held(&running, 3);
    let (committed, counter) = (writers.committed(), server.ask(&["GET", "counter"]));
    // What the server says goes on: a command that was under way, and what a subscriber hears.
    assert_eq!(server.ask(&["PUBLISH", "news", "one"]), ":1");
    assert_eq!(hears.reply().unwrap(), "one");
    assert_eq!(server.ask(&["RPUSH", "queue", "job"]), ":1");
    let (pops, job) = pops.join().unwrap();
    assert_eq!(job, "job");
    let pops = says(pops, "GET own");
    until("it stops after its answer", || (wait_unread(&running) == WRITERS + 3).then_some(()));
    // A fault needs its chance.
    thread::sleep(WHILE);
    assert_eq!((writers.committed(), server.ask(&["GET", "counter"])), (committed, counter), "somebody wrote");
    assert!(!multi.is_finished() && !publishes.is_finished() && !newcomers.iter().any(JoinHandle::is_finished));
    order(&running, Verb::Resume).unwrap();
    assert_eq!(multi.join().unwrap().1, "1", "the transaction that was under way");
    assert_eq!(pops.join().unwrap().1, "1");
    assert_eq!(publishes.join().unwrap().1, "1");
    assert_eq!(hears.reply().unwrap(), "two");
    for client in newcomers {
        client.join().unwrap();
    }
    until("they write again", || (writers.committed() > committed + 50).then_some(()));
    let tally = writers.stop();
    let ended = [&tally.ended, &tally.untold].map(Tally::of);
    assert_eq!((tally.broken(), ended), ([0; 3], [0; 2]), "broken or ended: {:?}", tally.why);
    assert_eq!(server.ask(&["GET", "counter"]), Tally::of(&tally.committed).to_string());
    assert_eq!((server.ask(&["GET", "new"]), server.ask(&["GET", "multi"])), ("3".into(), "1".into()));
    end(running);
}

#[test]
fn a_pause_ends_by_itself_and_a_blocked_read_outlives_it() {
    const MAX: Duration = Duration::from_secs(3);
    let server = Redis::primary(&[]);
    let running = before(&server);
    let writers = Writers::start::<Client, _>(at(&running, 0), || || Duration::from_millis(1));
    until("they write", || (writers.committed() > 50).then_some(()));
    let pops = says(open(&running), "BLPOP queue 0");
    until("it blocks", || blocked(&server).then_some(()));
    let begun = Instant::now();
    order(&running, pause(MAX)).unwrap();
    let address = at(&running, 0);
    let newcomer = thread::spawn(move || {
        Client::open(address).unwrap().say("INCR new").unwrap();
        begun.elapsed()
    });
    until_held(&running, 1);
    until("the pause is over by itself", || (!running.snapshots[0].get().paused).then_some(()));
    let after = newcomer.join().unwrap();
    assert!(after >= MAX, "a new client was let in after {after:?}");
    let before = writers.committed();
    until("they write again", || (writers.committed() > before + 50).then_some(()));
    assert!(!pops.is_finished());
    assert_eq!(server.ask(&["RPUSH", "queue", "job"]), ":1");
    assert_eq!(pops.join().unwrap().1, "job");
    let tally = writers.stop();
    let ended = [&tally.ended, &tally.untold].map(Tally::of);
    assert_eq!((tally.broken(), ended), ([0; 3], [0; 2]), "broken or ended: {:?}", tally.why);
    assert_eq!(server.ask(&["GET", "counter"]), Tally::of(&tally.committed).to_string());
    end(running);
}
