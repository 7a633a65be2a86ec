//! `PostgreSQL` under Patroni, in its synchronous mode.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::Pair;
use crate::{
    servers::patroni::{Cluster, LONG},
    transactions::postgres::Client,
    wait::within,
};

pub struct PatroniPair {
    cluster: Cluster,
    leader: usize,
}

impl PatroniPair {
    /// Patroni itself has written down that the standby is synchronous: before that, it promotes nobody.
    fn is_ready(&self) -> bool {
        String::from_utf8_lossy(&self.cluster.control(&["list", "--format", "json"]).stdout).contains("Sync Standby")
    }
}

impl Pair for PatroniPair {
    type Client = Client;

    fn start() -> Self {
        let cluster = Cluster::start();
        let leader = cluster.leader().unwrap();
        for statement in [
            "CREATE TABLE t (n bigint)",
            "CREATE ROLE app LOGIN",
            "GRANT INSERT ON t TO app",
            "CREATE ROLE mainstay LOGIN",
            "GRANT pg_monitor, pg_signal_backend TO mainstay",
        ] {
            cluster.sql(leader, statement).unwrap_or_else(|| panic!("{statement}: failed"));
        }
        let pair = Self { cluster, leader };
        within(LONG, "Patroni knows its standby", || pair.is_ready().then_some(()));
        pair
    }

    fn nodes(&self) -> [SocketAddr; 2] {
        [0, 1].map(|node| self.cluster.address(node))
    }

    fn primary(&self) -> usize {
        self.leader
    }

    fn keys(&self) -> Value {
        json!({"check": {"postgres": {"user": "mainstay"}, "http": {"port": self.cluster.api}}, "promotion": {"how": "patroni"}})
    }

    fn administer(&self, node: usize, statement: &str) {
        self.cluster.sql(node, statement).unwrap_or_else(|| panic!("{statement}: failed"));
    }

    fn written(&self, node: usize) -> u64 {
        self.cluster.sql(node, "SELECT count(*) FROM t").and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    fn rejoined(&mut self, old: usize, new: usize) {
        within(LONG, "the old leader follows synchronously", || {
            let state = "SELECT string_agg(sync_state, ',') FROM pg_stat_replication WHERE state = 'streaming'";
            let follows = self.cluster.sql(new, state)? == "sync" && self.cluster.sql(old, "SELECT pg_is_in_recovery()")? == "t";
            (follows && self.is_ready()).then_some(())
        });
    }
}
