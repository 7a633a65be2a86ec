//! Where new clients go: control → data.

use std::{fmt, sync::Arc};

use super::{places::Places, revocation::Revocation};
use crate::{
    failover::Epoch,
    metrics::{BackendMetrics, LiveCount},
    net::addresses::Addresses,
};

/// Number of a reader's period in use. A reader that comes back after its sessions were closed has a new one; none repeats within a
/// pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a route belongs to, and ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteId {
    /// To the active backend, until another activation.
    Active(Epoch),
    /// To a reader, until its sessions are closed.
    Reader(Generation),
}

impl RouteId {
    /// Of a route to the active backend.
    pub const fn epoch(self) -> Option<Epoch> {
        match self {
            Self::Active(epoch) => Some(epoch),
            Self::Reader(_) => None,
        }
    }

    /// Of a route to a reader.
    pub const fn generation(self) -> Option<Generation> {
        match self {
            Self::Active(_) => None,
            Self::Reader(generation) => Some(generation),
        }
    }
}

/// Where new clients go: a backend under its id, with its own revocation. It is taken as one value, so a connection that knows its
/// backend can always be told to leave it. It holds all that is needed of the backend, which may leave the configuration while
/// sessions go on.
#[derive(Clone, Debug)]
pub struct Route {
    /// Name of the backend.
    pub backend: Arc<str>,
    /// Its metrics.
    pub metrics: Arc<BackendMetrics>,
    /// The pool's sessions with it, under this route and under others.
    pub sessions: LiveCount,
    /// Its places for sessions, under this route and under others.
    pub places: Arc<Places>,
    /// Its activation, or its reader's generation.
    pub id: RouteId,
    /// Last known good addresses, in the order to try them. Empty when the name never resolved.
    pub addresses: Addresses,
    /// How the route ends.
    pub revocation: Arc<Revocation>,
}

impl Route {
    /// A route to a backend with these metrics, and any number of places.
    pub fn new(
        backend: Arc<str>,
        metrics: &Arc<BackendMetrics>,
        id: RouteId,
        addresses: Addresses,
        revocation: Arc<Revocation>,
    ) -> Self {
        let sessions = metrics.connections_active.clone();
        Self { backend, metrics: Arc::clone(metrics), sessions, places: Arc::default(), id, addresses, revocation }
    }
}

/// What a pool offers to new clients now.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// Where to go; `None` holds them.
    pub route: Option<Arc<Route>>,
    /// Why, if `route` is `None`; shown to clients that are rejected.
    pub why: Arc<str>,
}
