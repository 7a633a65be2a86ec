//! Servers that are stopped in order, or wait to serve: who they still serve is served through mainstay as directly, they are not
//! kept from ending, and their logs stay readable.

mod flood;
mod killed;
mod mariadb;
mod redis;
mod replication;
mod smart;

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use mainstay::{
    config::{CheckKind, Config, PostgresCheck},
    failover::{Election, Policy, RevokeMode},
};

use crate::support::{
    config::tcp_pool,
    front::Front,
    postgres::Postgres,
    wait::{until, within},
};

/// A pool of these servers.
fn pool(servers: &[&Postgres]) -> Config {
    let addresses: Vec<_> = servers.iter().map(|server| ([127, 0, 0, 1], server.port).into()).collect();
    let mut config = tcp_pool(&addresses);
    config.pools[0].check.kind = CheckKind::Postgres(PostgresCheck::default());
    // A server that serves its old sessions until they leave says so only to a new one.
    config.pools[0].check.fresh_login = Duration::from_secs(1);
    config.pools[0].policy = Policy { election: Election::ByRole, on_down: RevokeMode::Abort, ..Policy::default() };
    config
}

/// A session with a server, spoken by hand: nothing between the test and the bytes.
struct Session(TcpStream);

impl Session {
    fn open(mut stream: TcpStream) -> io::Result<Self> {
        let words = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
        stream.write_all(&u32::try_from(words.len() + 4).unwrap().to_be_bytes())?;
        stream.write_all(words)?;
        let mut session = Self(stream);
        session.answer()?;
        Ok(session)
    }

    fn through(front: &Front) -> Self {
        Self::open(front.connect()).unwrap()
    }

    /// The first column of the last row, if there is one.
    fn query(&mut self, sql: &str) -> io::Result<String> {
        self.ask(sql)?;
        self.answer()
    }

    fn ask(&mut self, sql: &str) -> io::Result<()> {
        let mut message = vec![b'Q'];
        message.extend(u32::try_from(sql.len() + 5).unwrap().to_be_bytes());
        message.extend(sql.as_bytes());
        message.push(0);
        self.0.write_all(&message)
    }

    fn answer(&mut self) -> io::Result<String> {
        let mut value = String::new();
        loop {
            let mut head = [0; 5];
            self.0.read_exact(&mut head)?;
            let len = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
            let mut body = vec![0; len - 4];
            self.0.read_exact(&mut body)?;
            match head[0] {
                // One column: how many there are, how long it is, what it holds.
                b'D' => value = String::from_utf8_lossy(&body[6..]).into_owned(),
                b'E' => return Err(io::Error::other(String::from_utf8_lossy(&body).into_owned())),
                b'Z' => return Ok(value),
                _ => {}
            }
        }
    }
}

/// Nobody may serve, and mainstay knows it.
fn until_nobody_serves(front: &Front) {
    until("the server that stops is left", || front.snapshot().active.is_none().then_some(()));
}

/// A server that was told to stop has stopped.
fn until_ended(server: &mut Postgres) {
    within(2 * crate::support::wait::patience(), "the server's end", || server.has_ended().then_some(()));
}
