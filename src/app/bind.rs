//! Binds every socket before anything runs, and says clearly why one cannot be.

use std::{
    collections::HashMap,
    fmt, fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::Arc,
};

use super::StartError;
use crate::{
    admin::BoundListener,
    config::{AdminListen, Config, ListenerConfig, PoolConfig},
    data::SocketKey,
    net::socket::{LegOptions, listen},
};

/// Sockets that nobody accepts from yet.
pub(super) type Fresh = HashMap<SocketKey, TcpListener>;

/// The sockets of a listener, as they are found again in another configuration.
pub(super) fn keys(pool: &PoolConfig, listener: &ListenerConfig) -> impl Iterator<Item = SocketKey> {
    listener.listen.iter().map(|address| SocketKey {
        address: *address,
        owner: (address.port() == 0).then(|| (Arc::clone(&pool.name), Arc::clone(&listener.name))),
    })
}

/// Binds what the pools need and is not `bound` already: all of it, or nothing.
pub(super) fn bind_pools(config: &Config, bound: &HashMap<SocketKey, SocketAddr>) -> Result<Fresh, StartError> {
    let mut fresh = HashMap::new();
    for pool in &config.pools {
        for listener in &pool.listeners {
            let legs = LegOptions { keepalive: Some(listener.keepalive), user_timeout: listener.tcp_user_timeout };
            for key in keys(pool, listener).filter(|key| !bound.contains_key(key)) {
                let what = || format!("pool {}, listener {}", pool.name, listener.name);
                let socket = listen(key.address, &legs).map_err(|error| bind_error(&what(), &key.address, &error))?;
                fresh.insert(key, socket);
            }
        }
    }
    Ok(fresh)
}

pub(super) fn bind_admin(config: &Config) -> Result<Vec<BoundListener>, StartError> {
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

/// The TCP addresses among them; a configured port 0 is a real port here.
pub(super) fn tcp_addresses(sockets: &[BoundListener]) -> Vec<SocketAddr> {
    let address = |socket: &BoundListener| match socket {
        BoundListener::Tcp(socket) => socket.local_addr().ok(),
        BoundListener::Unix(_) => None,
    };
    sockets.iter().filter_map(address).collect()
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
