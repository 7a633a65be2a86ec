//! A switchover to a standby that does not follow the primary, by force: it is refused before anything is done. What the standby lacks
//! would be lost, or nothing would come of it but a time without writes.

use lab::{
    pairs::{
        self, NAMES, Pair,
        mysql::{MariaDbPair, MysqldPair},
        postgres::PostgresPair,
        redis::RedisPair,
    },
    servers::{mariadb::Maria, mysqld::Flavour},
    transactions::{Client as _, mysql},
};
use mainstay::{
    app::Running,
    failover::OperationResult,
    route::{Refusal, RefusalCode, Verb},
};
use serde_json::json;

use super::{Site, active, begun, ended, give, order, result, start, switchover::ordered, to};
use crate::support::{front::end, scratch::Scratch, wait::until};

/// The primary does not wait for the standby, which receives nothing any more.
const POSTGRES: [(usize, &str); 4] = [
    (0, "ALTER SYSTEM SET synchronous_standby_names = ''"),
    (0, "SELECT pg_reload_conf()"),
    (1, "ALTER SYSTEM SET primary_conninfo = ''"),
    (1, "SELECT pg_reload_conf()"),
];

fn by_force() -> Verb {
    Verb::Switchover { to: Some(NAMES[1].into()), force: true }
}

/// What is said to it; what is done is no answer.
#[track_caller]
fn refused(running: &Running, verb: Verb) -> Refusal {
    let refusal = match order(running, verb) {
        Err(refusal) => refusal,
        Ok(done) => {
            let view = ended(running, done.operation.unwrap());
            panic!("it was done: {:?}", view.end);
        }
    };
    println!("{:?}: {}", refusal.code, refusal.message);
    refusal
}

fn each_is_refused<P: Pair>(cut: &[(usize, &str)], drop_primary: Option<fn(&P)>) {
    let pair = P::start();
    let running = start(&pairs::pool(&pair, "127.0.0.1:0", &json!({"check": check(&pair)})));
    until("nothing is missing", || give(&running, to(NAMES[1]), true).ok());
    let mut client = P::Client::login(running.listeners[0][0][0]).unwrap();
    let mut write = || P::Client::TRANSACTION.iter().all(|statement| client.say(statement).is_ok());
    assert!(write());
    for (node, statement) in cut {
        pair.administer(*node, statement);
    }
    until("the standby has lost its primary", || {
        let refusal = give(&running, to(NAMES[1]), true).err()?;
        // The check has seen it.
        refusal.message.contains("is not connected to its primary").then_some(())
    });
    let trial = Verb::Trial { to: Some(NAMES[1].into()), force: true, time: std::time::Duration::from_mins(1) };
    for verb in [by_force(), to(NAMES[1]), trial, Verb::Switchover { to: None, force: true }] {
        let refusal = refused(&running, verb);
        assert_eq!(refusal.code, RefusalCode::NotStreaming);
        for words in ["db-b is not connected to its primary", "mainstay promote orders --to db-b --accept-loss"] {
            assert!(refusal.message.contains(words), "{words}: {}", refusal.message);
        }
        assert!(write(), "the same session goes on");
    }
    assert!(running.operations.all(None).is_empty(), "nothing was begun");
    assert_eq!(active(&running), (Some(NAMES[0].into()), 1));
    // The way that the sentence names.
    if let Some(drop_primary) = drop_primary {
        drop_primary(&pair);
        until("nobody is active", || active(&running).0.is_none().then_some(()));
        let view = ended(&running, begun(&running, Verb::Promote { to: Some(NAMES[1].into()), accept_loss: true, force: false }));
        assert_eq!(result(&view), OperationResult::Done);
    }
    end(running);
}

/// The check of the pair, with time for a busy machine.
fn check<P: Pair>(pair: &P) -> serde_json::Value {
    let check = pair.keys()["check"].clone();
    let mut check = if let serde_json::Value::String(kind) = check { json!({kind: {}}) } else { check };
    check["timeout"] = json!("5s");
    check
}

#[test]
fn postgresql_refuses_a_standby_that_receives_nothing_also_by_force() {
    each_is_refused::<PostgresPair>(&POSTGRES, Some(|pair| pair.cluster.node(0).stop_fast().unwrap()));
}

#[test]
fn mariadb_refuses_a_replica_whose_io_thread_has_stopped_also_by_force() {
    each_is_refused::<MariaDbPair>(&[(1, "STOP SLAVE IO_THREAD")], None);
}

#[test]
fn redis_refuses_a_replica_without_its_primary_also_by_force() {
    each_is_refused::<RedisPair>(&[(1, "REPLICAOF 127.0.0.1 1")], None);
}

/// mainstay's own knowledge is older than what the servers say when they are asked for the order.
#[test]
fn what_the_check_has_not_seen_yet_is_asked_before_anything_is_done() {
    each_is_seen_at_once::<PostgresPair>(&POSTGRES);
    each_is_seen_at_once::<MariaDbPair>(&[(1, "STOP SLAVE IO_THREAD")]);
    each_is_seen_at_once::<RedisPair>(&[(1, "REPLICAOF 127.0.0.1 1")]);
}

fn each_is_seen_at_once<P: Pair>(cut: &[(usize, &str)]) {
    let pair = P::start();
    let mut check = check(&pair);
    check["interval"] = json!("60s");
    check["fresh_login"] = json!("10m");
    let running = start(&pairs::pool(&pair, "127.0.0.1:0", &json!({"check": check})));
    until("nothing is missing", || give(&running, to(NAMES[1]), true).ok());
    let mut client = P::Client::login(running.listeners[0][0][0]).unwrap();
    for (node, statement) in cut {
        pair.administer(*node, statement);
    }
    // A server takes a moment to notice.
    let dry = || give(&running, by_force(), true).err();
    let refusal = until("it is refused by force as well", dry);
    let by_order = refused(&running, by_force());
    for refusal in [refusal, by_order] {
        assert_eq!(refusal.code, RefusalCode::NotStreaming);
        assert!(refusal.message.contains("mainstay promote orders --to db-b --accept-loss"), "{}", refusal.message);
    }
    assert!(P::Client::TRANSACTION.iter().all(|statement| client.say(statement).is_ok()), "the same session goes on");
    assert!(running.operations.all(None).is_empty(), "nothing was begun");
    end(running);
}

/// A command of the user asks nobody: it would stop the primary, and promote a standby that lacks what was written last.
#[test]
fn no_command_is_run_for_a_standby_that_receives_nothing() {
    let scratch = Scratch::new();
    let ran = scratch.path("ran");
    let hook = json!([scratch.script(&format!("echo \"$MAINSTAY_BACKEND\" >>{}", ran.display()))]);
    let promotion = json!({"promotion": {"how": {"exec": hook}, "demote": {"exec": hook}}});
    let site = Site::with(|_| "exit 0".to_owned(), promotion);
    site.standby.sql("ALTER SYSTEM SET primary_conninfo = ''");
    site.standby.sql("SELECT pg_reload_conf()");
    until("the standby has lost its primary", || {
        give(site.running(), to("db-b"), true).err().filter(|refusal| refusal.code == RefusalCode::NotStreaming)
    });
    let refusal = refused(site.running(), by_force());
    assert_eq!(refusal.code, RefusalCode::NotStreaming, "{}", refusal.message);
    assert!(!ran.exists());
    assert_eq!(active(site.running()), (Some("db-a".into()), 1));
}

/// What `MySQL` and `MariaDB` number are transactions.
pub(crate) fn the_way_back_counts_transactions<F: Flavour>() {
    let mut pair = MysqldPair::<F>::start();
    let running = start(&pairs::pool(&pair, "127.0.0.1:0", &json!({"check": check(&pair)})));
    let view = ended(&running, ordered(&running, NAMES[1]));
    assert_eq!(result(&view), OperationResult::Done);
    pair.rejoined(0, 1);
    let mut client = mysql::Client::login(running.listeners[0][0][0]).unwrap();
    let mut write = || client.say("INSERT INTO d.t (n) VALUES (1)").unwrap();
    write();
    let rollback = || give(&running, Verb::Rollback { accept_loss: false }, true);
    until("nothing is missing", || rollback().ok());
    pair.administer(0, "STOP REPLICA IO_THREAD");
    for lost in ["(1 transaction so far)", "(2 transactions so far)"] {
        write();
        let refusal = until(lost, || rollback().err().filter(|refusal| refusal.message.contains(lost)));
        assert_eq!(refusal.code, RefusalCode::CutOff);
        assert!(refusal.message.starts_with("db-a is cut off since transaction "), "{}", refusal.message);
    }
    end(running);
}

#[test]
fn the_way_back_of_mariadb_counts_transactions() {
    the_way_back_counts_transactions::<Maria>();
}
