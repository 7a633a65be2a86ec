//! Binds every socket before anything runs, and reports clearly why one cannot be bound.

use std::{collections::HashMap, io, sync::Arc};

use socket2::SockRef;

use super::error::StartError;
use crate::{
    config::{Config, ListenerConfig, PoolConfig},
    data::SocketKey,
    net::{
        endpoint::Endpoint,
        inherited::{self, Inherited},
        listener::BoundListener,
        socket::{Freebind, LegOptions, reset_leg_options},
    },
};

/// Bound sockets that nobody accepts from yet.
pub(super) type NewSockets = HashMap<SocketKey, BoundListener>;

/// Permissions of a unix socket for clients. As with the databases' own sockets, the database authenticates its users.
const FOR_EVERYBODY: u32 = 0o666;
/// For the admin endpoint: its own user and root. With operators everybody may connect, and the endpoint asks the kernel who it is.
const FOR_ITSELF: u32 = 0o600;

/// The sockets of a listener, by the keys with which a new configuration finds them.
pub(super) fn keys(pool: &PoolConfig, listener: &ListenerConfig) -> impl Iterator<Item = SocketKey> {
    listener.listen.iter().map(|endpoint| SocketKey {
        endpoint: endpoint.clone(),
        owner: endpoint
            .tcp()
            .is_some_and(|address| address.port() == 0)
            .then(|| (Arc::clone(&pool.name), Arc::clone(&listener.name))),
    })
}

/// Takes or binds what the pools need and is not in `bound` already: all of it, or nothing.
pub(super) fn bind_pools(
    config: &Config,
    bound: &HashMap<SocketKey, Endpoint>,
    inherited: &mut Inherited,
) -> Result<NewSockets, StartError> {
    let mut fresh = HashMap::new();
    for pool in &config.pools {
        for listener in &pool.listeners {
            let legs = LegOptions { keepalive: Some(listener.keepalive), user_timeout: listener.tcp_user_timeout };
            let freebind = if listener.freebind { Freebind::On } else { Freebind::Off };
            for key in keys(pool, listener).filter(|key| !bound.contains_key(key)) {
                let what = || format!("pool {}, listener {}", pool.name, listener.name);
                let socket = match inherited.take(&key.endpoint, &inherited::name(&pool.name, &listener.name)) {
                    Some(socket) => with_options(socket, &legs),
                    None => BoundListener::bind(&key.endpoint, &legs, freebind, FOR_EVERYBODY),
                };
                let socket = socket.map_err(|error| bind_error(&what(), &key.endpoint, &error, NO_SUCH_ADDRESS_YET))?;
                fresh.insert(key, socket);
            }
        }
    }
    Ok(fresh)
}

/// A socket that was bound with other options, or with none.
fn with_options(socket: BoundListener, legs: &LegOptions) -> io::Result<BoundListener> {
    if let BoundListener::Tcp(socket) = &socket {
        reset_leg_options(&SockRef::from(socket), legs)?;
    }
    Ok(socket)
}

pub(super) fn bind_admin(config: &Config, inherited: &mut Inherited) -> Result<Vec<BoundListener>, StartError> {
    let mode = if config.admin.operators.is_empty() { FOR_ITSELF } else { FOR_EVERYBODY };
    let mut bind = |endpoint| match inherited.take(endpoint, inherited::ADMIN) {
        Some(socket) => Ok(socket),
        None => BoundListener::bind(endpoint, &LegOptions::default(), Freebind::Off, mode)
            .map_err(|error| bind_error("the admin endpoint", endpoint, &error, NO_SUCH_ADDRESS)),
    };
    config.admin.listen.iter().map(&mut bind).collect()
}

const NO_SUCH_ADDRESS: &str = "this machine has no such address";
const NO_SUCH_ADDRESS_YET: &str =
    "this machine has no such address; if it comes later (a VIP), write `freebind: true` in the listener";

fn bind_error(what: &str, endpoint: &Endpoint, error: &io::Error, no_such_address: &str) -> StartError {
    let help = match (endpoint, error.kind()) {
        (Endpoint::Tcp(_), io::ErrorKind::AddrInUse) => "another process listens there; find it with: ss -ltnp",
        (Endpoint::Tcp(_), io::ErrorKind::AddrNotAvailable) => no_such_address,
        (Endpoint::Tcp(_), io::ErrorKind::PermissionDenied) => "a port below 1024 needs CAP_NET_BIND_SERVICE",
        (Endpoint::Tcp(_), _) => "check the address",
        (Endpoint::Unix(_), io::ErrorKind::AddrInUse) => {
            "another process listens there (find it with: ss -lxp), or there is a file that is no socket"
        }
        (Endpoint::Unix(_), io::ErrorKind::NotFound) => "its directory does not exist",
        (Endpoint::Unix(_), io::ErrorKind::PermissionDenied) => "mainstay's user may not write to its directory",
        (Endpoint::Unix(_), _) => "check the path",
    };
    StartError(format!("{what} cannot listen on {endpoint}: {error}; {help}"))
}
