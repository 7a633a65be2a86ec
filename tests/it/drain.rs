//! The gate and the drain: the sessions of a route end where nothing is under way, and no transaction breaks.

mod mariadb;
mod plain;
mod postgres;
mod privileges;
mod writers;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use lab::transactions::postgres::Client;
use mainstay::{
    app::{self, Running},
    config::{CheckKind, Config, PostgresCheck},
    control::drain::{Drain, Drained},
    failover::{Election, Policy, RevokeMode},
    route::{Revocation, Session, Verb},
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    config::tcp_pool,
    front::end,
    postgres::Postgres,
    wait::{patience, until},
};

/// Longer than a drain takes in any test.
const LONG: Duration = Duration::from_secs(20);

/// mainstay before one server, and what a switchover does with it.
struct Scene {
    running: Option<Running>,
    config: Config,
    server: SocketAddr,
}

impl Scene {
    fn new(config: Config, server: SocketAddr) -> Self {
        let running = app::start(&config).unwrap();
        until("the server serves", || running.snapshots[0].get().active);
        Self { running: Some(running), config, server }
    }

    /// With the check of this role.
    fn postgres(server: &Postgres, user: &str) -> Self {
        Self::postgres_at(([127, 0, 0, 1], server.port).into(), user)
    }

    fn postgres_at(address: SocketAddr, user: &str) -> Self {
        let mut config = tcp_pool(&[address]);
        config.pools[0].check.kind = CheckKind::Postgres(PostgresCheck { user: user.into(), ..PostgresCheck::default() });
        config.pools[0].check.timeout = Duration::from_secs(10);
        config.pools[0].policy = Policy { election: Election::ByRole, on_down: RevokeMode::Abort, ..Policy::default() };
        Self::new(config, address)
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn address(&self) -> SocketAddr {
        self.running().listeners[0][0][0]
    }

    fn sessions(&self) -> Vec<Arc<Session>> {
        self.running().sessions.iter().flat_map(|table| table.oldest("orders", usize::MAX)).map(|(_, session)| session).collect()
    }

    /// The route of these sessions.
    fn route(&self) -> Arc<Revocation> {
        until("there is a session", || self.sessions().first().map(|session| Arc::clone(&session.route.revocation)))
    }

    fn order(&self, verb: Verb) {
        let order = self.running().orders[0].give(verb, ("uid 7 (ann)".into(), "a test".into()), false, patience());
        runtime().block_on(order).unwrap();
    }

    /// New clients wait, and the others stop at their boundary.
    fn gate(&self) -> Arc<Revocation> {
        self.order(Verb::Pause { max: LONG });
        let route = self.route();
        route.gate();
        route
    }

    /// As if nothing had been.
    fn give_up(&self, route: &Revocation) {
        route.ungate();
        self.order(Verb::Resume);
    }

    fn drain(&self, route: &Arc<Revocation>, timeout: Duration) -> Drain {
        let pool = &self.config.pools[0];
        Drain {
            check: pool.check.clone(),
            address: pool.backends[0].address.clone(),
            addresses: self.server.into(),
            sessions: self.running().sessions.clone(),
            route: Arc::clone(route),
            timeout,
        }
    }

    /// Gates and drains.
    fn emptied(&self, timeout: Duration) -> Drained {
        let route = self.gate();
        drained(self.drain(&route, timeout))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            end(running);
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn drained(drain: Drain) -> Drained {
    runtime().block_on(drain.run(&CancellationToken::new()))
}

/// Drains on a thread of its own, while the test does something else.
fn draining(drain: Drain) -> std::thread::JoinHandle<Drained> {
    std::thread::spawn(move || drained(drain))
}

fn through(scene: &Scene) -> Client {
    Client::open(scene.address(), "postgres").unwrap()
}

/// Until the session does what is said of it on the server.
#[track_caller]
fn until_sessions(server: &Postgres, condition: &str, count: usize) {
    let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND {condition}");
    until(condition, || (server.sql(&sql) == count.to_string()).then_some(()));
}

/// A drain that nobody disturbs: `ended` sessions, without a note.
fn all_ended(ended: u64) -> Drained {
    Drained { ended, ..Drained::default() }
}

fn took<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let result = act();
    (result, begun.elapsed())
}
