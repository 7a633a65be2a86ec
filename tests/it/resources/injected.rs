//! Errors of system calls, injected into the running process with strace.

use std::{
    io::{Read, Write},
    thread,
    time::Duration,
};

use crate::support::{
    echo::Backend,
    front::client,
    injection::Injection,
    process::{Process, Signal, settings},
    wait::{Watch, patience, until},
};

/// A client that is served; how long that took by the clock, and but for what the machine did for others.
fn served(process: &Process) -> (Duration, Duration) {
    let started = Watch::start();
    let mut client = client(process.address);
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    (started.elapsed(), started.unhindered())
}

/// Accepting fails `times` with `error`; returns how long the client that waits is kept waiting.
fn accept_fails(error: &str, times: u32, label: &str) -> (Duration, Duration) {
    let backend = Backend::echo();
    let mut process = Process::start(&settings(&[backend.address])).serving();
    served(&process);
    let injection = Injection::into(&process, "mainstay-data-0", &format!("accept4:error={error}:when=1..{times}"));
    let waited = served(&process);
    drop(injection);
    assert!(process.is_running());
    let counted = process.metric("mainstay_accept_errors_total", &[("reason", label)]);
    assert_eq!(process.metric("mainstay_accept_errors_total", &[]), counted, "{error} was counted as something else");
    assert!(counted >= 1 && counted <= u64::from(times), "{error}: {counted} errors were counted, {times} were made");
    served(&process);
    waited
}

#[test]
fn no_descriptors_for_accept() {
    // Each round asks twice: for the client, and for one to turn away with the reserve descriptor.
    for error in ["EMFILE", "ENFILE"] {
        let (waited, own) = accept_fails(error, 6, "file_descriptors");
        assert!(waited >= Duration::from_millis(10 + 20 + 40), "{error}: asked again without a pause, after {waited:?}");
        assert!(own < Duration::from_secs(2), "{error}: {own:?}");
    }
}

#[test]
fn no_memory_for_accept() {
    for error in ["ENOBUFS", "ENOMEM"] {
        let (waited, own) = accept_fails(error, 3, "memory");
        assert!(waited >= Duration::from_millis(10 + 20 + 40), "{error}: asked again without a pause, after {waited:?}");
        assert!(own < Duration::from_secs(2), "{error}: {own:?}");
    }
}

#[test]
fn a_connection_that_is_gone_before_it_is_accepted_costs_the_next_one_nothing() {
    // accept(2): errors that the new connection brought along from the network.
    let of_the_network =
        ["EPROTO", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "EOPNOTSUPP", "ENETUNREACH"];
    for error in ["ECONNABORTED", "EPERM", "EINTR"].into_iter().chain(of_the_network) {
        let (_, waited) = accept_fails(error, 30, "aborted");
        assert!(waited < Duration::from_millis(500), "{error}: the next client had to wait {waited:?}");
    }
}

#[test]
fn an_accept_that_fails_for_ever_neither_ends_nor_heats_the_process() {
    let backend = Backend::echo();
    let mut process = Process::start(&settings(&[backend.address])).serving();
    let mut session = client(process.address);
    session.write_all(b"x").unwrap();
    session.read_exact(&mut [0; 1]).unwrap();
    for error in ["EMFILE", "ENOMEM", "EINVAL"] {
        let injection = Injection::into(&process, "mainstay-data-0", &format!("accept4:error={error}"));
        let errors = || process.metric("mainstay_accept_errors_total", &[]);
        let before = errors();
        let waiting = client(process.address);
        // Within the time that is slept here.
        let spent = process.processor_time(|| thread::sleep(Duration::from_secs(1)));
        let counted = errors() - before;
        assert!((1..20).contains(&counted), "{error}: {counted} errors in a second");
        assert!(spent < Duration::from_millis(300), "{error}: {spent:?} of processor time in a second");
        session.write_all(b"y").unwrap();
        session.read_exact(&mut [0; 1]).unwrap();
        assert_eq!(process.get("/livez").0, 200);
        drop(waiting);
        drop(injection);
        // The pause between two tries has grown to a second at most.
        assert!(served(&process).1 < Duration::from_millis(2500));
    }
    // Pauses that grow on would be of two seconds and a half by then, and of five.
    let injection = Injection::into(&process, "mainstay-data-0", "accept4:error=ENOMEM");
    let waiting = client(process.address);
    // The times are the subject.
    thread::sleep(Duration::from_secs(3));
    let errors = || process.metric("mainstay_accept_errors_total", &[]);
    let before = errors();
    // Less than they would be.
    thread::sleep(Duration::from_millis(1500));
    assert!(errors() > before, "nobody asked for a second and a half");
    // It is told some times, not each time.
    let minutes = usize::try_from(process.status()["uptime_seconds"].as_u64().unwrap() / 60 + 1).unwrap();
    let log = process.log();
    let lines = log.iter().filter(|line| line["message"] == "cannot accept" && line["kind"] == "memory").count();
    assert!((1..=6 * minutes).contains(&lines), "{lines} lines of {} errors", errors());
    drop((waiting, injection));
    assert!(process.is_running());
}

/// It was accepted, and its worker does not wake up: a process that is told to stop meanwhile still has something to do.
#[test]
fn a_client_on_its_way_to_another_worker_is_served_before_the_end() {
    let backend = Backend::echo();
    let mut process = Process::start(&settings(&[backend.address])).serving();
    // With this one on the first worker, the next client goes to the second.
    let mut first = client(process.address);
    first.write_all(b"x").unwrap();
    first.read_exact(&mut [0; 1]).unwrap();
    let injection = Injection::into(&process, "mainstay-data-1", "/^epoll_p?wait$:delay_exit=1000000");
    let mut second = client(process.address);
    second.write_all(b"y").unwrap();
    until("it is accepted", || (process.metric("mainstay_connections_accepted_total", &[]) == 2).then_some(()));
    drop(first);
    until("no session is left", || (process.metric("mainstay_connections_active", &[]) == 0).then_some(()));
    process.signal(Signal::TERM);
    second.read_exact(&mut [0; 1]).unwrap();
    drop((second, injection));
    assert_eq!(process.ends_within(Duration::from_secs(5)).0.code(), Some(0));
}

#[test]
fn no_port_or_socket_for_a_dial_is_not_the_backends_fault() {
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["workers"] = 1.into();
    let mut process = Process::start(&settings).serving();
    for (syscall, error) in [("connect", "EADDRNOTAVAIL"), ("socket", "EMFILE"), ("connect", "ENOBUFS"), ("connect", "EPERM")] {
        let before = process.metric("mainstay_dial_failures_total", &[("reason", "local_resources")]);
        let injection = Injection::into(&process, "mainstay-data-0", &format!("{syscall}:error={error}:when=1..4"));
        let (_, waited) = served(&process);
        drop(injection);
        assert!(waited < patience() / 2, "{syscall} {error}: {waited:?}");
        let failures = process.metric("mainstay_dial_failures_total", &[("reason", "local_resources")]) - before;
        assert_eq!(failures, 4, "{syscall} {error}");
    }
    assert_eq!(process.metric("mainstay_dial_failures_total", &[]), 16);
    let doubted =
        process.log().iter().any(|line| line["message"].as_str().is_some_and(|message| message.starts_with("suspended")));
    assert!(!doubted, "clients had to wait for a second opinion of a backend that did nothing");
    assert_eq!(process.metric("mainstay_transitions_total", &[("to", "down")]), 0);
    assert_eq!(process.metric("mainstay_pool_epoch", &[]), 1);
    assert!(process.is_running());
}
