//! Socket options: everything mainstay asks of the kernel for a TCP socket, in one place.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// TCP keepalive of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first keepalive packet.
    pub idle: Duration,
    /// Between two packets.
    pub interval: Duration,
    /// Unanswered packets before the connection is dead.
    pub count: u32,
}

impl Default for Keepalive {
    fn default() -> Self {
        Self { idle: Duration::from_secs(30), interval: Duration::from_secs(10), count: 3 }
    }
}

/// Options of both legs of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LegOptions {
    /// Keepalive.
    pub keepalive: Keepalive,
    /// `TCP_USER_TIMEOUT`, if it is wanted.
    pub user_timeout: Option<Duration>,
}

/// Length of the kernel's queue of connections that were not accepted yet; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Sets `TCP_NODELAY`, keepalive and, if wanted, `TCP_USER_TIMEOUT`.
///
/// # Errors
/// When the kernel refuses an option.
pub fn set_leg_options(socket: &SockRef<'_>, options: &LegOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(options.keepalive.idle)
        .with_interval(options.keepalive.interval)
        .with_retries(options.keepalive.count);
    socket.set_tcp_keepalive(&keepalive)?;
    if let Some(timeout) = options.user_timeout {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(())
}

/// Binds and listens. Accepted sockets inherit the leg options on Linux, which saves their system calls on each connection.
///
/// # Errors
/// When the address is taken, not ours, or not permitted.
pub fn listen(address: SocketAddr, options: &LegOptions) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    set_leg_options(&SockRef::from(&socket), options)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
