//! A switchover of each database under load, and back: no transaction breaks, nothing is lost, nobody is turned away, and the old
//! primary follows the new one.

use std::time::Duration;

use lab::{
    pairs::{
        self, NAMES, Pair, galera::Galera, mysql::MariaDbPair, patroni::PatroniPair, postgres::PostgresPair, redis::RedisPair,
    },
    transactions::{Client as _, Tally, WRITERS, Writers, postgres::Client},
};
use mainstay::{
    app::Running,
    failover::{OperationResult, Step},
    route::{RefusalCode, Verb},
};
use serde_json::json;

use super::{Site, active, begun, ended, give, order, result, start, to, took};
use crate::support::{
    front::end,
    random::Random,
    wait::{until, within},
};

/// Longer than any of them takes to get ready.
const LONG: Duration = Duration::from_secs(90);

/// Sessions that end where nothing is under way: by the server's own word, or without one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    Told,
    Untold,
}

/// Writers that think for `think` microseconds on average, and idle sessions beside them, are moved to the other server and back.
pub(crate) fn moved<P: Pair>(think: usize, idle: usize, farewell: Farewell) {
    let mut pair = P::start();
    let first = pair.primary();
    let more = json!({"switchover": {"drain_timeout": "10s", "timeout": "20s"}, "hold": {"timeout": "60s"}});
    let running = start(&pairs::pool(&pair, "127.0.0.1:0", &more));
    within(LONG, "the primary is active", || (active(&running).0.as_deref() == Some(NAMES[first])).then_some(()));
    let (address, mut random) = (running.listeners[0][0][0], Random::seeded());
    let writers = Writers::start::<P::Client, _>(address, || random.fork().pauses(think));
    for (turn, (old, new)) in [(first, 1 - first), (1 - first, first)].into_iter().enumerate() {
        let idlers: Vec<_> = (0..idle).map(|_| P::Client::login(address).unwrap()).collect();
        let before = writers.committed();
        until("they write", || (writers.committed() > before + 100).then_some(()));
        let view = ended(&running, ordered(&running, NAMES[new]));
        let before = writers.committed();
        println!("{WRITERS} writers, think {think} us, {idle} idle, drain {:?}: {:?}", took(&view, Step::Drain), writers.tally());
        assert_eq!(result(&view), OperationResult::Done);
        until("it is shown", || (active(&running) == (Some(NAMES[new].into()), turn as u64 + 2)).then_some(()));
        until("they write to the new primary", || (writers.committed() > before + 100).then_some(()));
        drop(idlers);
        pair.rejoined(old, new);
    }
    let tally = writers.stop();
    assert_eq!(tally.broken(), [0; 3], "aborted, ambiguous, refused: {:?}", tally.why);
    assert!(farewell == Farewell::Untold || Tally::of(&tally.untold) == 0, "without a word: {:?}", tally.why);
    let committed = Tally::of(&tally.committed);
    assert_eq!(pair.written(first), committed, "lost or written twice");
    until("the other one has it all", || (pair.written(1 - first) == committed).then_some(()));
    let metrics = &running.series[0].pool;
    assert_eq!(metrics.operations.get(mainstay::failover::OperationKind::Switchover).get(OperationResult::Done).get(), 2);
    assert_eq!(metrics.failovers.get(mainstay::failover::Cause::Command).get(), 2);
    end(running);
}

/// Orders it as soon as the servers are ready for it, with nothing missing. The number of the operation.
pub(crate) fn ordered(running: &Running, new: &str) -> u64 {
    let dry = within(LONG, "a switchover is possible", || match give(running, to(new), true) {
        Ok(done) => Some(done),
        Err(refusal) => {
            let is_early = matches!(
                refusal.code,
                RefusalCode::NoCandidate
                    | RefusalCode::NotEligible
                    | RefusalCode::NotStreaming
                    | RefusalCode::Lag
                    | RefusalCode::InDoubt
                    | RefusalCode::NotPrepared
                    | RefusalCode::Settling
            );
            assert!(is_early, "{}", refusal.message);
            None
        }
    });
    assert!(!dry.lines.iter().any(|line| line.starts_with("missing") && !line.contains("has no `user`")), "{:?}", dry.lines);
    begun(running, to(new))
}

#[test]
fn postgresql_writers_that_think() {
    moved::<PostgresPair>(10_000, 0, Farewell::Told);
}

#[test]
fn postgresql_writers_that_never_pause() {
    moved::<PostgresPair>(0, 0, Farewell::Told);
}

#[test]
fn postgresql_with_many_idle_sessions() {
    moved::<PostgresPair>(2_000, 100, Farewell::Told);
}

#[test]
fn mariadb_writers_that_think() {
    moved::<MariaDbPair>(10_000, 0, Farewell::Untold);
}

#[test]
fn mariadb_writers_that_never_pause() {
    moved::<MariaDbPair>(0, 20, Farewell::Untold);
}

/// A command that nobody has read ends with its connection. It was not executed, or the count would be another.
#[test]
fn redis_writers_that_think() {
    moved::<RedisPair>(10_000, 0, Farewell::Untold);
}

#[test]
fn redis_writers_that_never_pause() {
    moved::<RedisPair>(0, 20, Farewell::Untold);
}

#[test]
fn patroni_writers_that_think() {
    moved::<PatroniPair>(10_000, 10, Farewell::Told);
}

#[test]
fn galera_writers_that_never_pause() {
    moved::<Galera>(0, 10, Farewell::Untold);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_changes_nothing() {
    let site = Site::new();
    let mut client = Client::open(site.address(), "postgres").unwrap();
    let done = give(site.running(), to("db-b"), true).unwrap();
    assert_eq!(done.lines[0], "switchover from db-a to db-b: gate, drain, demote, promote, activate");
    assert_eq!(done.operation, None);
    client.query("INSERT INTO t VALUES (1)").unwrap();
    assert_eq!(active(site.running()), (Some("db-a".into()), 1));
    let drill = order(site.running(), Verb::Drill).unwrap().lines.join("\n");
    assert!(drill.contains("switchover: possible, to db-b: gate, drain, demote, promote, activate"), "{drill}");
    assert!(drill.contains("promote: not now: db-a is the primary"), "{drill}");
    assert!(site.running().operations.all(None).is_empty());
}
