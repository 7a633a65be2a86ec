//! Who gets in, who is turned away and how, and for whom a connection is made: the PROXY protocol on both sides.

mod access;
mod corpus;
mod limits;
mod mariadb;
mod per_address;
mod proxied;
mod sent;

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
};

use mainstay::{
    config::{self, Config},
    net::proxy_protocol::Version,
    reason::RejectReason,
};
use serde_json::{Value, json};

use crate::support::{
    config::{LOOPBACK, relay},
    front::{Front, try_client_from},
};

/// One pool `orders` with a TCP check, whose one listener has these keys besides name and address.
fn settings(keys: &Value, backends: &[SocketAddr]) -> Value {
    let mut listener = json!({"name": "rw", "listen": LOOPBACK.to_string(), "relay": relay()});
    listener.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    json!({
        "admin": {"listen": LOOPBACK.to_string()},
        "log": {"format": "json"},
        "shutdown": {"timeout": "5s"},
        "workers": 2,
        "pools": [{
            "name": "orders",
            "listeners": [listener],
            "check": {"tcp": {}, "interval": "200ms", "fast_interval": "50ms", "timeout": "500ms"},
            "backends": backends.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }],
    })
}

fn configured(keys: &Value, backends: &[SocketAddr]) -> Config {
    config::parse(&settings(keys, backends).to_string(), "the test's configuration", &|_| None).unwrap().config
}

/// A client that connects from this address of the machine.
fn client_from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    try_client_from(address, to).unwrap()
}

/// Whether an echo comes back.
fn is_served(client: &mut TcpStream) -> bool {
    let mut answer = [0; 4];
    client.write_all(b"ping").and_then(|()| client.read_exact(&mut answer)).is_ok() && answer == *b"ping"
}

/// Whether whoever connects from this address gets an echo.
fn is_let_in(address: [u8; 4], to: SocketAddr) -> bool {
    try_client_from(address, to).is_ok_and(|mut client| is_served(&mut client))
}

/// Whoever connects from this address gets RST, before its connect is over or after, and not a byte.
#[track_caller]
fn assert_denied(address: [u8; 4], to: SocketAddr) {
    match try_client_from(address, to) {
        Ok(mut client) => assert_reset(&mut client),
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
}

/// It gets RST, and not a byte.
#[track_caller]
fn assert_reset(client: &mut TcpStream) {
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

fn rejected(front: &Front, reason: RejectReason) -> u64 {
    front.series().listeners[0].rejected.get(reason).get()
}

/// The header of a client that has this address, and connected to one of the same family.
fn header(version: Version, client: &str) -> Vec<u8> {
    let ip: IpAddr = client.parse().unwrap();
    version.named(SocketAddr::new(ip, 4242), connected_to(client))
}

fn connected_to(client: &str) -> SocketAddr {
    if client.contains(':') { "[2001:db8::7]:5432" } else { "198.51.100.7:5432" }.parse().unwrap()
}
