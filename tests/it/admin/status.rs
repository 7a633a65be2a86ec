//! The JSON is the interface's, and the commands understand it.

use clap::Parser;
use mainstay::{
    cli::{status, wait},
    config::ListenerRoute,
    failover::{Admin, BackendId, ReadEligibility, Time, Verdict},
    route::Snapshot,
};
use serde_json::{Value, json};

use super::fixture::{Fixture, dead, failed_over, primary};
use crate::support::scratch::Scratch;

#[test]
fn what_operators_ordered_is_shown() {
    let mut snapshot =
        Snapshot { suspended: true, paused: true, paused_until: Some(Time::from_millis(3_600_000)), ..failed_over() };
    snapshot.backends[0].admin = Admin::Maint;
    snapshot.backends[1].admin = Admin::Drain;
    let f = Fixture::new(snapshot);
    let pool = f.get("/api/v1/pools/orders").json();
    let left = pool["pause_left_seconds"].as_u64().unwrap();
    assert!(pool["paused"] == true && (3000..3600).contains(&left), "{pool}");
    let summary = pool["summary"].as_str().unwrap();
    assert_eq!(
        summary,
        "PAUSED by an operator: new clients wait, and sessions stop between two transactions, where the check can tell. db-a is in maintenance: an operator took it out. db-b gets no new \
         sessions: an operator drains it."
    );
    assert_eq!((&pool["backends"][0]["admin"], &pool["backends"][1]["admin"]), (&json!("maint"), &json!("drain")));
    assert_eq!(f.get("/readyz").status, 200, "clients of a paused pool are to wait here");
    f.publisher.snapshot(Snapshot { paused: true, active: None, ..failed_over() });
    let reason = f.get("/readyz").json()["reasons"][0].as_str().unwrap().to_owned();
    assert!(reason.starts_with("pool orders: PAUSED by an operator"), "{reason}");
}

fn assert_moment(value: &Value) {
    let text = value.as_str().unwrap();
    assert!(text.len() == 24 && text.starts_with("20") && text.ends_with('Z') && &text[10..11] == "T", "{text}");
}

#[test]
fn status_has_the_documented_fields() {
    let f = Fixture::new(failed_over());
    f.series.backends[1].connections_limit.set(500);
    let _sessions: Vec<_> = (0..118).map(|_| f.series.backends[1].connections_active.guard()).collect();
    let _clients: Vec<_> = (0..118).map(|_| f.series.listeners[0].active.guard()).collect();
    let _held = [f.series.pool.held.guard(), f.series.pool.held.guard()];
    let mut status = f.get("/api/v1/status").json();
    for path in
        ["/last_failover/at", "/backends/0/since", "/backends/1/since", "/backends/0/last_probe/at", "/backends/1/last_probe/at"]
    {
        let moment = status["pools"][0].pointer_mut(path).unwrap();
        assert_moment(moment);
        *moment = json!("moment");
    }
    assert!(status["uptime_seconds"].is_u64());
    status["uptime_seconds"] = json!(0);
    let pid = status.as_object_mut().unwrap().remove("pid").unwrap();
    assert_eq!(pid, std::process::id());
    assert_moment(&status["started"]);
    status["started"] = json!("moment");
    let expected: Value = serde_json::from_str(
        r#"{"version": "1.2.3", "started": "moment", "uptime_seconds": 0, "ready": true, "phase": "running", "orders_need": "none", "older": [], "pools": [{
        "name": "orders", "epoch": 3, "active": "db-b", "verdict": "keep", "paused": false, "pause_left_seconds": null, "suspended": false, "conflict": false,
        "held": 2, "operation": null, "trial": null, "failover_ready": false, "failover_ready_reason": "no_candidate",
        "summary": "Clients go to db-b. No other backend is healthy: if it dies, no other can take over. 2 clients wait.", "advice": null,
        "listeners": [{"name": "rw", "listen": ["192.0.2.1:5432"], "route": "primary", "connections": 118, "limit": 9000,
            "limit_per_ip": null, "allow": [], "deny": [], "proxy_protocol": {"accept_from": [], "send": "off"}}],
        "last_failover": {"at": "moment", "from": "db-a", "to": "db-b", "cause": "down",
            "evidence": "standing session closed; connect refused", "detected_ms": 4.0, "gap_ms": 51.0, "sessions_closed": 97},
        "backends": [
            {"name": "db-a", "address": "db-a:5432", "resolved": ["10.0.0.1:5432"], "health": "down", "pending": false,
             "role": "unknown", "admin": "ready", "eligible": false, "reason": "down: connect refused", "alert": null, "alert_evidence": null,
             "active": false, "reader": false, "reader_reason": "down", "proof": "proven", "proof_what": null, "since": "moment", "connections": 0, "limit": null, "lag_bytes": null, "version": null, "db_epoch": null,
             "last_probe": {"outcome": "refused", "evidence": "connect refused", "at": "moment", "took_ms": 0.2}},
            {"name": "db-b", "address": "db-b:5432", "resolved": ["10.0.0.1:5432"], "health": "up", "pending": false,
             "role": "primary", "admin": "ready", "eligible": true, "reason": "eligible", "alert": null, "alert_evidence": null,
             "active": true, "reader": false, "reader_reason": "active", "proof": "proven", "proof_what": null, "since": "moment", "connections": 118, "limit": 500, "lag_bytes": 0, "version": "15.20", "db_epoch": 2,
             "last_probe": {"outcome": "ok", "evidence": "answered as primary", "at": "moment", "took_ms": 0.2}}]}]}"#,
    )
    .unwrap();
    assert_eq!(status, expected);
    let mut pool = f.get("/api/v1/pools/orders").json();
    assert_moment(&pool["last_failover"]["at"]);
    pool["last_failover"]["at"] = json!("moment");
    assert_eq!(pool["last_failover"], expected["pools"][0]["last_failover"]);
    assert_eq!(f.get("/api/v1/config").json()["password"], "***");
}

#[test]
fn what_orders_need_depends_on_the_way_and_advice_is_part_of_the_summary() {
    let scratch = Scratch::new();
    let f = Fixture::writable(scratch.file("token", "a-token-of-a-test-1234", 0o600));
    assert_eq!(f.get("/api/v1/status").json()["orders_need"], "token");
    assert_eq!(f.get_unix("/api/v1/status", "Host: localhost\r\n").json()["orders_need"], "nothing");
    f.publisher.snapshot(dead());
    let pool = f.get("/api/v1/pools/orders").json();
    let (summary, advice) = (pool["summary"].as_str().unwrap(), pool["advice"].as_str().unwrap());
    assert!(summary.contains(advice) && advice.ends_with('.'), "{summary} {advice}");
    f.publisher.snapshot(Snapshot { paused: true, ..dead() });
    assert_eq!(f.get("/api/v1/pools/orders").json()["advice"], Value::Null);
}

#[test]
fn a_pool_that_is_there_to_be_read_is_ready_when_somebody_may_be_read() {
    let f = Fixture::leading(ListenerRoute::Replica, dead());
    assert_eq!(f.get("/readyz").status, 503);
    let mut read = dead();
    read.backends[1].read_eligibility = ReadEligibility::Reader;
    f.publisher.snapshot(read.clone());
    assert_eq!(f.get("/readyz").status, 200);
    let status = f.get("/api/v1/status").json();
    let pool = &status["pools"][0];
    assert_eq!((&pool["listeners"][0]["route"], &pool["active"]), (&json!("replica"), &json!(null)));
    assert_eq!((&pool["backends"][1]["reader"], &pool["backends"][1]["reader_reason"]), (&json!(true), &json!("reader")));
    assert!(pool["summary"].as_str().unwrap().ends_with(" Reads go to db-b."), "{}", pool["summary"]);
    // A writer in use is enough for a pool that takes writers, whoever may be read.
    let f = Fixture::new(read);
    assert_eq!(f.get("/readyz").status, 503);
    f.publisher.snapshot(Snapshot { active: Some(BackendId(1)), ..failed_over() });
    assert_eq!(f.get("/readyz").status, 200);
}

#[derive(Parser)]
struct StatusCommand {
    #[command(flatten)]
    args: status::Args,
}

#[derive(Parser)]
struct WaitCommand {
    #[command(flatten)]
    args: wait::Args,
}

#[test]
fn the_commands_exit_as_documented() {
    let f = Fixture::new(Snapshot { verdict: Verdict::Settling, ..dead() });
    let tcp = f.address.to_string();
    let unix = format!("unix:{}", f.socket.display());
    let status = |address: &str, more: &[&str]| {
        let words = ["status", "--admin", address].iter().chain(more).copied().collect::<Vec<_>>();
        status::run(&StatusCommand::try_parse_from(words).unwrap().args)
    };
    let wait = |goal: &str, max: &str| {
        wait::run(&WaitCommand::try_parse_from(["wait", "--admin", &tcp, "--for", goal, "--max", max]).unwrap().args)
    };
    assert_eq!([status(&tcp, &[]), status(&unix, &["--json"])], [69, 69]);
    assert_eq!([wait("startup", "10ms"), wait("ready", "10ms")], [69, 69]);
    f.publisher.snapshot(failed_over());
    assert_eq!([status(&tcp, &[]), status(&unix, &["--json"])], [0, 0]);
    assert_eq!([wait("startup", "20s"), wait("ready", "20s")], [0, 0]);
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert_eq!(status(&closed, &[]), 1);
}

#[test]
fn waiting_ends_when_the_pool_becomes_ready() {
    let f = Fixture::new(dead());
    let tcp = f.address.to_string();
    let waiting = std::thread::spawn(move || {
        wait::run(&WaitCommand::try_parse_from(["wait", "--admin", &tcp, "--max", "20s"]).unwrap().args)
    });
    f.publisher.snapshot(Snapshot { backends: vec![primary("db-a"), primary("db-b")], ..failed_over() });
    assert_eq!(waiting.join().unwrap(), 0);
}
