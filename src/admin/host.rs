//! The host names that the admin endpoint accepts.
//!
//! A web page of another site can reach a listener through a visitor's browser: it lets a name of its own resolve to the listener's
//! address (DNS rebinding). Its requests carry that name.

use std::{net::IpAddr, sync::Arc};

use hyper::{
    Uri,
    header::{self, HeaderMap},
};

/// Whose browsers can reach a listener, the fewest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// Nobody's: no browser opens a unix socket, so the host is never checked there.
    File,
    /// Those on this machine.
    Machine,
    /// Those on other machines, too.
    Others,
}

impl Reach {
    /// Of a listener at this address.
    pub(super) const fn of(address: IpAddr) -> Self {
        if address.is_loopback() { Self::Machine } else { Self::Others }
    }
}

/// The host that a request names, if it is not an address, localhost, or one of `hosts`.
pub(super) fn foreign(uri: &Uri, headers: &HeaderMap, hosts: &[Arc<str>]) -> Option<String> {
    let named = uri.authority().map(|authority| authority.as_str().to_owned());
    let sent = headers.get_all(header::HOST).iter().map(|value| value.to_str().map(str::to_owned).unwrap_or_default());
    let is_known = |host: &str| is_own(host) || hosts.iter().any(|known| known.eq_ignore_ascii_case(name(host)));
    named.into_iter().chain(sent).find(|host| !is_known(host))
}

/// What is wrong with it, and what to write.
pub(super) fn refusal(foreign: &str) -> String {
    let name = name(foreign);
    let is_printable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if name.is_empty() || name.len() > 253 || !name.chars().all(is_printable) {
        return "the Host header names no host that could be this one; use an IP address or localhost".to_owned();
    }
    format!(
        "the Host header names {name}; use an IP address or localhost, or let the configuration say `admin: {{hosts: [{name}]}}`"
    )
}

/// Without its port and the dot of the root.
fn name(host: &str) -> &str {
    let name = host.split(':').next().unwrap_or_default();
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether a Host header names this machine and no web site.
pub(crate) fn is_own(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_hosts_are_numbers_and_localhost() {
        for host in ["127.0.0.1:8432", "localhost", "LOCALHOST:1", "[::1]:8432", "10.1.2.3", "[::1]"] {
            assert!(is_own(host), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "[evil]:1", ":80"] {
            assert!(!is_own(host), "{host}");
        }
    }

    #[test]
    fn a_foreign_host_is_what_is_neither_own_nor_named() {
        let hosts = ["mainstay.monitoring.svc".into()];
        let told = |host: &str| {
            let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
            foreign(&Uri::from_static("/metrics"), &headers, &hosts)
        };
        for host in ["10.0.0.1:8432", "localhost", "mainstay.monitoring.svc", "MAINSTAY.monitoring.svc.:8432"] {
            assert_eq!(told(host), None, "{host}");
        }
        for host in ["evil.example", "mainstay.monitoring.svc.evil.example", "xmainstay.monitoring.svc", "mainstay", ""] {
            assert_eq!(told(host).as_deref(), Some(host));
        }
        assert!(refusal("Evil.example:80").contains("admin: {hosts: [Evil.example]}"));
        for host in ["<b>", "", "a b", "]}", &"a".repeat(300)] {
            assert!(!refusal(host).contains("hosts"), "{host}");
        }
    }
}
