//! The gate and the drain: the sessions of a route end where nothing is under way, and no transaction breaks.

mod mariadb;
mod plain;
mod postgres;
mod privileges;
pub mod writers;

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

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
    front::{end, try_client},
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

/// How a question failed.
#[derive(Debug)]
pub enum Failed {
    /// With the server's own word.
    Told(String),
    Broke(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Broke(error)
    }
}

impl Failed {
    pub fn is_shutdown(&self) -> bool {
        matches!(self, Self::Told(code) if code == "57P01")
    }
}

/// A `PostgreSQL` client, spoken by hand: nothing between the test and the bytes.
pub struct Client(TcpStream);

impl Client {
    pub fn open(address: SocketAddr, user: &str) -> Result<Self, Failed> {
        let mut client = Self(try_client(address)?);
        let words = format!("\0\x03\0\0user\0{user}\0database\0postgres\0\0");
        client.0.write_all(&u32::try_from(words.len() + 4).unwrap().to_be_bytes())?;
        client.0.write_all(words.as_bytes())?;
        client.answer()?;
        Ok(client)
    }

    fn through(scene: &Scene) -> Self {
        Self::open(scene.address(), "postgres").unwrap()
    }

    /// The first column of the last row, if there is one.
    pub fn query(&mut self, sql: &str) -> Result<String, Failed> {
        // The end may have been told before.
        let asked = self.ask(sql);
        match self.answer() {
            Err(Failed::Broke(error)) => Err(Failed::Broke(asked.err().unwrap_or(error))),
            answered => answered,
        }
    }

    fn ask(&mut self, sql: &str) -> io::Result<()> {
        self.send(b'Q', format!("{sql}\0").as_bytes())
    }

    fn send(&mut self, tag: u8, body: &[u8]) -> io::Result<()> {
        let mut message = vec![tag];
        message.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        message.extend(body);
        self.0.write_all(&message)
    }

    fn answer(&mut self) -> Result<String, Failed> {
        self.until(b'Z')
    }

    /// Reads up to a message with this tag.
    fn until(&mut self, tag: u8) -> Result<String, Failed> {
        let mut value = String::new();
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head)?;
            let mut body = vec![0; u32::from_be_bytes(head[1..].try_into().unwrap()) as usize - 4];
            self.0.read_exact(&mut body)?;
            match head[0] {
                // One column: how many there are, how long it is, what it holds.
                b'D' => value = String::from_utf8_lossy(&body[6..]).into_owned(),
                b'E' => {
                    let code = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&b'C')).unwrap();
                    return Err(Failed::Told(String::from_utf8_lossy(&code[1..]).into_owned()));
                }
                read if read == tag => return Ok(value),
                _ => {}
            }
        }
    }

    /// The server itself has said that the session is over, and it is.
    #[track_caller]
    pub fn was_ended(mut self) {
        let told = self.answer().unwrap_err();
        assert!(told.is_shutdown(), "{told:?}");
        assert_eq!(self.0.read(&mut [0; 1]).unwrap(), 0, "it must end with FIN");
    }
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

pub fn took<T>(act: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let result = act();
    (result, begun.elapsed())
}
