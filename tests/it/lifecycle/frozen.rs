//! The process is frozen for seconds (SIGSTOP; a hypervisor does the same) and thawed: what it knew is old by then.

use std::{
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    echo::Backend,
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
    for _ in 0..2 {
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
    let probes = || process.metric("mainstay_probes_total", &[("backend", "db-a")]);
    let before = probes();
    thread::sleep(Duration::from_secs(1));
    assert!(probes() - before <= 8, "{} probes in a second at an interval of 200 ms", probes() - before);
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
