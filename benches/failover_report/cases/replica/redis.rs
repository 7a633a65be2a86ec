//! Redis, as the case sees it.

use std::net::SocketAddr;

use lab::{
    failure::Failure,
    servers::redis::{Redis, command},
    transactions::{Client as _, Failed, redis},
};

use super::{Bench, Client, Database};

impl Database for Redis {
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
pub(crate) struct Session(redis::Client);

impl Client for Session {
    fn open(address: SocketAddr) -> Result<Self, Failed> {
        redis::Client::open(address).map(Self)
    }

    /// Counts one up, and asks in the same breath who did it: the port of the server that answered.
    fn write(&mut self) -> Result<u16, Failed> {
        self.0.send(&(command(&["INCR", "counter"]) + &command(&["CONFIG", "GET", "port"])))?;
        self.0.reply()?;
        super::number(&self.0.reply()?)
    }

    fn promote(&mut self) -> Result<(), Failed> {
        self.0.say("REPLICAOF NO ONE").map(drop)
    }

    fn written(&mut self) -> Result<usize, Failed> {
        super::number(&self.0.say("INCRBY counter 0")?)
    }
}
