//! `PostgreSQL`, with synchronous replication.

use std::{fs, net::SocketAddr, time::Duration};

use serde_json::{Value, json};

use super::{Pair, directory, script};
use crate::{
    cluster::{Cluster, Node, Options},
    directory::Directory,
    transactions::postgres::Client,
};

#[derive(Debug)]
pub struct PostgresPair {
    pub cluster: Cluster,
    hooks: Directory,
}

impl PostgresPair {
    /// Stops a server as `pg_ctl stop -m fast -w` does, and notes when that began and ended.
    fn demote(&self) -> Value {
        let data = self.cluster.nodes().each_ref().map(|node| format!("{}) data='{}' ;;", node.name(), node.data().display()));
        let body = format!(
            "case $MAINSTAY_BACKEND in {} esac\ndate +%s%N >\"$DIR/begun\"\nread -r pid <\"$data/postmaster.pid\"\nkill -INT \"$pid\"\n\
             while [ -e \"$data/postmaster.pid\" ]; do sleep 0.005; done\ndate +%s%N >\"$DIR/ended\"",
            data.concat()
        );
        json!({"exec": [script(&self.hooks, "demote", &body)], "timeout": "20s"})
    }

    fn ask(&self, node: usize, sql: &str) -> String {
        let rows = self.cluster.node(node).query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        rows.into_iter().flatten().flatten().next().unwrap_or_default()
    }
}

impl Pair for PostgresPair {
    type Client = Client;

    fn start() -> Self {
        let settings = vec!["max_connections = 300".to_owned()];
        let cluster = Cluster::create(&Options { settings, ..Options::default() }).unwrap_or_else(|error| panic!("{error}"));
        let pair = Self { cluster, hooks: directory() };
        for statement in [
            "CREATE TABLE t (n bigint)",
            "CREATE ROLE app LOGIN",
            "GRANT INSERT ON t TO app",
            "CREATE ROLE mainstay LOGIN",
            "GRANT pg_monitor, pg_checkpoint, pg_signal_backend TO mainstay",
            "GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO mainstay",
        ] {
            pair.ask(0, statement);
        }
        pair
    }

    fn nodes(&self) -> [SocketAddr; 2] {
        self.cluster.nodes().each_ref().map(Node::address)
    }

    fn keys(&self) -> Value {
        json!({"check": {"postgres": {"user": "mainstay"}}, "promotion": {"how": "sql", "demote": self.demote()}})
    }

    fn administer(&self, node: usize, statement: &str) {
        self.ask(node, statement);
    }

    fn written(&self, node: usize) -> u64 {
        self.ask(node, "SELECT count(*) FROM t").parse().unwrap()
    }

    fn rejoined(&mut self, old: usize, new: usize) {
        self.cluster.rejoin(old, new).unwrap_or_else(|error| panic!("{error}"));
    }

    fn stopped_in(&self) -> Option<Duration> {
        let at = |name: &str| fs::read_to_string(self.hooks.join(name)).ok()?.trim().parse::<u64>().ok();
        Some(Duration::from_nanos(at("ended")?.checked_sub(at("begun")?)?))
    }
}
