//! Redis and Valkey: all is in `INFO`. What its file says, and whether that is what it runs with, no command tells.

use std::time::Duration;

use async_trait::async_trait;

use super::server::{Answer, Capacity, Look, Opened, Server, Unanswered, unasked};
use crate::{
    config::{BuiltIn, RedisCheck},
    control::probe::{
        Deadline,
        finding::Refusal,
        redis::{
            Login, Standing,
            facts::{value, version},
            resp::Reply,
        },
        standing::Standing as _,
    },
    net::{addr::BackendAddr, addresses::Addresses},
};

/// What it is asked, in order.
pub(super) const PROOFS: [BuiltIn; 6] = [
    BuiltIn::Replication,
    BuiltIn::Persistence,
    BuiltIn::Memory,
    BuiltIn::MaxConnections,
    BuiltIn::VersionOrder,
    BuiltIn::ProbeLatency,
];

/// A login.
struct Redis {
    standing: Standing,
    user: String,
}

pub(super) async fn open(check: &RedisCheck, address: &BackendAddr, addresses: &Addresses, deadline: Deadline) -> Opened {
    let opened = Login::new(address, check).session(addresses, deadline).await.map_err(Refusal::from);
    let standing = opened.map_err(|refusal| refusal.why.to_string())?;
    Ok(Box::new(Redis { standing, user: check.user.clone().unwrap_or_else(|| "default".into()) }))
}

#[async_trait]
impl Server for Redis {
    async fn look(&mut self, proof: BuiltIn, _: &[String], deadline: Deadline) -> Look {
        let section = if proof == BuiltIn::Replication { "replication" } else { "persistence" };
        match self.info(section, deadline).await {
            Ok(info) if proof == BuiltIn::Replication => replication(&info),
            Ok(info) => persistence(&info),
            Err(refusal) => unasked(refusal, || format!("ACL SETUSER {} +info", self.user)),
        }
    }

    async fn capacity(&mut self, deadline: Deadline) -> Result<Capacity, String> {
        let mut capacity = Capacity { connections_by: "maxclients", ..Capacity::default() };
        for section in ["server", "clients", "memory"] {
            let info = self.info(section, deadline).await.map_err(|refusal| refusal.why.to_string())?;
            let number = |key: &str| value(&info, key).and_then(|text| text.parse::<u64>().ok());
            match section {
                "server" => capacity.version = version(&info)?.unwrap_or_default().to_string(),
                "clients" => {
                    capacity.connections = number("maxclients");
                    // This session is one of them.
                    capacity.sessions = number("connected_clients").map(|clients| clients.saturating_sub(1));
                }
                _ => (capacity.max_memory, capacity.used_memory) = (number("maxmemory"), number("used_memory")),
            }
        }
        Ok(capacity)
    }

    async fn ask(&mut self, _: &str, _: Duration) -> Result<Answer, Unanswered> {
        Err(Unanswered::Refused("Redis has no SQL".into()))
    }

    async fn position(&mut self, _: Deadline) -> Option<String> {
        None
    }

    async fn reach(&mut self, _: &str, _: Deadline) -> bool {
        false
    }

    async fn close(self: Box<Self>) {
        Box::new(self.standing).close().await;
    }
}

impl Redis {
    async fn info(&mut self, section: &str, deadline: Deadline) -> Result<String, Refusal> {
        match self.standing.run(&["INFO", section], deadline).await? {
            Reply::Bulk(info) => Ok(info),
            _ => Err(Refusal { is_denied: false, why: "the answer to INFO is none".into() }),
        }
    }
}

fn replication(info: &str) -> Look {
    match (value(info, "role"), value(info, "master_link_status"), value(info, "master_sync_in_progress")) {
        (Some("slave"), Some("up"), _) => Look::Holds("it is a replica whose link to its primary is up".into()),
        (Some("slave"), _, Some("1")) => Look::Fails("it is a replica that still gets the data of its primary".into()),
        (Some("slave"), ..) => Look::Fails("it is a replica whose link to its primary is down".into()),
        _ => Look::Alone("it is no replica".into()),
    }
}

fn persistence(info: &str) -> Look {
    let is = |key: &str, wanted: &str| value(info, key) == Some(wanted);
    let faults = [
        (is("loading", "1") || is("async_loading", "1"), "it is loading its data"),
        (is("rdb_last_bgsave_status", "err"), "its last BGSAVE failed (rdb_last_bgsave_status:err)"),
        (is("aof_last_write_status", "err"), "its last write to the AOF failed (aof_last_write_status:err)"),
        (is("aof_last_bgrewrite_status", "err"), "its last rewrite of the AOF failed (aof_last_bgrewrite_status:err)"),
    ];
    let faults: Vec<&str> = faults.into_iter().filter_map(|(holds, words)| holds.then_some(words)).collect();
    if faults.is_empty() {
        return Look::Holds("it has loaded its data, and its last saves succeeded".into());
    }
    Look::Fails(format!("{}: look at its log and its disk", faults.join(", ")))
}
