//! Where clients connect.

use std::{sync::Arc, time::Duration};

use super::{
    proxy_protocol::{PROXY_PROTOCOL, ProxyProtocolConfig, ProxySend},
    raw::{
        quantity::{DAY, MILLISECOND, SECOND},
        reader::Field,
    },
    resolve::{access::MAX_NETWORKS, endpoint::MAX_ADDRESSES},
    shape,
    table::{durations, set, table},
    tree::{duration, some_of, text},
};
use crate::net::{cidr::Cidr, endpoint::Endpoint, socket::Keepalive};

crate::labels! {
    /// How the bytes of a session are relayed.
    pub enum RelayMode {
        /// Small amounts are copied, a stream is spliced.
        Auto = "auto",
        /// Through mainstay's memory.
        Copy = "copy",
        /// Inside the kernel, splice(2).
        Splice = "splice",
    }
}

crate::labels! {
    /// Which backends a listener's clients may use.
    pub enum ListenerRoute {
        /// The active backend, which accepts writes.
        Primary = "primary",
        /// A backend that is not active, for reading.
        Replica = "replica",
        /// Any backend that may be read, including the active one.
        Any = "any",
    }
}

crate::labels! {
    /// Which of several readers a client gets.
    pub enum Balance {
        /// The one with the fewest sessions.
        LeastConnections = "least_connections",
        /// One after the other.
        RoundRobin = "round_robin",
        /// The same one for each client address.
        Source = "source",
    }
}

crate::labels! {
    /// Where the clients of a replica go while there is none.
    pub enum Fallback {
        /// To the active backend.
        Primary = "primary",
        /// Nowhere: they wait.
        None = "none",
    }
}

crate::labels! {
    /// What a client is told when no backend may serve it.
    pub enum Refusal {
        /// Every backend by its name, and why it may not serve.
        Detailed = "detailed",
        /// Only that none may.
        Short = "short",
    }
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Its name.
    pub name: Arc<str>,
    /// Its addresses.
    pub listen: Vec<Endpoint>,
    /// Also bind to addresses that the machine does not have yet.
    pub freebind: bool,
    /// Which backends its clients may use.
    pub route: ListenerRoute,
    /// Which reader they get; not used for the primary.
    pub balance: Balance,
    /// Where they go while there is no replica; not used for other routes.
    pub fallback: Fallback,
    /// What they are told when no backend may serve them.
    pub refusal: Refusal,
    /// Connection limit; `None` leaves it to the process's limit.
    pub max_connections: Option<usize>,
    /// Limit for each client address.
    pub max_connections_per_ip: Option<usize>,
    /// Only clients in these networks may connect; empty allows everybody.
    pub allow: Vec<Cidr>,
    /// Clients in these networks may not connect, whatever `allow` says.
    pub deny: Vec<Cidr>,
    /// The header that names a client.
    pub proxy_protocol: ProxyProtocolConfig,
    /// For the first exchange between a client and its backend; `None` has no limit.
    pub client_login_timeout: Option<Duration>,
    /// Close sessions without traffic after this long; `None` never.
    pub idle_timeout: Option<Duration>,
    /// Close half-closed sessions without traffic after this long.
    pub half_close_timeout: Duration,
    /// Keepalive on both legs.
    pub keepalive: Keepalive,
    /// `TCP_USER_TIMEOUT` on both legs; `None` is the kernel's default. Also closes a live peer that only does not read.
    pub tcp_user_timeout: Option<Duration>,
    /// How the bytes of its sessions are relayed.
    pub relay: RelayMode,
}

/// The name of the listener that `listen: ADDR` is short for.
pub(super) const SHORT_NAME: &str = "rw";

pub(super) const MAX_LISTENERS: usize = 64;
const MAX_CONNECTIONS: u32 = 1_000_000;
const MONTH: Duration = Duration::from_hours(30 * 24);
/// `MAX_TCP_KEEPIDLE`, `MAX_TCP_KEEPINTVL` and `MAX_TCP_KEEPCNT` of Linux (include/net/tcp.h).
const MAX_KEEPALIVE: Duration = Duration::from_secs(32_767);
const MAX_KEEPALIVE_COUNT: u32 = 127;

/// A listener with every key at its default.
pub(super) fn plain() -> ListenerConfig {
    ListenerConfig {
        name: SHORT_NAME.into(),
        listen: Vec::new(),
        freebind: false,
        route: ListenerRoute::Primary,
        balance: Balance::LeastConnections,
        fallback: Fallback::Primary,
        refusal: Refusal::Detailed,
        max_connections: None,
        max_connections_per_ip: None,
        allow: Vec::new(),
        deny: Vec::new(),
        proxy_protocol: ProxyProtocolConfig { accept_from: Vec::new(), send: ProxySend::Off },
        client_login_timeout: Some(Duration::from_mins(1)),
        idle_timeout: None,
        half_close_timeout: Duration::from_hours(1),
        keepalive: Keepalive::default(),
        tcp_user_timeout: None,
        relay: RelayMode::Auto,
    }
}

table! {
    LISTENER: ListenerConfig;
    "name": elsewhere("letters, digits, `.`, `_` and `-`, at most 63", "required", |listener| Some(text(&listener.name))) is shape::name(),
        "Its name in logs, metrics and the status.";
    "listen": elsewhere("`IP:PORT` or `unix:/PATH`, or a list of them", "required", |listener| some_of(&listener.listen))
        is shape::one_or_many(shape::address::listen(), MAX_ADDRESSES),
        "Where clients connect.";
    "freebind": flag(freebind) if |listener| by_tcp(&listener.listen),
        "With `true`, also on an address that this machine does not have yet (`IP_FREEBIND`).";
    "route": word(route), "Which backends its clients may use; see [replicas.md](replicas.md).";
    "balance": word(balance) if |listener| listener.route != ListenerRoute::Primary,
        "Which of several backends a client gets; only for `route: replica` and `route: any`.";
    "fallback": word(fallback) if |listener| listener.route == ListenerRoute::Replica,
        "Where clients go while there is no replica; only for `route: replica`.";
    "refusal": word(refusal),
        "What a client is told when no backend may serve it: every backend and the reason, or only that none may.";
    "max_connections": limit(max_connections, 1..=MAX_CONNECTIONS, "the limit of the process"),
        "Connections at most; see [doors.md](doors.md).";
    "max_connections_per_ip": limit(max_connections_per_ip, 1..=MAX_CONNECTIONS, "no limit"),
        "Connections of one client address at most.";
    "allow": elsewhere("a network or an address, or a list of them", "everybody", |listener| some_of(&listener.allow))
        is shape::one_or_many(shape::address::network(), MAX_NETWORKS),
        "Only clients in these networks may connect.";
    "deny": elsewhere("a network or an address, or a list of them", "nobody", |listener| some_of(&listener.deny))
        is shape::one_or_many(shape::address::network(), MAX_NETWORKS),
        "Clients in these networks may not connect; it wins over `allow`.";
    "proxy_protocol": section(proxy_protocol, PROXY_PROTOCOL), "The header that names a client; see [doors.md](doors.md).";
    "client_login_timeout": duration_or_off(client_login_timeout, SECOND..=DAY),
        "Deadline of the first exchange between a client and its backend.";
    "idle_timeout": duration_or_off(idle_timeout, SECOND..=MONTH), "A session without any traffic is closed after this long.";
    "half_close_timeout": duration(half_close_timeout, SECOND..=MONTH), "The same for a session that one side has finished already.";
    "keepalive": section(keepalive, KEEPALIVE), "TCP keepalive on both legs.";
    "tcp_user_timeout": duration_or_off(tcp_user_timeout, 100 * MILLISECOND..=DAY),
        "`TCP_USER_TIMEOUT` on both legs; it also closes the session of a client that only reads slowly.";
    "relay": word(relay), "How bytes move: through memory, inside the kernel (splice), or whichever is better.";
}

table! {
    KEEPALIVE: Keepalive;
    "idle": custom(
        |_| durations(&(SECOND..=MAX_KEEPALIVE)), "",
        |field, keepalive| set(&mut keepalive.idle, seconds(field)),
        |keepalive| Some(duration(keepalive.idle))
    ) is shape::number::seconds(&(SECOND..=MAX_KEEPALIVE)), "Keepalive probes begin when a peer was silent for this long.";
    "interval": custom(
        |_| durations(&(SECOND..=MAX_KEEPALIVE)), "",
        |field, keepalive| set(&mut keepalive.interval, seconds(field)),
        |keepalive| Some(duration(keepalive.interval))
    ) is shape::number::seconds(&(SECOND..=MAX_KEEPALIVE)), "The time between two probes.";
    "count": count(count, 1..=MAX_KEEPALIVE_COUNT), "The session ends after this many unanswered probes.";
}

fn seconds(field: Field<'_>) -> Option<Duration> {
    let duration = field.duration(SECOND..=MAX_KEEPALIVE)?;
    if duration.subsec_nanos() != 0 {
        field.wrong::<()>("a whole number of seconds", Some("the kernel counts these in seconds".into()));
    }
    Some(duration)
}

/// Whether some of these are TCP addresses.
pub(super) fn by_tcp(listen: &[Endpoint]) -> bool {
    listen.iter().any(|endpoint| endpoint.tcp().is_some())
}
