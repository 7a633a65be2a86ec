//! Where the backend sees a check come from.

use std::net::{IpAddr, SocketAddr};

use crate::net::{addr::BackendAddr, endpoint::Endpoint};

/// Where the backend sees the check come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SourceAddr {
    /// From this address of this machine.
    Address(IpAddr),
    /// From its own machine, by its socket.
    Unix,
    /// From an address that is not known.
    Unknown,
}

impl SourceAddr {
    /// For what `pg_hba.conf` or an account is to say. Sends nothing.
    pub(super) fn towards(address: &BackendAddr) -> Self {
        match address.endpoint() {
            Some(Endpoint::Unix(_)) => Self::Unix,
            Some(Endpoint::Tcp(address)) => own_address(address).map_or(Self::Unknown, Self::Address),
            // A name would be looked up again, and might hang: only an address tells.
            None => Self::Unknown,
        }
    }
}

fn own_address(towards: SocketAddr) -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind(if towards.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }).ok()?;
    socket.connect(towards).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
