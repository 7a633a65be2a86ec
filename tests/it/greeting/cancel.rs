//! A query is cancelled by another connection (`PostgreSQL` manual, "Canceling Requests in Progress"), which must reach the server
//! that the session is with, also where clients are spread over several.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{STARTUP, address, addresses, before, message, pool, query};
use crate::support::{
    child::{ended, ends, output},
    front::try_client_from,
    postgres::{Postgres, binaries},
    process::Process,
    scratch::Scratch,
    wait::until,
};

/// Sessions that wait, and are cancelled one after the other.
const SESSIONS: usize = 10;

/// A primary and its standby; `TLS` is on in both.
struct Cluster {
    primary: Postgres,
    standby: Postgres,
    _files: Scratch,
}

impl Cluster {
    fn start() -> Self {
        let files = Scratch::new();
        let mut primary = Postgres::primary(&[]);
        let tls = primary.encrypt(files.directory());
        let standby = primary.standby(&tls.each_ref().map(String::as_str));
        Self { primary, standby, _files: files }
    }

    /// With listeners that lead to both.
    fn front(&self, listeners: &[Value]) -> Process {
        let servers = [address(&self.primary), address(&self.standby)];
        let process = before(&servers, json!({"postgres": {}, "interval": "200ms", "fast_interval": "50ms"}), listeners);
        until("the standby may be read", || {
            let status = process.status();
            (status["pools"][0]["backends"][1]["reader"] == true).then_some(())
        });
        process
    }

    /// How many of these sleep, at each.
    fn sleepers(&self, name: &str) -> [usize; 2] {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}' AND wait_event = 'PgSleep'");
        [&self.primary, &self.standby].map(|server| server.sql(&sql).parse().unwrap())
    }

    /// How many of these come with TLS.
    fn encrypted(&self, name: &str) -> usize {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE application_name = '{name}' AND ssl"
        );
        [&self.primary, &self.standby].map(|server| server.sql(&sql).parse::<usize>().unwrap()).iter().sum()
    }
}

fn psql(at: SocketAddr, name: &str, more: &str) -> Child {
    let connection = format!("host=127.0.0.1 port={} user=postgres dbname=postgres application_name={name} {more}", at.port());
    binaries()
        .command("psql")
        .args(["-XAtw", "-c", "SELECT pg_sleep(600)", &connection])
        .env("LC_ALL", "C")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql is part of the PostgreSQL client")
}

/// What they said in the end; those that go on are killed.
fn cancelled(sessions: Vec<Child>) -> usize {
    let mut count = 0;
    for mut session in sessions {
        kill_process(Pid::from_child(&session), Signal::INT).unwrap();
        if ends(&mut session).is_none() {
            let _ = session.kill();
        }
        let output = output(session);
        count += usize::from(String::from_utf8_lossy(&output.stderr).contains("canceling statement due to user request"));
    }
    count
}

#[test]
fn a_query_on_any_of_several_servers_can_be_cancelled() {
    let cluster = Cluster::start();
    let balances = ["least_connections", "round_robin", "source"];
    let process = cluster.front(&balances.map(|balance| json!({"route": "any", "balance": balance})));
    for (at, balance) in addresses(&process).into_iter().zip(balances) {
        for tls in ["disable", "require"] {
            let name = format!("{balance}-{tls}");
            let sessions: Vec<_> = (0..SESSIONS).map(|_| psql(at, &name, &format!("sslmode={tls}"))).collect();
            let [a, b] = until("all sleep", || Some(cluster.sleepers(&name)).filter(|[a, b]| a + b == SESSIONS));
            assert_eq!(a == 0 || b == 0, balance == "source", "{name}: {a} and {b}");
            assert_eq!(cancelled(sessions), SESSIONS, "{name}: {a} are with the primary, {b} with the standby");
        }
    }
}

#[test]
fn a_query_of_a_reader_that_takes_no_newcomers_can_be_cancelled() {
    let cluster = Cluster::start();
    let readers = json!({"route": "replica"});
    let process = cluster.front(std::slice::from_ref(&readers));
    let session = psql(addresses(&process)[0], "drained", "");
    until("it sleeps at the standby", || (cluster.sleepers("drained") == [0, 1]).then_some(()));
    // It leaves the configuration, and its sessions do not.
    process.reload(&pool(&[address(&cluster.primary)], json!({"postgres": {}}), &[readers]).to_string());
    until("it has left", || {
        let status = process.status();
        (status["pools"][0]["backends"].as_array().unwrap().len() == 1).then_some(())
    });
    assert_eq!(cancelled(vec![session]), 1);
}

/// A session that sleeps, begun by hand; the request that cancels its query, whose pid and key the server has told.
fn sleeping(mut stream: impl Read + Write) -> Vec<u8> {
    stream.write_all(STARTUP).unwrap();
    let mut key = Vec::new();
    loop {
        match message(&mut stream).unwrap() {
            (b'K', body) => key = body,
            (b'Z', _) => break,
            _ => {}
        }
    }
    stream.write_all(&query("SET application_name = 'raw'; SELECT pg_sleep(600)")).unwrap();
    let length = u32::try_from(key.len() + 8).unwrap();
    [&length.to_be_bytes()[..], &80_877_102_u32.to_be_bytes(), &key].concat()
}

/// The query that slept has ended as one does that is cancelled.
fn assert_cancelled(mut stream: impl Read) {
    let error = loop {
        match message(&mut stream).unwrap() {
            (b'E', body) => break body,
            (b'D', _) => panic!("it was not cancelled"),
            _ => {}
        }
    };
    assert!(error.windows(7).any(|field| field == b"C57014\0"), "{}", error.escape_ascii());
}

/// A connection whose bytes openssl encrypts: what it reads and prints. It has a deadline.
struct Encrypted(Child);

impl Encrypted {
    fn open(from: Ipv4Addr, at: SocketAddr) -> Self {
        let child = Command::new("timeout")
            .args(["60", "openssl", "s_client", "-starttls", "postgres", "-quiet", "-bind", &format!("{from}:0")])
            .args(["-connect", &at.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Read for Encrypted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.stdout.as_mut().unwrap().read(bytes)
    }
}

impl Write for Encrypted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.stdin.as_mut().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.stdin.as_mut().unwrap().flush()
    }
}

impl Drop for Encrypted {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Of clients with addresses of their own, each with the session that `open` gives it.
fn is_cancelled_by_encrypted_requests<S: Read + Write>(tls: usize, open: fn(Ipv4Addr, SocketAddr) -> S) {
    let cluster = Cluster::start();
    let process = cluster.front(&[json!({"route": "any", "balance": "source"})]);
    let at = addresses(&process)[0];
    let clients: Vec<Ipv4Addr> = (2..).map(|last| Ipv4Addr::new(127, 0, 0, last)).take(SESSIONS).collect();
    let mut sessions: Vec<_> = clients.iter().map(|from| open(*from, at)).collect();
    let requests: Vec<_> = sessions.iter_mut().map(sleeping).collect();
    let [a, b] = until("all sleep", || Some(cluster.sleepers("raw")).filter(|[a, b]| a + b == SESSIONS));
    assert!(a > 0 && b > 0, "all addresses lead to one server: {a} and {b}");
    assert_eq!(cluster.encrypted("raw"), tls);
    for (from, (session, request)) in clients.iter().zip(sessions.into_iter().zip(requests)) {
        let mut encrypted = Encrypted::open(*from, at);
        encrypted.write_all(&request).unwrap();
        // It is said, and the server ends the connection.
        encrypted.0.stdin = None;
        ended(&mut encrypted.0);
        assert_cancelled(session);
    }
}

#[test]
fn an_encrypted_request_finds_the_session_of_the_same_address_with_balance_source() {
    is_cancelled_by_encrypted_requests(0, |from, at| try_client_from(from, at).unwrap());
}

/// mainstay sees neither the key of such a session nor whom such a request is for.
#[test]
fn an_encrypted_request_finds_the_encrypted_session_of_the_same_address_with_balance_source() {
    is_cancelled_by_encrypted_requests(SESSIONS, Encrypted::open);
}
