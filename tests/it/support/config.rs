//! Configurations of a test: the shortest file that does it, on loopback, every port chosen by the kernel.

use std::net::SocketAddr;

use mainstay::config::{self, Config, ListenerConfig};
use serde_json::json;

pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// How bytes are moved where a test does not say: `MAINSTAY_TEST_RELAY`, so that all that is true of sessions is tried with each.
pub fn relay() -> String {
    std::env::var("MAINSTAY_TEST_RELAY").unwrap_or_else(|_| "auto".to_owned())
}

/// One pool `orders` with a TCP check before `db-a`, `db-b`, …; defaults otherwise, but for a shorter shutdown.
pub fn tcp_pool(backends: &[SocketAddr]) -> Config {
    let names: Vec<_> = ('a'..='z').map(|letter| format!("db-{letter}")).collect();
    let backends: Vec<_> = names.iter().map(String::as_str).zip(backends.iter().copied()).collect();
    pool_of(&backends)
}

/// As [`tcp_pool`], with these names.
pub fn pool_of(backends: &[(&str, SocketAddr)]) -> Config {
    let backends: Vec<_> = backends.iter().map(|(name, address)| json!({"name": name, "address": address.to_string()})).collect();
    // JSON is YAML.
    let file = json!({
        "admin": {"listen": LOOPBACK.to_string()},
        "shutdown": {"timeout": "5s"},
        "workers": 2,
        "pools": [{
            "name": "orders",
            "listeners": [{"name": "rw", "listen": LOOPBACK.to_string(), "relay": relay()}],
            "backends": backends,
        }],
    });
    config::parse(&file.to_string(), "the test's configuration", &|_| None).unwrap().config
}

pub fn listener(name: &str) -> ListenerConfig {
    let config = tcp_pool(&[([127, 0, 0, 1], 1).into()]);
    ListenerConfig { name: name.into(), ..config.pools[0].listeners[0].clone() }
}
