//! What is told of a change that was ordered, and of the trial that follows it.

use std::time::Duration;

use mainstay::{
    app::{self, Running},
    failover::{Admin, OperationResult},
    route::Verb,
};
use serde_json::Value;

use super::{active, begun, ended, order, result};
use crate::support::{
    config::{LOOPBACK, tcp_pool},
    echo::Backend,
    front::end,
    wait::until,
};

const BY: &str = "by uid 7 (ann), because: a new kernel";

fn pair() -> (Running, [Backend; 2]) {
    let backends = [b'a', b'b'].map(|name| Backend::speaker(name, LOOPBACK));
    let running = app::start(&tcp_pool(&[backends[0].address, backends[1].address])).unwrap();
    until("db-a is active, db-b up", || {
        let snapshot = running.snapshots[0].get();
        (snapshot.active?.index() == 0 && snapshot.failover_ready.to_string() == "ready").then_some(())
    });
    (running, backends)
}

fn why(running: &Running) -> String {
    running.snapshots[0].get().last_failover.as_ref().map(|last| last.evidence.to_string()).unwrap_or_default()
}

/// The evidence of the last revocation and of the last activation.
fn events(running: &Running) -> [String; 2] {
    let all = running.events.since(0);
    ["revoke", "activate"].map(|kind| all.iter().rfind(|event| event.kind == kind).unwrap().evidence.to_string())
}

#[test]
fn the_evidence_of_an_ordered_change_is_the_order() {
    let (running, [mut a, _b]) = pair();
    let id = begun(&running, super::to("db-b"));
    assert_eq!(result(&ended(&running, id)), OperationResult::Done);
    until("db-b is active", || (active(&running).0.as_deref() == Some("db-b")).then_some(()));
    let said = format!("operation {id}: switchover {BY}");
    assert_eq!((why(&running), events(&running)), (said.clone(), [said.clone(), said]));
    // An order that is no operation.
    order(&running, Verb::SetAdmin { backend: "db-b".into(), to: Admin::Maint, force: false }).unwrap();
    until("db-a is active", || (active(&running).0.as_deref() == Some("db-a")).then_some(()));
    let said = format!("maint db-b {BY}");
    assert_eq!((why(&running), events(&running)), (said.clone(), [said.clone(), said]));
    // And a change that nobody ordered.
    order(&running, Verb::SetAdmin { backend: "db-b".into(), to: Admin::Ready, force: false }).unwrap();
    until("db-b is up", || (running.snapshots[0].get().failover_ready.to_string() == "ready").then_some(()));
    a.stop();
    until("db-b is active", || (active(&running).0.as_deref() == Some("db-b")).then_some(()));
    assert!(!why(&running).contains("ann"), "{}", why(&running));
    end(running);
}

#[test]
fn a_way_back_that_nobody_ordered_is_told_as_mainstays_own() {
    let (running, _backends) = pair();
    let id = begun(&running, Verb::Rehearse);
    ended(&running, id);
    until("db-a is active again", || (active(&running) == (Some("db-a".into()), 3)).then_some(()));
    let said = why(&running);
    assert!(said.contains(&format!("switchover by mainstay, because: after operation {id}")), "{said}");
    end(running);
}

fn status(running: &Running, more: &[&str]) -> String {
    let address = running.admin[0].to_string();
    let output = crate::support::child::Bounded::bounded_output(
        std::process::Command::new(env!("CARGO_BIN_EXE_mainstay")).args(["status", "--admin", &address]).args(more),
    )
    .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(running: &Running) -> Value {
    serde_json::from_str(&status(running, &["--json"])).unwrap()
}

#[test]
fn the_status_shows_the_trial_that_runs_and_what_would_end_it() {
    let (running, _backends) = pair();
    assert_eq!(json(&running)["pools"][0]["trial"], Value::Null);
    assert!(!status(&running, &[]).contains("trial"));
    let id = begun(&running, Verb::Trial { to: Some("db-b".into()), force: false, time: Duration::from_hours(1) });
    assert_eq!(result(&ended(&running, id)), OperationResult::Done);
    let pool = until("it is shown", || Some(json(&running)["pools"][0].clone()).filter(|pool| pool["active"] == "db-b"));
    let trial = &pool["trial"];
    assert_eq!((&trial["operation"], &trial["from"], &trial["to"]), (&id.into(), &"db-a".into(), &"db-b".into()), "{trial}");
    assert_eq!(trial["returns"], false);
    let until_when = trial["until"].as_str().unwrap();
    let text = status(&running, &[]);
    println!("{text}");
    let line = text.lines().find(|line| line.trim_start().starts_with("trial")).unwrap();
    for words in [until_when, "back to db-a", "after 3 signs of trouble within 1m", "only if nothing would be lost"] {
        assert!(line.contains(words), "{words} in {line}");
    }
    assert_eq!(text.lines().filter(|line| line.contains("trial")).count(), 1, "{text}");
    order(&running, Verb::AbortPresent).unwrap();
    until("it is over", || json(&running)["pools"][0]["trial"].is_null().then_some(()));
    assert!(!status(&running, &[]).contains("trial"));
    end(running);
}
