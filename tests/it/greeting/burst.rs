//! Clients that say much before they read, and are answered much: what passes the greeting, and what the relay finds behind it.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr},
};

use serde_json::{Value, json};

use super::{STARTUP, address, addresses, before, message, query};
use crate::support::{front::client, postgres::Postgres, redis::Redis};

/// Around every buffer that bytes pass: the longest startup packet, that of the check's answers, what a server reads at once, that of
/// the relay's copies, a pipe.
const SIZES: [usize; 15] =
    [300, 1023, 1024, 1025, 8192, 9_999, 10_000, 10_001, 15_022, 16_384, 16_385, 65_535, 65_536, 65_537, 1 << 20];

fn relays() -> [Value; 3] {
    ["auto", "copy", "splice"].map(|relay| json!({"relay": relay}))
}

/// Says `size` bytes before it reads, and is told as many.
fn postgres(at: SocketAddr, size: usize, finishes: bool) -> Result<(), String> {
    let sql = |padding: usize| query(&format!("SELECT repeat('x', {size}) /*{}*/", "-".repeat(padding)));
    let padding = size - STARTUP.len() - sql(0).len();
    let said = [STARTUP, &sql(padding)].concat();
    assert_eq!(said.len(), size);
    let mut client = client(at);
    client.write_all(&said).unwrap();
    if finishes {
        client.shutdown(Shutdown::Write).unwrap();
    }
    loop {
        match message(&client) {
            Ok((b'D', row)) if row.len() == size + 6 => return Ok(()),
            Ok((kind @ (b'D' | b'E'), body)) => return Err(format!("{}: {}", kind as char, body.escape_ascii())),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn redis(at: SocketAddr, size: usize, finishes: bool) -> Result<(), String> {
    let mut client = client(at);
    let text = "x".repeat(size);
    client.write_all(format!("*2\r\n$4\r\nECHO\r\n${size}\r\n{text}\r\n").as_bytes()).unwrap();
    if finishes {
        client.shutdown(Shutdown::Write).unwrap();
    }
    let expected = format!("${size}\r\n{text}\r\n");
    let mut answer = vec![0; expected.len()];
    client.read_exact(&mut answer).map_err(|error| error.to_string())?;
    if answer == expected.as_bytes() { Ok(()) } else { Err(format!("{}", answer[..20].escape_ascii())) }
}

fn all(listeners: &[SocketAddr], session: fn(SocketAddr, usize, bool) -> Result<(), String>) {
    for (at, relay) in listeners.iter().zip(relays()) {
        for size in SIZES {
            for finishes in [false, true] {
                let ended = session(*at, size, finishes);
                assert_eq!(ended, Ok(()), "{size} bytes, {relay}, finishes: {finishes}");
            }
        }
    }
}

#[test]
fn a_first_burst_of_any_size_arrives_whole_at_postgres_and_so_does_the_answer() {
    let server = Postgres::primary(&[]);
    all(&addresses(&before(&[address(&server)], json!({"postgres": {}}), &relays())), postgres);
}

#[test]
fn a_first_burst_of_any_size_arrives_whole_at_redis_and_so_does_the_answer() {
    let server = Redis::primary(&[]);
    all(&addresses(&before(&[server.address()], json!({"redis": {}}), &relays())), redis);
}
