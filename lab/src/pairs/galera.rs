//! A Galera cluster of two nodes: both take writes.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Pair;
use crate::{servers::mariadb::MariaDb, transactions::mysql::Client, wait::until};

pub struct Galera([MariaDb; 2]);

impl Pair for Galera {
    type Client = Client;

    fn start() -> Self {
        let first = MariaDb::galera(None);
        let second = MariaDb::galera(Some(&first));
        until("both are there", || (first.status("wsrep_cluster_size") == "2").then_some(()));
        first.sql(
            "CREATE DATABASE d; CREATE TABLE d.t (i BIGINT AUTO_INCREMENT PRIMARY KEY, n BIGINT) ENGINE=InnoDB; \
             CREATE USER app@'%'; GRANT INSERT ON d.* TO app@'%'; \
             CREATE USER mainstay@'%'; GRANT PROCESS, CONNECTION ADMIN ON *.* TO mainstay@'%'",
        );
        until("the other has it", || second.try_sql("SHOW GRANTS FOR mainstay@'%'").ok().filter(|to| to.contains("PROCESS")));
        Self([first, second])
    }

    fn nodes(&self) -> [SocketAddr; 2] {
        self.0.each_ref().map(MariaDb::address)
    }

    fn keys(&self) -> Value {
        json!({"check": "mysql"})
    }

    fn administer(&self, node: usize, statement: &str) {
        self.0[node].sql(statement);
    }

    fn written(&self, node: usize) -> u64 {
        self.0[node].sql("SET SESSION wsrep_sync_wait = 1; SELECT COUNT(*) FROM d.t").parse().unwrap()
    }

    fn rejoined(&mut self, _old: usize, _new: usize) {}
}
