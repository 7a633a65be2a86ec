//! A port on the loopback interface that stays ours while nobody listens on it.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A bound socket that never listens. A dead node's port must answer a connect with RST and must not be handed to somebody
/// else: without this, the kernel may give it to an outgoing connection, even to the very probe that knocks on it (which then
/// talks to itself). Linux lets a second socket bind and listen beside it, because both set `SO_REUSEADDR`.
#[derive(Debug)]
pub struct ReservedPort {
    _socket: Socket,
    address: SocketAddr,
}

impl ReservedPort {
    /// Reserves a free port on 127.0.0.1.
    ///
    /// # Errors
    /// When the kernel has no port or socket left.
    pub fn new() -> io::Result<Self> {
        let socket = bound(([127, 0, 0, 1], 0).into())?;
        let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { _socket: socket, address })
    }

    /// The reserved address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens on it without blocking, until the listener is dropped. What it accepts sends without delay.
    ///
    /// # Errors
    /// When somebody listens there already.
    pub fn listen(&self) -> io::Result<std::net::TcpListener> {
        let socket = bound(self.address)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn refuses_while_nobody_listens_and_can_be_listened_on_again_and_again() {
        let port = ReservedPort::new().unwrap();
        for _ in 0..3 {
            assert_eq!(TcpStream::connect(port.address()).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            let listener = port.listen().unwrap();
            assert!(TcpStream::connect(port.address()).is_ok());
            assert!(port.listen().is_err(), "two listeners on one port");
            drop(listener);
        }
    }
}
