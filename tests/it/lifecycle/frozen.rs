//! The process is frozen for seconds (SIGSTOP; a hypervisor does the same) and thawed: what it knew is old by then.

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    echo::Backend,
    netns::Network,
    process::{Process, Signal, settings},
    wait::until,
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
    let mut before = 0;
    for _ in 0..2 {
        before = probes();
        process.signal(Signal::STOP);
        thread::sleep(FREEZE);
        process.signal(Signal::CONT);
        // The session never notices; a new client is served once the verdict was renewed.
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
        let thawed = Instant::now();
        let mut next = process.connect();
        next.write_all(b"x").unwrap();
        next.read_exact(&mut [0; 1]).unwrap();
        assert!(thawed.elapsed() < Duration::from_secs(1), "{:?}", thawed.elapsed());
    }
    assert_eq!(process.metric("mainstay_transitions_total", &[("to", "down")]), 0);
    assert_eq!(process.metric("mainstay_pool_epoch", &[]), 1);
    assert_eq!(process.metric("mainstay_connections_closed_total", &[("reason", "revoked")]), 0);
    // Missed probes are not made up for in a burst.
    thread::sleep(Duration::from_secs(1));
    let made = probes() - before;
    assert!(made <= 8, "{made} probes, from the freeze until a second after it, at an interval of 200 ms");
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
        // Longer than the probe's time, and over between two tries of the kernel, which come a second or two apart.
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
