//! Where new clients go: control → data.

use std::{fmt, sync::Arc};

use super::revocation::Revocation;
use crate::{
    failover::Epoch,
    metrics::{BackendMetrics, LiveCount},
    net::addresses::Addresses,
};

/// Number of a reader's time in use. A reader that comes back after its sessions were closed has another; none repeats within a
/// pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a route stands under, and ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteId {
    /// It leads to the active backend, until another activation.
    Active(Epoch),
    /// It leads to a reader, until the sessions of that are closed.
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

/// Where new clients go: a backend under its id, with its own revocation. Taken as one value, so there is no moment at
/// which a connection knows its backend but cannot be told to leave it. It names all there is to know of the backend, which may
/// be gone from the configuration while sessions still go on.
#[derive(Clone, Debug)]
pub struct Route {
    /// Name of the backend.
    pub backend: Arc<str>,
    /// Its numbers.
    pub metrics: Arc<BackendMetrics>,
    /// The pool's sessions with it, under this route and under others.
    pub sessions: LiveCount,
    /// Under which activation, or as which reader.
    pub id: RouteId,
    /// Last known good addresses, in the order to try them. Empty when the name never resolved.
    pub addresses: Addresses,
    /// How the route ends.
    pub revocation: Arc<Revocation>,
}

/// What a pool offers to new clients at this moment.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// Where to go; `None` holds them.
    pub route: Option<Arc<Route>>,
    /// Why not, when `route` is `None`; shown to clients that are refused.
    pub why: Arc<str>,
}
