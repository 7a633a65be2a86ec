//! Sessions that were left to the last words of a server that is down already: its kernel ends them, until its host is silent as well.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex},
};

use serde_json::json;

use crate::{
    hold::startup,
    probe::fake::{error, facts, welcome},
    support::{
        config::relay,
        echo::{Backend, who},
        front::client,
        netns::Network,
        process::{Process, settings},
        wait::until,
    },
};

/// A `PostgreSQL` server that answers whoever has logged in as often as it is asked.
struct Server {
    backend: Backend,
    /// Sessions of checks.
    checks: Arc<Mutex<Vec<TcpStream>>>,
}

impl Server {
    fn start(is_standby: bool) -> Self {
        let mut row = facts();
        if is_standby {
            // `in_recovery` is the row's first column: f becomes t.
            let at = row.windows(6).position(|bytes| bytes == b"\0\0\0\x01f\0").unwrap() + 4;
            row[at] = b't';
        }
        let checks = Arc::<Mutex<Vec<TcpStream>>>::default();
        let kept = Arc::clone(&checks);
        let backend = Backend::start(move |stream| drop(serve(stream, &row, &kept)));
        Self { backend, checks }
    }

    /// It is told to stop: it takes nobody in, ends the sessions of checks, and waits for those of clients.
    fn stop(&mut self) {
        self.backend.stop();
        for mut check in self.checks.lock().unwrap().drain(..) {
            let _ = check.write_all(&error("FATAL", "57P01", "terminating connection due to administrator command"));
            let _ = check.shutdown(Shutdown::Both);
        }
    }
}

fn serve(mut stream: TcpStream, row: &[u8], checks: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let mut packet = [0; 4096];
    let length = stream.read(&mut packet)?;
    let is_check = packet[..length].windows(14).any(|field| field == b"user\0postgres\0");
    if is_check {
        checks.lock().unwrap().push(stream.try_clone()?);
    }
    stream.write_all(&welcome())?;
    while stream.read(&mut packet)? > 0 {
        stream.write_all(if is_check { row } else { b"!" })?;
    }
    Ok(())
}

/// A client that has logged in.
fn session(at: SocketAddr) -> TcpStream {
    let mut client = client(at);
    client.write_all(&startup()).unwrap();
    client.read_exact(&mut vec![0; welcome().len()]).unwrap();
    client
}

/// Of a server for writers, or one for readers.
fn are_left_while_its_kernel_answers_and_end_when_it_does_not(route: &str) {
    let network = Network::new();
    network.inside(|| {
        let (primary, standby) = (Server::start(false), Server::start(true));
        let mut settings = settings(&[primary.backend.address, standby.backend.address]);
        let pool = settings["pools"][0].as_object_mut().unwrap();
        pool.remove("listen");
        let listener = json!({"name": "l", "listen": "127.0.0.1:0", "route": route, "fallback": "none", "relay": relay()});
        pool.insert("listeners".into(), json!([listener]));
        pool["check"]["postgres"] = json!({"tls": "off"});
        pool["check"].as_object_mut().unwrap().remove("tcp");
        if route == "primary" {
            pool["listeners"][0].as_object_mut().unwrap().remove("fallback");
        }
        let process = Process::start(&settings).serving();
        let (mut dies, _lives, number, name) =
            if route == "primary" { (primary, standby, 0, "db-a") } else { (standby, primary, 1, "db-b") };
        let shown = |key: &str| process.status()["pools"][0]["backends"][number][key].clone();
        until("both are known", || (process.status()["pools"][0]["backends"][1]["reader_reason"] == "reader").then_some(()));
        let mut session = session(process.address);
        assert_eq!(who(&session).unwrap(), b'!');

        dies.stop();
        until("it is down", || (shown("health") == "down").then_some(()));
        let probes = |outcome| process.metric("mainstay_probes_total", &[("backend", name), ("outcome", outcome)]);
        let refused = probes("refused");
        until("its kernel has refused five more", || (probes("refused") >= refused + 5).then_some(()));
        assert_eq!(who(&session).unwrap(), b'!', "a session that its server still serves was ended");

        let port = dies.backend.address.port();
        assert_eq!(probes("connect_timeout"), 0);
        network.firewall(&format!("tcp dport {port} drop"));
        network.firewall(&format!("tcp sport {port} drop"));
        let error = session.read(&mut [0; 1]).expect_err("a session that was cut must not end in FIN");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "nobody is there who would end it");
        // No sooner than after as many as make a server go down.
        assert!(probes("connect_timeout") >= 2, "{} probes were not answered", probes("connect_timeout"));
        let closed = |reason| process.metric("mainstay_connections_closed_total", &[("backend", name), ("reason", reason)]);
        until("it is closed", || (closed("revoked") == 1).then_some(()));
        assert_eq!(shown("health"), "down");
    });
}

#[test]
fn sessions_of_readers_are_left_while_the_kernel_of_their_server_answers_and_end_when_its_host_is_silent() {
    are_left_while_its_kernel_answers_and_end_when_it_does_not("replica");
}

#[test]
fn sessions_of_writers_are_left_while_the_kernel_of_their_server_answers_and_end_when_its_host_is_silent() {
    are_left_while_its_kernel_answers_and_end_when_it_does_not("primary");
}
