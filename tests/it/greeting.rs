//! The first words of a session: whoever leaves within them, says much at once, says nothing, or is here to cancel a query.

mod burst;
mod cancel;
mod deadline;
mod early;

use std::{
    io::{self, Read},
    net::SocketAddr,
};

use serde_json::{Value, json};

use crate::support::{
    config::{LOOPBACK, relay},
    postgres::Postgres,
    process::{Process, settings},
    wait::until,
};

/// A pool with this check before these servers, with a listener for each of these sets of keys.
fn before(servers: &[SocketAddr], check: Value, listeners: &[Value]) -> Process {
    Process::start(&pool(servers, check, listeners)).serving()
}

fn pool(servers: &[SocketAddr], check: Value, listeners: &[Value]) -> Value {
    let mut settings = settings(servers);
    let pool = settings["pools"][0].as_object_mut().unwrap();
    pool.remove("listen");
    pool.insert("check".to_owned(), check);
    let listeners = listeners.iter().enumerate().map(|(number, keys)| {
        let mut listener = json!({"name": format!("l{number}"), "listen": LOOPBACK.to_string(), "relay": relay()});
        listener.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        listener
    });
    pool.insert("listeners".to_owned(), listeners.collect());
    settings
}

/// Where its listeners are, in their order.
fn addresses(process: &Process) -> Vec<SocketAddr> {
    let log = process.log();
    let lines = log.iter().filter(|line| line["message"] == "listening" && line["listener"].is_string());
    lines.map(|line| line["addresses"].as_str().unwrap().trim_matches(['[', ']']).parse().unwrap()).collect()
}

fn address(server: &Postgres) -> SocketAddr {
    ([127, 0, 0, 1], server.port).into()
}

/// Connections to `port` of this machine that are open at the end that connected (`proc_net_tcp` in the kernel's documentation: 1
/// is ESTABLISHED, 4 and 5 are `FIN_WAIT`, 8 is `CLOSE_WAIT`).
fn connections_to(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let to_port = format!(":{port:04X}");
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|fields| fields[2].ends_with(&to_port) && ["01", "04", "05", "08"].contains(&fields[3])).count()
}

/// The check keeps one session, and may be about to log in anew.
fn until_nobody_is_left(process: &Process, port: u16) {
    until("no session is left", || (process.metric("mainstay_connections_active", &[]) == 0).then_some(()));
    until("no connection to the server is left", || (connections_to(port) <= 2).then_some(()));
}

/// The next message of a `PostgreSQL` server: its kind and its body.
fn message(mut stream: impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let mut body = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4];
    stream.read_exact(&mut body)?;
    Ok((head[0], body))
}

/// A message of a `PostgreSQL` client that asks for this.
fn query(sql: &str) -> Vec<u8> {
    let length = u32::try_from(sql.len() + 5).unwrap().to_be_bytes();
    [b"Q", &length[..], sql.as_bytes(), b"\0"].concat()
}

/// The first packet of a superuser, who needs no password.
const STARTUP: &[u8] = b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0";
