//! A log that nobody reads must never stop the process.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use crate::support::{
    echo::Backend,
    process::{Process, Signal, Stderr, settings},
    wait::until,
};

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
    while dropped(&process) == 0 {
        for _ in 0..500 {
            slowest = slowest.max(session(&process));
        }
        sessions += 500;
        assert!(sessions < 40_000, "after {sessions} sessions no line was dropped");
    }
    for _ in 0..500 {
        slowest = slowest.max(session(&process));
    }
    assert!(slowest < Duration::from_secs(1), "a session took {slowest:?}");
    assert!(dropped(&process) > 400);
    assert_eq!(process.get("/livez").0, 200);
    // Nor does it stop the end.
    process.signal(Signal::TERM);
    let (status, took) = process.ends_within(Duration::from_secs(5));
    assert_eq!(status.code(), Some(0), "after {took:?}");
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
