//! The live sessions: data → admin, which lists them, and control, which ends them by command.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use slab::Slab;

use super::{
    gate::{Position, SessionGate, Stand},
    offer::Route,
    revocation::Revocation,
};
use crate::{failover::Time, net::endpoint::Peer};

/// Where a session came in.
#[derive(Debug)]
pub struct Frontend {
    /// Name of the pool.
    pub pool: Arc<str>,
    /// Name of the listener.
    pub listener: Arc<str>,
}

/// One live session, as the API lists it. Byte counts are written by its own worker only.
#[derive(Debug)]
pub struct Session {
    /// The client.
    pub client: Peer,
    /// Where it came in.
    pub frontend: Arc<Frontend>,
    /// Where it goes, and what it ends with.
    pub route: Arc<Route>,
    /// Since when.
    pub since: Time,
    /// Bytes relayed from the client to the backend.
    pub upstream_bytes: AtomicU64,
    /// Bytes relayed from the backend to the client.
    pub downstream_bytes: AtomicU64,
    killed: AtomicBool,
    /// It has a place at its backend, and it counts among the sessions there; see [`OpenSession`](super::OpenSession).
    pub(super) has_place: AtomicBool,
    pub(super) is_counted: AtomicBool,
    /// Where it stands while its route is gated.
    pub gate: SessionGate,
}

impl Session {
    /// A session in which nothing has gone either way.
    pub fn new(client: Peer, frontend: Arc<Frontend>, route: Arc<Route>, since: Time) -> Self {
        let (upstream_bytes, downstream_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let [killed, has_place, is_counted] = [const { AtomicBool::new(false) }; 3];
        let gate = SessionGate::default();
        Self { client, frontend, route, since, upstream_bytes, downstream_bytes, killed, has_place, is_counted, gate }
    }

    /// It must end, by command. To be asked when [`Revocation::concerns_sessions`].
    pub fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Acquire)
    }
}

/// Some sessions of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Selection<'a> {
    /// Name of the pool.
    pub pool: &'a str,
    /// Only those with this backend.
    pub backend: Option<&'a str>,
    /// Only those of this client.
    pub client: Option<Peer>,
}

impl Selection<'_> {
    fn takes(&self, session: &Session) -> bool {
        *session.frontend.pool == *self.pool
            && self.backend.is_none_or(|backend| *session.route.backend == *backend)
            && self.client.is_none_or(|client| session.client.canonical() == client.canonical())
    }
}

/// Ends these sessions. Their clients may connect again at once.
pub fn kill(sessions: &[Arc<Session>]) {
    let mut routes: Vec<&Arc<Revocation>> = Vec::new();
    for Session { killed, route, .. } in sessions.iter().map(|session| &**session) {
        killed.store(true, Ordering::Release);
        if !routes.iter().any(|known| Arc::ptr_eq(known, &route.revocation)) {
            routes.push(&route.revocation);
        }
    }
    for route in routes {
        route.single_out();
    }
}

/// Lets sessions of a gated route go on up to their next boundary, or holds them back again ([`Position::LetPass`],
/// [`Position::UnderWay`]): those that still stand as they were seen.
pub fn send(route: &Revocation, sessions: &[(Arc<Session>, Stand, Position)]) {
    // Each of them: `any` would stop at the first.
    if sessions.iter().filter(|(session, stand, to)| session.gate.send(*stand, *to)).count() > 0 {
        route.wake();
    }
}

/// The live sessions of one worker. Its lock is taken by the worker when a session starts and ends, by the admin plane for the list
/// and by control for a command; never while bytes move.
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
        self.oldest_of(Some(pool), limit).1
    }

    /// The same of a pool or of all, and how many there are.
    pub fn oldest_of(&self, pool: Option<&str>, limit: usize) -> (usize, Vec<(u64, Arc<Session>)>) {
        let sessions = self.lock();
        let is_wanted = |session: &Session| pool.is_none_or(|pool| *session.frontend.pool == *pool);
        let mut listed: Vec<_> = sessions.iter().map(|(_, listed)| listed).filter(|(_, session)| is_wanted(session)).collect();
        let total = listed.len();
        if total > limit {
            listed.select_nth_unstable_by_key(limit, |(id, session)| (session.since, *id));
            listed.truncate(limit);
        }
        (total, listed.into_iter().cloned().collect())
    }

    /// Those of its sessions that are selected and have not been ended by command.
    pub fn select(&self, which: Selection<'_>) -> Vec<Arc<Session>> {
        let sessions = self.lock();
        let listed = sessions.iter().map(|(_, (_, session))| session);
        listed.filter(|session| which.takes(session) && !session.is_killed()).cloned().collect()
    }

    /// Those of its sessions that are under this route.
    pub fn under(&self, route: &Arc<Revocation>) -> Vec<Arc<Session>> {
        let sessions = self.lock();
        let listed = sessions.iter().map(|(_, (_, session))| session);
        listed.filter(|session| Arc::ptr_eq(&session.route.revocation, route)).cloned().collect()
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
    use crate::{
        failover::Epoch,
        metrics::{Metrics, PoolLabels},
        route::RouteId,
    };

    fn route(backend: usize) -> Arc<Route> {
        let backends = ["db-a", "db-b"].map(|name| (name.into(), name.into())).into();
        let labels = PoolLabels { name: "orders".into(), listeners: vec![], backends };
        let series = Metrics::new().unwrap().series(&labels).unwrap();
        let name = labels.backends[backend].0.clone();
        Arc::new(Route::new(name, &series.backends[backend], RouteId::Active(Epoch(1)), [].into(), Arc::default()))
    }

    fn session(client: Peer, route: &Arc<Route>, since: u64) -> Arc<Session> {
        let frontend = Arc::new(Frontend { pool: "orders".into(), listener: "rw".into() });
        Arc::new(Session::new(client, frontend, Arc::clone(route), Time::from_millis(since)))
    }

    #[test]
    fn those_selected_are_ended_once_and_no_others() {
        let table = Arc::new(SessionTable::default());
        let routes = [route(0), route(1)];
        let peer = |address: &str| Peer::from(address.parse::<std::net::SocketAddr>().unwrap());
        let clients = [("10.0.0.1:1", 0), ("[::ffff:10.0.0.1]:2", 0), ("10.0.0.2:1", 1)];
        let sessions = clients.map(|(client, backend)| session(peer(client), &routes[backend], 1));
        let _entries: Vec<_> = (1..).zip(&sessions).map(|(id, session)| table.enter(id, Arc::clone(session))).collect();
        assert_eq!(routes.each_ref().map(|route| table.under(&route.revocation).len()), [2, 1]);
        let select =
            |backend, client: Option<&str>| table.select(Selection { pool: "orders", backend, client: client.map(peer) });
        let count = |backend, client| select(backend, client).len();
        assert_eq!((count(None, None), count(Some("db-a"), None), count(Some("db-c"), None)), (3, 2, 0));
        assert_eq!((count(None, Some("10.0.0.1:2")), count(Some("db-b"), Some("10.0.0.1:2"))), (1, 0));
        assert!(table.select(Selection { pool: "users", backend: None, client: None }).is_empty());
        kill(&select(None, Some("10.0.0.1:2")));
        assert_eq!(routes.each_ref().map(|route| route.revocation.concerns_sessions()), [true, false]);
        assert!(!routes[0].revocation.is_revoked());
        assert_eq!(sessions.each_ref().map(|session| session.is_killed()), [false, true, false]);
        assert_eq!(count(None, None), 2, "one that is ending does not count again");
    }

    #[test]
    fn the_oldest_are_listed_wherever_their_places_are() {
        let (table, route) = (Arc::new(SessionTable::default()), route(0));
        let mut entries: Vec<_> = (0..6).map(|id| table.enter(id, session(Peer::Unix, &route, id))).collect();
        // The newest takes the place of the oldest.
        drop(entries.remove(0));
        entries.push(table.enter(6, session(Peer::Unix, &route, 6)));
        let ids = |limit| {
            let mut ids: Vec<u64> = table.oldest("orders", limit).into_iter().map(|(id, _)| id).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!((ids(2), ids(6), ids(9)), (vec![1, 2], vec![1, 2, 3, 4, 5, 6], vec![1, 2, 3, 4, 5, 6]));
        assert!(table.oldest("other", 9).is_empty());
    }
}
