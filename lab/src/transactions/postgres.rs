//! `PostgreSQL`.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::{Failed, answered, connect};

/// A client, which is not asked for a password.
#[derive(Debug)]
pub struct Client(pub TcpStream);

impl super::Client for Client {
    const TRANSACTION: &'static [&'static str] = &["BEGIN", "INSERT INTO t VALUES (1)", "SELECT pg_sleep(0.001)", "COMMIT"];
    const FAREWELLS: &'static [&'static str] = &["57P01"];

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
        let words = format!("\0\x03\0\0user\0{user}\0database\0postgres\0\0");
        client.0.write_all(&u32::try_from(words.len() + 4).unwrap().to_be_bytes())?;
        client.0.write_all(words.as_bytes())?;
        client.answer()?;
        Ok(client)
    }

    /// The first column of the last row, if there is one.
    pub fn query(&mut self, sql: &str) -> Result<String, Failed> {
        let asked = self.ask(sql);
        answered(asked, self.answer())
    }

    pub fn ask(&mut self, sql: &str) -> io::Result<()> {
        self.send(b'Q', format!("{sql}\0").as_bytes())
    }

    pub fn send(&mut self, tag: u8, body: &[u8]) -> io::Result<()> {
        let mut message = vec![tag];
        message.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        message.extend(body);
        self.0.write_all(&message)
    }

    pub fn answer(&mut self) -> Result<String, Failed> {
        self.until(b'Z')
    }

    /// Reads up to a message with this tag.
    pub fn until(&mut self, tag: u8) -> Result<String, Failed> {
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
        assert!(matches!(&told, Failed::Told(code) if code == "57P01"), "{told:?}");
        assert_eq!(self.0.read(&mut [0; 1]).unwrap(), 0, "it must end with FIN");
    }
}
