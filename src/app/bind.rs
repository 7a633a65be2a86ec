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

/// Sockets per listener.
pub(super) fn bind_pool(pool: &PoolConfig) -> Result<Vec<Vec<TcpListener>>, StartError> {
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

pub(super) fn bind_admin(config: &Config) -> Result<(Vec<BoundListener>, Vec<SocketAddr>), StartError> {
    let mut sockets = Vec::new();
    let mut bound = Vec::new();
    for address in &config.admin.listen {
        match address {
            AdminListen::Tcp(address) => {
                let socket = listen(*address, &LegOptions::default())
                    .map_err(|error| bind_error("the admin endpoint", address, &error))?;
                bound.extend(socket.local_addr().ok());
                sockets.push(BoundListener::Tcp(socket));
            }
            AdminListen::Unix(path) => {
                let socket = bind_unix(path).map_err(|error| bind_error("the admin endpoint", &path.display(), &error))?;
                sockets.push(BoundListener::Unix(socket));
            }
        }
    }
    Ok((sockets, bound))
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
