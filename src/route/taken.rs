//! A route, and a session, with a place at its backend.

use std::{
    mem,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use super::{
    offer::Route,
    places::Busy,
    sessions::{Frontend, Session},
};
use crate::{failover::Time, metrics::LiveCount, net::endpoint::Peer};

/// A route with a place at its backend, which is free again when this is dropped. Drop it after the socket: a backend must not see
/// the next connection before the end of this one.
#[derive(Debug)]
pub struct TakenRoute {
    route: Arc<Route>,
    has_place: bool,
}

impl TakenRoute {
    /// Takes a place if a session may begin at `now`. `held` is the number of the pool's clients that wait.
    ///
    /// # Errors
    /// Why none may.
    pub fn take(route: Arc<Route>, now: Instant, held: &LiveCount) -> Result<Self, Busy> {
        route.places.take(now, held)?;
        Ok(Self { route, has_place: true })
    }

    /// For a connection that does not count, such as a request to cancel a query.
    pub const fn without_place(route: Arc<Route>) -> Self {
        Self { route, has_place: false }
    }

    /// A session under this route, which keeps the place.
    pub fn begin(mut self, client: Peer, frontend: Arc<Frontend>, since: Time) -> OpenSession {
        let mut session = Session::new(client, frontend, Arc::clone(&self.route), since);
        *session.has_place.get_mut() = mem::take(&mut self.has_place);
        *session.is_counted.get_mut() = true;
        session.route.sessions.enter();
        OpenSession(Arc::new(session))
    }
}

impl Deref for TakenRoute {
    type Target = Arc<Route>;

    fn deref(&self) -> &Arc<Route> {
        &self.route
    }
}

impl Drop for TakenRoute {
    fn drop(&mut self) {
        if self.has_place {
            self.route.places.give_back();
        }
    }
}

/// A session with its place, which is free again when this is dropped; until [`OpenSession::end`] it counts among the sessions with
/// its backend. (The session itself may be listed for longer.) Drop it after the socket, as a [`TakenRoute`].
#[derive(Debug)]
pub struct OpenSession(Arc<Session>);

impl OpenSession {
    /// Gives the place back early: this connection does not count.
    pub fn give_place_back(&self) {
        if take(&self.has_place) {
            self.route.places.give_back();
        }
    }

    /// It is a session no longer; it keeps its place.
    pub fn end(&self) {
        if take(&self.is_counted) {
            self.route.sessions.leave();
        }
    }
}

/// Only the session's own worker writes these.
fn take(flag: &AtomicBool) -> bool {
    let was = flag.load(Ordering::Relaxed);
    flag.store(false, Ordering::Relaxed);
    was
}

impl Deref for OpenSession {
    type Target = Arc<Session>;

    fn deref(&self) -> &Arc<Session> {
        &self.0
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.end();
        self.give_place_back();
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

    #[test]
    fn a_place_is_taken_until_the_session_is_dropped_and_given_back_once() {
        let labels = PoolLabels { name: "orders".into(), listeners: vec![], backends: [("db-a".into(), "db-a".into())].into() };
        let series = Metrics::new().unwrap().series(&labels).unwrap();
        let id = RouteId::Active(Epoch(1));
        let route = Arc::new(Route::new("db-a".into(), &series.backends[0], id, [].into(), Arc::default()));
        route.places.resize(Some(1));
        let frontend = Arc::new(Frontend { pool: "orders".into(), listener: "rw".into() });
        let count = || (route.places.used(), route.sessions.get());
        let take = || TakenRoute::take(Arc::clone(&route), Instant::now(), &LiveCount::default());
        let begin = |taken: TakenRoute| taken.begin(Peer::Unix, Arc::clone(&frontend), Time::from_millis(1));
        drop(take().unwrap());
        let open = begin(take().unwrap());
        assert_eq!((take().unwrap_err(), count()), (Busy::Full, (1, 1)));
        // As the admin plane has it.
        let listed = Arc::clone(&open);
        open.end();
        assert_eq!(count(), (1, 0));
        drop(open);
        assert_eq!(count(), (0, 0), "it is listed, and holds no place");
        let open = begin(take().unwrap());
        let other = begin(TakenRoute::without_place(Arc::clone(&route)));
        assert_eq!(count(), (1, 2));
        open.give_place_back();
        drop((open, other, listed));
        assert_eq!(count(), (0, 0));
    }
}
