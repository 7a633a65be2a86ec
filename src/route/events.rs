//! The latest state changes of the process, with their causes.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use crate::failover::{Epoch, Printable, RevokeMode, Time};

/// A state change with its cause, for the events API.
#[derive(Clone, Debug, Default)]
pub struct StateEvent {
    /// Rises by one with each event of the process, from 1.
    pub id: u64,
    /// When.
    pub at: Time,
    /// Which pool.
    pub pool: Arc<str>,
    /// Which backend, if one.
    pub backend: Option<Arc<str>>,
    /// What kind of change, one word (`activate`, `revoke`, `health`, `role`, …).
    pub kind: &'static str,
    /// The value before, if there is one.
    pub from: Option<&'static str>,
    /// The value after, if there is one.
    pub to: Option<&'static str>,
    /// Under which epoch.
    pub epoch: Epoch,
    /// The rule that applied.
    pub cause: Option<&'static str>,
    /// The evidence.
    pub evidence: Printable,
    /// Of a revocation: the first sign of trouble, or when it was ordered.
    pub first_sign: Option<Time>,
    /// Of a revocation: what happens to the sessions.
    pub sessions_end: Option<RevokeMode>,
    /// Of an activation: bytes that the backend before had written and this one lacks, as far as both have told.
    pub unknown_bytes: Option<u64>,
}

/// The latest state changes of the process, bounded: written by the supervisor, read by the admin plane.
#[derive(Debug)]
pub struct EventLog {
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<StateEvent>,
    last_id: u64,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { ring: Mutex::default(), newest: watch::Sender::new(0) }
    }
}

impl EventLog {
    const KEPT: usize = 1000;

    /// Appends an event; its `id` is set here.
    pub fn push(&self, mut event: StateEvent) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last_id += 1;
        event.id = ring.last_id;
        if ring.events.len() == Self::KEPT {
            ring.events.pop_front();
        }
        ring.events.push_back(event);
        self.newest.send_replace(ring.last_id);
    }

    /// The kept events with an id above `since`, oldest first.
    pub fn since(&self, since: u64) -> Vec<StateEvent> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.events.iter().filter(|event| event.id > since).cloned().collect()
    }

    /// The id of the newest event, and a wake-up when it changes.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }
}
