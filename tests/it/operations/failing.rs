//! What goes wrong in an operation, in each of its steps: who serves afterwards, and that nobody is left waiting.

use std::{
    fs,
    io::{Read, Write},
    thread,
    time::Duration,
};

use lab::{
    pairs::{self, Pair as _, redis::RedisPair},
    transactions::{Client as _, postgres::Client, redis},
};
use mainstay::{
    failover::{OperationEnd, OperationResult, Step},
    route::{RefusalCode, Verb},
};
use serde_json::{Value, json};

use super::{Site, active, begun, ended, give, order, result, start, to};
use crate::support::{
    front::{end as end_of, unix_client},
    process::Process,
    scratch::Scratch,
    wait::{Watch, until},
};

fn in_step(site: &Site, id: u64, step: Step) {
    until("the step has begun", || {
        let view = site.running().operations.get(id)?;
        view.steps.iter().any(|shown| shown.step == step && shown.since.is_some()).then_some(())
    });
}

#[test]
fn an_abort_by_order_lets_everybody_go_on() {
    let site = Site::new();
    let mut open = Client::open(site.address(), "postgres").unwrap();
    open.query("BEGIN").unwrap();
    open.query("INSERT INTO t VALUES (1)").unwrap();
    let id = begun(site.running(), to("db-b"));
    in_step(&site, id, Step::Drain);
    let address = site.address();
    let waits = thread::spawn(move || Client::open(address, "postgres").unwrap().query("INSERT INTO t VALUES (2)").unwrap());
    until("a new client waits", || (site.running().series[0].pool.held.get() == 1).then_some(()));
    assert_eq!(order(site.running(), to("db-b")).unwrap_err().code, RefusalCode::Busy);
    let unknown = order(site.running(), Verb::Abort { id: id + 7 }).unwrap_err();
    assert_eq!(unknown.code, RefusalCode::UnknownOperation);
    order(site.running(), Verb::Abort { id }).unwrap();
    waits.join().unwrap();
    open.query("COMMIT").unwrap();
    let view = ended(site.running(), id);
    assert_eq!((result(&view), view.end.unwrap().why), (OperationResult::Aborted, OperationEnd::Command));
    assert_eq!(active(site.running()), (Some("db-a".into()), 1));
    assert_eq!(site.source.sql("SELECT count(*) FROM t"), "2");
    let over = order(site.running(), Verb::Abort { id }).unwrap_err();
    assert_eq!(over.code, RefusalCode::UnknownOperation);
}

#[test]
fn a_promoter_that_fails_leaves_the_old_primary_serving() {
    let site = Site::with(|_| "echo the fence of the rack is open >&2; exit 3".to_owned(), json!({}));
    let mut idle = Client::open(site.address(), "postgres").unwrap();
    idle.query("INSERT INTO t VALUES (1)").unwrap();
    let id = begun(site.running(), to("db-b"));
    let view = ended(site.running(), id);
    let end = view.end.as_ref().unwrap();
    assert_eq!((result(&view), end.why), (OperationResult::Failed, OperationEnd::StepFailed));
    assert!(
        end.sentence.contains("the fence of the rack is open") && end.sentence.contains("db-a is active"),
        "{}",
        end.sentence
    );
    let since = Watch::start();
    Client::open(site.address(), "postgres").unwrap().query("INSERT INTO t VALUES (2)").unwrap();
    assert!(since.unhindered() < Duration::from_secs(2), "{:?}", since.elapsed());
    assert_eq!(active(site.running()).0, Some("db-a".into()));
    assert_eq!(site.source.sql("SELECT count(*) FROM t"), "2");
}

/// Redis holds its writes before it hands over: what is refused in between is taken back.
#[test]
fn a_failover_that_redis_refuses_leaves_the_old_primary_taking_writes() {
    let pair = RedisPair::start();
    let running = start(&pairs::pool(&pair, "127.0.0.1:0", &json!({"switchover": {"timeout": "20s"}})));
    until("db-a is active", || (active(&running).0.as_deref() == Some("db-a")).then_some(()));
    until("db-b may take over", || give(&running, to("db-b"), true).ok());
    pair.administer(0, "ACL SETUSER mainstay -failover");
    let id = begun(&running, Verb::Switchover { to: Some("db-b".into()), force: true });
    let view = ended(&running, id);
    let end = view.end.as_ref().unwrap();
    assert_eq!((result(&view), end.why), (OperationResult::Failed, OperationEnd::StepFailed));
    assert!(end.sentence.contains("ACL SETUSER mainstay +failover"), "{}", end.sentence);
    let since = Watch::start();
    let mut client = until("a client is let in", || redis::Client::login(running.listeners[0][0][0]).ok());
    client.say("INCR counter").unwrap();
    // Held, they would be for 20 s and more.
    assert!(since.unhindered() < Duration::from_secs(5), "{:?}", since.elapsed());
    assert_eq!((active(&running).0, pair.written(0)), (Some("db-a".into()), 1));
    end_of(running);
}

#[test]
fn the_active_one_that_dies_in_the_drain_is_an_ordinary_failover() {
    let site = Site::new();
    let mut open = Client::open(site.address(), "postgres").unwrap();
    open.query("BEGIN").unwrap();
    let id = begun(site.running(), to("db-b"));
    in_step(&site, id, Step::Drain);
    site.source.signal_all("-KILL");
    let view = ended(site.running(), id);
    assert_eq!((result(&view), view.end.unwrap().why), (OperationResult::Aborted, OperationEnd::ActiveLost));
    // Nobody promotes by himself here; a person does.
    let id = begun(site.running(), Verb::Promote { to: None, accept_loss: true, force: false });
    let view = ended(site.running(), id);
    assert_eq!(result(&view), OperationResult::Done);
    Client::open(site.address(), "postgres").unwrap().query("INSERT INTO t VALUES (1)").unwrap();
    assert_eq!(site.standby.sql("SELECT count(*) FROM t"), "1");
    assert_eq!(active(site.running()).0, Some("db-b".into()));
}

#[test]
fn what_is_missing_is_told_before_anything_is_done() {
    let site = Site::with(|_| "exit 0".to_owned(), json!({"promotion": {"how": "none"}}));
    let refusal = order(site.running(), to("db-b")).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::NoPromoter);
    assert!(refusal.message.contains("promotion: {how: sql}"), "{}", refusal.message);
    let site = Site::with(|_| "exit 0".to_owned(), json!({"promotion": {"how": "sql"}}));
    let refusal = order(site.running(), to("db-b")).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::NotPrepared);
    assert!(refusal.message.contains("no `promotion.demote`"), "{}", refusal.message);
    let drill = order(site.running(), Verb::Drill).unwrap().lines.join("\n");
    assert!(drill.contains("switchover: not now: it would fail\n") && drill.contains("no `promotion.demote`"), "{drill}");
    let there = order(site.running(), to("db-a")).unwrap();
    assert_eq!((&*there.lines[0], there.operation), ("db-a is active already: nothing to do", None));
    let refusal = order(site.running(), Verb::Promote { to: None, accept_loss: false, force: false }).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::PrimaryLives);
    let refusal = order(site.running(), to("db-c")).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::UnknownBackend);
    Client::open(site.address(), "postgres").unwrap().query("INSERT INTO t VALUES (1)").unwrap();
}

#[test]
fn a_mainstay_that_was_killed_in_a_step_tells_so_when_it_is_back_and_holds_nobody() {
    let directory = Scratch::new();
    let state = directory.path("");
    let pool = |site: &Site| {
        json!({
            "name": "orders", "listen": "127.0.0.1:0", "check": {"postgres": {"user": "postgres"}},
            "promotion": {"how": "sql", "demote": {"exec": ["/bin/true"]}},
            "switchover": {"drain_timeout": "0s"},
            "backends": [
                {"name": "db-a", "address": format!("127.0.0.1:{}", site.source.port)},
                {"name": "db-b", "address": format!("127.0.0.1:{}", site.standby.port)},
            ],
        })
    };
    let site = Site::new();
    let socket = directory.path("admin.sock");
    let settings = json!({
        "admin": {"listen": ["127.0.0.1:0", format!("unix:{}", socket.display())]},
        "state_dir": state, "pools": [pool(&site)],
    });
    let process = Process::start(&settings).serving();
    let mut open = Client::open(process.address, "postgres").unwrap();
    open.query("BEGIN").unwrap();
    until("the order is taken", || {
        let request = b"POST /api/v1/pools/orders/switchover HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
        let mut admin = unix_client(&socket);
        admin.write_all(request).unwrap();
        let mut answer = String::new();
        admin.read_to_string(&mut answer).unwrap();
        answer.starts_with("HTTP/1.1 200").then_some(())
    });
    until("the drain is remembered", || {
        let text = fs::read_to_string(state.join("orders.state.json")).ok()?;
        text.contains("switchover from db-a to db-b, step drain").then_some(())
    });
    drop(process);
    let process = Process::start(&settings).serving();
    Client::open(process.address, "postgres").unwrap().query("INSERT INTO t VALUES (1)").unwrap();
    until("it tells", || {
        let told = |line: &Value| line["operation"] == "switchover from db-a to db-b, step drain";
        process.log().iter().any(told).then_some(())
    });
}
