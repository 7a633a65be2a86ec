//! `allow` and `deny`.

use std::io::Write;

use mainstay::reason::RejectReason;
use serde_json::json;

use super::{assert_denied, client_from, configured, is_let_in, is_served, rejected, settings, try_client_from};
use crate::support::{echo::Backend, front::Front, process::Process, wait::until};

#[test]
fn whoever_is_denied_is_reset_and_costs_no_backend_anything() {
    let backend = Backend::echo();
    let front = Front::with(&configured(&json!({"deny": ["127.0.0.2"]}), &[backend.address]));
    for _ in 0..20 {
        assert_denied([127, 0, 0, 2], front.address());
    }
    assert_eq!(rejected(&front, RejectReason::Denied), 20);
    assert_eq!(front.series().listeners[0].accepted.get(), 20);
    assert_eq!(front.backend().dial_duration.get_sample_count(), 0, "a backend was connected for a stranger");
    assert_eq!(front.series().listeners[0].active.get(), 0);
    assert!(is_served(&mut client_from([127, 0, 0, 1], front.address())));
}

#[test]
fn with_an_allow_list_only_those_on_it_get_in_and_deny_wins() {
    let backend = Backend::echo();
    let keys = json!({"allow": ["127.1.0.0/16", "127.0.0.4/31"], "deny": "127.1.2.0/24"});
    let front = Front::with(&configured(&keys, &[backend.address]));
    for (address, expected) in [
        ([127, 1, 0, 1], true),
        ([127, 1, 2, 1], false),
        ([127, 0, 0, 3], false),
        ([127, 0, 0, 4], true),
        ([127, 0, 0, 5], true),
        ([127, 0, 0, 6], false),
    ] {
        if expected {
            assert!(is_let_in(address, front.address()), "{address:?}");
        } else {
            assert_denied(address, front.address());
        }
    }
    assert_eq!(rejected(&front, RejectReason::Denied), 3);
}

#[test]
fn other_lists_count_for_new_clients_and_leave_sessions_alone() {
    let backend = Backend::echo();
    let config = |deny: &str| configured(&json!({"deny": [deny]}), &[backend.address]);
    let front = Front::with(&config("127.0.0.9"));
    let mut session = client_from([127, 0, 0, 2], front.address());
    assert!(is_served(&mut session));
    front.reload(&config("127.0.0.2")).unwrap();
    until("the new list holds", || (!is_let_in([127, 0, 0, 2], front.address())).then_some(()));
    assert!(is_served(&mut client_from([127, 0, 0, 9], front.address())));
    assert!(is_served(&mut session), "a session was ended by a list that it never met");
    front.reload(&config("127.0.0.9")).unwrap();
    until("the old list holds again", || is_let_in([127, 0, 0, 2], front.address()).then_some(()));
}

#[test]
fn strangers_do_not_fill_the_log_and_every_one_is_counted() {
    const STRANGERS: u64 = 300;
    let backend = Backend::echo();
    let process = Process::start(&settings(&json!({"deny": ["127.0.0.2"]}), &[backend.address])).serving();
    let count = |reason| process.metric("mainstay_connections_rejected_total", &[("listener", "rw"), ("reason", reason)]);
    for reason in ["denied", "max_connections_per_ip", "bad_proxy_header"] {
        assert_eq!(count(reason), 0, "{reason} is there from the start");
    }
    for _ in 0..STRANGERS {
        // The RST may be faster than the connect's return.
        if let Ok(mut stranger) = try_client_from([127, 0, 0, 2], process.address) {
            let _ = stranger.write_all(b"let me in");
        }
    }
    until("all are counted", || (count("denied") == STRANGERS).then_some(()));
    let lines = || -> Vec<_> { process.log().into_iter().filter(|line| line["message"] == "client turned away").collect() };
    until("the first is told", || (!lines().is_empty()).then_some(()));
    let lines = lines();
    assert_eq!(
        (&lines[0]["reason"], &lines[0]["pool"], &lines[0]["listener"]),
        (&json!("denied"), &json!("orders"), &json!("rw"))
    );
    assert!(lines[0]["client"].as_str().unwrap().starts_with("127.0.0.2:"), "{}", lines[0]);
    assert!((lines.len() as u64) < STRANGERS / 10, "{} lines for {STRANGERS} strangers", lines.len());
}

/// Whatever they do: each reason has a line of its own now and then, and so each is told of.
#[test]
fn no_reason_to_turn_strangers_away_fills_the_log() {
    const STRANGERS: u64 = 100;
    let mut backend = Backend::echo();
    backend.stop();
    for (reason, max, limit, leaves) in [
        ("hold_full", 0, 1000, false),
        ("hold_full_per_ip", 200, 1000, false),
        ("client_gone", 1000, 1000, true),
        ("max_connections", 1000, 1, false),
        ("hold_timeout", 2000, 1000, false),
    ] {
        let mut settings = settings(&json!({"max_connections": limit}), &[backend.address]);
        let timeout = if reason == "hold_timeout" { "10ms" } else { "1m" };
        settings["pools"][0]["hold"] = json!({"timeout": timeout, "max": max, "max_per_ip": if max == 200 { 1 } else { 1000 }});
        let process = Process::start(&settings);
        let rejected = |labels: &[(&str, &str)]| process.metric("mainstay_connections_rejected_total", labels);
        let count = || rejected(&[("listener", "rw"), ("reason", reason)]);
        let mut stay = Vec::new();
        while count() < STRANGERS {
            let came = stay.len() as u64;
            stay.extend((came..came + STRANGERS / 2).map(|_| client_from([127, 0, 0, 2], process.address)));
            if leaves {
                until("all are held", || (process.metric("mainstay_connections_held", &[]) == stay.len() as u64).then_some(()));
                stay.clear();
                until("all have left", || (process.metric("mainstay_connections_held", &[]) == 0).then_some(()));
            } else {
                // On a busy machine a hold may end in the middle of a dial, which is another reason.
                until("all are held or turned away", || {
                    (rejected(&[("listener", "rw")]) + process.metric("mainstay_connections_held", &[]) >= stay.len() as u64)
                        .then_some(())
                });
            }
        }
        let told = || -> Vec<_> {
            let log = process.log().into_iter();
            log.filter(|line| line["message"] == "client turned away" && line["reason"] == reason).collect()
        };
        until("the first is told", || (!told().is_empty()).then_some(()));
        let told = told();
        let passed_over: u64 = told.iter().filter_map(|line| line["passed_over"].as_u64()).sum();
        assert!(told.len() as u64 + passed_over <= count());
        assert!(told.len() as u64 <= STRANGERS / 5, "{reason}: {} lines for {} strangers", told.len(), count());
    }
}

#[test]
fn the_status_and_the_printed_configuration_show_what_is_asked() {
    let backend = Backend::echo();
    let keys = json!({
        "max_connections_per_ip": 20, "allow": ["127.0.0.0/8"], "deny": ["127.0.0.2", "127.0.0.3"],
        "proxy_protocol": {"accept_from": ["127.0.0.4"], "send": "v2"},
    });
    let process = Process::start(&settings(&keys, &[backend.address]));
    let listener = &process.status()["pools"][0]["listeners"][0];
    assert_eq!(listener["limit_per_ip"], 20);
    assert_eq!(listener["allow"], json!(["127.0.0.0/8"]));
    assert_eq!(listener["deny"], json!(["127.0.0.2/32", "127.0.0.3/32"]));
    assert_eq!(listener["proxy_protocol"], json!({"accept_from": ["127.0.0.4/32"], "send": "v2"}));
    let config: serde_json::Value = serde_json::from_str(&process.get("/api/v1/config").1).unwrap();
    let printed = &config["pools"][0]["listeners"][0];
    for key in ["allow", "deny", "proxy_protocol"] {
        assert_eq!(printed[key], listener[key], "{key}");
    }
    assert_eq!(printed["max_connections_per_ip"], 20);
}
