//! Patroni: its own switchover, or failover, over its API (Patroni documentation, "Patroni REST API": `POST /switchover`,
//! `POST /failover`, `GET /cluster`).

use std::{net::IpAddr, time::Instant};

use serde_json::{Value, json};

use super::step::{Done, Member, Shortcoming, pause_before_login};
use crate::{
    config::HttpCheck,
    control::probe::{Deadline, finding::Refusal, http::Login},
    failover::Printable,
    net::addresses::Addresses,
};

/// Characters of an answer that are told.
const LONGEST_ANSWER: usize = 200;

#[derive(Debug)]
pub(super) struct Patroni {
    check: Box<HttpCheck>,
}

/// What `GET /cluster` says.
struct Cluster(Value);

impl Cluster {
    fn members(&self) -> impl Iterator<Item = &Value> {
        self.0.get("members").and_then(Value::as_array).into_iter().flatten()
    }

    fn is_paused(&self) -> bool {
        self.0.get("pause") == Some(&Value::Bool(true))
    }

    /// What Patroni calls a backend: it knows it by the address of its `PostgreSQL`.
    fn find(&self, member: &Member, addresses: &Addresses) -> Result<&Value, Printable> {
        let is_it = |found: &&Value| {
            let host = word(found, "host");
            let ip = host.parse::<IpAddr>().ok();
            let is_there = host.eq_ignore_ascii_case(member.address.host())
                || addresses.iter().any(|address| address.tcp().is_some_and(|address| ip == Some(address.ip())));
            is_there && found.get("port").and_then(Value::as_u64) == member.address.port().map(u64::from)
        };
        self.members().find(is_it).ok_or_else(|| {
            let known: Vec<String> = self
                .members()
                .map(|found| {
                    format!("{} ({}:{})", shown(found, "name"), shown(found, "host"), found.get("port").unwrap_or(&Value::Null))
                })
                .collect();
            format!(
                "Patroni knows no member at {} ({}); it knows {}: write the addresses of Patroni's connect_address as backends",
                member.address,
                member.name,
                known.join(", ")
            )
            .into()
        })
    }

    fn leader(&self) -> Option<&Value> {
        self.members().find(|member| is_leader(member))
    }
}

fn word<'a>(member: &'a Value, key: &str) -> &'a str {
    member.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn shown(member: &Value, key: &str) -> Printable {
    Printable::word(word(member, key))
}

fn is_leader(member: &Value) -> bool {
    // Patroni 4 says `primary` in places where Patroni 3 says `leader` or `master`.
    matches!(word(member, "role"), "leader" | "master" | "primary" | "standby_leader")
}

/// Patroni 3 says `running` of both, newer versions `streaming` of a standby.
fn runs(member: &Value) -> bool {
    matches!(word(member, "state"), "running" | "streaming")
}

impl Patroni {
    pub(super) fn new(check: &HttpCheck) -> Self {
        Self { check: Box::new(check.clone()) }
    }

    pub(super) async fn preflight(&self, from: Option<&Member>, to: &Member, deadline: Deadline) -> Vec<Shortcoming> {
        let (cluster, addresses) = match self.cluster(to, deadline).await {
            Ok(found) => found,
            Err(why) => return vec![Shortcoming::forbids(why)],
        };
        let mut missing = Vec::new();
        match cluster.find(to, &addresses) {
            Ok(member) if is_leader(member) => {
                missing.push(Shortcoming::forbids(format!("{} is Patroni's leader already", to.name)));
            }
            Ok(member) => {
                let name = shown(member, "name");
                if !runs(member) {
                    let state = shown(member, "state");
                    missing.push(Shortcoming::forbids(format!("Patroni says that {name} is {state}: patronictl list")));
                }
                let is_sync = |member: &Value| matches!(word(member, "role"), "sync_standby" | "quorum_standby");
                if let Some(sync) = cluster.members().find(|member| is_sync(member)).filter(|_| !is_sync(member)) {
                    let sync = shown(sync, "name");
                    missing.push(Shortcoming::forbids(format!(
                        "{name} is not synchronous, and Patroni switches only to {sync}, which is"
                    )));
                }
                if member.get("tags").and_then(|tags| tags.get("nofailover")) == Some(&Value::Bool(true)) {
                    missing.push(Shortcoming::forbids(format!("{name} has the tag nofailover: Patroni never promotes it")));
                }
            }
            Err(why) => missing.push(Shortcoming::forbids(why)),
        }
        if cluster.is_paused() {
            missing.push(Shortcoming::costs(
                "Patroni is paused: it does a switchover, and nothing by itself afterwards (patronictl resume)",
            ));
        }
        if from.is_some() && cluster.leader().is_none() {
            missing.push(Shortcoming::forbids("Patroni has no leader, so there is nothing to switch over from: patronictl list"));
        }
        if self.check.login.is_none() {
            missing.push(Shortcoming::costs(
                "check.http has no `user`: where Patroni's restapi wants one for orders, the switchover will be refused (401)",
            ));
        }
        missing
    }

    pub(super) async fn promote(&self, from: Option<&Member>, to: &Member, deadline: Deadline) -> Done {
        let began = Instant::now();
        let (cluster, addresses) = self.cluster(to, deadline).await?;
        let candidate = cluster.find(to, &addresses)?;
        let name = word(candidate, "name");
        if is_leader(candidate) && runs(candidate) {
            return Ok(format!("{} is Patroni's leader already", to.name).into());
        }
        let (path, body) = match (from, cluster.leader()) {
            (Some(_), Some(leader)) => ("/switchover", json!({"leader": word(leader, "name"), "candidate": name})),
            (Some(_), None) => {
                return Err("Patroni has no leader, so there is nothing to switch over from: patronictl list".into());
            }
            (None, _) => ("/failover", json!({"candidate": name})),
        };
        let login = Login::new(&to.address, &self.check);
        let asked = login.call(&addresses, (path, Some(body.to_string())), deadline).await;
        let (status, said) = asked.map_err(|failure| -> Printable {
            format!(
                "Patroni was asked to make {} the leader, and did not say what it did ({}): patronictl list, before anything else is done",
                to.name,
                Refusal::from(failure).why
            )
            .into()
        })?;
        let said: String = String::from_utf8_lossy(&said).chars().take(LONGEST_ANSWER).collect();
        match status {
            200 | 202 => {}
            401 | 403 => {
                return Err(format!(
                    "Patroni refuses orders ({status}): write `user` and `password_file` of its restapi.authentication in check.http"
                )
                .into());
            }
            _ => return Err(format!("Patroni refuses to make {} the leader ({status}): {said}. patronictl list", to.name).into()),
        }
        loop {
            let now = self.cluster(to, deadline).await;
            let leads =
                now.is_ok_and(|(cluster, _)| cluster.find(to, &addresses).is_ok_and(|member| is_leader(member) && runs(member)));
            if leads {
                return Ok(format!("Patroni made {} the leader in {:.1?}: {said}", to.name, began.elapsed()).into());
            }
            if !pause_before_login(deadline).await {
                return Err(format!("Patroni said \"{said}\", and {} is not its leader yet: patronictl list", to.name).into());
            }
        }
    }

    async fn cluster(&self, member: &Member, deadline: Deadline) -> Result<(Cluster, Addresses), Printable> {
        let addresses = member.addresses(deadline).await?;
        let login = Login::new(&member.address, &self.check);
        let asked = login.call(&addresses, ("/cluster", None), deadline).await;
        let (status, body) = asked.map_err(|failure| -> Printable {
            format!("Patroni's API of {} does not answer: {}", member.name, Refusal::from(failure).why).into()
        })?;
        let cluster =
            serde_json::from_slice::<Value>(&body).ok().filter(|cluster| cluster.get("members").is_some_and(Value::is_array));
        match cluster {
            Some(cluster) if status == 200 => Ok((Cluster(cluster), addresses)),
            _ => {
                Err(format!("GET /cluster of {} said {status}, and no list of members: is that Patroni's API?", member.name)
                    .into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn cluster() -> Cluster {
        Cluster(json!({"members": [
            {"name": "node-a", "role": "leader", "state": "running", "host": "10.0.0.1", "port": 5432},
            {"name": "node-b", "role": "sync_standby", "state": "streaming", "host": "db-b", "port": 5432},
        ], "pause": true}))
    }

    #[test]
    fn a_member_is_found_by_the_address_of_its_database() {
        let cluster = cluster();
        let find = |address: &str, ip: &str| {
            let addresses: Addresses = ip.parse::<SocketAddr>().unwrap().into();
            let member = Member { name: "x".into(), address: address.parse().unwrap(), addresses: addresses.clone() };
            cluster.find(&member, &addresses).map(|member| word(member, "name").to_owned())
        };
        assert_eq!(find("db-a:5432", "10.0.0.1:5432").unwrap(), "node-a");
        assert_eq!(find("DB-B:5432", "10.0.0.2:5432").unwrap(), "node-b");
        let why = find("db-a:5433", "10.0.0.1:5433").unwrap_err();
        assert!(why.contains("node-a (10.0.0.1:5432), node-b (db-b:5432)"), "{why}");
        assert!(cluster.is_paused() && cluster.leader().is_some_and(|leader| word(leader, "name") == "node-a"));
    }
}
