//! A log that nobody reads must never stop the process.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use crate::support::{
    echo::Backend,
    process::{Process, Signal, Stderr, settings},
    wait::{Watch, until},
};

/// How long it took by the clock.
fn session(process: &Process) -> Duration {
    let started = Instant::now();
    let mut client = process.connect();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    started.elapsed()
}

#[test]
fn a_log_that_nobody_reads_loses_lines_and_counts_them_but_delays_nobody() {
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["log"]["level"] = "debug".into();
    let mut process = Process::start_under(&[], &settings, Stderr::Stuck).serving();
    let dropped = |process: &Process| process.metric("mainstay_log_dropped_total", &[]);
    // The pipe and the queue before it take some thousand lines.
    let mut sessions = 0;
    let mut slowest = Duration::ZERO;
    // Without what the machine did for others in the time of all of them.
    let slowest_of = |sessions: u32| {
        let watch = Watch::start();
        let slowest = (0..sessions).map(|_| session(&process)).max().unwrap();
        watch.without_the_machine(slowest)
    };
    while dropped(&process) == 0 {
        slowest = slowest.max(slowest_of(500));
        sessions += 500;
        assert!(sessions < 40_000, "after {sessions} sessions no line was dropped");
    }
    slowest = slowest.max(slowest_of(500));
    assert!(slowest < Duration::from_secs(1), "a session took {slowest:?}");
    assert!(dropped(&process) > 400);
    assert_eq!(process.get("/livez").0, 200);
    // Nor does it stop the end.
    process.signal(Signal::TERM);
    let (status, took) = process.ends_within(Duration::from_secs(5));
    assert_eq!(status.code(), Some(0), "after {took:?}");
}

/// More lines wait than the pipe takes, and fewer than the queue before it.
fn with_lines_that_wait() -> (Backend, Process) {
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["log"]["level"] = "debug".into();
    let process = Process::start_under(&[], &settings, Stderr::Stuck).serving();
    for _ in 0..LINES {
        session(&process);
    }
    until("all sessions are over", || (process.metric("mainstay_connections_closed_total", &[]) == LINES).then_some(()));
    assert_eq!(process.metric("mainstay_log_dropped_total", &[]), 0);
    (backend, process)
}

const LINES: u64 = 1000;

/// Sessions that end at once.
const ENDS: u64 = 500;

#[test]
fn a_log_that_stands_still_does_not_hold_up_the_end() {
    let (_backend, mut process) = with_lines_that_wait();
    process.signal(Signal::TERM);
    assert_eq!(process.ends_within(Duration::from_secs(5)).0.code(), Some(0));
}

#[test]
fn the_last_lines_are_written_before_the_end() {
    let (_backend, mut process) = with_lines_that_wait();
    process.signal(Signal::TERM);
    until("nothing is left but the log", || process.try_get("/livez").is_err().then_some(()));
    process.read_log();
    assert_eq!(process.ends_within(Duration::from_secs(5)).0.code(), Some(0));
    process.logged("stopped");
    let told = process.log().iter().filter(|line| line["message"] == "session closed").count();
    assert_eq!(told as u64, LINES);
}

#[test]
fn a_log_whose_reader_is_gone_costs_nothing_but_its_lines() {
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["log"]["level"] = "debug".into();
    let mut process = Process::start_under(&[], &settings, Stderr::Closed).serving();
    for _ in 0..100 {
        session(&process);
    }
    until("all sessions are over", || (process.metric("mainstay_connections_active", &[]) == 0).then_some(()));
    assert_eq!(process.metric("mainstay_panics_total", &[]), 0);
    assert!(process.is_running());
    process.signal(Signal::TERM);
    assert_eq!(process.ends_within(Duration::from_secs(5)).0.code(), Some(0));
}

#[test]
fn a_process_without_any_standard_stream_serves() {
    // Descriptors 0, 1 and 2 are closed, so that a socket could take their place and log lines go to a client.
    let backend = Backend::echo();
    let settings = settings(&[backend.address]);
    let script = "exec \"$@\" <&- >&-";
    let mut process = Process::start_under(&["sh", "-c", script, "sh"], &settings, Stderr::Closed).serving();
    let links: Vec<_> = (0..2).map(|fd| std::fs::read_link(format!("/proc/{}/fd/{fd}", process.pid()))).collect();
    for link in links {
        let target = link.map(|path| path.display().to_string());
        assert!(target.as_ref().is_ok_and(|target| !target.starts_with("socket:")), "a standard stream is {target:?}");
    }
    session(&process);
    process.signal(Signal::TERM);
    assert_eq!(process.ends_within(Duration::from_secs(5)).0.code(), Some(0));
}

/// What ends thousands of sessions at once is told by some of their lines, and by the number of the others.
#[test]
fn many_sessions_that_end_at_once_are_told_in_few_lines() {
    let mut backend = Backend::echo();
    let process = Process::start(&settings(&[backend.address])).serving();
    let clients: Vec<_> = (0..ENDS)
        .map(|_| {
            let mut client = process.connect();
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0; 1]).unwrap();
            client
        })
        .collect();
    let ends = Watch::start();
    backend.stop();
    until("all sessions are over", || (process.metric("mainstay_connections_active", &[]) == 0).then_some(()));
    // In each second that begins meanwhile, and in the one in which the last ended.
    let bound = 100 * (ends.elapsed().as_secs() + 2);
    assert_eq!(process.metric("mainstay_connections_closed_total", &[("reason", "revoked")]), ENDS);
    let told = process.log().iter().filter(|line| line["message"] == "session closed").count();
    assert!((1..=bound).contains(&(told as u64)), "{told} lines of {ENDS} sessions");
    drop(clients);
}
