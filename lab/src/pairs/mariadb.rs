//! `MariaDB`: a primary and an asynchronous replica.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Pair, directory, script};
use crate::{directory::Directory, servers::mariadb::MariaDb, transactions::mysql::Client, wait::until};

/// Makes an old primary a replica of the new one. What it wrote itself counts as received (`MASTER_DEMOTE_TO_SLAVE`).
const REJOIN: &str = "exec mariadb --no-defaults --skip-ssl --host=127.0.0.1 --port=\"${MAINSTAY_ADDRESS##*:}\" --user=root --execute=\"\
CHANGE MASTER TO master_host='127.0.0.1', master_port=${MAINSTAY_PEER_ADDRESS##*:}, master_user='root', master_use_gtid=slave_pos, \
master_demote_to_slave=1, master_connect_retry=1; START SLAVE\"";

pub struct MariaDbPair {
    pub servers: [MariaDb; 2],
    hooks: Directory,
}

impl Pair for MariaDbPair {
    type Client = Client;

    fn start() -> Self {
        let primary = MariaDb::start(&["--max-connections=300"]);
        primary.sql(
            "CREATE DATABASE d; CREATE TABLE d.t (n BIGINT) ENGINE=InnoDB; \
             CREATE USER app@'%'; GRANT INSERT ON d.* TO app@'%'; \
             CREATE USER mainstay@'%'; GRANT SLAVE MONITOR, PROCESS, CONNECTION ADMIN ON *.* TO mainstay@'%'; \
             GRANT READ_ONLY ADMIN, REPLICATION SLAVE ADMIN, RELOAD ON *.* TO mainstay@'%'",
        );
        let replica = primary.replica(&["--max-connections=300", "--read-only"]);
        until("the replica has all of it", || {
            replica.try_sql("SHOW GRANTS FOR mainstay@'%'").ok().filter(|to| to.contains("RELOAD"))
        });
        let pair = Self { servers: [primary, replica], hooks: directory() };
        script(&pair.hooks, "rejoin", REJOIN);
        pair
    }

    fn nodes(&self) -> [SocketAddr; 2] {
        self.servers.each_ref().map(MariaDb::address)
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
        // Both of its threads run.
        let follows = || {
            let port = format!("\t{}\t", new.port);
            old.status("Slave_running") == "ON" && old.sql("SHOW SLAVE STATUS").contains(&port)
        };
        until("the old primary follows the new one", || follows().then_some(()));
        assert_eq!((&*old.sql("SELECT @@read_only"), &*new.sql("SELECT @@read_only")), ("1", "0"));
    }
}
