//! Binds every socket before anything runs, and says clearly why one cannot be.

use std::{
    fmt, fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use super::StartError;
use crate::{
    admin::BoundListener,
    config::{AdminListen, Config, ListenerConfig, PoolConfig},
    net::socket::{LegOptions, listen},
};

/// Every socket, bound.
pub(super) struct Sockets {
    /// Per pool, per listener.
    pub(super) pools: Vec<Vec<Vec<TcpListener>>>,
    pub(super) admin: Vec<BoundListener>,
}

impl Sockets {
    pub(super) fn bind(config: &Config) -> Result<Self, StartError> {
        Ok(Self { pools: config.pools.iter().map(bind_pool).collect::<Result<_, _>>()?, admin: bind_admin(config)? })
    }

    /// The addresses of `pools`; a configured port 0 is a real port here.
    pub(super) fn listeners(&self) -> Vec<Vec<Vec<SocketAddr>>> {
        let addresses = |sockets: &Vec<TcpListener>| sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect();
        self.pools.iter().map(|pool| pool.iter().map(addresses).collect()).collect()
    }

    /// The TCP addresses of `admin`.
    pub(super) fn admin_addresses(&self) -> Vec<SocketAddr> {
        let address = |socket: &BoundListener| match socket {
            BoundListener::Tcp(socket) => socket.local_addr().ok(),
            BoundListener::Unix(_) => None,
        };
        self.admin.iter().filter_map(address).collect()
    }
}

/// Sockets per listener.
fn bind_pool(pool: &PoolConfig) -> Result<Vec<Vec<TcpListener>>, StartError> {
    let bind_listener = |listener: &ListenerConfig| {
        let legs = LegOptions { keepalive: listener.keepalive, user_timeout: listener.tcp_user_timeout };
        listener
            .listen
            .iter()
            .map(|address| {
                listen(*address, &legs)
                    .map_err(|error| bind_error(&format!("pool {}, listener {}", pool.name, listener.name), address, &error))
            })
            .collect()
    };
    pool.listeners.iter().map(bind_listener).collect()
}

fn bind_admin(config: &Config) -> Result<Vec<BoundListener>, StartError> {
    let mut sockets = Vec::new();
    for address in &config.admin.listen {
        match address {
            AdminListen::Tcp(address) => {
                let socket = listen(*address, &LegOptions::default())
                    .map_err(|error| bind_error("the admin endpoint", address, &error))?;
                sockets.push(BoundListener::Tcp(socket));
            }
            AdminListen::Unix(path) => {
                let socket = bind_unix(path).map_err(|error| bind_error("the admin endpoint", &path.display(), &error))?;
                sockets.push(BoundListener::Unix(socket));
            }
        }
    }
    Ok(sockets)
}

/// Binds a unix socket that only its own user may use. A socket file that nobody answers on is a leftover and is replaced.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        fs::remove_file(path)?;
    }
    let socket = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn bind_error(what: &str, address: &dyn fmt::Display, error: &io::Error) -> StartError {
    let help = match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there; find it with: ss -ltnp",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        io::ErrorKind::PermissionDenied => "a port below 1024 needs CAP_NET_BIND_SERVICE",
        _ => "check the address",
    };
    StartError(format!("{what} cannot listen on {address}: {error}; {help}"))
}
