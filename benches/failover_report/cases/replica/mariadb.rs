//! `MariaDB`, as the case sees it.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use lab::{failure::Failure, servers::mariadb::MariaDb};

use super::{Bench, CLIENT_PATIENCE, Client, Database, PATIENCE};

impl Database for MariaDb {
    const CASE: &'static str = "mariadb_kill9";
    const CHECK: &'static str = "{mysql: {user: root}}";
    type Client = Session;

    fn start(bench: &Bench, of: Option<&Self>) -> Result<Self, Failure> {
        let Some(primary) = of else {
            let server = Self::start(&[]);
            server.sql("CREATE DATABASE d; CREATE TABLE d.t (i INT AUTO_INCREMENT PRIMARY KEY)");
            return Ok(server);
        };
        let replica = primary.replica(&["--read-only"]);
        bench.stop.wait("the replica has caught up", PATIENCE, || replica.try_sql("SELECT 1 FROM d.t LIMIT 0").ok())?;
        Ok(replica)
    }

    fn address(&self) -> SocketAddr {
        self.address()
    }

    fn kill(&mut self) {
        self.kill();
    }
}

/// A client's connection, as root without a password.
pub(crate) struct Session(TcpStream);

impl Session {
    fn packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 4];
        self.0.read_exact(&mut head)?;
        let mut payload = vec![0; usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16];
        self.0.read_exact(&mut payload)?;
        match payload.first() {
            Some(0xff) => Err(io::Error::other(String::from_utf8_lossy(&payload).into_owned())),
            _ => Ok((head[3], payload)),
        }
    }

    fn say(&mut self, sequence: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes();
        self.0.write_all(&[&length[..3], &[sequence], payload].concat())
    }

    /// The first value of the last row that comes back, empty when there is none.
    fn ask(&mut self, statement: &str) -> io::Result<String> {
        self.say(0, &[b"\x03", statement.as_bytes()].concat())?;
        let (_, head) = self.packet()?;
        if head.first() == Some(&0) {
            return Ok(String::new());
        }
        let is_end = |payload: &[u8]| payload.first() == Some(&0xfe) && payload.len() < 9;
        let mut value = String::new();
        // The columns end as the rows do.
        while !is_end(&self.packet()?.1) {}
        loop {
            let (_, row) = self.packet()?;
            if is_end(&row) {
                return Ok(value);
            }
            let length = row.first().map_or(0, |length| usize::from(*length));
            value = String::from_utf8_lossy(row.get(1..=length).unwrap_or_default()).into_owned();
        }
    }
}

impl Client for Session {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
        let mut session = Self(stream);
        let (sequence, _) = session.packet()?;
        // Protocol 4.1 and what goes with it; utf8mb4; root; no password.
        let capabilities: u32 = 1 | 1 << 9 | 1 << 13 | 1 << 15;
        let login = [&capabilities.to_le_bytes()[..], &(1_u32 << 16).to_le_bytes(), &[45], &[0; 23], b"root\0\0"].concat();
        session.say(sequence + 1, &login)?;
        session.packet()?;
        Ok(session)
    }

    fn write(&mut self) -> io::Result<u16> {
        self.ask("INSERT INTO d.t VALUES () RETURNING @@port")?.parse().map_err(io::Error::other)
    }

    fn promote(&mut self) -> io::Result<()> {
        for statement in ["STOP SLAVE", "SET GLOBAL read_only = 0"] {
            self.ask(statement)?;
        }
        Ok(())
    }

    fn written(&mut self) -> io::Result<usize> {
        self.ask("SELECT COUNT(*) FROM d.t")?.parse().map_err(io::Error::other)
    }
}
