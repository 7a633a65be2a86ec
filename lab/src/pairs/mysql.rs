//! `MySQL` or `MariaDB`: a primary and an asynchronous replica, whose transactions are numbered.

use std::{net::SocketAddr, os::unix::fs::symlink};

use serde_json::{Value, json};

use super::{Pair, directory, script};
use crate::{
    directory::Directory,
    servers::{
        mariadb::Maria,
        mysql::Oracle,
        mysqld::{Flavour, Mysqld, following},
    },
    transactions::mysql::Client,
    wait::until,
};

pub type MySqlPair = MysqldPair<Oracle>;
pub type MariaDbPair = MysqldPair<Maria>;

pub struct MysqldPair<F: Flavour> {
    pub servers: [Mysqld<F>; 2],
    hooks: Directory,
}

impl<F: Flavour> MysqldPair<F> {
    /// With more arguments for the primary and for the replica.
    pub fn with(primary: &[&str], replica: &[&str]) -> Self {
        let common = "--max-connections=300";
        let primary = Mysqld::<F>::start(&[&[common], primary].concat());
        primary.sql(&format!(
            "CREATE DATABASE d; CREATE TABLE d.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, n BIGINT) ENGINE=InnoDB; \
             CREATE USER app@'%'; GRANT INSERT ON d.* TO app@'%'; \
             CREATE USER mainstay@'%'; GRANT {} ON *.* TO mainstay@'%'",
            F::RIGHTS
        ));
        let read_only = format!("--{}", F::READ_ONLY);
        let replica = primary.replica(&[&[common, &read_only], replica].concat());
        until("the replica has all of it", || {
            replica.try_sql("SHOW GRANTS FOR mainstay@'%'").ok().filter(|to| to.contains("RELOAD"))
        });
        let pair = Self { servers: [primary, replica], hooks: directory() };
        for server in &pair.servers {
            symlink(server.socket(), pair.hooks.join(server.port.to_string())).unwrap();
        }
        // Makes an old primary a replica of the new one.
        let rejoin = format!(
            "exec {} --no-defaults --socket=\"$DIR/${{MAINSTAY_ADDRESS##*:}}\" --user=root --execute=\"{}\"",
            F::client().display(),
            following::<F>("${MAINSTAY_PEER_ADDRESS##*:}", F::FROM_AS_FORMER_PRIMARY)
        );
        script(&pair.hooks, "rejoin", &rejoin);
        pair
    }
}

impl<F: Flavour> Pair for MysqldPair<F> {
    type Client = Client;

    fn start() -> Self {
        Self::with(&[], &[])
    }

    fn nodes(&self) -> [SocketAddr; 2] {
        self.servers.each_ref().map(Mysqld::address)
    }

    fn keys(&self) -> Value {
        json!({
            "check": "mysql",
            "promotion": {"how": "sql", "rejoin": {"exec": [self.hooks.join("rejoin")], "timeout": "20s"}},
        })
    }

    fn administer(&self, node: usize, statement: &str) {
        self.servers[node].sql(statement);
    }

    fn written(&self, node: usize) -> u64 {
        self.servers[node].sql("SELECT COUNT(*) FROM d.t").parse().unwrap()
    }

    fn rejoined(&mut self, old: usize, new: usize) {
        let (old, new) = (&self.servers[old], &self.servers[new]);
        let port = new.port.to_string();
        until("the old primary follows the new one", || (old.follows() && old.source_port() == port).then_some(()));
        let refuses = old.sql(&format!("SELECT @@{}", F::READ_ONLY));
        assert_eq!((&*refuses, &*new.sql("SELECT @@read_only")), ("1", "0"));
    }
}
