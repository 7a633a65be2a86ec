//! Listening sockets, TCP or unix.

use std::{
    fs, io,
    net::TcpListener,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{
    endpoint::Endpoint,
    socket::{BACKLOG, Freebind, LegOptions, listen},
};

/// A socket that is bound and listens.
#[derive(Debug)]
pub enum BoundListener {
    /// TCP.
    Tcp(TcpListener),
    /// Unix. The file is removed before the socket closes: a client that finds it is accepted, and while it exists, no other file
    /// has its path.
    Unix(SocketFile, UnixListener),
}

impl BoundListener {
    /// Binds and listens; non-blocking. Accepted TCP sockets inherit the leg options. The file of a unix socket gets the
    /// permissions `mode`; connecting needs write permission.
    ///
    /// # Errors
    /// When the address is taken, not ours, or not permitted; `AddrInUse` also for a path where something exists that is not a dead
    /// socket.
    pub fn bind(endpoint: &Endpoint, options: &LegOptions, freebind: Freebind, mode: u32) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp(address) => listen(*address, options, freebind).map(Self::Tcp),
            Endpoint::Unix(path) => bind_unix(path, mode),
        }
    }

    /// A unix socket that another process has bound. Its file is that process's until [`BoundListener::leave_file`].
    pub(super) fn adopt_unix(socket: UnixListener, owner: FileOwner) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let path = address.as_pathname().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it has no path"))?.into();
        let mut file = SocketFile::at(&path)?;
        file.owner = owner;
        // The other process still serves, and may go on to.
        file.is_left.store(true, Ordering::Release);
        Ok(Self::Unix(file, socket))
    }

    /// Its file is another process's from now on, or this one's again.
    pub fn leave_file(&self, leave: bool) {
        if let Self::Unix(file, _) = self {
            file.is_left.store(leave, Ordering::Release);
        }
    }

    /// The same socket once more, for another process.
    ///
    /// # Errors
    /// When no descriptor is free.
    pub fn twin(&self) -> io::Result<Twin> {
        let (descriptor, file) = (
            self.as_fd().try_clone_to_owned()?,
            match self {
                Self::Tcp(_) => None,
                Self::Unix(file, _) => Some((file.owner, Arc::clone(&file.is_left))),
            },
        );
        Ok(Twin { descriptor, file })
    }

    /// Its address, with the port that the kernel chose.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn endpoint(&self) -> io::Result<Endpoint> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Into::into),
            Self::Unix(file, _) => Ok(Endpoint::Unix(Arc::clone(&file.path))),
        }
    }
}

impl AsFd for BoundListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(_, listener) => listener.as_fd(),
        }
    }
}

/// Who removes the file of a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOwner {
    /// mainstay, when it closes the socket.
    Mainstay,
    /// Whoever made it.
    Other,
}

/// The file of a unix socket. Dropping it removes the file, unless another has taken its place or it is another process's.
#[derive(Debug)]
pub struct SocketFile {
    path: Arc<Path>,
    /// Device and inode.
    identity: (u64, u64),
    owner: FileOwner,
    is_left: Arc<AtomicBool>,
}

/// A listening socket once more.
#[derive(Debug)]
pub struct Twin {
    descriptor: OwnedFd,
    file: Option<(FileOwner, Arc<AtomicBool>)>,
}

impl Twin {
    /// Who removes its file.
    pub fn owner(&self) -> FileOwner {
        self.file.as_ref().map_or(FileOwner::Mainstay, |(owner, _)| *owner)
    }

    /// Another one.
    ///
    /// # Errors
    /// When no descriptor is free.
    pub fn again(&self) -> io::Result<Self> {
        Ok(Self { descriptor: self.descriptor.try_clone()?, file: self.file.clone() })
    }

    /// Its file is another process's from now on, or this one's again.
    pub fn leave_file(&self, leave: bool) {
        if let Some((_, is_left)) = &self.file {
            is_left.store(leave, Ordering::Release);
        }
    }
}

impl AsFd for Twin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl SocketFile {
    fn at(path: &Arc<Path>) -> io::Result<Self> {
        Ok(Self { path: Arc::clone(path), identity: identity(path)?, owner: FileOwner::Mainstay, is_left: Arc::default() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = self.owner == FileOwner::Mainstay && !self.is_left.load(Ordering::Acquire);
        if is_ours && identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

fn bind_unix(path: &Arc<Path>, mode: u32) -> io::Result<BoundListener> {
    let address = SockAddr::unix(path)?;
    let open = || Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None);
    // connect(2) also fails on other files (unix(7)), which must not be removed.
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && open()?.connect(&address).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        fs::remove_file(path)?;
    }
    let socket = open()?;
    socket.bind(&address)?;
    let file = SocketFile::at(path)?;
    // No client can connect before it listens.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
    Ok(BoundListener::Unix(file, socket.into()))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixStream, path::PathBuf};

    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("mainstay-{name}-{}.sock", std::process::id()))
    }

    fn bind(path: &Path) -> io::Result<BoundListener> {
        BoundListener::bind(&Endpoint::Unix(path.into()), &LegOptions::default(), Freebind::Off, 0o620)
    }

    #[test]
    fn a_socket_has_its_permissions_and_takes_its_file_with_it() {
        let path = path("own");
        let listener = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
        UnixStream::connect(&path).unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse, "somebody answers there");
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_leftover_is_replaced_and_whoever_had_it_leaves_the_new_one_alone() {
        let path = path("left");
        let BoundListener::Unix(file, socket) = bind(&path).unwrap() else { panic!("no unix socket") };
        drop(socket);
        std::mem::forget(file);
        let old = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let new = bind(&path).unwrap();
        drop(old);
        UnixStream::connect(&path).unwrap();
        drop(new);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_stays() {
        let path = path("text");
        fs::write(&path, "precious").unwrap();
        assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
    }
}
