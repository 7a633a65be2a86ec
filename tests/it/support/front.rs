//! A running mainstay, and clients of it.

use std::net::{SocketAddr, TcpStream};

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

/// A client that never waits longer than tests do.
pub fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream.set_write_timeout(Some(patience())).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}
