//! No ephemeral port is left for another connection to the backend.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use crate::support::{
    echo::Backend,
    netns::Network,
    process::{Process, settings},
    wait::until,
};

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
        settings["pools"][0]["hold"] = serde_json::json!({"timeout": "10s"});
        let mut process = Process::start(&settings).serving();
        network.run(&["sysctl", "-q", "net.ipv4.ip_local_port_range=40000 40019"]);

        // Clients come from ports that they choose themselves, so that only mainstay runs short.
        let clients: Vec<TcpStream> = (0..40).map(|number| from_port(20_000 + number, process.address)).collect();
        let active = || process.metric("mainstay_connections_active", &[]);
        until("every port is taken", || {
            (process.metric("mainstay_dial_failures_total", &[("reason", "local_resources")]) > 0).then_some(())
        });
        let full = until("no session comes any more", || {
            let before = active();
            thread::sleep(Duration::from_millis(300));
            (active() == before).then_some(before)
        });
        assert!((10..=20).contains(&full), "{full} sessions on 20 ports");

        // For long enough that a probe that finds no port would have counted as a failure, and again.
        thread::sleep(Duration::from_millis(1500));
        assert_eq!(
            process.metric("mainstay_dial_failures_total", &[("reason", "local_resources")]),
            process.metric("mainstay_dial_failures_total", &[])
        );
        assert_eq!(process.metric("mainstay_transitions_total", &[("to", "down")]), 0);
        assert_eq!(process.status()["pools"][0]["active"], "db-a");
        assert_eq!(active(), full, "sessions were ended");

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
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
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
    socket.connect(&to.into()).unwrap();
    socket.into()
}
