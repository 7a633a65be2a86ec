//! Where clients connect.

use std::{net::SocketAddr, time::Duration};

use super::{
    DAY, MILLISECOND, SECOND,
    claims::{Claims, Names},
    doors,
};
use crate::{
    config::{
        Balance, Fallback, ListenerConfig, ListenerRoute, ProxyProtocolConfig, ProxySend, Refusal, RelayMode,
        raw::{
            node::{Origin, shorten},
            reader::{Field, Keys, Section},
        },
    },
    net::{
        endpoint::{Endpoint, unix_path},
        socket::Keepalive,
    },
};

/// The name of the listener that `listen: ADDR` is short for.
const SHORT_NAME: &str = "rw";

const LISTENER_KEYS: Keys = Keys {
    known: &[
        "name",
        "listen",
        "freebind",
        "route",
        "balance",
        "fallback",
        "refusal",
        "max_connections",
        "max_connections_per_ip",
        "allow",
        "deny",
        "proxy_protocol",
        "client_login_timeout",
        "idle_timeout",
        "half_close_timeout",
        "keepalive",
        "tcp_user_timeout",
        "relay",
    ],
    planned: &[],
};
const KEEPALIVE_KEYS: Keys = Keys { known: &["idle", "interval", "count"], planned: &[] };

const MAX_LISTENERS: usize = 64;
const MAX_ADDRESSES: usize = 64;
const MAX_CONNECTIONS: u32 = 1_000_000;
const MONTH: Duration = Duration::from_hours(30 * 24);
/// `MAX_TCP_KEEPIDLE`, `MAX_TCP_KEEPINTVL` and `MAX_TCP_KEEPCNT` of Linux (include/net/tcp.h).
const MAX_KEEPALIVE: Duration = Duration::from_secs(32_767);
const MAX_KEEPALIVE_COUNT: u32 = 127;

const WANTED: &str = "an address such as 127.0.0.1:5432, [::1]:5432 or unix:/run/mainstay/db.sock";

/// The listeners of a pool, with the places of their addresses.
pub(super) fn listeners<'a>(pool: Section<'a>, claims: &mut Claims) -> Vec<(ListenerConfig, Vec<Field<'a>>)> {
    match (pool.own("listen"), pool.own("listeners")) {
        (Some(_), Some(both)) => {
            both.error(
                "`listen` and `listeners` cannot stand together",
                "`listen: ADDRESS` is short for one listener; keep one of them",
            );
            Vec::new()
        }
        (Some(short), None) => {
            let (listen, fields) = addresses(short, claims);
            vec![(ListenerConfig { listen, ..plain_listener() }, fields)]
        }
        (None, Some(long)) => {
            let mut names = Names::default();
            let fields = long.list("a list of listeners", MAX_LISTENERS).unwrap_or_default();
            fields.into_iter().filter_map(|field| listener(field, &mut names, claims)).collect()
        }
        (None, None) => {
            pool.require("listen", "127.0.0.1:5432");
            Vec::new()
        }
    }
}

fn plain_listener() -> ListenerConfig {
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

fn listener<'a>(field: Field<'a>, names: &mut Names, claims: &mut Claims) -> Option<(ListenerConfig, Vec<Field<'a>>)> {
    let section = field.map(LISTENER_KEYS)?;
    let plain = plain_listener();
    let name = section.require("name", SHORT_NAME).and_then(|field| names.read(field)).unwrap_or(plain.name);
    let (listen, fields) = section.require("listen", "127.0.0.1:5432").map(|field| addresses(field, claims)).unwrap_or_default();
    let route = section.word("route", plain.route);
    warn_of_idle_keys(section, route);
    let limit = |key| section.get(key).and_then(|field| field.count(1..=MAX_CONNECTIONS));
    let (max_connections, max_per_ip) = (limit("max_connections"), limit("max_connections_per_ip"));
    if let (Some(all), Some(of_one), Some(field)) = (max_connections, max_per_ip, section.get("max_connections_per_ip"))
        && of_one > all
    {
        field.warning("`max_connections_per_ip` has no effect", format!("`max_connections` is lower already ({all})"));
    }
    let (allow, deny) = doors::access(section);
    warn_of_keys_for_addresses(section, &listen);
    let off_or = |key, range| section.get(key).and_then(|field| field.duration_or_off(range));
    let login_timeout = section.get("client_login_timeout").map(|field| field.duration_or_off(SECOND..=DAY));
    let config = ListenerConfig {
        name,
        listen,
        freebind: section.get("freebind").and_then(Field::flag).unwrap_or(plain.freebind),
        route,
        balance: section.word("balance", plain.balance),
        fallback: section.word("fallback", plain.fallback),
        refusal: section.word("refusal", plain.refusal),
        max_connections: max_connections.and_then(|count| usize::try_from(count).ok()),
        max_connections_per_ip: max_per_ip.and_then(|count| usize::try_from(count).ok()),
        allow,
        deny,
        proxy_protocol: section.get("proxy_protocol").map_or(plain.proxy_protocol, doors::proxy_protocol),
        client_login_timeout: login_timeout.unwrap_or(plain.client_login_timeout),
        idle_timeout: off_or("idle_timeout", SECOND..=MONTH),
        half_close_timeout: section.duration("half_close_timeout", plain.half_close_timeout, SECOND..=MONTH),
        keepalive: section.get("keepalive").and_then(|field| field.map(KEEPALIVE_KEYS)).map_or(plain.keepalive, keepalive),
        relay: section.word("relay", plain.relay),
        tcp_user_timeout: off_or("tcp_user_timeout", 100 * MILLISECOND..=DAY),
    };
    Some((config, fields))
}

fn keepalive(section: Section<'_>) -> Keepalive {
    let plain = Keepalive::default();
    let seconds = |key: &str, default| {
        let Some(field) = section.get(key) else { return default };
        let Some(duration) = field.duration(SECOND..=MAX_KEEPALIVE) else { return default };
        if duration.subsec_nanos() != 0 {
            field.wrong::<()>("a whole number of seconds", Some("the kernel counts these in seconds".into()));
        }
        duration
    };
    Keepalive {
        idle: seconds("idle", plain.idle),
        interval: seconds("interval", plain.interval),
        count: section.count("count", plain.count, 1..=MAX_KEEPALIVE_COUNT),
    }
}

/// A key that the route has no use for is harmless, and not what was meant.
fn warn_of_idle_keys(section: Section<'_>, route: ListenerRoute) {
    if let Some(field) = section.get("balance").filter(|_| route == ListenerRoute::Primary) {
        field.warning(
            "`balance` has no effect here: this listener leads to one backend, the primary",
            "write `route: replica` or `route: any`, or remove the key",
        );
    }
    let idle = match route {
        ListenerRoute::Replica => return,
        ListenerRoute::Primary => "`fallback` has no effect here: this listener leads to the primary",
        ListenerRoute::Any => "`fallback` has no effect here: the primary is among those that `route: any` leads to",
    };
    if let Some(field) = section.get("fallback") {
        field.warning(idle, "write `route: replica`, or remove the key");
    }
}

/// What is asked of addresses is asked in vain of clients that have none.
fn warn_of_keys_for_addresses(section: Section<'_>, listen: &[Endpoint]) {
    if listen.is_empty() || listen.iter().any(|endpoint| endpoint.tcp().is_some()) {
        return;
    }
    for key in ["allow", "deny", "max_connections_per_ip"] {
        if let Some(field) = section.get(key) {
            field.warning(
                format!("`{key}` has no effect here: the clients of a unix socket have no address"),
                "who may connect is said by the permissions of its directory",
            );
        }
    }
    if let Some(field) = section.get("freebind") {
        field.warning("`freebind` has no effect here: a unix socket is bound to a path", "remove the key");
    }
}

fn addresses<'a>(field: Field<'a>, claims: &mut Claims) -> (Vec<Endpoint>, Vec<Field<'a>>) {
    let fields = field.one_or_many(&format!("{WANTED}, or a list of them"), MAX_ADDRESSES).unwrap_or_default();
    let mut found = (Vec::new(), Vec::new());
    for field in fields {
        if let Some(endpoint) = endpoint(field, WANTED) {
            claims.listen(field, &endpoint);
            found.0.push(endpoint);
            found.1.push(field);
        }
    }
    found
}

/// Where to listen, in `field`.
pub(super) fn endpoint(field: Field<'_>, wanted: &str) -> Option<Endpoint> {
    let scalar = field.scalar(wanted)?;
    let text = scalar.text.as_str();
    match unix_path(text) {
        Some(Ok(path)) => return Some(Endpoint::Unix(path)),
        Some(Err(right)) => return field.wrong(&right, None),
        None => {}
    }
    let port = text.rsplit(':').next().unwrap_or_default();
    match text.parse::<SocketAddr>() {
        Ok(address) if port == address.port().to_string() => match impossible(address) {
            Some((what, advice)) => {
                field.error(what, advice);
                None
            }
            None => Some(address.into()),
        },
        Ok(_) => field.wrong(wanted, Some("a port with a leading zero may mean an octal number; remove the zero".into())),
        Err(_) if scalar.origin == Origin::Literal => field.wrong(wanted, advice(text)),
        Err(_) => field.wrong(wanted, None),
    }
}

/// An address that bind(2) would refuse with EINVAL, whatever the machine: what is wrong with it, and what would be right.
fn impossible(address: SocketAddr) -> Option<(&'static str, String)> {
    let SocketAddr::V6(v6) = address else { return None };
    if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 {
        let advice = format!("{INTERFACE_NUMBER}: [{}%2]:{}", v6.ip(), v6.port());
        return Some(("a link-local IPv6 address means nothing without its interface", advice));
    }
    // An IPv6 socket of mainstay takes IPv6 only, so that a port may have a listener of each family.
    let advice = v6.ip().to_ipv4_mapped().map(|v4| format!("write {v4}:{}", v6.port()))?;
    Some(("this is an IPv4 address written as an IPv6 address", advice))
}

const INTERFACE_NUMBER: &str = "write the number of the interface, which `ip link` shows, behind the address";

/// What was probably meant.
fn advice(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if is_port && port.parse::<u16>().is_err() {
        return Some("a port is a number from 0 to 65535".into());
    }
    if host.starts_with('[') && host.contains('%') {
        return Some(format!("{INTERFACE_NUMBER}, not its name: [fe80::1%2]:{port}"));
    }
    if text.parse::<std::net::Ipv6Addr>().is_ok() || host.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some("write an IPv6 address in brackets and a port behind it: [::1]:5432".into());
    }
    if is_port && ["", "*"].contains(&host) {
        return Some(format!("write 127.0.0.1:{port} for this machine only, or 0.0.0.0:{port} for every address it has"));
    }
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Some("the port is missing".into());
    }
    if is_port && host.eq_ignore_ascii_case("localhost") {
        return Some(format!("listen on an IP address, not on a name: 127.0.0.1:{port}"));
    }
    is_port.then(|| format!("\"{}\" is not an IP address; to listen on all, write 0.0.0.0:{port}", shorten(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_what_was_meant() {
        for (text, part) in [
            ("5432", "127.0.0.1:5432"),
            (":5432", "0.0.0.0:5432"),
            ("*:5432", "0.0.0.0:5432"),
            ("::1:5432", "brackets"),
            ("127.0.0.1", "port is missing"),
            ("localhost:5432", "127.0.0.1:5432"),
            ("db-a:5432", "not an IP address"),
            ("127.0.0.1:65536", "65535"),
            ("[fe80::1%eth0]:5432", "[fe80::1%2]:5432"),
        ] {
            assert!(advice(text).unwrap().contains(part), "{text}: {:?}", advice(text));
        }
    }

    #[test]
    fn what_no_machine_can_listen_on_is_known_before() {
        for (text, part) in [("[fe80::1]:5432", "[fe80::1%2]:5432"), ("[::ffff:127.0.0.1]:5432", "write 127.0.0.1:5432")] {
            assert!(impossible(text.parse().unwrap()).unwrap().1.contains(part), "{text}");
        }
        for text in ["[fe80::1%2]:5432", "[::1]:5432", "[::]:5432", "[fd00::1]:5432", "127.0.0.1:5432", "0.0.0.0:5432"] {
            assert!(impossible(text.parse().unwrap()).is_none(), "{text}");
        }
    }
}
