//! Redis.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
};

use super::{Failed, answered, connect};
use crate::servers::redis::command;

/// A client of the user `default`.
#[derive(Debug)]
pub struct Client(BufReader<TcpStream>);

impl super::Client for Client {
    /// Nothing outlives a command.
    const TRANSACTION: &'static [&'static str] = &["INCR counter"];
    const FAREWELLS: &'static [&'static str] = &[];

    fn login(address: SocketAddr) -> Result<Self, Failed> {
        Self::open(address)
    }

    fn say(&mut self, statement: &str) -> Result<String, Failed> {
        let words: Vec<_> = statement.split(' ').collect();
        let asked = self.0.get_mut().write_all(command(&words).as_bytes());
        answered(asked, self.reply())
    }
}

impl Client {
    pub fn open(address: SocketAddr) -> Result<Self, Failed> {
        Ok(Self(BufReader::new(connect(address)?)))
    }

    pub fn send(&mut self, text: &str) -> Result<(), Failed> {
        Ok(self.0.get_mut().write_all(text.as_bytes())?)
    }

    /// One reply; of a list its last value.
    pub fn reply(&mut self) -> Result<String, Failed> {
        let line = self.line()?;
        let (sign, rest) = line.split_at_checked(1).ok_or(io::ErrorKind::InvalidData).map_err(io::Error::from)?;
        match sign {
            "-" => Err(Failed::Told(rest.split(' ').next().unwrap_or_default().to_owned())),
            "$" if !rest.starts_with('-') => self.line(),
            "*" => {
                let count = rest.parse().unwrap_or(0_u32);
                (0..count).try_fold(String::new(), |_, _| self.reply())
            }
            _ => Ok(rest.to_owned()),
        }
    }

    fn line(&mut self) -> Result<String, Failed> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}
