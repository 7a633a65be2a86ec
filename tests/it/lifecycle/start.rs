//! Starting: at once after a crash, clearly not at all when it cannot, and without any backend.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use crate::support::{
    echo::Backend,
    front::is_over,
    process::{Process, Signal, settings, start_in_vain},
    wait::{Watch, until},
};

#[test]
fn a_killed_mainstay_is_back_on_its_port_at_once_and_serves_after_its_first_verdict() {
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    // How long it would wait for a backend that says nothing.
    settings["pools"][0]["check"]["timeout"] = "2s".into();
    let mut process = Process::start(&settings).serving();
    // The same ports for the next one.
    settings["pools"][0]["listen"] = process.address.to_string().into();
    settings["admin"]["listen"] = process.admin.to_string().into();
    for _ in 0..10 {
        let mut client = process.connect();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
        process.signal(Signal::KILL);
        assert_eq!(process.ends_within(Duration::from_secs(5)).0.code(), None);
        assert!(is_over(&client));
        let dead = Watch::start();
        process = Process::start(&settings);
        let mut next = process.connect();
        next.write_all(b"y").unwrap();
        let mut answer = [0; 1];
        next.read_exact(&mut answer).unwrap();
        assert!(dead.unhindered() < Duration::from_secs(1), "served again after {:?}", dead.elapsed());
        // The session that the kill left half open goes on as TIME_WAIT or FIN_WAIT of the old port.
        drop((client, next));
    }
    // A client may be served a moment before it is shown.
    until("the epoch is shown", || (process.metric("mainstay_pool_epoch", &[]) == 1).then_some(()));
}

#[test]
fn a_port_in_use_is_said_in_one_line_with_what_to_do() {
    let backend = Backend::echo();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for key in ["/pools/0/listen", "/admin/listen"] {
        let mut settings = settings(&[backend.address]);
        *settings.pointer_mut(key).unwrap() = address.to_string().into();
        let (code, said) = start_in_vain(&[], &settings);
        assert_eq!(code, Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        for part in [&*address.to_string(), "in use", "ss -ltnp"] {
            assert!(said.contains(part), "{part:?} is missing: {said}");
        }
    }
}

#[test]
fn an_address_that_is_not_ours_is_said_in_one_line() {
    // TEST-NET-1 (RFC 5737): no machine has it.
    let mut settings = settings(&["192.0.2.2:5432".parse().unwrap()]);
    settings["pools"][0]["listen"] = "192.0.2.1:5432".into();
    let (code, said) = start_in_vain(&[], &settings);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("192.0.2.1:5432") && said.contains("no such address"), "{said}");
}

#[test]
fn it_starts_without_its_backends_is_not_ready_and_serves_when_one_comes() {
    let mut gone = Backend::echo();
    gone.stop();
    let address: SocketAddr = gone.address;
    let mut process = Process::start(&settings(&[address]));
    until("it says that it has started", || (process.get("/startupz").0 == 200).then_some(()));
    assert_eq!(process.get("/livez").0, 200, "liveness never depends on a database");
    assert_eq!(process.get("/readyz").0, 503);
    let mut early = process.connect();
    early.write_all(b"x").unwrap();
    until("it is held", || (process.metric("mainstay_connections_held", &[]) == 1).then_some(()));
    let _backend = Backend::start_at(address, |stream| {
        let (mut reader, mut writer) = (&stream, &stream);
        let _ = std::io::copy(&mut reader, &mut writer);
    });
    early.read_exact(&mut [0; 1]).unwrap();
    until("it is ready", || (process.get("/readyz").0 == 200).then_some(()));
    assert!(process.is_running());
}

#[test]
fn a_limit_of_open_files_that_is_too_low_is_said_in_one_line() {
    let backend = Backend::echo();
    let (code, said) = start_in_vain(&["prlimit", "--nofile=20:20"], &settings(&[backend.address]));
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("20 files") && said.contains("ulimit"), "{said}");
}

#[test]
fn an_error_that_cannot_be_said_still_has_its_exit_code() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["admin"]["listen"] = taken.local_addr().unwrap().to_string().into();
    // Whatever is written there, the disk is full.
    let full = ["sh", "-c", "exec \"$@\" 2>/dev/full", "sh"];
    assert_eq!(start_in_vain(&full, &settings).0, Some(1));
    settings["pools"] = "none".into();
    assert_eq!(start_in_vain(&full, &settings).0, Some(78));
}
