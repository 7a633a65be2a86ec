//! Redis: a primary and its replica.

use std::{fs, net::SocketAddr};

use serde_json::{Value, json};

use super::{Pair, directory};
use crate::{directory::Directory, servers::redis::Redis, transactions::redis::Client, wait::until};

const USER: &str = "user mainstay on >secret +ping +info +failover +client|pause +client|unpause";

pub struct RedisPair {
    pub servers: [Redis; 2],
    secrets: Directory,
}

impl Pair for RedisPair {
    type Client = Client;

    fn start() -> Self {
        let primary = Redis::primary(&[USER]);
        let replica = primary.replica(&[USER]);
        let pair = Self { servers: [primary, replica], secrets: directory() };
        fs::write(pair.secrets.join("password"), "secret").unwrap();
        pair
    }

    fn nodes(&self) -> [SocketAddr; 2] {
        self.servers.each_ref().map(Redis::address)
    }

    fn keys(&self) -> Value {
        let check = json!({"redis": {"user": "mainstay", "password_file": self.secrets.join("password")}});
        json!({"check": check, "promotion": {"how": "sql"}})
    }

    fn administer(&self, node: usize, statement: &str) {
        let answer = self.servers[node].ask(&statement.split(' ').collect::<Vec<_>>());
        assert_eq!(answer, "+OK", "{statement}");
    }

    fn written(&self, node: usize) -> u64 {
        self.servers[node].ask(&["GET", "counter"]).parse().unwrap_or(0)
    }

    fn rejoined(&mut self, old: usize, new: usize) {
        let port = format!("master_port:{}", self.servers[new].port);
        until("the old primary follows the new one", || {
            let said = self.servers[old].try_ask(&["INFO", "replication"]).ok()?;
            (said.contains(&port) && said.contains("master_link_status:up")).then_some(())
        });
    }
}
