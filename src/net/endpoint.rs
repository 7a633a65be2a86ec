//! Where a connection goes, and its peer.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

/// `sun_path` of unix(7), without its closing NUL.
pub const MAX_UNIX_PATH_BYTES: usize = 107;

/// A resolved address to connect to or to listen on: an IP address and a port, or a unix socket.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The absolute path of a socket.
    Unix(Arc<Path>),
}

impl Endpoint {
    /// The IP address and port, if it has them.
    pub const fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Only processes of this machine reach it.
    pub fn is_local(&self) -> bool {
        self.tcp().is_none_or(|address| address.ip().is_loopback())
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

// As written: log lines show lists of them.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The absolute path in `unix:/path`; `None` when `text` means something else.
///
/// # Errors
/// What would be right.
pub fn unix_path(text: &str) -> Option<Result<Arc<Path>, String>> {
    let path = text.strip_prefix("unix:")?;
    let is_path = path.starts_with('/') && path.len() > 1 && !path.ends_with('/') && !path.contains('\0');
    Some(if is_path && path.len() <= MAX_UNIX_PATH_BYTES {
        Ok(Path::new(path).into())
    } else {
        Err(format!("unix: and the absolute path of a socket, of at most {MAX_UNIX_PATH_BYTES} bytes"))
    })
}

/// The peer of a client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// It has an address.
    Tcp(SocketAddr),
    /// A process of this machine, connected by a unix socket, without an address.
    Unix,
}

impl Peer {
    /// Its IP address, if it has one.
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()),
            Self::Unix => None,
        }
    }

    /// The same for an IPv4 client however it came.
    #[must_use]
    pub const fn canonical(self) -> Self {
        match self {
            Self::Tcp(address) => Self::Tcp(SocketAddr::new(address.ip().to_canonical(), address.port())),
            Self::Unix => Self::Unix,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_absolute_and_short_enough_for_the_kernel() {
        let long = |bytes: usize| format!("unix:/{}", "a".repeat(bytes - 1));
        assert_eq!(unix_path("unix:/run/db.sock"), Some(Ok(Path::new("/run/db.sock").into())));
        assert_eq!(unix_path("127.0.0.1:5432"), None);
        assert!(unix_path(&long(MAX_UNIX_PATH_BYTES)).unwrap().is_ok());
        for bad in ["unix:", "unix:run/db.sock", "unix:/", "unix:/run/", "unix:/a\0b", &long(MAX_UNIX_PATH_BYTES + 1)] {
            assert!(unix_path(bad).unwrap().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_endpoint_is_shown_as_it_is_written() {
        let (tcp, unix) = (Endpoint::from(SocketAddr::from(([10, 0, 0, 1], 5))), Endpoint::Unix(Path::new("/run/db").into()));
        assert_eq!(format!("{:?}", [&tcp, &unix]), "[10.0.0.1:5, unix:/run/db]");
        assert!(!tcp.is_local() && unix.is_local());
    }
}
