//! Socket options: everything mainstay sets or queries on a TCP socket, in one place.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, fcntl_getfd},
    net::{RecvFlags, getpeername, getsockname, recv, sockopt},
};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// Whether the peer has closed, reset, or finished sending, even while its bytes are still unread.
pub fn is_gone(socket: impl AsFd) -> bool {
    let mut byte = [0_u8; 1];
    match recv(&socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => return true,
        Ok(_) => {}
        Err(Errno::AGAIN | Errno::INTR) => return false,
        Err(_) => return true,
    }
    look(&socket, PollFlags::RDHUP).intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
}

/// Whether the peer has finished, and everything it sent was read.
pub fn has_finished(socket: &impl AsFd) -> bool {
    matches!(recv(socket, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT), Ok((_, 0)))
}

/// Whether a TCP connection is connected to itself. connect(2) to a local port without a listener may get that very port as its
/// source, and then connects to itself. While it exists, no server can listen there.
pub fn is_its_own_peer(socket: impl AsFd, to: SocketAddr) -> bool {
    let own = getsockname(&socket).ok().and_then(|own| SocketAddr::try_from(own).ok());
    let Some(own) = own.filter(|own| own.port() == to.port()) else { return false };
    // Not `to`: 0.0.0.0 leads to 127.0.0.1.
    getpeername(&socket).ok().flatten().and_then(|peer| SocketAddr::try_from(peer).ok()) == Some(own)
}

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

/// Options of one leg of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegOptions {
    /// Keepalive; `None` leaves it off until it is set later.
    pub keepalive: Option<Keepalive>,
    /// `TCP_USER_TIMEOUT`, if it is wanted.
    pub user_timeout: Option<Duration>,
}

impl Default for LegOptions {
    fn default() -> Self {
        Self { keepalive: Some(Keepalive::default()), user_timeout: None }
    }
}

/// Length of the kernel's accept queue; the kernel caps it at `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 4096;

/// Whether a listener may be bound to an address that the machine does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freebind {
    /// It is an error.
    #[default]
    Off,
    /// `IP_FREEBIND` (ip(7)).
    On,
}

/// Sets `TCP_NODELAY` and, if wanted, keepalive and `TCP_USER_TIMEOUT`. Urgent data stays in its place (RFC 6093): otherwise the
/// kernel would remove it from the stream.
///
/// # Errors
/// When the kernel refuses an option.
pub fn set_leg_options(socket: &SockRef<'_>, options: &LegOptions) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_out_of_band_inline(true)?;
    if let Some(keepalive) = &options.keepalive {
        set_keepalive(socket, keepalive)?;
    }
    if let Some(timeout) = options.user_timeout {
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    Ok(())
}

/// Sets keepalive.
///
/// # Errors
/// When the kernel refuses an option.
pub fn set_keepalive(socket: &SockRef<'_>, keepalive: &Keepalive) -> io::Result<()> {
    let Keepalive { idle, interval, count } = *keepalive;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(count))
}

/// As [`set_leg_options`], on a socket that had others before.
///
/// # Errors
/// When the kernel refuses an option.
pub fn reset_leg_options(socket: &SockRef<'_>, options: &LegOptions) -> io::Result<()> {
    socket.set_tcp_user_timeout(None)?;
    set_leg_options(socket, options)
}

/// Binds and listens. On Linux, accepted sockets inherit the leg options, which saves system calls on each connection.
///
/// # Errors
/// When the address is taken, not ours, or not permitted.
pub fn listen(address: SocketAddr, options: &LegOptions, freebind: Freebind) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    match (freebind, address) {
        (Freebind::Off, _) => {}
        (Freebind::On, SocketAddr::V4(_)) => sockopt::set_ip_freebind(&socket, true)?,
        (Freebind::On, SocketAddr::V6(_)) => sockopt::set_ipv6_freebind(&socket, true)?,
    }
    set_leg_options(&SockRef::from(&socket), options)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The first descriptor that a service manager passes (`SD_LISTEN_FDS_START`).
const FIRST_PASSED: RawFd = 3;

/// Takes the descriptors that a service manager has passed to this process. Only the first call finds any. It must be made before the
/// process opens anything itself, and only when the manager says that there are so many.
///
/// # Errors
/// One of them is not open. None is taken then.
#[allow(unsafe_code, reason = "the number of a descriptor is all that the manager tells")]
pub fn take_passed(count: u16) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    let numbers = FIRST_PASSED..FIRST_PASSED + RawFd::from(count);
    for number in numbers.clone() {
        // SAFETY: it is only asked for its flags, and not used after that; a number that stands for nothing gives an error.
        fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) })?;
    }
    // SAFETY: the manager has passed them to this process, they are open, and nothing else here has taken them.
    Ok(numbers.map(|number| unsafe { OwnedFd::from_raw_fd(number) }).collect())
}

/// Bytes in the send queue that the peer's kernel has not acknowledged yet (`SIOCOUTQ`, tcp(7)).
///
/// # Errors
/// When the descriptor is no TCP socket.
#[allow(unsafe_code, reason = "rustix knows the request's form but not its number")]
pub fn unsent_bytes(socket: &impl AsFd) -> io::Result<usize> {
    const SIOCOUTQ: rustix::ioctl::Opcode = 0x5411;
    // SAFETY: SIOCOUTQ writes one C int through its argument, which is what `Getter` passes.
    let bytes: std::ffi::c_int =
        unsafe { rustix::ioctl::ioctl(socket, rustix::ioctl::Getter::<SIOCOUTQ, std::ffi::c_int>::new())? };
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Whether the socket has an error. It stays there for the next read or write.
pub fn has_failed(socket: &impl AsFd) -> bool {
    look(socket, PollFlags::empty()).contains(PollFlags::ERR)
}

/// Whether a write would be accepted, or fail at once.
pub fn is_writable(socket: &impl AsFd) -> bool {
    look(socket, PollFlags::OUT).intersects(PollFlags::OUT | PollFlags::ERR | PollFlags::HUP)
}

fn look(socket: &impl AsFd, interest: PollFlags) -> PollFlags {
    let mut polled = [PollFd::new(socket, interest)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut polled, Some(&now)).is_ok() { polled[0].revents() } else { PollFlags::empty() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(address: SocketAddr) -> Socket {
        Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap()
    }

    /// A port that nobody else gets meanwhile: it is bound, and nobody listens there.
    fn bound(address: &str) -> (Socket, SocketAddr) {
        let address: SocketAddr = address.parse().unwrap();
        let socket = socket(address);
        socket.bind(&address.into()).unwrap();
        let bound = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, bound)
    }

    #[test]
    fn a_socket_that_met_itself_is_told_from_one_that_met_another() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (own, bound_to) = bound(address);
            own.connect(&bound_to.into()).unwrap();
            assert!(is_its_own_peer(&own, bound_to), "{address}");
            let listener = std::net::TcpListener::bind(address).unwrap();
            let to = listener.local_addr().unwrap();
            let other = socket(to);
            other.connect(&to.into()).unwrap();
            assert!(!is_its_own_peer(&other, to), "{address}");
        }
        // "Any address" leads to loopback.
        let (own, bound_to) = bound("127.0.0.1:0");
        let any = SocketAddr::from(([0, 0, 0, 0], bound_to.port()));
        own.connect(&any.into()).unwrap();
        assert!(is_its_own_peer(&own, any));
        // The same port at two addresses is two sockets.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let other = socket(to);
        other.bind(&SocketAddr::from(([127, 0, 0, 2], to.port())).into()).unwrap();
        other.connect(&to.into()).unwrap();
        assert!(!is_its_own_peer(&other, to));
    }
}
