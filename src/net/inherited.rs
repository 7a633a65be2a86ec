//! Listening sockets that another process has bound: systemd, or the mainstay before this one. Its clients meet no closed port.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use rustix::net::{AddressFamily, SocketType, sockopt};

use super::{
    endpoint::Endpoint,
    listener::{BoundListener, FileOwner},
};

/// The sockets that nobody has taken yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<(Arc<str>, Endpoint, BoundListener)>);

impl Inherited {
    /// Adds a socket, whose file is the other process's until [`BoundListener::leave_file`]; `name` says what it is for: `admin`, or pool and listener, as `orders.rw`. Returns its address. `file` says who
    /// then removes the file of a unix socket.
    ///
    /// # Errors
    /// When it is no stream socket that listens, or of another kind than TCP and unix. The message has no name in it.
    pub fn add(&mut self, name: &str, socket: OwnedFd, file: FileOwner) -> io::Result<Endpoint> {
        let socket = adopt(socket, file)?;
        let endpoint = socket.endpoint()?;
        self.0.push((name.into(), endpoint.clone(), socket));
        Ok(endpoint)
    }

    /// The socket of this address. The one of a port that the kernel chose is known by its name.
    pub fn take(&mut self, wanted: &Endpoint, name: &str) -> Option<BoundListener> {
        let is_it = |(own, endpoint, _): &(Arc<str>, Endpoint, BoundListener)| match (wanted.tcp(), endpoint.tcp()) {
            (Some(wanted), Some(bound)) if wanted.port() == 0 => wanted.ip() == bound.ip() && **own == *name,
            _ => endpoint == wanted,
        };
        let index = self.0.iter().position(is_it)?;
        Some(self.0.swap_remove(index).2)
    }

    /// Names and addresses of what nobody has taken.
    pub fn rest(&self) -> impl Iterator<Item = (&str, &Endpoint)> {
        self.0.iter().map(|(name, endpoint, _)| (&**name, endpoint))
    }
}

/// The name of a listener's sockets.
pub fn name(pool: &str, listener: &str) -> String {
    format!("{pool}.{listener}")
}

/// The name of the admin endpoint's sockets.
pub const ADMIN: &str = "admin";

fn adopt(socket: OwnedFd, file: FileOwner) -> io::Result<BoundListener> {
    // socket(7): all of these are errors for what is no socket.
    if sockopt::socket_type(&socket)? != SocketType::STREAM || !sockopt::socket_acceptconn(&socket)? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no stream socket that listens"));
    }
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    match sockopt::socket_domain(socket.as_fd())? {
        AddressFamily::INET | AddressFamily::INET6 => Ok(BoundListener::Tcp(socket.into())),
        AddressFamily::UNIX => BoundListener::adopt_unix(socket.into(), file),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a TCP nor a unix socket")),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, TcpListener, UdpSocket},
        os::unix::net::{UnixListener, UnixStream},
    };

    use super::*;

    fn tcp() -> (TcpListener, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        (socket, address)
    }

    #[test]
    fn each_is_found_by_its_address_or_by_its_name_if_the_kernel_chose_the_port() {
        let ((a, of_a), (b, of_b), mut inherited) = (tcp(), tcp(), Inherited::default());
        assert_eq!(inherited.add("orders.rw", a.into(), FileOwner::Mainstay).unwrap(), of_a.into());
        inherited.add("orders.ro", b.into(), FileOwner::Mainstay).unwrap();
        let chosen: Endpoint = SocketAddr::from(([127, 0, 0, 1], 0)).into();
        assert!(inherited.take(&chosen, "orders.other").is_none());
        let other: Endpoint = SocketAddr::from(([127, 0, 0, 2], 0)).into();
        assert!(inherited.take(&other, "orders.rw").is_none());
        assert_eq!(inherited.take(&chosen, "orders.ro").unwrap().endpoint().unwrap(), of_b.into());
        assert_eq!(inherited.rest().collect::<Vec<_>>(), [("orders.rw", &of_a.into())]);
        assert_eq!(inherited.take(&of_a.into(), "users.rw").unwrap().endpoint().unwrap(), of_a.into());
        assert!(inherited.take(&of_a.into(), "orders.rw").is_none(), "each is taken once");
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let (socket, address) = tcp();
        let connected = std::net::TcpStream::connect(address).unwrap();
        let datagram = UdpSocket::bind("127.0.0.1:0").unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut inherited = Inherited::default();
        for wrong in [connected.into(), datagram.into(), OwnedFd::from(file)] {
            assert!(inherited.add("orders.rw", wrong, FileOwner::Mainstay).is_err());
        }
        assert_eq!(inherited.rest().count(), 0);
        drop(socket);
    }

    #[test]
    fn the_file_of_a_unix_socket_goes_with_its_owner() {
        for (owner, leave, is_left) in
            [(FileOwner::Mainstay, false, false), (FileOwner::Mainstay, true, true), (FileOwner::Other, false, true)]
        {
            let path = std::env::temp_dir().join(format!("mainstay-inherited-{}.sock", std::process::id()));
            let socket = UnixListener::bind(&path).unwrap();
            let mut inherited = Inherited::default();
            let endpoint = inherited.add("admin", socket.into(), owner).unwrap();
            assert_eq!(endpoint, Endpoint::Unix(path.as_path().into()));
            let taken = inherited.take(&endpoint, ADMIN).unwrap();
            UnixStream::connect(&path).unwrap();
            taken.leave_file(leave);
            drop(taken);
            assert_eq!(path.exists(), is_left);
            let _ = std::fs::remove_file(&path);
        }
    }
}
