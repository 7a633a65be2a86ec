//! A running mainstay, and clients of it.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
};

use mainstay::{
    app::{self, Changes, Running, StartError},
    config::Config,
    metrics::{BackendMetrics, PoolMetrics, PoolSeries},
    route::Snapshot,
};

use super::{
    config::tcp_pool,
    wait::{patience, until},
};

/// Connects to the first listener.
pub fn connect(running: &Running) -> TcpStream {
    client(running.listeners[0][0][0])
}

/// Ends it at once.
pub fn end(running: Running) {
    running.stop();
    running.stop();
    running.join();
}

/// One that serves already, and ends with the test.
pub struct Front(Option<Running>);

impl Front {
    /// One pool with a TCP check before these backends; one of them serves already.
    pub fn before(backends: &[SocketAddr]) -> Self {
        Self::with(&tcp_pool(backends))
    }

    /// As [`Front::before`], configured otherwise.
    pub fn with(config: &Config) -> Self {
        let front = Self(Some(app::start(config).unwrap()));
        until("a backend serves", || front.running().snapshots[0].get().active);
        front
    }

    fn running(&self) -> &Running {
        self.0.as_ref().unwrap()
    }

    /// Goes on with another configuration.
    pub fn reload(&self, config: &Config) -> Result<Changes, StartError> {
        self.running().reloader().reload(config)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.running().listeners[0][0][0]
    }

    pub fn connect(&self) -> TcpStream {
        client(self.address())
    }

    /// How its pool stands.
    pub fn snapshot(&self) -> std::sync::Arc<Snapshot> {
        self.running().snapshots[0].get()
    }

    /// The numbers of its pool.
    pub fn series(&self) -> &PoolSeries {
        &self.running().series[0]
    }

    pub fn pool(&self) -> &PoolMetrics {
        &self.series().pool
    }

    /// Its first backend.
    pub fn backend(&self) -> &BackendMetrics {
        &self.series().backends[0]
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        if let Some(running) = self.0.take() {
            running.stop();
            running.stop();
            running.join();
        }
    }
}

/// The same of one that listens at a path, where a connect waits for room in the queue.
pub fn unix_client(path: &Path) -> UnixStream {
    let address = socket2::SockAddr::unix(path).unwrap();
    let stream = until("there is room in the queue", || {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        match socket.connect(&address) {
            Ok(()) => Some(UnixStream::from(socket)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{}: {error}", path.display()),
        }
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream.set_write_timeout(Some(patience())).unwrap();
    stream
}

/// Waits for the end of a session, at once or never: one in which only nothing is said goes on.
pub fn is_over(mut session: impl Read) -> bool {
    match session.read(&mut [0; 1]) {
        Ok(read) => read == 0,
        Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
    }
}

/// A client that never waits longer than tests do.
pub fn client(address: SocketAddr) -> TcpStream {
    try_client(address).unwrap()
}

/// One that may be turned away before its connect is over.
pub fn try_client(address: SocketAddr) -> io::Result<TcpStream> {
    connect_from(None, address)
}

/// The same of one that connects from this address.
pub fn try_client_from(from: impl Into<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    connect_from(Some(from.into()), to)
}

fn connect_from(from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(to), socket2::Type::STREAM, None)?;
    // The second is for the connect as well (socket(7)).
    socket.set_read_timeout(Some(patience()))?;
    socket.set_write_timeout(Some(patience()))?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    socket.connect(&to.into())?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A session that works.
pub struct Session(pub TcpStream);

impl Session {
    pub fn open(address: SocketAddr) -> Self {
        let mut session = Self(client(address));
        session.works();
        session
    }

    /// One that may be turned away.
    pub fn try_open(address: SocketAddr) -> io::Result<Self> {
        let mut session = Self(try_client(address)?);
        session.try_works().map(|()| session)
    }

    pub fn works(&mut self) {
        self.try_works().unwrap();
    }

    pub fn try_works(&mut self) -> io::Result<()> {
        self.0.write_all(b"ping")?;
        self.0.read_exact(&mut [0; 4])
    }

    pub fn is_over(&mut self) {
        assert!(is_over(&self.0), "the session goes on");
    }
}
