//! `MySQL`: a primary and an asynchronous replica, whose transactions are numbered.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Pair, directory, script};
use crate::{directory::Directory, servers::mysql::MySql, transactions::mysql::Client, wait::until};

/// Makes an old primary a replica of the new one.
fn rejoin(servers: &[MySql; 2]) -> String {
    let [a, b] = servers.each_ref().map(|server| (server.port, server.socket().display().to_string()));
    format!(
        "case \"${{MAINSTAY_ADDRESS##*:}}\" in {}) SOCKET='{}';; {}) SOCKET='{}';; esac\n\
         exec {} --no-defaults --socket=\"$SOCKET\" --user=root --execute=\"CHANGE REPLICATION SOURCE TO source_host='127.0.0.1', \
         source_port=${{MAINSTAY_PEER_ADDRESS##*:}}, source_user='root', source_auto_position=1, source_connect_retry=1; \
         START REPLICA\"",
        a.0,
        a.1,
        b.0,
        b.1,
        MySql::client_program().display(),
    )
}

pub struct MySqlPair {
    pub servers: [MySql; 2],
    hooks: Directory,
}

impl Pair for MySqlPair {
    type Client = Client;

    fn start() -> Self {
        let primary = MySql::start(&["--max-connections=300"]);
        primary.sql(
            "CREATE DATABASE d; CREATE TABLE d.t (id BIGINT AUTO_INCREMENT PRIMARY KEY, n BIGINT); \
             CREATE USER app@'%'; GRANT INSERT ON d.* TO app@'%'; \
             CREATE USER mainstay@'%'; GRANT REPLICATION CLIENT, PROCESS, CONNECTION_ADMIN ON *.* TO mainstay@'%'; \
             GRANT SYSTEM_VARIABLES_ADMIN, REPLICATION_SLAVE_ADMIN, RELOAD ON *.* TO mainstay@'%'",
        );
        let replica = primary.replica(&["--max-connections=300", "--super-read-only"]);
        until("the replica has all of it", || {
            replica.try_sql("SHOW GRANTS FOR mainstay@'%'").ok().filter(|to| to.contains("RELOAD"))
        });
        let servers = [primary, replica];
        let hooks = directory();
        script(&hooks, "rejoin", &rejoin(&servers));
        Self { servers, hooks }
    }

    fn nodes(&self) -> [SocketAddr; 2] {
        self.servers.each_ref().map(MySql::address)
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
        until("the old primary follows the new one", || (old.follows() && old.replication("Source_Port") == port).then_some(()));
        assert_eq!((&*old.sql("SELECT @@super_read_only"), &*new.sql("SELECT @@read_only")), ("1", "0"));
    }
}
