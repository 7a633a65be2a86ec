//! Connections are killed from outside, one leg at a time.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
};

use crate::support::{
    echo::Backend,
    netns::Network,
    process::{Process, settings},
    wait::{patience, until},
};

/// A backend that tells from where it was spoken to, and how each session ended.
fn watched() -> (Backend, mpsc::Receiver<SocketAddr>, mpsc::Receiver<io::Result<usize>>) {
    let (tell_peer, peers) = mpsc::channel();
    let (tell_end, ends) = mpsc::channel();
    let backend = Backend::start(move |mut stream| {
        stream.read_exact(&mut [0; 1]).unwrap();
        tell_peer.send(stream.peer_addr().unwrap()).unwrap();
        stream.write_all(b"!").unwrap();
        let _ = tell_end.send(stream.read(&mut [0; 1]));
    });
    (backend, peers, ends)
}

fn begin(process: &Process) -> TcpStream {
    let mut client = process.connect();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    client
}

fn kind(end: io::Result<usize>) -> io::ErrorKind {
    end.expect_err("a killed connection must not end in FIN").kind()
}

/// Kills mainstay's end of the connection from its port `from` to port `to`.
fn kill(network: &Network, from: u16, to: u16) {
    network.run(&["ss", "-K", "sport", "=", &format!(":{from}"), "dport", "=", &format!(":{to}")]);
}

#[test]
fn a_killed_leg_resets_the_other_one_and_the_books_are_right() {
    let network = Network::new();
    network.inside(|| {
        let (backend, peers, ends) = watched();
        let process = Process::start(&settings(&[backend.address])).serving();
        let base = process.files();

        let client = begin(&process);
        let _ = peers.recv_timeout(patience()).unwrap();
        kill(&network, process.address.port(), client.local_addr().unwrap().port());
        assert_eq!(kind(ends.recv_timeout(patience()).unwrap()), io::ErrorKind::ConnectionReset, "at the backend");
        assert_eq!(kind((&client).read(&mut [0; 1])), io::ErrorKind::ConnectionReset, "at the client");
        until("it is booked", || {
            (process.metric("mainstay_connections_closed_total", &[("reason", "client_reset")]) == 1).then_some(())
        });

        let client = begin(&process);
        let leg = peers.recv_timeout(patience()).unwrap();
        kill(&network, leg.port(), backend.address.port());
        assert_eq!(kind((&client).read(&mut [0; 1])), io::ErrorKind::ConnectionReset, "at the client");
        assert_eq!(kind(ends.recv_timeout(patience()).unwrap()), io::ErrorKind::ConnectionReset, "at the backend");
        until("it is booked", || {
            (process.metric("mainstay_connections_closed_total", &[("reason", "server_reset")]) == 1).then_some(())
        });

        drop(client);
        until("all descriptors are back", || (process.files() <= base).then_some(()));
        assert_eq!(process.metric("mainstay_connections_active", &[]), 0);
        // One session that broke is no reason to leave a backend that accepts the next.
        begin(&process);
        assert_eq!(process.metric("mainstay_transitions_total", &[("to", "down")]), 0);
        assert_eq!(process.metric("mainstay_pool_epoch", &[]), 1);
    });
}
