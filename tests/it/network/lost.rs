//! Packets vanish or are refused on the way to a backend, or to a client.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    config::{LOOPBACK, relay},
    echo::{Backend, who},
    netns::Network,
    noise::Noise,
    process::{Process, settings},
    random::Random,
    wait::{Watch, patience, until},
};

/// Two failures in a row, each at its timeout of 500 ms, the second at the fast pace; and what a busy machine adds.
const DETECTION: Duration = Duration::from_millis(200 + 500 + 50 + 500 + 1000);

/// The active backend falls silent by `rule`. Its sessions must end with a reset within the time that takes to notice, and the
/// next backend take over; `outcomes` are what the probes may have found.
fn falls_silent(rule: fn(u16) -> String, outcomes: &[&str]) {
    let network = Network::new();
    network.inside(|| {
        let (first, second) = (Backend::speaker(b'1', LOOPBACK), Backend::speaker(b'2', LOOPBACK));
        let process = Process::start(&settings(&[first.address, second.address])).serving();
        let clients: Vec<_> = (0..20).map(|_| process.connect()).collect();
        assert!(clients.iter().all(|client| who(client).unwrap() == b'1'));

        let silent = Watch::start();
        network.firewall(&rule(first.address.port()));
        // Half of the sessions have a request on the way, half are idle. The first request may be what shows the loss: then those that
        // follow are cut before they have theirs.
        let asks = |(number, mut client): (usize, &TcpStream)| if number % 2 == 0 { client.write_all(b"?") } else { Ok(()) };
        let asked: Vec<_> = clients.iter().enumerate().map(asks).collect();
        for (mut client, asked) in clients.iter().zip(asked) {
            let end = asked.and_then(|()| client.read(&mut [0; 1]));
            let error = end.expect_err("a session that was cut must not end in FIN");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        assert!(silent.unhindered() < DETECTION, "the sessions ended after {:?}", silent.elapsed());
        let client = process.connect();
        assert_eq!(who(&client).unwrap(), b'2');
        assert!(silent.unhindered() < DETECTION + Duration::from_millis(500), "served again after {:?}", silent.elapsed());

        let found: u64 = outcomes
            .iter()
            .map(|outcome| process.metric("mainstay_probes_total", &[("backend", "db-a"), ("outcome", outcome)]))
            .sum();
        assert!(found >= 1, "no probe found {outcomes:?}");
        // A client may be served a moment before that is counted.
        until("the failover is counted", || (process.metric("mainstay_failovers_total", &[]) == 1).then_some(()));
        assert_eq!(process.metric("mainstay_pool_epoch", &[]), 2);
        let closed = |reason| process.metric("mainstay_connections_closed_total", &[("backend", "db-a"), ("reason", reason)]);
        assert_eq!(closed("revoked") + closed("server_reset"), 20);
        assert_eq!(process.metric("mainstay_transitions_total", &[("backend", "db-b"), ("to", "down")]), 0);
        until("their descriptors are free", || {
            (process.metric("mainstay_connections_active", &[("backend", "db-a")]) == 0).then_some(())
        });

        // It comes back: nobody is sent back to it.
        network.heal();
        until("it is healthy again", || (process.metric("mainstay_backend_up", &[("backend", "db-a")]) == 1).then_some(()));
        assert_eq!(who(&client).unwrap(), b'2');
        assert_eq!(who(&process.connect()).unwrap(), b'2');
        assert_eq!(process.metric("mainstay_pool_epoch", &[]), 2);
    });
}

#[test]
fn a_backend_that_no_packet_reaches_is_left() {
    falls_silent(|port| format!("tcp dport {port} drop"), &["connect_timeout", "timeout"]);
}

#[test]
fn a_backend_whose_answers_are_lost_is_left() {
    falls_silent(|port| format!("tcp sport {port} drop"), &["connect_timeout", "timeout"]);
}

#[test]
fn a_backend_whose_connections_are_reset_by_the_network_is_left() {
    falls_silent(|port| format!("tcp dport {port} reject with tcp reset"), &["refused", "closed"]);
}

#[test]
fn a_network_without_a_route_is_told_from_a_dead_server() {
    let network = Network::new();
    let far = Network::new();
    network.ip(&["link", "add", "near", "type", "veth", "peer", "name", "far", "netns", far.name()]);
    for (network, link, address) in [(&network, "near", "10.0.0.1/24"), (&far, "far", "10.0.0.2/24")] {
        network.ip(&["addr", "add", address, "dev", link]);
        network.ip(&["link", "set", link, "up"]);
    }
    let first = far.inside(|| {
        Backend::start_at("10.0.0.2:0".parse().unwrap(), |mut stream| {
            let mut byte = [0; 1];
            while let Ok(1) = stream.read(&mut byte) {
                let _ = stream.write_all(b"1");
            }
        })
    });
    network.inside(|| {
        let second = Backend::speaker(b'2', LOOPBACK);
        let process = Process::start(&settings(&[first.address, second.address])).serving();
        let mut client = process.connect();
        assert_eq!(who(&client).unwrap(), b'1');
        let gone = Watch::start();
        network.ip(&["link", "del", "near"]);
        assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(who(&process.connect()).unwrap(), b'2');
        assert!(gone.unhindered() < DETECTION, "{:?}", gone.elapsed());
        let unreachable = process.metric("mainstay_probes_total", &[("backend", "db-a"), ("outcome", "unreachable")]);
        assert!(unreachable >= 2, "{unreachable} probes said unreachable");
        assert_eq!(process.status()["pools"][0]["backends"][0]["last_probe"]["outcome"], "unreachable");
    });
}

fn with_keepalive(backend: &Backend) -> serde_json::Value {
    let mut settings = settings(&[backend.address]);
    let pool = settings["pools"][0].as_object_mut().unwrap();
    pool.remove("listen");
    let keepalive = json!({"idle": "1s", "interval": "1s", "count": 2});
    let listener = json!({"name": "rw", "listen": "127.0.0.1:0", "relay": relay(), "keepalive": keepalive});
    pool.insert("listeners".into(), json!([listener]));
    settings
}

#[test]
fn a_client_that_vanished_is_noticed_by_keepalive_and_its_place_freed() {
    let network = Network::new();
    network.inside(|| {
        let (tell, told) = std::sync::mpsc::channel();
        let backend = Backend::start(move |mut stream| {
            let mut bytes = [0; 64];
            loop {
                match stream.read(&mut bytes) {
                    Ok(0) => return tell.send(io::ErrorKind::UnexpectedEof).unwrap(),
                    Ok(read) => stream.write_all(&bytes[..read]).unwrap(),
                    Err(error) => return tell.send(error.kind()).unwrap(),
                }
            }
        });
        let process = Process::start(&with_keepalive(&backend)).serving();
        let (client, bystander) = (process.connect(), process.connect());
        who(&client).unwrap();
        who(&bystander).unwrap();
        let lost = client.local_addr().unwrap().port();
        let since = Watch::start();
        network.firewall(&format!("tcp sport {lost} drop"));
        network.firewall(&format!("tcp dport {lost} drop"));
        // Silence, three unanswered questions a second apart at most; then its backend is told.
        assert_eq!(told.recv_timeout(patience()).unwrap(), io::ErrorKind::ConnectionReset);
        let took = since.elapsed();
        assert!(took >= SILENCE && since.unhindered() < Duration::from_secs(6), "reaped after {took:?}");
        until("its place is free", || (process.metric("mainstay_connections_active", &[]) == 1).then_some(()));
        assert_eq!(process.metric("mainstay_connections_closed_total", &[("reason", "client_reset")]), 1);
        // A silent client that is still there stays.
        who(&bystander).unwrap();
    });
}

/// An echo that says on which port each session came.
fn port_teller() -> (Backend, std::sync::mpsc::Receiver<u16>) {
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let backend = Backend::start(move |mut stream| {
        let mut bytes = [0; 64];
        // Probes leave without a word.
        let Ok(mut read @ 1..) = stream.read(&mut bytes) else { return };
        tell.lock().unwrap().send(stream.peer_addr().unwrap().port()).unwrap();
        while read > 0 && stream.write_all(&bytes[..read]).is_ok() {
            read = stream.read(&mut bytes).unwrap_or(0);
        }
    });
    (backend, told)
}

/// No session is reaped sooner.
const SILENCE: Duration = Duration::from_millis(1500);
/// Silence, two unanswered questions a second apart, and the second in which a young session has no keepalive.
const REAPED: Duration = Duration::from_secs(7);

#[test]
fn a_session_that_its_backend_alone_has_lost_is_noticed_by_keepalive_however_young_it_was() {
    let network = Network::new();
    network.inside(|| {
        let (backend, ports) = port_teller();
        let process = Process::start(&with_keepalive(&backend)).serving();
        let (old, bystander) = (process.connect(), process.connect());
        who(&old).unwrap();
        let old_port = ports.recv_timeout(patience()).unwrap();
        who(&bystander).unwrap();
        let _of_the_bystander = ports.recv_timeout(patience()).unwrap();
        // Old: it has its keepalive by now, which a session gets a second after its begin.
        std::thread::sleep(Duration::from_millis(2500));
        let young = process.connect();
        who(&young).unwrap();
        let young_port = ports.recv_timeout(patience()).unwrap();
        let since = Watch::start();
        for port in [old_port, young_port] {
            network.firewall(&format!("tcp sport {port} drop"));
            network.firewall(&format!("tcp dport {port} drop"));
        }
        for (mut client, age) in [(&old, "old"), (&young, "young")] {
            let error = client.read(&mut [0; 1]).expect_err("a session that was cut must not end in FIN");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            let took = since.elapsed();
            assert!(took >= SILENCE && since.unhindered() < REAPED, "the {age} one was reaped after {took:?}");
        }
        assert_eq!(process.metric("mainstay_connections_closed_total", &[("reason", "server_reset")]), 2);
        who(&bystander).unwrap();
    });
}

#[test]
fn what_a_client_says_before_its_backend_is_connected_is_kept() {
    const LEN: u64 = 3 << 20;
    let network = Network::new();
    network.inside(|| {
        let (tell, told) = std::sync::mpsc::channel();
        let backend = Backend::start(move |stream| {
            let mut noise = Noise::new(1);
            tell.send(noise.receive(&stream, &mut Random::new(2)).map(|()| noise.bytes)).unwrap();
        });
        let mut settings = settings(&[backend.address]);
        settings["pools"][0]["check"]["interval"] = "60s".into();
        settings["pools"][0]["connect_timeout"] = "10s".into();
        let process = Process::start(&settings).serving();
        // The first SYN is lost; the kernel sends the next one a second later.
        network.firewall(&format!("tcp dport {} drop", backend.address.port()));
        let client = process.connect();
        let started = Instant::now();
        let sender = std::thread::spawn(move || {
            Noise::new(1).send(&client, LEN, &mut Random::new(3)).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            let _ = (&client).read(&mut [0; 1]);
        });
        let port = format!(":{}", backend.address.port());
        let asked = || network.run(&["ss", "-tnH", "state", "syn-sent", "dport", "=", &port]);
        until("the first was sent", || (!asked().is_empty()).then_some(()));
        network.heal();
        assert_eq!(told.recv_timeout(patience()).unwrap(), Ok(LEN));
        assert!(started.elapsed() > Duration::from_millis(700), "the connect was not delayed: {:?}", started.elapsed());
        sender.join().unwrap();
        assert_eq!(process.metric("mainstay_dial_failures_total", &[]), 0);
    });
}
