//! Redis, as the case sees it.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
};

use lab::{
    failure::Failure,
    servers::redis::{Redis, command},
};

use super::{Bench, CLIENT_PATIENCE, Client, Database};

impl Database for Redis {
    const CASE: &'static str = "redis_kill9";
    const CHECK: &'static str = "redis";
    type Client = Session;

    fn start(_bench: &Bench, of: Option<&Self>) -> Result<Self, Failure> {
        Ok(of.map_or_else(|| Self::primary(&[]), |primary| primary.replica(&[])))
    }

    fn address(&self) -> SocketAddr {
        self.address()
    }

    fn kill(&mut self) {
        self.kill();
    }
}

/// A client's connection.
pub(crate) struct Session(BufReader<TcpStream>);

impl Session {
    fn send(&mut self, words: &[&str]) -> io::Result<()> {
        self.0.get_mut().write_all(command(words).as_bytes())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }
}

impl Client for Session {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Counts one up, and asks in the same breath who did it: the port of the server that answered.
    fn write(&mut self) -> io::Result<u16> {
        let both = command(&["INCR", "counter"]) + &command(&["CONFIG", "GET", "port"]);
        self.0.get_mut().write_all(both.as_bytes())?;
        let counted = self.line()?;
        if !counted.starts_with(':') {
            return Err(io::Error::other(counted));
        }
        // *2, $4, port, $N, and the number.
        for _ in 0..4 {
            self.line()?;
        }
        self.line()?.parse().map_err(io::Error::other)
    }

    fn promote(&mut self) -> io::Result<()> {
        self.send(&["REPLICAOF", "NO", "ONE"])?;
        self.line().map(drop)
    }

    fn written(&mut self) -> io::Result<usize> {
        self.send(&["INCRBY", "counter", "0"])?;
        self.line()?.trim_start_matches(':').parse().map_err(io::Error::other)
    }
}
