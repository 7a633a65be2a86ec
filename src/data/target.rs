//! Which backends a listener's clients may use, and when waiting clients are released.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::event_loop::timeout;
use crate::{
    config::{Fallback, ListenerConfig, ListenerRoute},
    route::{Gate, Reader, ReaderKind, Route, RouteWatch},
};

/// Pause between polls of a verdict that is too old.
const STALE_PAUSE: Duration = Duration::from_millis(20);

/// A backend may become one for a waiting client without a change: its verdict was too old, and is not any more.
const RECHECK: Duration = Duration::from_millis(100);

/// Which backends the clients of a listener for readers may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum ReadTarget {
    /// Only a replica.
    Replica,
    /// A replica, or the active backend while there is none.
    ReplicaOrActive,
    /// Every backend that may be read.
    Any,
}

impl ReadTarget {
    /// `None` for a listener that leads to the active backend.
    pub(super) const fn of(listener: &ListenerConfig) -> Option<Self> {
        match (listener.route, listener.fallback) {
            (ListenerRoute::Primary, _) => None,
            (ListenerRoute::Replica, Fallback::None) => Some(Self::Replica),
            (ListenerRoute::Replica, Fallback::Primary) => Some(Self::ReplicaOrActive),
            (ListenerRoute::Any, _) => Some(Self::Any),
        }
    }

    pub(super) fn takes(self, reader: &Reader) -> bool {
        self == Self::Any || reader.kind != ReaderKind::Active
    }

    /// Where a client goes that found no reader.
    pub(super) fn fallback(self, routes: &RouteWatch, now: Instant) -> Option<Arc<Route>> {
        if self == Self::ReplicaOrActive { routes.take(now) } else { None }
    }

    /// Where its clients may be: with the reader with the fewest sessions, then with others, then with the fallback.
    pub(super) fn routes(self, routes: &RouteWatch, now: Instant) -> Vec<Arc<Route>> {
        self.among(|_| true, routes, now)
    }

    /// Where any of its clients may go: all of these but the canaries.
    pub(super) fn places(self, routes: &RouteWatch, now: Instant) -> Vec<Arc<Route>> {
        self.among(|reader| reader.percent().is_none(), routes, now)
    }

    fn among(self, which: impl Fn(&Reader) -> bool, routes: &RouteWatch, now: Instant) -> Vec<Arc<Route>> {
        let readers = routes.readers();
        let may = |reader: &&Reader| self.takes(reader) && which(reader) && routes.is_fresh(reader, now);
        let mut readers: Vec<_> = readers.iter().filter(may).collect();
        readers.sort_by_key(|reader| reader.load());
        readers.into_iter().map(|reader| Arc::clone(&reader.route)).chain(self.fallback(routes, now)).collect()
    }

    /// Whether there is a backend for any of its clients.
    pub(super) fn gate(self, routes: &RouteWatch) -> Gate {
        let (readers, now) = (routes.readers(), Instant::now());
        let mut taken = readers.iter().filter(|reader| self.takes(reader) && reader.percent().is_none()).peekable();
        let has_reader = taken.peek().is_some();
        if taken.any(|reader| routes.is_fresh(reader, now)) || self.fallback(routes, now).is_some() {
            Gate::Open
        } else if has_reader || (self == Self::ReplicaOrActive && routes.is_offered()) {
            Gate::Stale
        } else {
            Gate::Shut
        }
    }
}

/// What releases the clients of a hold.
#[derive(Debug)]
pub(super) enum HoldGate {
    /// A route to the active backend.
    Active(RouteWatch),
    Reader(RouteWatch, ReadTarget),
}

impl HoldGate {
    fn gate(&self) -> Gate {
        match self {
            Self::Active(routes) => routes.gate(),
            Self::Reader(routes, target) => target.gate(routes),
        }
    }

    /// Where clients may go, in the order to try.
    pub(super) fn routes(&self, now: Instant) -> Vec<Arc<Route>> {
        match self {
            Self::Active(routes) => routes.take(now).into_iter().collect(),
            Self::Reader(routes, target) => target.places(routes, now),
        }
    }

    /// Waits until [`HoldGate::routes`] may be others; `None` when the pool has ended.
    pub(super) async fn changed(&mut self) -> Option<()> {
        let (Self::Active(routes) | Self::Reader(routes, _)) = self;
        timeout(RECHECK, routes.changed()).await.unwrap_or(Some(()))
    }

    /// Waits until it is open; `None` when the pool has ended.
    pub(super) async fn opens(&mut self) -> Option<()> {
        loop {
            let gate = self.gate();
            let (Self::Active(routes) | Self::Reader(routes, _)) = self;
            let pause = match gate {
                Gate::Open => return Some(()),
                // A stale verdict becomes valid without a change: poll now and then.
                Gate::Stale => STALE_PAUSE,
                Gate::Shut => Duration::from_hours(1),
            };
            if timeout(pause, routes.changed()).await == Ok(None) {
                return None;
            }
        }
    }
}
