//! What is told is what happened: the cause of an alert, of a death and of a pool that serves nobody, and no conflict that is none.

use std::{net::SocketAddr, path::Path, process::Command};

use serde_json::{Value, json};

use crate::support::{
    child::Bounded,
    postgres::Postgres,
    process::{Process, Signal, settings},
    redis::Redis,
    scratch::Scratch,
    wait::until,
};

fn before(backends: &[SocketAddr], check: &Value) -> Value {
    let mut settings = settings(backends);
    settings["pools"][0]["check"] = check.clone();
    settings
}

fn local(server: &Postgres) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], server.port))
}

fn postgres() -> Value {
    json!({"postgres": {"tls": "off"}, "interval": "100ms", "fast_interval": "50ms", "timeout": "2s", "fresh_login": "1s"})
}

fn pool(process: &Process) -> Value {
    process.status()["pools"][0].clone()
}

fn summary(process: &Process) -> String {
    pool(process)["summary"].as_str().unwrap().to_owned()
}

/// `mainstay check --connect`: its exit code and what it printed.
fn check_connect(scratch: &Scratch, settings: &Value) -> (Option<i32>, String) {
    let file = scratch.path("check.yaml");
    std::fs::write(&file, settings.to_string()).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_mainstay")).args(["check", "--connect", "-c"]).arg(file).bounded_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn file_of(scratch: &Scratch) -> String {
    Path::new(scratch.directory()).join("orders.state.json").display().to_string()
}

#[test]
fn a_restored_cluster_is_told_with_both_identifiers_and_what_to_type() {
    let scratch = Scratch::new();
    let mut old = Postgres::primary(&[]);
    let new = Postgres::primary(&[]);
    let with = |server: &Postgres| {
        let mut settings = before(&[local(server)], &postgres());
        settings["state_dir"] = json!(scratch.directory());
        settings
    };
    let id = |server: &Postgres| server.sql("SELECT system_identifier FROM pg_control_system()");
    let (expected, found) = (id(&old), id(&new));
    let mut process = Process::start(&with(&old)).serving();
    assert_eq!(check_connect(&scratch, &with(&old)).0, Some(0));
    until("it is remembered", || std::fs::read_to_string(file_of(&scratch)).ok().filter(|text| text.contains(&expected)));
    process.signal(Signal::TERM);
    process.ends_within(std::time::Duration::from_secs(10));
    old.stop_fast();

    let process = Process::start(&with(&new));
    let told = until("it is told", || Some(summary(&process)).filter(|text| text.contains("wrong_cluster")));
    let remedy = format!("stop mainstay, remove {}, and start it again.", file_of(&scratch));
    assert!(told.contains(&found) && told.contains(&expected) && told.ends_with(&remedy), "{told}");
    assert!(told.contains("remembered from an earlier run") && !told.contains("Start it"), "{told}");
    assert_eq!(process.metric("mainstay_backend_check_alert", &[("outcome", "wrong_cluster")]), 1);
    let (code, text) = check_connect(&scratch, &with(&new));
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains(": wrong_cluster: ") && text.contains(&found) && text.contains(&expected), "{text}");
    assert!(text.contains(&format!("remove {}", file_of(&scratch))), "{text}");
}

#[test]
fn a_restore_to_an_older_timeline_is_told_with_both_timelines_and_what_to_type() {
    let scratch = Scratch::new();
    let server = Postgres::primary(&[]);
    let id = server.sql("SELECT system_identifier FROM pg_control_system()");
    let mut settings = before(&[local(&server)], &postgres());
    settings["state_dir"] = json!(scratch.directory());
    std::fs::write(file_of(&scratch), format!(r#"{{"version":1,"pool":{{"fence":7,"system_id":{id},"active":null}}}}"#)).unwrap();
    let process = Process::start(&settings);
    let told = until("it is told", || Some(summary(&process)).filter(|text| text.contains("fenced")));
    assert!(told.contains("is 1, and 7 was served already"), "{told}");
    assert!(told.ends_with(&format!("stop mainstay, remove {}, and start it again.", file_of(&scratch))), "{told}");
    let (code, text) = check_connect(&scratch, &settings);
    assert_eq!(code, Some(69), "{text}");
    assert!(text.contains(": fenced: ") && text.contains("is 1, and 7 was served already"), "{text}");
}

#[test]
fn a_password_that_is_wrong_now_is_told_by_a_gauge_and_by_its_own_evidence() {
    let server = Postgres::primary(&[]);
    let process = Process::start(&before(&[local(&server)], &postgres())).serving();
    let alert = || process.metric("mainstay_backend_check_alert", &[("outcome", "misconfigured")]);
    assert_eq!(alert(), 0);
    std::fs::write(server.data().join("pg_hba.conf"), "local all all trust\nhost all all all reject\n").unwrap();
    let reload = Command::new("kill").args(["-HUP", &server.pid().to_string()]).bounded_status().unwrap();
    assert!(reload.success());
    until("the gauge tells", || (alert() == 1).then_some(()));
    // The old session still answers, and what it says is no reason for the alert.
    let of = |key: &str| pool(&process)["backends"][0][key].clone();
    until("the old session is asked again", || (of("last_probe")["outcome"] == "ok").then_some(()));
    assert_eq!((of("reason"), of("alert")), (json!("eligible"), json!("misconfigured")));
    assert!(of("alert_evidence").as_str().unwrap().contains("28000"), "{}", of("alert_evidence"));
    assert!(summary(&process).contains("(misconfigured: the server says: "), "{}", summary(&process));
    std::fs::write(server.data().join("pg_hba.conf"), "local all all trust\nhost all all all trust\n").unwrap();
    assert!(Command::new("kill").args(["-HUP", &server.pid().to_string()]).bounded_status().unwrap().success());
    until("the gauge tells that it is over", || (alert() == 0).then_some(()));
}

#[test]
fn a_postmaster_that_was_killed_did_not_say_that_it_shuts_down() {
    let server = Postgres::primary(&[]);
    let process = Process::start(&before(&[local(&server)], &postgres())).serving();
    server.signal("-KILL");
    let revoked = process.logged("revoked: the backend takes no more clients");
    let words = |line: &Value| line.to_string();
    until("it is down", || (pool(&process)["backends"][0]["health"] == "down").then_some(()));
    for line in process.log() {
        assert!(!words(&line).contains("shut"), "{line}");
    }
    assert!(!revoked.is_null());
}

#[test]
fn a_handover_of_redis_is_no_conflict() {
    let a = Redis::primary(&[]);
    let b = a.replica(&[]);
    let process = Process::start(&before(&[a.address(), b.address()], &json!("redis"))).serving();
    let servers = [&a, &b];
    for round in 0..10 {
        let (old, new) = (servers[round % 2], servers[(round + 1) % 2]);
        until("it has a replica that is in step", || {
            old.try_ask(&["INFO", "replication"]).ok().filter(|said| said.contains("state=online"))
        });
        until("it is active", || (pool(&process)["active"] == json!(["db-a", "db-b"][round % 2])).then_some(()));
        until("it hands over", || old.ask(&["FAILOVER", "TIMEOUT", "10000"]).contains("OK").then_some(()));
        until("the new one is the primary", || {
            new.try_ask(&["INFO", "replication"]).ok().filter(|said| said.contains("role:master"))
        });
        until("clients go there", || (pool(&process)["active"] == json!(["db-b", "db-a"][round % 2])).then_some(()));
    }
    let cries: Vec<_> = process.log().into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert!(cries.is_empty(), "{cries:#?}");
}
