//! `MySQL` and `MariaDB`.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::{Failed, answered, connect};

/// The method of `MySQL`.
const SHA2: &[u8] = b"caching_sha2_password\0";

/// A client, which has no password.
#[derive(Debug)]
pub struct Client(TcpStream);

impl super::Client for Client {
    const TRANSACTION: &'static [&'static str] = &["BEGIN", "INSERT INTO d.t (n) VALUES (1)", "SELECT SLEEP(0.001)", "COMMIT"];
    /// The server ends a session that sleeps without a word.
    const FAREWELLS: &'static [&'static str] = &[];

    fn login(address: SocketAddr) -> Result<Self, Failed> {
        Self::open(address, "app")
    }

    fn say(&mut self, statement: &str) -> Result<String, Failed> {
        self.query(statement)
    }
}

impl Client {
    pub fn open(address: SocketAddr, user: &str) -> Result<Self, Failed> {
        let mut client = Self(connect(address)?);
        let (sequence, greeting) = client.packet()?;
        // Protocol 4.1 and what goes with it; utf8mb4; no password. MySQL wants to hear its method by name.
        let mut capabilities: u32 = 1 | 1 << 9 | 1 << 13 | 1 << 15;
        let mut method: &[u8] = b"";
        if greeting.ends_with(SHA2) {
            (capabilities, method) = (capabilities | 1 << 19, SHA2);
        }
        let numbers = [capabilities, 1 << 16].map(u32::to_le_bytes).concat();
        let login = [&numbers, &[45][..], &[0; 23], user.as_bytes(), b"\0\0", method];
        client.send(sequence + 1, &login.concat())?;
        client.packet()?;
        Ok(client)
    }

    /// The first value of the last row that comes back, empty when there is none.
    pub fn query(&mut self, statement: &str) -> Result<String, Failed> {
        let asked = self.ask(statement);
        answered(asked, self.answer())
    }

    pub fn ask(&mut self, statement: &str) -> io::Result<()> {
        self.send(0, &[b"\x03", statement.as_bytes()].concat())
    }

    pub fn answer(&mut self) -> Result<String, Failed> {
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

    fn packet(&mut self) -> Result<(u8, Vec<u8>), Failed> {
        let mut head = [0; 4];
        self.0.read_exact(&mut head)?;
        let mut payload = vec![0; usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16];
        self.0.read_exact(&mut payload)?;
        match payload[..] {
            [0xff, low, high, ..] => Err(Failed::Told(u16::from_le_bytes([low, high]).to_string())),
            _ => Ok((head[3], payload)),
        }
    }

    fn send(&mut self, sequence: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap_or(0).to_le_bytes();
        self.0.write_all(&[&length[..3], &[sequence], payload].concat())
    }
}
