//! Clients that leave within the first exchange: the server is left with nothing of them.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
};

use serde_json::{Value, json};

use super::{STARTUP, address, addresses, before, connections_to, message, query, until_nobody_is_left};
use crate::support::{
    echo::reset, front::client, mariadb::MariaDb, postgres::Postgres, process::Process, redis::Redis, wait::until,
};

/// It announces 4096 bytes.
const INCOMPLETE: &[u8] = b"\0\0\x10\0\0\x03\0\0user\0";

/// So many that no server here has a place for each.
const STRANGERS: usize = 150;

/// Whether a client is served now.
fn is_served(at: SocketAddr) -> bool {
    let mut client = client(at);
    client.write_all(&[STARTUP, &query("SELECT 42")].concat()).unwrap();
    loop {
        match message(&client) {
            Ok((b'D', row)) => return row.ends_with(b"42"),
            Ok((b'E', _)) | Err(_) => return false,
            Ok(_) => {}
        }
    }
}

#[test]
fn strangers_who_leave_within_a_startup_packet_lock_nobody_out() {
    let server = Postgres::primary(&["authentication_timeout=10min"]);
    let process = before(&[address(&server)], json!({"postgres": {}}), &[json!({})]);
    for _ in 0..STRANGERS {
        process.connect().write_all(INCOMPLETE).unwrap();
    }
    until("a client is served", || is_served(process.address).then_some(()));
    until_nobody_is_left(&process, server.port);
}

/// Strangers come, say each of these, and leave in each way; then nothing is left of them at the server.
fn come_and_go(process: &Process, port: u16, words: &[&[u8]]) {
    let standing = until("the check has its session", || Some(connections_to(port)).filter(|count| *count > 0));
    assert!(standing <= 2, "{standing} connections before anybody came");
    for word in words {
        let leaves: [fn(TcpStream); 2] = [drop, reset];
        for leave in leaves {
            for _ in 0..5 {
                let mut stranger = process.connect();
                stranger.write_all(word).unwrap();
                leave(stranger);
            }
        }
    }
    until_nobody_is_left(process, port);
}

/// The beginnings of a word, and all of it.
fn beginnings(word: &[u8]) -> [&[u8]; 6] {
    [0, 1, 4, 8, word.len() - 1, word.len()].map(|length| &word[..length])
}

fn listeners() -> [Value; 1] {
    [json!({})]
}

#[test]
fn whoever_leaves_early_leaves_nothing_behind_at_postgres() {
    let server = Postgres::primary(&["authentication_timeout=10min"]);
    let process = before(&[address(&server)], json!({"postgres": {}}), &listeners());
    let ssl_request = [0, 0, 0, 8, 4, 210, 22, 47];
    come_and_go(&process, server.port, &beginnings(STARTUP));
    come_and_go(&process, server.port, &[&ssl_request[..], &[&ssl_request[..], INCOMPLETE].concat()]);
    assert!(is_served(addresses(&process)[0]));
}

#[test]
fn whoever_leaves_early_leaves_nothing_behind_at_mysql() {
    let server = MariaDb::start(&["--connect-timeout=3600"]);
    let process = before(&[server.address()], json!({"mysql": {"user": "root"}}), &listeners());
    come_and_go(&process, server.port, &beginnings(b"\x20\0\0\x01\x85\xa6\xff\x20"));
}

#[test]
fn whoever_leaves_early_leaves_nothing_behind_at_redis() {
    let server = Redis::primary(&[]);
    let process = before(&[server.address()], json!({"redis": {}}), &listeners());
    come_and_go(&process, server.port, &beginnings(b"*1\r\n$4\r\nPING\r\n"));
}
