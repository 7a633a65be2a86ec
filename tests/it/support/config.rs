//! Configurations built in code: everything on loopback, every port chosen by the kernel.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use mainstay::{
    config::{
        AdminConfig, AdminListen, BackendConfig, CheckConfig, CheckKind, Config, HoldConfig, ListenerConfig, LogConfig,
        LogFormat, LogLevel, OnDown, PoolConfig,
    },
    failover::Policy,
    lifecycle::Deadlines,
    net::socket::Keepalive,
};

pub const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// One pool with a TCP check, listeners and admin on port 0, defaults otherwise.
pub fn tcp_pool(backends: &[SocketAddr]) -> Config {
    Config {
        admin: AdminConfig { listen: vec![AdminListen::Tcp(LOOPBACK)] },
        log: LogConfig { level: LogLevel::Info, format: LogFormat::Text },
        shutdown: Deadlines { delay: Duration::ZERO, timeout: Duration::from_secs(5) },
        workers: Some(2),
        state_dir: None,
        pools: vec![PoolConfig {
            name: "orders".into(),
            check: CheckConfig {
                kind: CheckKind::Tcp,
                interval: Duration::from_secs(1),
                fast_interval: Duration::from_millis(100),
                timeout: Duration::from_secs(1),
                fresh_login: Duration::from_secs(5),
            },
            connect_timeout: Duration::from_secs(2),
            hold: HoldConfig { timeout: Duration::from_secs(15), max: 1000 },
            on_down: OnDown::Close,
            policy: Policy::default(),
            listeners: vec![listener("rw")],
            backends: backends.iter().enumerate().map(|(index, address)| backend(index, *address)).collect(),
        }],
    }
}

pub fn listener(name: &str) -> ListenerConfig {
    ListenerConfig {
        name: name.into(),
        listen: vec![LOOPBACK],
        max_connections: None,
        idle_timeout: None,
        half_close_timeout: Duration::from_hours(1),
        keepalive: Keepalive::default(),
        tcp_user_timeout: None,
    }
}

fn backend(index: usize, address: SocketAddr) -> BackendConfig {
    let name: Arc<str> = format!("db-{}", (b'a' + u8::try_from(index).unwrap()) as char).into();
    BackendConfig { name, address: address.to_string().parse().unwrap() }
}
