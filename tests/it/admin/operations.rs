//! Operations over HTTP: what is shown, what reaches a pool, and who may abort one.

use std::process::Command;

use mainstay::{
    failover::{BackendId, OperationEnd, OperationKind, OperationRefusal, OperationResult, Step, Time, label::Label},
    route::{Done, Refusal, RefusalCode, Snapshot, Verb},
};
use serde_json::{Value, json};

use super::{
    fixture::{Fixture, begin, dead, end, failed_over, switchover},
    orders::{JSON, Obeying, TOKEN, code, obedient, order, patiently, send, token_file},
};
use crate::support::{child::Bounded, front::unix_client, scratch::Scratch};

const OPERATIONS: &str = "/api/v1/operations";

/// The same, without moments, which depend on the machine.
fn timeless(mut value: Value) -> Value {
    match &mut value {
        Value::Object(map) => {
            for (key, value) in map {
                if ["at", "since"].contains(&key.as_str()) && value.is_string() {
                    *value = "moment".into();
                } else {
                    *value = timeless(value.take());
                }
            }
        }
        Value::Array(all) => all.iter_mut().for_each(|one| *one = timeless(one.take())),
        _ => {}
    }
    value
}

fn ids(list: &Value) -> Vec<u64> {
    list["operations"].as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap()).collect()
}

#[test]
fn every_operation_is_shown_step_by_step() {
    let f = Fixture::new(failed_over());
    assert_eq!(f.get(OPERATIONS).json(), json!({"operations": []}));
    let mut first = switchover(1);
    begin(&mut first, Step::Gate, 1000);
    begin(&mut first, Step::Drain, 1001);
    first.steps[1].lines = vec!["12 sessions ended at a boundary".into(), "evil\u{1b}[31m".into()];
    let running = first.clone();
    f.operations.show(running);
    end(&mut first, 1101, (OperationResult::Aborted, OperationEnd::Command), "switchover aborted in step drain (command)");
    f.operations.show(first);
    let mut second = switchover(2);
    (second.kind, second.from, second.by, second.reason) = (OperationKind::Failover, None, "mainstay".into(), "".into());
    second.steps.drain(..3);
    begin(&mut second, Step::Promote, 1200);
    f.operations.show(second);
    let list = f.get(OPERATIONS).json();
    assert_eq!(ids(&list), [1, 2], "oldest first");
    let nothing = |step: &str| json!({"step": step, "since": null, "took_ms": null, "lines": []});
    let expected = json!({
        "id": 1, "pool": "orders", "kind": "switchover", "from": "db-a", "to": "db-b", "by": "uid 0 (root)", "reason": "kernel",
        "at": "moment", "took_ms": 101.0, "can_abort": false,
        "steps": [
            {"step": "gate", "since": "moment", "took_ms": 1.0, "lines": []},
            {"step": "drain", "since": "moment", "took_ms": 100.0, "lines": ["12 sessions ended at a boundary", "evil\\u{1b}[31m"]},
            nothing("demote"), nothing("promote"), nothing("activate"),
        ],
        "end": {"at": "moment", "result": "aborted", "why": "command", "sentence": "switchover aborted in step drain (command)"},
        "trial": null,
    });
    assert_eq!(timeless(list["operations"][0].clone()), expected);
    assert_eq!(timeless(f.get("/api/v1/operations/1").json()), expected);
    let mut second = timeless(f.get("/api/v1/operations/2").json());
    assert!(second["took_ms"].take().is_number());
    assert_eq!(
        second,
        json!({
            "id": 2, "pool": "orders", "kind": "promotion", "from": null, "to": "db-b", "by": "mainstay", "reason": "",
            "at": "moment", "took_ms": null, "can_abort": false,
            "steps": [{"step": "promote", "since": "moment", "took_ms": null, "lines": []}, nothing("activate")],
            "end": null, "trial": null,
        })
    );
}

#[test]
fn a_list_can_be_of_one_pool_and_what_is_unknown_is_told() {
    let f = Fixture::new(failed_over());
    let mut other = switchover(4);
    other.pool = "gone".into();
    f.operations.show(switchover(3));
    f.operations.show(other);
    assert_eq!(ids(&f.get(OPERATIONS).json()), [3, 4]);
    assert_eq!(ids(&f.get("/api/v1/operations?pool=orders").json()), [3]);
    assert_eq!(ids(&f.get("/api/v1/operations?pool=gone").json()), [4], "a reload has removed it");
    let unknown = f.get("/api/v1/operations?pool=users");
    assert_eq!((code(&unknown), &unknown.json()["error"]["pools"]), ((404, "unknown_pool".into()), &json!(["orders"])));
    assert_eq!(code(&f.get("/api/v1/operations?pools=orders")).0, 400);
    for id in ["5", "0", "-1", "x", "99999999999999999999999"] {
        let unknown = f.get(&format!("/api/v1/operations/{id}"));
        assert_eq!(code(&unknown), (404, "unknown_operation".into()), "{id}");
        assert_eq!(unknown.json()["error"]["operations"], json!([3, 4]));
    }
}

#[test]
fn every_order_for_an_operation_reaches_its_pool_and_its_number_is_told() {
    let f = Fixture::new(failed_over());
    let begun =
        || Done { lines: vec!["switchover from db-b to db-a: gate, drain, activate".into()], sessions: 0, operation: Some(7) };
    let pool = Obeying::start(f.orders.lock().unwrap().take().unwrap(), move |order| match &order.verb {
        Verb::Switchover { .. } | Verb::Promote { .. } if !order.dry_run => Ok(begun()),
        _ => Ok(Done { operation: None, ..begun() }),
    });
    let to = |name: &str| Some(name.into());
    let cases: [(&str, Value, Verb); 6] = [
        ("switchover", json!({}), Verb::Switchover { to: None, force: false }),
        ("switchover", json!({"to": "db-a", "force": true}), Verb::Switchover { to: to("db-a"), force: true }),
        ("switchover", json!({"dry_run": true, "reason": "kernel"}), Verb::Switchover { to: None, force: false }),
        ("promote", json!({"reason": "db-a is dead"}), Verb::Promote { to: None, accept_loss: false, force: false }),
        (
            "promote",
            json!({"to": "db-b", "accept_loss": true, "force": true}),
            Verb::Promote { to: to("db-b"), accept_loss: true, force: true },
        ),
        ("drill", json!({}), Verb::Drill),
    ];
    for (number, (path, body, verb)) in cases.into_iter().enumerate() {
        let reply = order(&f, "POST", &format!("/api/v1/pools/orders/{path}"), &body.to_string());
        let begins = path != "drill" && body["dry_run"] != true;
        let operation = if begins { json!(7) } else { Value::Null };
        assert_eq!((reply.status, &reply.json()["operation"]), (200, &operation), "{path} {body}: {reply:?}");
        assert_eq!(reply.json().as_object().unwrap().contains_key("operation"), begins);
        let (told, _, why, is_dry) = pool.told()[number].clone();
        let reason = body["reason"].as_str().unwrap_or_default();
        assert_eq!((told, why.as_str(), is_dry), (verb, reason, body["dry_run"] == true));
    }
    let told = pool.told().len();
    let unknown = order(&f, "POST", "/api/v1/pools/orders/switchover", r#"{"to": "db-z"}"#);
    assert_eq!(
        (code(&unknown), &unknown.json()["error"]["backends"]),
        ((404, "unknown_backend".into()), &json!(["db-a", "db-b"]))
    );
    let wrong = order(&f, "POST", "/api/v1/pools/orders/promote", r#"{"accept-loss": true}"#);
    assert_eq!(code(&wrong), (422, "bad_body".into()));
    assert_eq!(pool.told().len(), told);
}

#[test]
fn an_abort_goes_to_the_pool_of_the_operation() {
    let f = Fixture::new(failed_over());
    f.operations.show(switchover(7));
    let pool = obedient(&f);
    let by = format!("uid 0 (root) over unix:{}", f.socket.display());
    for (number, (body, why)) in [("", ""), ("{}", ""), (r#"{"reason": "wrong pool"}"#, "wrong pool")].into_iter().enumerate() {
        let reply = order(&f, "DELETE", "/api/v1/operations/7", body);
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(pool.told()[number], (Verb::Abort { id: 7 }, by.clone(), why.to_owned(), false));
    }
    let unknown = order(&f, "DELETE", "/api/v1/operations/8", "{}");
    assert_eq!((code(&unknown), &unknown.json()["error"]["operations"]), ((404, "unknown_operation".into()), &json!([7])));
    let mut gone = switchover(9);
    gone.pool = "gone".into();
    f.operations.show(gone);
    assert_eq!(code(&order(&f, "DELETE", "/api/v1/operations/9", "{}")), (404, "unknown_pool".into()));
    assert_eq!(code(&order(&f, "DELETE", "/api/v1/operations/7", r#"{"force": true}"#)), (422, "bad_body".into()));
    let reply = order(&f, "POST", "/api/v1/operations/7", "{}");
    assert_eq!((reply.status, reply.header("allow")), (405, Some("get, head, delete")));
    assert_eq!(order(&f, "DELETE", OPERATIONS, "{}").status, 405);
    assert_eq!(pool.told().len(), 3);
}

#[test]
fn who_may_not_order_aborts_nothing() {
    let scratch = Scratch::new();
    let (f, closed) = (Fixture::writable(token_file(&scratch)), Fixture::new(failed_over()));
    let pools = [obedient(&f), obedient(&closed)];
    for fixture in [&f, &closed] {
        fixture.operations.show(switchover(7));
    }
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let abort =
        |f: &Fixture, headers: &str| code(&patiently(|| send(f.connect(), "DELETE", "/api/v1/operations/7", headers, "{}")));
    assert_eq!(abort(&closed, &format!("{JSON}{bearer}")), (403, "write_disabled".into()));
    assert_eq!(abort(&f, JSON), (401, "token_missing".into()));
    assert_eq!(abort(&f, &format!("{JSON}Authorization: Bearer {TOKEN}x\r\n")), (403, "token_wrong".into()));
    assert_eq!(abort(&f, &format!("{JSON}{bearer}Origin: http://evil.example\r\n")), (403, "foreign_origin".into()));
    assert_eq!(abort(&f, &bearer), (415, "not_json".into()));
    let nobody = patiently(|| send(f.connect(), "DELETE", "/api/v1/operations/8", JSON, "{}"));
    assert_eq!(code(&nobody), (401, "token_missing".into()), "who may not order learns no numbers");
    for pool in &pools {
        assert_eq!(pool.told(), []);
    }
    assert_eq!(abort(&f, &format!("{JSON}{bearer}")).0, 200);
    assert_eq!(pools[0].told()[0].0, Verb::Abort { id: 7 });
    assert_eq!(send(unix_client(&closed.socket), "GET", "/api/v1/operations/7", "", "").status, 200);
}

#[test]
fn every_refusal_of_an_operation_is_told_as_it_is() {
    let f = Fixture::new(failed_over());
    f.operations.show(switchover(7));
    let _pool = Obeying::start(f.orders.lock().unwrap().take().unwrap(), |order| {
        let word = order.reason.to_string();
        let why = OperationRefusal::ALL.iter().copied().find(|why| why.as_str() == word).unwrap();
        Err(Refusal { code: RefusalCode::from(why), message: format!("because of {word}") })
    });
    for why in OperationRefusal::ALL {
        let body = json!({ "reason": why.as_str() }).to_string();
        let refused = order(&f, "POST", "/api/v1/pools/orders/switchover", &body);
        if *why == OperationRefusal::UnknownBackend {
            assert_eq!(code(&refused), (404, "unknown_backend".into()));
            continue;
        }
        assert_eq!(code(&refused), (409, why.as_str().into()));
        assert_eq!(refused.json()["error"]["message"], format!("because of {why}"));
        assert_eq!(code(&order(&f, "DELETE", "/api/v1/operations/7", &body)), (409, why.as_str().into()));
    }
}

#[test]
fn the_status_shows_the_operation_that_runs() {
    let f = Fixture::new(Snapshot { suspended: true, active: Some(BackendId(0)), ..failed_over() });
    let status = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        let output = command.args(["status", "--admin", &format!("unix:{}", f.socket.display())]).bounded_output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let pool = || f.get("/api/v1/pools/orders").json();
    assert_eq!(pool()["operation"], Value::Null);
    assert!(!status().contains("operation"), "{}", status());
    let mut operation = switchover(7);
    begin(&mut operation, Step::Gate, 0);
    begin(&mut operation, Step::Drain, 1);
    f.operations.show(operation.clone());
    let shown = pool();
    assert_eq!(
        timeless(shown["operation"].clone()),
        json!({"id": 7, "kind": "switchover", "from": "db-a", "to": "db-b", "step": "drain", "since": "moment", "can_abort": true})
    );
    assert_eq!(f.get("/api/v1/status").json()["pools"][0]["operation"], shown["operation"]);
    let summary = shown["summary"].as_str().unwrap();
    let is_told =
        |text: &str| text.contains("SWITCHOVER to db-b under way (step drain, ") && text.contains(" s): new clients wait.");
    assert!(is_told(summary) && !summary.contains("in doubt"), "{summary}");
    let reason = f.get("/readyz").json()["reasons"][0].as_str().unwrap().to_owned();
    assert!(is_told(&reason), "{reason}");
    let table = status();
    assert!(is_told(&table) && table.contains("orders (epoch 3), operation 7: switchover to db-b, step drain\n"), "{table}");
    begin(&mut operation, Step::Demote, 2);
    f.operations.show(operation.clone());
    f.publisher.snapshot(dead());
    let shown = pool();
    assert_eq!((&shown["operation"]["step"], &shown["operation"]["can_abort"]), (&json!("demote"), &json!(false)));
    assert!(shown["summary"].as_str().unwrap().contains("past its point of no return: new clients wait."), "{shown}");
    end(&mut operation, 3, (OperationResult::Failed, OperationEnd::Deadline), "switchover failed");
    f.operations.show(operation);
    assert_eq!(pool()["operation"], Value::Null);
    assert!(pool()["summary"].as_str().unwrap().starts_with("NO BACKEND MAY SERVE."));
    // Another pool's is not shown here.
    let mut other = switchover(8);
    (other.pool, other.at) = ("users".into(), Time::ZERO);
    f.operations.show(other);
    assert_eq!(pool()["operation"], Value::Null);
}
