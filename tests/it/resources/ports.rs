//! No ephemeral port is left for another connection to the backend.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use mainstay::{failover::label::Label, reason::DialError};

use crate::support::{
    echo::Backend,
    netns::Network,
    process::{Process, settings},
    wait::{patience, until},
};

/// What is logged of a probe that this process could not make.
const NO_VERDICT: &str = "a probe could not be made";

fn ask(mut client: &TcpStream) -> std::io::Result<()> {
    client.write_all(b"x")?;
    client.read_exact(&mut [0; 1])
}

#[test]
fn clients_wait_for_a_free_port_and_the_backend_is_not_blamed() {
    let network = Network::new();
    network.inside(|| {
        let backend = Backend::echo();
        let mut settings = settings(&[backend.address]);
        // Whoever waits here waits for a port, however long the test takes.
        settings["pools"][0]["hold"] = serde_json::json!({"timeout": "10m"});
        let mut process = Process::start(&settings).serving();
        network.run(&["sysctl", "-q", "net.ipv4.ip_local_port_range=40000 40019"]);

        // Clients come from ports that they choose themselves, so that only mainstay runs short.
        let clients: Vec<TcpStream> = (0..40).map(|number| from_port(20_000 + number, process.address)).collect();
        let active = || process.metric("mainstay_connections_active", &[]);
        let failures = || process.metric("mainstay_dial_failures_total", &[("reason", "local_resources")]);
        until("every port is taken", || (failures() > 0).then_some(()));
        let full = until("no session comes any more", || {
            let (before, tried) = (active(), failures());
            // Each that waits has tried again.
            until("those who wait try again", || (failures() >= tried + 2 * clients.len() as u64).then_some(()));
            (active() == before).then_some(before)
        });
        assert!((10..=20).contains(&full), "{full} sessions on 20 ports");

        // So many that as many failures would have been a verdict.
        let without_a_port =
            || process.log().iter().filter(|line| line["message"].as_str().is_some_and(|m| m.contains(NO_VERDICT))).count();
        until("probes find no port", || (without_a_port() >= 4).then_some(()));
        for reason in DialError::ALL.iter().filter(|reason| **reason != DialError::LocalResources) {
            assert_eq!(process.metric("mainstay_dial_failures_total", &[("reason", reason.as_str())]), 0, "{reason}");
        }
        assert_eq!(process.metric("mainstay_transitions_total", &[("to", "down")]), 0);
        assert_eq!(process.status()["pools"][0]["active"], "db-a");
        // A port that a probe had used may have become free meanwhile.
        assert!(active() >= full, "sessions were ended");

        // Those who are served leave; those who waited follow.
        let mut waiting = Vec::new();
        for client in clients {
            client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            if ask(&client).is_err() {
                waiting.push(client);
            }
        }
        assert!(!waiting.is_empty(), "nobody had to wait");
        for client in waiting.iter().take(10) {
            client.set_read_timeout(Some(patience())).unwrap();
            client.take_error().unwrap();
            (&*client).read_exact(&mut [0; 1]).unwrap();
        }
        assert!(process.is_running());
    });
}

fn from_port(port: u16, to: std::net::SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    socket.connect_timeout(&to.into(), patience()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(patience())).unwrap();
    stream.set_write_timeout(Some(patience())).unwrap();
    stream
}
