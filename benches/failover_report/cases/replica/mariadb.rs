//! `MariaDB`, as the case sees it.

use std::net::SocketAddr;

use lab::{
    failure::Failure,
    servers::mariadb::MariaDb,
    transactions::{Failed, mysql},
};

use super::{Bench, Client, Database, PATIENCE};

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
pub(crate) struct Session(mysql::Client);

impl Client for Session {
    fn open(address: SocketAddr) -> Result<Self, Failed> {
        mysql::Client::open(address, "root").map(Self)
    }

    fn write(&mut self) -> Result<u16, Failed> {
        super::number(&self.0.query("INSERT INTO d.t VALUES () RETURNING @@port")?)
    }

    fn promote(&mut self) -> Result<(), Failed> {
        for statement in ["STOP SLAVE", "SET GLOBAL read_only = 0"] {
            self.0.query(statement)?;
        }
        Ok(())
    }

    fn written(&mut self) -> Result<usize, Failed> {
        super::number(&self.0.query("SELECT COUNT(*) FROM d.t")?)
    }
}
