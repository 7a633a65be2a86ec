//! Few file descriptors and many clients.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use crate::support::{
    echo::Backend,
    front::client,
    netns::run,
    process::{Process, Stderr, settings},
    wait::{Watch, patience, until},
};

/// A client that has a session, if mainstay gave it one before `limit`.
fn served(address: SocketAddr, limit: Duration) -> Option<TcpStream> {
    let mut client = client(address);
    client.set_read_timeout(Some(limit)).unwrap();
    let mut answer = [0; 1];
    (client.write_all(b"x").is_ok() && client.read_exact(&mut answer).is_ok()).then_some(client)
}

#[test]
fn two_hundred_clients_on_sixty_four_descriptors_are_served_as_far_as_it_goes_and_the_rest_told() {
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["workers"] = 1.into();
    let mut process = Process::start_under(&["prlimit", "--nofile=64:64"], &settings, Stderr::Read).serving();
    let base = process.files();
    let limit = process.status()["pools"][0]["listeners"][0]["limit"].as_u64().unwrap();

    let clients: Vec<_> = (0..200).map(|_| client(process.address)).collect();
    let mut served: u64 = 0;
    for mut client in &clients {
        // The kernel tells of a reset once, to whoever asks first.
        match client.write_all(b"x").and_then(|()| client.read(&mut [0; 1])) {
            Ok(1) => served += 1,
            Ok(_) => panic!("turned away with a FIN, as if all were well"),
            Err(error) => assert!(error.kind() != io::ErrorKind::WouldBlock, "a client hangs"),
        }
    }
    assert_eq!(served, limit, "as many clients as it said it could take");
    assert_eq!(process.get("/livez").0, 200);
    assert_eq!(process.metric("mainstay_connections_rejected_total", &[]), 200 - limit);
    assert_eq!(process.status()["pools"][0]["active"], "db-a", "the backend is not to blame");

    // Full, and nobody comes or goes: it waits without spinning, for as long as is slept here.
    let spent = process.processor_time(|| thread::sleep(Duration::from_secs(1)));
    assert!(spent < Duration::from_millis(100), "{spent:?} of processor time in a second of nothing");

    drop(clients);
    let left = Watch::start();
    until("a client is served again", || self::served(process.address, Duration::from_millis(200)));
    assert!(left.unhindered() < Duration::from_secs(1), "took {:?}", left.elapsed());
    until("all descriptors are back", || (process.files() <= base).then_some(()));
    assert!(process.is_running());
}

/// The limit is lowered under the running process to less than it needs.
#[test]
fn a_limit_lowered_below_what_is_open_turns_clients_away_without_spinning_and_recovers() {
    let backend = Backend::echo();
    let mut process = Process::start(&settings(&[backend.address])).serving();
    let pid = process.pid().to_string();
    let session = served(process.address, patience()).unwrap();
    let open = process.files();
    // Descriptors are numbered from the lowest free one: this leaves none at all, not even for a probe.
    run(&["prlimit", "--pid", &pid, &format!("--nofile={open}:20000")]);
    // One that is turned away at once may hear of it from its connect already.
    let clients: Vec<_> = (0..50)
        .filter_map(|_| match TcpStream::connect_timeout(&process.address, patience()) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
            connected => Some(connected.unwrap()),
        })
        .collect();
    // Within the time that is slept here.
    let spent = process.processor_time(|| thread::sleep(Duration::from_secs(2)));
    assert!(process.is_running());
    assert!(spent < Duration::from_millis(400), "{spent:?} of processor time in two seconds");
    // One or two may have got a descriptor that a probe gave back, and wait for one to the backend.
    let told = |mut client: &TcpStream| {
        client.set_nonblocking(true).unwrap();
        client.read(&mut [0; 1]).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset)
    };
    let told = 50 - clients.len() + clients.iter().filter(|client| told(client)).count();
    assert!(told >= 45, "only {told} of 50 clients were turned away, the others hang");
    let mut session = session;
    session.write_all(b"y").unwrap();
    session.read_exact(&mut [0; 1]).unwrap();

    run(&["prlimit", "--pid", &pid, "--nofile=20000:20000"]);
    let lifted = Watch::start();
    until("a client is served", || served(process.address, Duration::from_millis(200)));
    assert!(lifted.unhindered() < Duration::from_millis(2500), "took {:?}", lifted.elapsed());
    assert!(process.metric("mainstay_accept_errors_total", &[("reason", "file_descriptors")]) >= 1);
    assert!(process.metric("mainstay_accept_errors_total", &[("reason", "file_descriptors")]) < 20);
    assert_eq!(process.metric("mainstay_failovers_total", &[]), 0);
    assert_eq!(process.metric("mainstay_transitions_total", &[("to", "down")]), 0, "its own shortage is not the backend's fault");
    drop(clients);
    drop(session);
    until("all descriptors are back", || (process.files() < open).then_some(()));
}
