//! What stands around a run: the servers, and the proxies in front of them.

use std::net::SocketAddr;

use lab::failure::Failure;

use crate::{
    contestant::Contestant,
    database::Database,
    proxy::{Backend, Place, Proxy},
    serve::Kind,
    tool::Server,
};

/// Servers and proxies that run. Dropping it ends them.
#[derive(Debug)]
pub(crate) struct Arena {
    // Dropped in this order: no proxy sees its server go.
    proxies: Vec<(Contestant, Proxy)>,
    backends: Vec<(Backend, SocketAddr)>,
    _servers: Vec<Server>,
    _database: Option<Database>,
}

/// The way of one contestant.
#[derive(Clone, Debug)]
pub(crate) struct Target<'a> {
    /// Where clients connect, one address a server.
    pub(crate) addresses: Vec<SocketAddr>,
    /// `None` is no proxy.
    pub(crate) proxy: Option<&'a Proxy>,
}

impl Target<'_> {
    /// The proxy's processor time so far, in nanoseconds; 0 without one.
    pub(crate) fn cpu_nanos(&self) -> Result<u64, Failure> {
        self.proxy.map_or(Ok(0), Proxy::cpu_nanos)
    }
}

impl Arena {
    /// Starts one server of each kind, and the proxies in front of all of them.
    pub(crate) fn start(place: Place<'_>, backends: &[Backend], contestants: &[Contestant]) -> Result<Self, Failure> {
        let mut servers = Vec::new();
        let mut database = None;
        let mut addresses = Vec::new();
        for backend in backends {
            let kind = match backend {
                Backend::RoundTrip => Kind::RoundTrip,
                Backend::Bulk => Kind::Bulk,
                Backend::Postgres => {
                    let started = Database::start(place)?;
                    addresses.push((*backend, started.address()));
                    database = Some(started);
                    continue;
                }
            };
            let server = Server::start(place.stop, kind)?;
            addresses.push((*backend, server.address()));
            servers.push(server);
        }
        let mut proxies = Vec::new();
        for contestant in contestants.iter().filter(|contestant| **contestant != Contestant::Direct) {
            let proxy = Proxy::start(place, *contestant, &addresses);
            proxies.push((*contestant, proxy.map_err(|failure| failure.during(&format!("starting {}", contestant.name())))?));
        }
        Ok(Self { proxies, backends: addresses, _servers: servers, _database: database })
    }

    pub(crate) fn target(&self, contestant: Contestant) -> Target<'_> {
        match self.proxies.iter().find(|(of, _)| *of == contestant) {
            Some((_, proxy)) => Target { addresses: proxy.addresses().to_vec(), proxy: Some(proxy) },
            None => Target { addresses: self.backends.iter().map(|(_, address)| *address).collect(), proxy: None },
        }
    }
}
