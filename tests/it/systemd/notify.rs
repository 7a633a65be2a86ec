//! Ready, reloading, stopping, the status; and a systemd that does not listen.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixDatagram,
    thread,
    time::Duration,
};

use serde_json::json;

use super::manager::ServiceManager;
use crate::support::{
    echo::Backend,
    front::client,
    process::{Process, Signal, Stderr, settings},
    scratch::Scratch,
    wait::{patience, until},
};

fn start(variables: &[&str], settings: &serde_json::Value) -> Process {
    let prefix: Vec<&str> = ["env"].iter().chain(variables).copied().collect();
    Process::start_under(&prefix, settings, Stderr::Read)
}

fn variable(path: &std::path::Path) -> String {
    format!("NOTIFY_SOCKET={}", path.display())
}

fn monotonic_micros() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

#[test]
fn it_is_ready_once_it_accepts_and_holds_whether_a_backend_serves_or_not() {
    let scratch = Scratch::new();
    let manager = ServiceManager::at(&scratch.path("notify"));
    // Nobody listens there.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let process = start(&[&variable(&scratch.path("notify"))], &settings(&[gone]));
    manager.heard("READY=1", 0);
    let _held = client(process.address);
    until("the client is held", || (process.metric("mainstay_connections_held", &[]) == 1).then_some(()));
    manager.heard("STATUS=orders: no active backend (db-a down), clients wait; 0 sessions", 0);
    assert_eq!(manager.count("READY=1"), 1);
}

#[test]
fn a_reload_is_told_with_its_end_and_a_refused_one_leaves_it_active() {
    let scratch = Scratch::new();
    let manager = ServiceManager::at(&scratch.path("notify"));
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    let process = start(&[&variable(&scratch.path("notify"))], &settings).serving();
    let ready = manager.heard("READY=1", 0);
    let before = monotonic_micros();
    settings["pools"][0]["connect_timeout"] = "2s".into();
    process.reload(&settings.to_string());
    let reloading = manager.heard("RELOADING=1\nMONOTONIC_USEC=", ready + 1);
    let ready = manager.heard("READY=1", reloading + 1);
    let at: i64 = manager.said()[reloading].rsplit('=').next().unwrap().parse().unwrap();
    assert!((before..monotonic_micros()).contains(&at), "systemd takes an earlier one for that of another reload");

    process.reload("pools: []");
    let reloading = manager.heard("RELOADING=1", ready + 1);
    manager.heard("READY=1", reloading + 1);
    let refused = "STATUS=the configuration was not loaded again, see the log; orders: db-a active; ";
    let told = manager.heard(refused, reloading);
    process.reload(&settings.to_string());
    manager.heard("STATUS=orders: db-a active; ", told);
    assert_eq!(manager.count("RELOADING=1"), 3);
}

#[test]
fn a_stop_is_told_with_the_time_it_may_take_and_with_what_is_left() {
    let scratch = Scratch::new();
    let manager = ServiceManager::at(&scratch.path("notify"));
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["shutdown"] = json!({"delay": "1s", "timeout": "10m"});
    let mut process = start(&[&variable(&scratch.path("notify"))], &settings).serving();
    let mut session = process.connect();
    session.write_all(b"x").unwrap();
    session.read_exact(&mut [0; 1]).unwrap();
    process.signal(Signal::TERM);
    // Longer than systemd's own 90 s: sessions are not cut by it.
    let stopping = manager.heard("STOPPING=1\nEXTEND_TIMEOUT_USEC=611000000", 0);
    manager.heard("STATUS=stopping; 1 session", stopping);
    drop(session);
    assert!(process.ends_within(patience()).0.success());
    assert_eq!(manager.count("STOPPING=1"), 1);
    assert_eq!(manager.count("READY=1"), 1);
}

#[test]
fn the_status_follows_each_failover_and_not_each_session() {
    let scratch = Scratch::new();
    let manager = ServiceManager::at(&scratch.path("notify"));
    let (mut first, second) = (Backend::echo(), Backend::echo());
    let process = start(&[&variable(&scratch.path("notify"))], &settings(&[first.address, second.address])).serving();
    let well = manager.heard("STATUS=orders: db-a active, db-b ready; 0 sessions", 0);
    let before = manager.count("STATUS=");
    let session = || {
        let mut session = process.connect();
        session.write_all(b"x").unwrap();
        session.read_exact(&mut [0; 1]).unwrap();
        session
    };
    // The number of sessions alone is told each half minute.
    let sessions: Vec<_> = (0..30)
        .map(|_| {
            // Their time is the subject: three ticks of the status.
            thread::sleep(Duration::from_millis(100));
            session()
        })
        .collect();
    let told = manager.count("STATUS=") - before;
    assert!(told <= 1, "{told} messages for {} sessions", sessions.len());
    first.stop();
    manager.heard("STATUS=orders: db-a down, db-b active; ", well);
    let said = manager.said();
    assert!(said.iter().all(|message| message.len() < 4096 && !message.contains("127.0.0.1")), "{said:?}");
}

#[test]
fn a_manager_at_an_abstract_name_hears_the_same() {
    let name = format!("mainstay-test-{}", std::process::id());
    let manager = ServiceManager::at_abstract(&name);
    let backend = Backend::echo();
    let _process = start(&[&format!("NOTIFY_SOCKET=@{name}")], &settings(&[backend.address])).serving();
    manager.heard("READY=1", 0);
    manager.heard("STATUS=orders: db-a active; ", 0);
}

#[test]
fn a_manager_that_is_gone_is_told_of_once_and_disturbs_nothing() {
    let backend = Backend::echo();
    for name in ["/nowhere/notify", "vsock:2:1234", "relative", &format!("/{}", "x".repeat(200))] {
        let process = start(&[&format!("NOTIFY_SOCKET={name}")], &settings(&[backend.address])).serving();
        process.logged("systemd");
        process.reload(&settings(&[backend.address]).to_string());
        let warnings = process.log().iter().filter(|line| line["message"].as_str().unwrap().contains("NOTIFY_SOCKET")).count();
        assert_eq!(warnings, 1, "{name}");
        let mut session = process.connect();
        session.write_all(b"x").unwrap();
        session.read_exact(&mut [0; 1]).unwrap();
    }
    let scratch = Scratch::new();
    let manager = ServiceManager::at(&scratch.path("notify"));
    let process = start(&[&variable(&scratch.path("notify"))], &settings(&[backend.address])).serving();
    let ready = manager.heard("READY=1", 0);
    fs::remove_file(scratch.path("notify")).unwrap();
    process.reload(&settings(&[backend.address]).to_string());
    process.logged("systemd does not take messages");
    // systemd makes its socket again: what is told from now on arrives.
    let again = ServiceManager::at(&scratch.path("notify"));
    process.reload(&settings(&[backend.address]).to_string());
    let reloading = again.heard("RELOADING=1", 0);
    again.heard("READY=1", reloading);
    assert_eq!(manager.said().len().max(ready), manager.said().len());
}

#[test]
fn a_full_socket_blocks_nothing_and_what_counts_arrives_later_in_order() {
    let scratch = Scratch::new();
    let path = scratch.path("notify");
    let deaf = ServiceManager::deaf(UnixDatagram::bind(&path).unwrap());
    let fillers = ServiceManager::fill(&path);
    assert!(fillers > 0);
    let backend = Backend::echo();
    let variables = [&*variable(&path), "WATCHDOG_USEC=4000000"];
    let process = start(&variables, &settings(&[backend.address])).serving();
    for _ in 0..3 {
        process.reload(&settings(&[backend.address]).to_string());
    }
    let mut session = process.connect();
    session.write_all(b"x").unwrap();
    session.read_exact(&mut [0; 1]).unwrap();
    let manager = deaf.listen();
    let last = manager.heard("STATUS=orders: db-a active", fillers);
    let kinds = |message: &String| ["READY=1", "RELOADING=1"].into_iter().find(|kind| message.starts_with(kind));
    let said: Vec<_> = manager.said()[..last].iter().filter_map(kinds).collect();
    assert_eq!(said, ["READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1", "RELOADING=1", "READY=1"]);
    assert_eq!(manager.count("WATCHDOG=1").min(1), manager.count("WATCHDOG=1"), "late signs of life are none");
}

/// A program of a check has neither the socket of systemd nor those of clients.
#[test]
fn programs_that_it_starts_have_nothing_of_systemd() {
    let scratch = Scratch::new();
    let manager = ServiceManager::at(&scratch.path("notify"));
    let backend = Backend::echo();
    let script = scratch.script("env >$DIR/env.new; ls -l /proc/self/fd >>$DIR/env.new; mv $DIR/env.new $DIR/env; exit 0");
    let mut settings = settings(&[backend.address]);
    settings["pools"][0]["check"] = json!({"exec": [script]});
    let variables =
        [&*variable(&scratch.path("notify")), "WATCHDOG_USEC=60000000", "LISTEN_FDNAMES=x", "CREDENTIALS_DIRECTORY=/x"];
    let _process = start(&variables, &settings).serving();
    manager.heard("READY=1", 0);
    let environment = until("the check has run", || scratch.written("env"));
    for word in ["NOTIFY_SOCKET", "WATCHDOG", "LISTEN_", "CREDENTIALS", "socket:"] {
        assert!(!environment.contains(word), "{word} in {environment}");
    }
    assert!(environment.contains("PATH="), "{environment}");
}
