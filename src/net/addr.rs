//! Addresses of backends, as separate types.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::Path,
    str::FromStr,
    sync::Arc,
};

use super::endpoint::{Endpoint, unix_path};

/// Address of a backend as configured: a host name or an IP address and a port, or a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BackendAddr(Inner);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Inner {
    Host { host: String, port: u16 },
    Unix(Arc<Path>),
}

impl BackendAddr {
    /// Host name or IP address, without brackets; `localhost` for a unix socket.
    pub fn host(&self) -> &str {
        match &self.0 {
            Inner::Host { host, .. } => host,
            Inner::Unix(_) => "localhost",
        }
    }

    /// Port, never 0; a unix socket has none.
    pub const fn port(&self) -> Option<u16> {
        match &self.0 {
            Inner::Host { port, .. } => Some(*port),
            Inner::Unix(_) => None,
        }
    }

    /// Path of a unix socket.
    pub const fn unix(&self) -> Option<&Arc<Path>> {
        match &self.0 {
            Inner::Unix(path) => Some(path),
            Inner::Host { .. } => None,
        }
    }

    /// The IP address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match &self.0 {
            Inner::Host { host, .. } => host.parse().ok(),
            Inner::Unix(_) => None,
        }
    }

    /// Where it is, if no lookup is needed.
    pub fn endpoint(&self) -> Option<Endpoint> {
        match &self.0 {
            Inner::Host { port, .. } => self.ip().map(|ip| SocketAddr::new(ip, *port).into()),
            Inner::Unix(path) => Some(Endpoint::Unix(Arc::clone(path))),
        }
    }
}

impl fmt::Display for BackendAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Host { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Inner::Host { host, port } => write!(f, "{host}:{port}"),
            Inner::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for BackendAddr {
    type Err = String;

    /// Parses `host:port`, `[v6]:port` or `unix:/path`; an error says what would be right.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = unix_path(text) {
            return path.map(|path| Self(Inner::Unix(path))).map_err(|right| format!("write {right}"));
        }
        let fail = |what: &str| Err(format!("{what}; write host:port or [ipv6]:port"));
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
                        "a link-local IPv6 address needs its interface, which cannot be given here: give another address, or a name",
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
            Ok(port) => Ok(Self(Inner::Host { host: host.to_owned(), port })),
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
            assert_eq!((addr.host(), addr.port(), addr.to_string().as_str()), (host, Some(port), text));
        }
    }

    #[test]
    fn a_unix_socket_is_where_it_is() {
        let addr: BackendAddr = "unix:/run/pg-a/.s.PGSQL.5432".parse().unwrap();
        assert_eq!((addr.host(), addr.port(), addr.ip()), ("localhost", None, None));
        assert_eq!(addr.endpoint().unwrap().to_string(), addr.to_string());
        assert!("unix:run/db.sock".parse::<BackendAddr>().unwrap_err().contains("absolute"));
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
            let error = text.parse::<BackendAddr>().unwrap_err();
            assert!(error.contains("interface") && error.contains("another address, or a name"), "{text}: {error}");
        }
        for text in ["[fd00::1]:5432", "[2001:db8::1]:5432", "[fec0::1]:5432"] {
            assert_eq!(text.parse::<BackendAddr>().unwrap().to_string(), text);
        }
    }
}
