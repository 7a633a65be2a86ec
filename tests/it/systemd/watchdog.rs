//! The watchdog of systemd is fed by the decision loop.

use std::{io::Write, thread, time::Duration};

use super::manager::ServiceManager;
use crate::support::{
    echo::Backend,
    injection::Injection,
    process::{Process, Signal, Stderr, settings},
    scratch::Scratch,
    wait::until,
};

const FED: &str = "WATCHDOG=1";

/// With `WATCHDOG_PID` as systemd has it: of the process itself, or of another.
fn start(scratch: &Scratch, usec: &str, pid: &str) -> (Backend, Process) {
    let backend = Backend::echo();
    let script = format!(
        "NOTIFY_SOCKET={} WATCHDOG_USEC={usec} WATCHDOG_PID={pid}; export NOTIFY_SOCKET WATCHDOG_USEC WATCHDOG_PID; exec \"$@\"",
        scratch.path("notify").display()
    );
    let settings = settings(&[backend.address]);
    let process = Process::start_under(&["sh", "-c", &script, "sh"], &settings, Stderr::Read).serving();
    (backend, process)
}

#[test]
fn a_decision_loop_that_hangs_is_not_alive_though_everything_else_is() {
    let scratch = Scratch::new();
    let manager = ServiceManager::at(&scratch.path("notify"));
    let (_backend, process) = start(&scratch, "4000000", "$$");
    let fed = || manager.count(FED);
    until("it is alive", || (fed() >= 3).then_some(()));
    let standstill = Injection::into(&process, "mainstay-contro", "epoll_wait:delay_enter=120000000");
    // What was on its way arrives; a beat may be told of once.
    until("the watchdog of mainstay itself has tripped", || {
        (process.metric("mainstay_watchdog_trips_total", &[]) == 1).then_some(())
    });
    let last = fed();
    // The deadline of systemd is the subject: it would restart the service now.
    thread::sleep(Duration::from_secs(4));
    assert_eq!(fed(), last, "it says that it lives");
    assert_eq!(process.get("/livez").0, 503, "the admin endpoint answers all the while");
    drop(standstill);
    until("it is alive again", || (fed() > last + 1).then_some(()));
}

#[test]
fn a_process_that_stands_still_is_not_alive() {
    let scratch = Scratch::new();
    let manager = ServiceManager::at(&scratch.path("notify"));
    let (_backend, process) = start(&scratch, "4000000", "$$");
    until("it is alive", || (manager.count(FED) >= 1).then_some(()));
    process.freeze();
    let last = manager.count(FED);
    // As above.
    thread::sleep(Duration::from_secs(4));
    // One may have been on its way.
    assert!(manager.count(FED) <= last + 1);
    process.signal(Signal::CONT);
}

#[test]
fn a_watchdog_of_another_process_is_not_fed() {
    let scratch = Scratch::new();
    let manager = ServiceManager::at(&scratch.path("notify"));
    let (_backend, process) = start(&scratch, "3000000", "1");
    manager.heard("READY=1", 0);
    manager.heard("STATUS=", 0);
    // Time for four signs of life.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(manager.count(FED), 0);
    process.connect().write_all(b"x").unwrap();
}

#[test]
fn a_deadline_that_is_too_short_is_told_of() {
    let scratch = Scratch::new();
    let manager = ServiceManager::at(&scratch.path("notify"));
    let (_backend, process) = start(&scratch, "1000000", "$$");
    assert_eq!(process.logged("WatchdogSec= is too short")["deadline_ms"], "1000");
    until("it is alive", || (manager.count(FED) >= 2).then_some(()));
    let (_backend, process) = start(&scratch, "soon", "$$");
    process.logged("WATCHDOG_USEC is no number");
}
