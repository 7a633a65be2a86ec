//! Commands of the user.

use std::fs;

use serde_json::{Value, json};

use super::{Pool, local};
use crate::{
    exec::is_alive,
    support::{scratch::Scratch, wait::until},
};

fn pool(command: &Value, timeout: &str) -> Pool {
    Pool::new(&json!("redis"), &json!({"proofs": [{"name": "smoke", "exec": command, "timeout": timeout}]}))
}

#[test]
fn it_is_told_whom_it_is_for() {
    let scratch = Scratch::new();
    let script = scratch.script("env | grep ^MAINSTAY_ | LC_ALL=C sort > $DIR/env; echo fine $1");
    let results = pool(&json!([script, "${TOKEN}"]), "20s").prove(local(5432), Some(local(5433)));
    results.has("smoke", mainstay::control::guard::proofs::ProofResult::Passed, "it said: fine ***");
    let own = fs::read_to_string(scratch.path("env")).unwrap();
    let expected = [
        "MAINSTAY_ADDRESS=127.0.0.1:5432",
        "MAINSTAY_BACKEND=db-b",
        "MAINSTAY_CAUSE=proof",
        "MAINSTAY_EPOCH=0",
        "MAINSTAY_HOOK=proof",
        "MAINSTAY_PEER=db-a",
        "MAINSTAY_PEER_ADDRESS=127.0.0.1:5433",
        "MAINSTAY_POOL=orders",
        "MAINSTAY_ROLE=standby",
    ];
    assert_eq!(own.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn one_that_fails_is_tried_on_the_active_one() {
    let scratch = Scratch::new();
    let script = scratch.script("[ $MAINSTAY_BACKEND = db-a ] && echo works || { echo broken: $1; exit 3; }");
    let results = pool(&json!([script, "${TOKEN}"]), "20s").prove(local(5432), Some(local(5433)));
    results
        .failed("smoke", "failed with exit code 3; it said: broken: ***; for the active one: ")
        .failed("smoke", "it said: works");
    let script = scratch.script("exit 1");
    pool(&json!([script]), "20s").prove(local(5432), Some(local(5433))).inconclusive("smoke", "for the active one: ");
    pool(&json!([script]), "20s").prove(local(5432), None).failed("smoke", "exit code 1");
    pool(&json!([scratch.path("none")]), "20s").prove(local(5432), None).failed("smoke", "cannot be started");
    let flood = scratch.script("yes out | head -c 30000000; exit 1");
    let results = pool(&json!([flood]), "20s").prove(local(5432), None);
    assert!(results.failed("smoke", "it said: out").of("smoke").evidence.chars().count() <= 601);
}

#[test]
fn one_that_hangs_is_killed_with_its_children() {
    let scratch = Scratch::new();
    let script = scratch.script(
        "sh -c 'trap \"\" TERM INT HUP; echo $$ > '$DIR'/child; while :; do sleep 60; done' &
         echo $$ > $DIR/leader; while :; do sleep 60 & wait $!; done",
    );
    pool(&json!([script]), "2s").prove(local(5432), None).failed("smoke", "did not end within 2s and was killed");
    let (leader, child) = (scratch.written("leader").unwrap(), scratch.written("child").unwrap());
    until("both are gone", || (!is_alive(&leader) && !is_alive(&child)).then_some(()));
    let quick = pool(&json!([script]), "2s").prove_in(mainstay::control::guard::proofs::Scope::Quick, local(5432), None);
    assert!(quick.0.iter().all(|one| &*one.name != "smoke"), "clients do not wait for it");
}

#[test]
fn children_that_are_left_behind_are_killed() {
    let scratch = Scratch::new();
    let script = scratch.script("sleep 600 & echo $! > $DIR/child; exit 0");
    pool(&json!([script]), "20s").prove(local(5432), None).passed("smoke");
    let child = scratch.written("child").unwrap();
    until("the child is gone", || (!is_alive(&child)).then_some(()));
}
