//! Orders of an operator, given through the seam: what is done, what clients see of it, and what is refused.

mod kept;
mod kill;
pub(crate) mod maint_mysqld;
mod maint_sessions;
mod pause;
pub(crate) mod pause_mysqld;
mod pause_redis;
mod pause_sessions;
mod state;

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainstay::{
    app::Running,
    config::{Config, ListenerConfig, ListenerRoute},
    failover::Admin,
    route::{Done, OrderSender, Refusal, RefusalCode, StateEvent, Verb},
};

use crate::support::{
    config::{LOOPBACK, listener},
    echo::Backend,
    front::client,
    running::{active, becomes_active, held, until_held},
    wait::patience,
};

/// Waits for the answer.
fn give(sender: &OrderSender, verb: Verb, dry_run: bool) -> Result<Done, Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(sender.give(verb, ("uid 7 (ann)".into(), "a new disk".into()), dry_run, patience()))
}

/// An order for the first pool.
fn order(running: &Running, verb: Verb) -> Result<Done, Refusal> {
    give(&running.orders[0], verb, false)
}

fn set(backend: &str, to: Admin) -> Verb {
    Verb::SetAdmin { backend: backend.into(), to, force: false }
}

fn by_force(backend: &str, to: Admin) -> Verb {
    Verb::SetAdmin { backend: backend.into(), to, force: true }
}

fn pause(max: Duration) -> Verb {
    Verb::Pause { max }
}

fn code(answer: Result<Done, Refusal>) -> RefusalCode {
    answer.expect_err("the order must be refused").code
}

/// What was told of orders.
fn told(running: &Running) -> Vec<StateEvent> {
    running.events.since(0).into_iter().filter(|event| event.kind == "order").collect()
}

/// A backend that answers each byte with its own, and counts who came.
struct Server {
    backend: Backend,
    clients: Arc<AtomicU64>,
}

impl Server {
    fn new(name: u8) -> Self {
        let clients = Arc::<AtomicU64>::default();
        let count = Arc::clone(&clients);
        let backend = Backend::start(move |mut stream| {
            count.fetch_add(1, Ordering::SeqCst);
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut bytes) {
                if stream.write_all(&vec![name; read]).is_err() {
                    return;
                }
            }
        });
        Self { backend, clients }
    }

    fn address(&self) -> SocketAddr {
        self.backend.address
    }

    fn clients(&self) -> u64 {
        self.clients.load(Ordering::SeqCst)
    }
}

/// A client with a session that has worked.
struct Session(TcpStream);

impl Session {
    fn open(address: SocketAddr) -> Self {
        let mut session = Self(client(address));
        session.ask().unwrap();
        session
    }

    /// Who answers.
    fn ask(&mut self) -> io::Result<u8> {
        let mut answer = [0; 1];
        self.0.write_all(b"?")?;
        self.0.read_exact(&mut answer)?;
        Ok(answer[0])
    }

    #[track_caller]
    fn is_over(&mut self) {
        assert!(crate::support::front::is_over(&self.0), "the session goes on");
    }
}

/// The address of a listener of the first pool.
fn at(running: &Running, listener: usize) -> SocketAddr {
    running.listeners[0][listener][0]
}

/// Adds a listener that leads to readers.
fn add_reader(config: &mut Config, route: ListenerRoute) {
    let read = ListenerConfig { route, listen: vec![LOOPBACK.into()], ..listener("ro") };
    config.pools[0].listeners.push(read);
}
