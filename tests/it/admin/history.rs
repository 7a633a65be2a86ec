//! The last hour, over HTTP. How steps follow each other is tested where they are kept.

use mainstay::{
    failover::{BackendId, ReadEligibility, Reason},
    route::{Snapshot, StateEvent},
};
use serde_json::{Value, json};

use super::fixture::{Fixture, dead, event, failed_over, primary};
use crate::support::wait::until;

/// The letters of both backends in the last steps. A step may end while a test looks.
fn letters(f: &Fixture, steps: usize) -> [String; 2] {
    let history = f.get(&format!("/api/v1/history?last={steps}")).json();
    [0, 1].map(|index| history["pools"][0]["backends"][index]["state"].as_str().unwrap().to_owned())
}

#[test]
fn the_answer_has_the_documented_shape() {
    let f = Fixture::new(failed_over());
    let _sessions = [0, 1, 2].map(|_| f.series.backends[1].connections_active.guard());
    let reply = f.get("/api/v1/history");
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let history = reply.json();
    assert_eq!(history["step_seconds"], 10);
    assert!(history["now"].as_str().unwrap().ends_with('Z'), "{}", history["now"]);
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let pool = &history["pools"][0];
    assert_eq!(keys(pool), ["backends", "bytes_per_second", "connections", "held", "name", "outage_seconds", "samples"]);
    assert_eq!((&pool["name"], &pool["samples"]), (&json!("orders"), &json!(360)));
    for key in ["connections", "held", "bytes_per_second", "outage_seconds"] {
        let numbers = pool[key].as_array().unwrap();
        assert!(numbers.len() == 360 && numbers[0].is_null(), "{key}");
    }
    assert_eq!(pool["connections"][359], 3);
    for (index, letter) in [(0, "D"), (1, "A")] {
        let backend = &pool["backends"][index];
        assert_eq!(keys(backend), ["lag_bytes", "name", "probe_ms", "state"]);
        assert_eq!(backend["probe_ms"].as_array().unwrap().len(), 360);
        let state = backend["state"].as_str().unwrap();
        assert!(state.len() == 360 && state.starts_with("...") && state.ends_with(letter), "{state}");
    }
    assert_eq!((&pool["backends"][0]["lag_bytes"][359], &pool["backends"][1]["lag_bytes"][359]), (&json!(null), &json!(0)));
    let last = f.get("/api/v1/history?pool=orders&last=2").json();
    assert_eq!((&last["pools"][0]["samples"], last["pools"][0]["held"].as_array().unwrap().len()), (&json!(2), 2));
    let unknown = f.get("/api/v1/history?pool=other");
    assert_eq!((unknown.status, &unknown.json()["error"]["pools"]), (404, &json!(["orders"])));
    for wrong in ["0", "361", "x", ""] {
        assert_eq!(f.get(&format!("/api/v1/history?last={wrong}")).status, 400, "{wrong}");
    }
}

#[test]
fn names_are_escaped() {
    let name = "a\"b\\\u{1b}[2J</script>\u{202e}";
    let backends = vec![primary(name)];
    let f = Fixture::new(Snapshot { pool: name.into(), active: Some(BackendId(0)), backends, ..failed_over() });
    let reply = f.get("/api/v1/history");
    let history = reply.json();
    assert_eq!((&history["pools"][0]["name"], &history["pools"][0]["backends"][0]["name"]), (&json!(name), &json!(name)));
    assert!(!reply.body.contains('\x1b'), "{}", reply.body);
}

#[test]
fn what_lasted_a_moment_is_seen_in_its_step() {
    let both = || Snapshot { active: Some(BackendId(0)), backends: vec![primary("db-a"), primary("db-b")], ..failed_over() };
    let f = Fixture::new(both());
    until("it is calm", || (letters(&f, 1) == ["A", "U"]).then_some(()));
    // The snapshot never shows it: only the event does.
    f.events.push(event("connect refused"));
    let seen = until("it is seen", || Some(letters(&f, 2)).filter(|letters| letters[0].contains('D')));
    assert!(!seen[1].contains('D'), "{seen:?}");
    // The other way: the snapshot alone shows it, and what came before is still the worst of its step.
    f.publisher.snapshot(dead());
    until("both are down", || (letters(&f, 1) == ["D", "D"]).then_some(()));
    f.publisher.snapshot(both());
    assert!(letters(&f, 2)[1].contains('D'));
}

#[test]
fn every_state_has_its_letter() {
    let mut snapshot = Snapshot { backends: vec![primary("db-a"), primary("db-b")], active: None, ..failed_over() };
    let (reason, read) = (Reason::Standby, ReadEligibility::Reader);
    (snapshot.backends[0].reason, snapshot.backends[1].reason, snapshot.backends[1].read_eligibility) =
        (reason, Reason::Maint, read);
    let f = Fixture::new(snapshot.clone());
    assert_eq!(letters(&f, 1), ["R", "M"]);
    let f = Fixture::leading(mainstay::config::ListenerRoute::Replica, {
        snapshot.backends[0].read_eligibility = read;
        snapshot.backends[1].reason = Reason::Drain;
        snapshot
    });
    assert_eq!(letters(&f, 1), ["U", "M"], "one that may be read is of use where somebody reads");
    f.events.push(StateEvent { kind: "eligibility", to: Some("unproven"), ..event("") });
    until("it is told by an event, too", || letters(&f, 2)[0].contains('R').then_some(()));
}
