//! The live sessions, for the admin plane.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64};

use slab::Slab;

use crate::{
    failover::{Epoch, Time},
    net::endpoint::Peer,
};

/// One live session, as the API lists it. Byte counts are written by its own worker only.
#[derive(Debug)]
pub struct Session {
    /// The client.
    pub client: Peer,
    /// Name of the pool.
    pub pool: Arc<str>,
    /// Name of the listener.
    pub listener: Arc<str>,
    /// Name of the backend.
    pub backend: Arc<str>,
    /// Its epoch; 0 for a session with a reader.
    pub epoch: Epoch,
    /// Since when.
    pub since: Time,
    /// Bytes relayed from the client to the backend.
    pub upstream_bytes: AtomicU64,
    /// Bytes relayed from the backend to the client.
    pub downstream_bytes: AtomicU64,
}

/// The live sessions of one worker. Its lock is taken by the worker when a session starts and ends, and by the admin plane for the
/// list; never while bytes move.
#[derive(Debug, Default)]
pub struct SessionTable {
    sessions: Mutex<Slab<(u64, Arc<Session>)>>,
}

impl SessionTable {
    /// Lists a session under the connection's own number until the entry is dropped.
    pub fn enter(self: &Arc<Self>, id: u64, session: Arc<Session>) -> SessionEntry {
        let place = self.lock().insert((id, session));
        SessionEntry { table: Arc::clone(self), id, place }
    }

    /// The oldest sessions of a pool, at most `limit`, in no particular order, with their connection numbers.
    pub fn oldest(&self, pool: &str, limit: usize) -> Vec<(u64, Arc<Session>)> {
        let sessions = self.lock();
        let mut listed: Vec<_> =
            sessions.iter().map(|(_, listed)| listed).filter(|(_, session)| *session.pool == *pool).collect();
        if listed.len() > limit {
            listed.select_nth_unstable_by_key(limit, |(id, session)| (session.since, *id));
            listed.truncate(limit);
        }
        listed.into_iter().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Slab<(u64, Arc<Session>)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place in its worker's table.
#[derive(Debug)]
pub struct SessionEntry {
    table: Arc<SessionTable>,
    id: u64,
    place: usize,
}

impl SessionEntry {
    /// The connection's number.
    pub const fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for SessionEntry {
    fn drop(&mut self) {
        self.table.lock().remove(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(since: u64) -> Arc<Session> {
        Arc::new(Session {
            client: Peer::Unix,
            pool: "orders".into(),
            listener: "rw".into(),
            backend: "db-a".into(),
            epoch: Epoch(1),
            since: Time::from_millis(since),
            upstream_bytes: AtomicU64::new(0),
            downstream_bytes: AtomicU64::new(0),
        })
    }

    #[test]
    fn the_oldest_are_listed_wherever_their_places_are() {
        let table = Arc::new(SessionTable::default());
        let mut entries: Vec<_> = (0..6).map(|id| table.enter(id, session(id))).collect();
        // The newest takes the place of the oldest.
        drop(entries.remove(0));
        entries.push(table.enter(6, session(6)));
        let ids = |limit| {
            let mut ids: Vec<u64> = table.oldest("orders", limit).into_iter().map(|(id, _)| id).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!((ids(2), ids(6), ids(9)), (vec![1, 2], vec![1, 2, 3, 4, 5, 6], vec![1, 2, 3, 4, 5, 6]));
        assert!(table.oldest("other", 9).is_empty());
    }
}
