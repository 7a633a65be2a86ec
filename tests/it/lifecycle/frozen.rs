//! The process is frozen for seconds (SIGSTOP; a hypervisor does the same) and thawed: what it knew is old by then.

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    echo::Backend,
    injection::Injection,
    netns::Network,
    process::{Process, Signal, settings},
    wait::{Watch, patience, until},
};

const FREEZE: Duration = Duration::from_secs(3);

#[test]
fn a_freeze_is_no_evidence_against_any_backend() {
    let (first, second) = (Backend::echo(), Backend::echo());
    let process = Process::start(&settings(&[first.address, second.address])).serving();
    let mut client = process.connect();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    let probes = || process.metric("mainstay_probes_total", &[("backend", "db-a")]);
    let (mut before, mut frozen) = (0, Instant::now());
    for _ in 0..2 {
        (before, frozen) = (probes(), Instant::now());
        process.signal(Signal::STOP);
        // How long it lasts is the subject, as in all freezes here.
        thread::sleep(FREEZE);
        process.signal(Signal::CONT);
        // The session never notices; a new client is served once the verdict was renewed.
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
        let thawed = Watch::start();
        let mut next = process.connect();
        next.write_all(b"x").unwrap();
        next.read_exact(&mut [0; 1]).unwrap();
        assert!(thawed.unhindered() < Duration::from_secs(1), "{:?}", thawed.elapsed());
    }
    assert_eq!(process.metric("mainstay_transitions_total", &[("to", "down")]), 0);
    assert_eq!(process.metric("mainstay_pool_epoch", &[]), 1);
    assert_eq!(process.metric("mainstay_connections_closed_total", &[("reason", "revoked")]), 0);
    // Missed probes are not made up for in a burst: what comes in a second does not come sooner.
    thread::sleep(Duration::from_secs(1));
    let (made, took) = (probes() - before, frozen.elapsed().saturating_sub(FREEZE));
    assert!(
        u128::from(made) <= took.as_millis() / 200 + 3,
        "{made} probes in {took:?} at an interval of 200 ms, and in a freeze"
    );
}

#[test]
fn a_probe_that_was_on_its_way_during_the_freeze_is_made_again() {
    let network = Network::new();
    network.inside(|| {
        let (first, second) = (Backend::echo(), Backend::echo());
        let mut settings = settings(&[first.address, second.address]);
        settings["pools"][0]["check"]["fall"] = 1.into();
        settings["pools"][0]["check"]["timeout"] = "2s".into();
        let process = Process::start(&settings).serving();
        let port = first.address.port();
        network.firewall(&format!("tcp dport {port} drop"));
        let asked = || network.run(&["ss", "-tnH", "state", "syn-sent", "dport", "=", &format!(":{port}")]);
        until("a probe is on its way", || (!asked().is_empty()).then_some(()));
        process.signal(Signal::STOP);
        // The time is the subject: longer than the probe's own, and over between two tries of the kernel, which come a second or two apart.
        thread::sleep(Duration::from_millis(2500));
        network.heal();
        process.signal(Signal::CONT);
        process.logged("a probe was late because this machine was busy");
        let mut client = process.connect();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
        assert_eq!(process.metric("mainstay_transitions_total", &[("to", "down")]), 0);
        assert_eq!(process.metric("mainstay_pool_epoch", &[]), 1);
    });
}

#[test]
fn a_backend_that_died_during_the_freeze_gets_no_client_after_it() {
    let mut first = Backend::start(|mut stream| {
        let _ = stream.write_all(b"1");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let second = Backend::start(|mut stream| {
        let _ = stream.write_all(b"2");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let process = Process::start(&settings(&[first.address, second.address])).serving();
    let mut client = process.connect();
    let mut who = [0; 1];
    client.write_all(b"x").unwrap();
    client.read_exact(&mut who).unwrap();
    assert_eq!(&who, b"1");

    process.signal(Signal::STOP);
    first.stop();
    // How long it lasts is the subject.
    thread::sleep(FREEZE);
    let mut next = process.connect();
    next.write_all(b"x").unwrap();
    process.signal(Signal::CONT);
    next.read_exact(&mut who).unwrap();
    assert_eq!(&who, b"2");
    // Nobody even tried: the old verdict was not trusted.
    assert_eq!(process.metric("mainstay_dial_failures_total", &[]), 0);
    until("the first is left", || (process.status()["pools"][0]["active"] == "db-b").then_some(()));
}

#[test]
fn a_control_thread_that_stands_still_trips_the_watchdog_once() {
    let backend = Backend::echo();
    let process = Process::start(&settings(&[backend.address])).serving();
    let trips = || process.metric("mainstay_watchdog_trips_total", &[]);
    for trip in 1..=2 {
        let standstill = Injection::into(&process, "mainstay-contro", "epoll_wait:delay_enter=120000000");
        until("the watchdog has tripped", || (trips() == trip).then_some(()));
        let line = process.logged("the control thread gave no sign of life");
        assert_eq!(line["level"], "ERROR", "{line}");
        until("liveness tells of it", || (process.get("/livez").0 == 503).then_some(()));
        drop(standstill);
        until("it lives", || (process.get("/livez").0 == 200).then_some(()));
        assert_eq!(trips(), trip, "one standstill is one trip");
    }
}

/// The control thread has its turns, but nothing that it began comes back: the kernel does not start the command.
#[test]
fn probes_that_do_not_come_back_are_told_of() {
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["pools"][0]["check"] =
        json!({"exec": ["/bin/true"], "interval": "100ms", "fast_interval": "100ms", "timeout": "200ms"});
    let mut process = Process::start(&settings).serving();
    assert_eq!(process.get("/livez").1, "{\"reasons\":[],\"status\":\"ok\"}\n");
    let standstill = Injection::into_all(&process, "execve:delay_enter=6000000");
    let trips = || process.metric("mainstay_watchdog_trips_total", &[]);
    until("the watchdog has tripped", || (trips() == 1).then_some(()));
    let line = process.logged("no probe has finished in time");
    assert_eq!((&line["pool"], &line["backend"]), (&"orders".into(), &"db-a".into()), "{line}");
    let (code, body) = process.get("/livez");
    assert_eq!(code, 200, "a restart would cut the sessions of all pools: {body}");
    assert!(body.contains("pool orders: no probe of db-a has finished for "), "{body}");
    assert_eq!(trips(), 1);
    // strace does not let go of a child that its parent waits for while it is held up.
    process.signal(Signal::KILL);
    process.ends_within(patience());
    drop(standstill);
}
