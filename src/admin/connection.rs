//! What the requests of one connection share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::Semaphore;

use super::{authority::Caller, host::Reach};

/// The connection of a request.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// Whose browsers can reach the listener.
    pub(super) reach: Reach,
    /// The other end.
    pub(super) caller: Caller,
    /// What it is busy with.
    pub(super) busy: Arc<Busy>,
    /// Streams that may still be opened on this listener.
    pub(super) streams: Arc<Semaphore>,
    /// Orders that may still be taken on this listener at the same time.
    pub(super) orders: Arc<Semaphore>,
}

/// Why a connection is not closed for a new one.
#[derive(Debug, Default)]
pub(super) struct Busy {
    /// Set when it turns into a stream of events.
    pub(super) is_stream: AtomicBool,
    is_ordering: AtomicBool,
}

impl Busy {
    /// Whether it keeps its place.
    pub(super) fn keeps_its_place(&self) -> bool {
        self.is_stream.load(Ordering::Relaxed) || self.is_ordering.load(Ordering::Relaxed)
    }

    /// An order is carried out until the guard is dropped.
    pub(super) fn order(self: &Arc<Self>) -> OrderGuard {
        self.is_ordering.store(true, Ordering::Relaxed);
        OrderGuard(Arc::clone(self))
    }
}

/// See [`Busy::order`].
pub(super) struct OrderGuard(Arc<Busy>);

impl Drop for OrderGuard {
    fn drop(&mut self) {
        self.0.is_ordering.store(false, Ordering::Relaxed);
    }
}
