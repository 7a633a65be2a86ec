//! Paths, methods, types and hosts.

use std::io::{Read, Write};

use mainstay::failover::{Time, Verdict};
use mainstay::route::Snapshot;

use super::fixture::{Fixture, Reply, dead, failed_over};
use crate::support::{
    echo::{Backend, refusing},
    process::{Process, settings},
};

#[test]
fn every_path_answers_with_its_type() {
    let f = Fixture::new(failed_over());
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/livez", "application/json"),
        ("/readyz", "application/json"),
        ("/startupz", "application/json"),
        ("/api/v1/status", "application/json"),
        ("/api/v1/pools/orders", "application/json"),
        ("/api/v1/pools/%6Frders/connections", "application/json"),
        ("/api/v1/events", "application/json"),
        ("/api/v1/events?since=3", "application/json"),
        ("/api/v1/config", "application/json"),
    ] {
        let reply = f.get(path);
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(kind)), "{path}: {reply:?}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{path}");
        let head = f.ask("HEAD", path, "Host: localhost\r\n");
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
    }
}

#[test]
fn a_wrong_path_names_the_right_ones() {
    let f = Fixture::new(failed_over());
    for path in ["/nothing", "/metrics/", "/api/v1", "/api/v1/pools", "/api/v1/pools/orders/x", "//", "/%ff", "/api/v1/pools/%ff"]
    {
        let reply = f.get(path);
        assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (404, Some("not_found")), "{path}");
        assert!(reply.json()["error"]["paths"].as_array().unwrap().iter().any(|path| path == "/api/v1/status"));
    }
    let reply = f.get("/api/v1/pools/none");
    assert_eq!((reply.status, &reply.json()["error"]["pools"][0]), (404, &"orders".into()));
    assert_eq!(f.get("/api/v1/events?since=x").status, 400);
    assert_eq!(f.get("/api/v1/events/stream?since=-1").status, 400);
}

#[test]
fn nothing_can_be_changed_over_tcp_unless_the_configuration_says_so() {
    let f = Fixture::new(failed_over());
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        for path in ["/", "/metrics", "/livez", "/api/v1/status", "/api/v1/pools/orders", "/api/v1/events/stream"] {
            let reply = f.ask(method, path, "Host: localhost\r\n");
            assert_eq!((reply.status, reply.header("allow")), (405, Some("get, head")), "{method} {path}");
        }
    }
    for (method, path, code) in [
        ("PUT", "/api/v1/pools/orders/backends/db-a/state", "write_disabled"),
        ("POST", "/api/v1/pools/orders/switchover", "write_disabled"),
        ("POST", "/api/v1/pools/orders/promote", "write_disabled"),
        ("POST", "/api/v1/pools/orders/drill", "write_disabled"),
        ("POST", "/api/v1/pools/orders/pause", "write_disabled"),
        ("POST", "/api/v1/pools/orders/resume", "write_disabled"),
        ("POST", "/api/v1/pools/orders/kill", "write_disabled"),
        ("POST", "/api/v1/reload", "write_disabled"),
        ("POST", "/api/v1/shutdown", "write_disabled"),
    ] {
        let reply = f.ask(method, path, "Host: localhost\r\nContent-Length: 0\r\n");
        assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (403, Some(code)), "{path}");
        assert_eq!(
            (f.get(path).status, f.get(path).header("allow")),
            (405, Some(method.to_ascii_lowercase().as_str())),
            "{path}"
        );
    }
}

#[test]
fn a_foreign_host_gets_probes_and_metrics_only() {
    let f = Fixture::new(failed_over());
    let status = |path, host: &str| f.ask("GET", path, &format!("Host: {host}\r\n")).status;
    for path in ["/", "/api/v1/status", "/api/v1/config", "/api/v1/events/stream", "/api/v1/pools/orders/connections"] {
        assert_eq!(status(path, "evil.example"), 403, "{path}");
        assert_eq!(status(path, "127.0.0.1.evil.example:8432"), 403, "{path}");
    }
    for path in ["/livez", "/readyz", "/startupz", "/metrics"] {
        assert_eq!(status(path, "mainstay.monitoring.svc:8432"), 200, "{path}");
    }
    for host in ["127.0.0.1:8432", "[::1]:8432", "localhost", "10.0.0.9"] {
        assert_eq!(status("/api/v1/status", host), 200, "{host}");
    }
    assert_eq!(f.ask("GET", "http://evil.example/api/v1/status", "Host: localhost\r\n").status, 403);
    assert_eq!(f.ask("GET", "/api/v1/status", "Host: localhost\r\nHost: evil.example\r\n").status, 403);
}

#[test]
fn no_path_on_a_unix_socket_asks_for_the_host() {
    let f = Fixture::new(failed_over());
    let paths = ["/", "/metrics", "/livez", "/readyz", "/startupz", "/api/v1/status", "/api/v1/pools/orders", "/api/v1/events"];
    for path in paths.into_iter().chain(["/api/v1/pools/orders/connections", "/api/v1/config"]) {
        assert_eq!(f.get_unix(path, "Host: evil.example\r\n").status, 200, "{path}: no browser reaches a unix socket");
    }
}

#[test]
fn readiness_and_startup_follow_the_database_and_liveness_does_not() {
    let f = Fixture::new(Snapshot { verdict: Verdict::Settling, ..dead() });
    assert_eq!([f.get("/livez").status, f.get("/readyz").status, f.get("/startupz").status], [200, 503, 503]);
    f.publisher.snapshot(dead());
    assert_eq!([f.get("/livez").status, f.get("/readyz").status, f.get("/startupz").status], [200, 503, 200]);
    let reply = f.get("/readyz").json();
    assert_eq!(reply["status"], "unavailable");
    let reason = reply["reasons"][0].as_str().unwrap();
    assert!(
        reason.starts_with("pool orders: NO BACKEND MAY SERVE") && reason.contains("db-a is down: connect refused"),
        "{reason}"
    );
    f.publisher.snapshot(failed_over());
    assert_eq!([f.get("/livez").status, f.get("/readyz").status, f.get("/startupz").status], [200; 3]);
    f.publisher.snapshot(Snapshot { suspended: true, ..failed_over() });
    assert_eq!(f.get("/readyz").status, 503);
    f.publisher.snapshot(failed_over());
    f.advance(mainstay::lifecycle::Phase::Draining);
    assert_eq!([f.get("/livez").status, f.get("/readyz").status, f.get("/startupz").status], [200, 503, 200]);
    f.ailments.lock().unwrap().others.push("the disk hangs".into());
    let reply = f.get("/livez");
    assert_eq!((reply.status, reply.json()["reasons"][0].as_str()), (200, Some("the disk hangs")));
    f.ailments.lock().unwrap().fatal.push("the supervisor is stuck".into());
    let reply = f.get("/livez");
    assert_eq!((reply.status, reply.json()["reasons"][0].as_str()), (503, Some("the supervisor is stuck")));
}

#[test]
fn liveness_tells_of_probes_that_do_not_come_back_and_asks_for_no_restart() {
    let mut snapshot = failed_over();
    snapshot.backends[1].silent_since = Some(Time::ZERO);
    let reply = Fixture::new(snapshot).get("/livez");
    let reason = reply.json()["reasons"][0].as_str().unwrap().to_owned();
    assert_eq!(reply.status, 200);
    assert!(reason.starts_with("pool orders: no probe of db-b has finished for "), "{reason}");
}

#[test]
fn readiness_of_one_pool() {
    let f = Fixture::new(failed_over());
    assert_eq!(f.get("/readyz?pool=orders").status, 200);
    assert_eq!(f.get("/readyz?pool=%6Frders").status, 200);
    let reply = f.get("/readyz?pool=users");
    assert_eq!((reply.status, &reply.json()["error"]["pools"]), (404, &serde_json::json!(["orders"])));
    f.publisher.snapshot(dead());
    let reply = f.get("/readyz?pool=orders");
    assert_eq!(reply.status, 503);
    assert!(reply.json()["reasons"][0].as_str().unwrap().starts_with("pool orders: NO BACKEND MAY SERVE"), "{}", reply.body);
    f.publisher.snapshot(failed_over());
    f.advance(mainstay::lifecycle::Phase::Draining);
    assert_eq!(f.get("/readyz?pool=orders").status, 503);
}

#[test]
fn readiness_of_one_pool_is_no_matter_of_another() {
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    let mut users = settings["pools"][0].clone();
    users["name"] = "users".into();
    let (_socket, nobody) = refusing();
    users["backends"] = serde_json::json!([nobody.to_string()]);
    settings["pools"].as_array_mut().unwrap().push(users);
    let process = Process::start(&settings).serving();
    let ready = |path| process.get(path).0;
    assert_eq!((ready("/readyz?pool=orders"), ready("/readyz?pool=users"), ready("/readyz")), (200, 503, 503));
}

#[test]
fn what_a_query_may_not_hold_is_refused_with_what_it_may() {
    let f = Fixture::new(failed_over());
    let keys = |reply: Reply| (reply.status, reply.json()["error"]["keys"].clone());
    for (path, known) in [
        ("/readyz?pol=orders", &["pool"][..]),
        ("/readyz?pool=orders&x=1", &["pool"]),
        ("/readyz?pool=orders&pool=orders", &["pool"]),
        ("/readyz?pool=%ff", &["pool"]),
        ("/livez?pool=orders", &[]),
        ("/startupz?x", &[]),
        ("/metrics?name=up", &[]),
        ("/?x=1", &[]),
        ("/api/v1/status?pool=orders", &[]),
        ("/api/v1/config?x", &[]),
        ("/api/v1/pools/orders?x", &[]),
        ("/api/v1/pools/orders/connections?limits=3", &["limit"]),
        ("/api/v1/history?pools=orders", &["pool", "last"]),
        ("/api/v1/events?sinc=3", &["since"]),
        ("/api/v1/events/stream?from=3", &["since"]),
    ] {
        assert_eq!(keys(f.get(path)), (400, serde_json::json!(known)), "{path}");
    }
    for path in ["/readyz?", "/livez?&", "/api/v1/events?since=0", "/api/v1/events?since=%30"] {
        assert_eq!(f.get(path).status, 200, "{path}");
    }
}

#[test]
fn a_listener_at_all_addresses_is_asked_by_address_or_by_a_name_that_it_was_given() {
    let f = Fixture::everywhere(failed_over());
    let ask = |path, host: &str| f.ask("GET", path, &format!("Host: {host}\r\n"));
    for path in ["/", "/metrics", "/api/v1/status", "/api/v1/events/stream"] {
        let reply = ask(path, "rebound.evil.example:8432");
        assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (403, Some("foreign_host")), "{path}");
        let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("admin: {hosts: [rebound.evil.example]}"), "{message}");
    }
    for host in ["127.0.0.1", "[::1]:8432", "localhost:8432", "mainstay.example", "Mainstay.Example.:8432"] {
        for path in ["/", "/metrics", "/api/v1/status"] {
            assert_eq!(ask(path, host).status, 200, "{path} of {host}");
        }
    }
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_eq!(ask(path, "some.service").status, 200, "{path} tells nothing worth stealing");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let f = Fixture::new(failed_over());
    let mut stream = f.connect();
    let one = |path: &str, more: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
    let all = one("/livez", "") + &one("/nothing", "") + &one("/api/v1/config", "Connection: close\r\n");
    stream.write_all(all.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let codes: Vec<&str> = text.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(codes, ["200", "404", "200"]);
}

#[test]
fn the_page_holds_no_data_and_loads_nothing() {
    let hostile = "<script>alert(1)</script>";
    let mut snapshot = failed_over();
    snapshot.backends[0].name = hostile.into();
    let f = Fixture::new(snapshot);
    let page = f.get("/");
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    for forbidden in ["alert(1)", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "http://", "https://", "src="]
    {
        assert!(!page.body.contains(forbidden), "{forbidden}");
    }
    assert!(page.body.contains("/api/v1/status") && page.body.contains("/api/v1/events"));
    let status = f.get("/api/v1/status");
    assert_eq!(status.header("content-type"), Some("application/json"));
    assert_eq!(status.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(status.json()["pools"][0]["backends"][0]["name"], hostile);
}

#[test]
fn a_large_body_is_refused_and_a_small_one_ignored() {
    let f = Fixture::new(failed_over());
    let small = f.ask("GET", "/livez", "Host: localhost\r\nContent-Length: 0\r\n");
    assert_eq!(small.status, 200);
    let mut stream = f.connect();
    write!(stream, "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert_eq!(Reply::read(bytes).status, 413);
}
