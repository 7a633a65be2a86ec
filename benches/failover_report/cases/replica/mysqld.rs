//! `MySQL` and `MariaDB`, as the case sees them.

use std::net::SocketAddr;

use lab::{
    failure::Failure,
    servers::mysqld::{Flavour, Mysqld},
    transactions::{Failed, mysql},
};

use super::{Bench, Client, Database, PATIENCE};

impl<F: Flavour> Database for Mysqld<F> {
    const CHECK: &'static str = "{mysql: {user: root}}";
    type Client = Session;

    fn start(bench: &Bench, of: Option<&Self>) -> Result<Self, Failure> {
        let Some(primary) = of else {
            let server = Self::start(&[]);
            server.sql("CREATE DATABASE d; CREATE TABLE d.t (i INT AUTO_INCREMENT PRIMARY KEY)");
            return Ok(server);
        };
        let replica = primary.replica(&[&format!("--{}", F::READ_ONLY)]);
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

/// A client's connection, as root without a password. It ends with its server, which is asked once which it is: `MySQL` has no statement
/// that writes and answers.
pub(crate) struct Session {
    client: mysql::Client,
    port: Option<u16>,
}

impl Client for Session {
    fn open(address: SocketAddr) -> Result<Self, Failed> {
        Ok(Self { client: mysql::Client::open(address, "root")?, port: None })
    }

    fn write(&mut self) -> Result<u16, Failed> {
        let port = match self.port {
            Some(port) => port,
            None => super::number(&self.client.query("SELECT @@port")?)?,
        };
        self.port = Some(port);
        self.client.query("INSERT INTO d.t VALUES ()")?;
        Ok(port)
    }

    fn promote(&mut self) -> Result<(), Failed> {
        for statement in ["STOP REPLICA", "SET GLOBAL read_only = 0"] {
            self.client.query(statement)?;
        }
        Ok(())
    }

    fn written(&mut self) -> Result<usize, Failed> {
        super::number(&self.client.query("SELECT COUNT(*) FROM d.t")?)
    }
}
