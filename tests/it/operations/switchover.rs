//! A switchover of `PostgreSQL` under load: no transaction breaks, nothing is lost, nobody is turned away.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
};

use mainstay::{
    failover::{OperationResult, Step},
    route::Verb,
};

use super::{Site, active, begun, ended, give, result, to, took};
use crate::{
    drain::{
        Client,
        writers::{Tally, WRITERS},
    },
    support::{random::Random, wait::until},
};

/// Writers that think for `think` microseconds on average, and idle sessions beside them.
fn moved(think: usize, idle: usize) {
    let site = Site::new();
    let tally = Arc::new(Tally::default());
    let (address, mut random) = (site.address(), Random::seeded());
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (tally, random) = (Arc::clone(&tally), random.fork());
            thread::spawn(move || tally.write(address, think, random))
        })
        .collect();
    let idlers: Vec<_> = (0..idle).map(|_| Client::open(address, "postgres").unwrap()).collect();
    until("they write", || (Tally::of(&tally.committed) > 100).then_some(()));
    let view = ended(site.running(), begun(site.running(), to("db-b")));
    let before = Tally::of(&tally.committed);
    until("they write to the new primary", || (Tally::of(&tally.committed) > before + 100).then_some(()));
    tally.stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.join().unwrap();
    }
    println!("{WRITERS} writers, think {think} us, {idle} idle, drain {:?}: {tally:?}", took(&view, Step::Drain));
    idlers.into_iter().for_each(Client::was_ended);
    assert_eq!(result(&view), OperationResult::Done);
    assert_eq!(active(site.running()), (Some("db-b".into()), 2));
    let counted = [&tally.aborted, &tally.ambiguous, &tally.untold, &tally.refused].map(Tally::of);
    assert_eq!(counted, [0; 4], "aborted, ambiguous, ended without a word, refused");
    assert_eq!(site.standby.sql("SELECT count(*) FROM t"), Tally::of(&tally.committed).to_string(), "lost or written twice");
    let metrics = &site.running().series[0].pool;
    assert_eq!(metrics.operations.get(view.kind).get(OperationResult::Done).get(), 1);
    assert_eq!(metrics.failovers.get(mainstay::failover::Cause::Command).get(), 1);
}

#[test]
fn writers_that_think_are_moved() {
    moved(10_000, 0);
}

#[test]
fn writers_that_never_pause_are_moved() {
    moved(0, 0);
}

#[test]
fn many_idle_sessions_are_moved() {
    moved(2_000, 100);
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
    let drill = give(site.running(), Verb::Drill, false).unwrap().lines.join("\n");
    assert!(drill.contains("switchover: possible, to db-b: gate, drain, demote, promote, activate"), "{drill}");
    assert!(drill.contains("promote: not now: db-a is the primary"), "{drill}");
    assert!(site.running().operations.all(None).is_empty());
}
