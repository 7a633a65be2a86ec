//! Addresses, as types that cannot be confused.

use std::{fmt, net::IpAddr, str::FromStr};

/// Address of a backend as configured: a host name or an IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendAddr {
    host: String,
    port: u16,
}

impl BackendAddr {
    /// Host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Port, never 0.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The address as a number, when it is one and needs no resolver.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for BackendAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// What is wrong with an address; says what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddrError(String);

impl fmt::Display for AddrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AddrError {}

impl FromStr for BackendAddr {
    type Err = AddrError;

    /// Parses `host:port` or `[v6]:port`.
    fn from_str(text: &str) -> Result<Self, AddrError> {
        let fail = |what: &str| Err(AddrError(format!("{what}; write host:port or [ipv6]:port")));
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let Some((host, port)) = rest.split_once("]:") else {
                return fail("an IPv6 address needs \"]:\" and a port behind it");
            };
            if host.contains('%') {
                return fail("an IPv6 address with an interface behind % cannot be used here: give another address, or a name");
            }
            match host.parse::<std::net::Ipv6Addr>() {
                Err(_) => return fail("what stands in brackets is not an IPv6 address"),
                // connect(2) fails with EINVAL (ipv6(7), `sin6_scope_id`).
                Ok(ip) if ip.is_unicast_link_local() => {
                    return fail(
                        "a link-local IPv6 address means nothing without its interface, which cannot be given here: give another address, or a name",
                    );
                }
                Ok(_) => (host, port),
            }
        } else {
            let Some((host, port)) = text.rsplit_once(':') else { return fail("the port is missing") };
            if host.contains(':') {
                return fail("an IPv6 address must stand in brackets");
            }
            (host, port)
        };
        if host.is_empty() {
            return fail("the host is missing");
        }
        if host.len() > 253 || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b)) {
            return fail("the host is not a name or an IP address");
        }
        match port.parse::<u16>() {
            Ok(0) => fail("port 0 cannot be connected to"),
            Ok(port) if !port.to_string().eq(text.rsplit(':').next().unwrap_or_default()) => {
                fail("the port must be a plain decimal number")
            }
            Ok(port) => Ok(Self { host: host.to_owned(), port }),
            Err(_) => fail("the port is not a number from 1 to 65535"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_users_write() {
        for (text, host, port) in [("db-a:5432", "db-a", 5432), ("127.0.0.1:1", "127.0.0.1", 1), ("[::1]:65535", "::1", 65535)] {
            let addr: BackendAddr = text.parse().unwrap();
            assert_eq!((addr.host(), addr.port(), addr.to_string().as_str()), (host, port, text));
        }
    }

    #[test]
    fn refuses_what_cannot_work() {
        for text in ["db", "db:", ":1", "db:0", "db:65536", "db:x", "::1:5", "[::1]5", "[db]:5", "a b:5", "db:022", "db:+5"] {
            assert!(text.parse::<BackendAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_of_one_link_is_refused_and_says_why() {
        for text in ["[fe80::1%eth0]:5432", "[fe80::1%2]:5432", "[fe80::1]:5432", "[febf::1]:5432"] {
            let error = text.parse::<BackendAddr>().unwrap_err().to_string();
            assert!(error.contains("interface") && error.contains("another address, or a name"), "{text}: {error}");
        }
        for text in ["[fd00::1]:5432", "[2001:db8::1]:5432", "[fec0::1]:5432"] {
            assert_eq!(text.parse::<BackendAddr>().unwrap().to_string(), text);
        }
    }
}
