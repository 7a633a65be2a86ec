//! Redis and Valkey: `FAILOVER` on the old primary, which holds writes, waits for the replica and changes both roles (Redis
//! documentation, "FAILOVER"; since 6.2); `REPLICAOF NO ONE` when the old one has failed.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::step::{Done, Member, Shortcoming, left, no_login, pause, pause_before_login};
use crate::{
    config::RedisCheck,
    control::probe::{
        Deadline,
        finding::Refusal,
        redis::{Login, Standing, facts::value, resp::Reply},
    },
    failover::Printable,
    net::addresses::Addresses,
};

/// `FAILOVER` gives up by itself after this part of the time, so that this can still be seen.
const SHARE: (u32, u32) = (9, 10);
/// What to ask for in `INFO`.
const REPLICATION: [&str; 2] = ["INFO", "replication"];

/// `CLIENT PAUSE` outlasts the step by this, and ends by itself then.
const PAUSED_ON: Duration = Duration::from_secs(5);
/// A pause that ends sooner is not relied upon.
const PAUSED_LEFT: Duration = Duration::from_secs(1);
/// What a user needs to hold writes.
const MAY_PAUSE: &str = "+client|pause +client|unpause";

#[derive(Debug)]
pub(super) struct Redis {
    check: Arc<RedisCheck>,
    /// Until when writes are held on the old primary.
    paused: Mutex<Option<Instant>>,
}

impl Redis {
    pub(super) fn new(check: &RedisCheck) -> Self {
        Self { check: Arc::new(check.clone()), paused: Mutex::default() }
    }

    pub(super) async fn preflight(&self, from: Option<&Member>, to: &Member, deadline: Deadline) -> Vec<Shortcoming> {
        let mut missing = Vec::new();
        match self.session(to, deadline).await {
            Ok((mut session, addresses)) => {
                missing.extend(self.of_replica(&mut session, to, from.is_some(), deadline).await);
                if let Some(from) = from {
                    missing.extend(self.of_primary(from, (to, &addresses), deadline).await);
                }
            }
            Err(why) => missing.push(Shortcoming::forbids(why)),
        }
        missing
    }

    async fn of_replica(&self, session: &mut Standing, to: &Member, switchover: bool, deadline: Deadline) -> Vec<Shortcoming> {
        let info = match info(session, to, deadline).await {
            Ok(info) => info,
            Err(why) => return vec![Shortcoming::forbids(why)],
        };
        let mut missing = Vec::new();
        if value(&info, "role") != Some("slave") {
            missing.push(Shortcoming::forbids(format!("{} is no replica", to.name)));
        } else if switchover {
            missing.extend(hears(&info, to).err().map(Shortcoming::loses));
        }
        if !switchover {
            missing.extend(self.no_replicaof(session, to, deadline).await);
        }
        missing
    }

    /// What the user lacks on a node, whatever that is now.
    pub(super) async fn rights(&self, node: &Member, deadline: Deadline) -> Result<Vec<Shortcoming>, Printable> {
        let (mut session, _) = self.session(node, deadline).await?;
        let mut missing = self.no_failover(&mut session, node, deadline).await;
        missing.extend(self.no_replicaof(&mut session, node, deadline).await);
        Ok(missing)
    }

    async fn no_replicaof(&self, session: &mut Standing, to: &Member, deadline: Deadline) -> Option<Shortcoming> {
        // With this port the command does nothing, whoever may give it.
        let refused = session.run(&["REPLICAOF", "localhost", "none"], deadline).await.err().filter(|refusal| refusal.is_denied);
        refused.map(|_| Shortcoming::forbids(self.denied(to, "REPLICAOF", "+replicaof")))
    }

    async fn no_failover(&self, session: &mut Standing, from: &Member, deadline: Deadline) -> Vec<Shortcoming> {
        let mut missing = Vec::new();
        // No time has this name, so nothing is paused.
        if let Err(Refusal { is_denied: true, .. }) = session.run(&["CLIENT", "PAUSE", "none", "WRITE"], deadline).await {
            missing.push(Shortcoming::costs(format!(
                "{}; without that FAILOVER waits up to a second for the next acknowledgement of the replica",
                self.denied(from, "CLIENT PAUSE", MAY_PAUSE)
            )));
        }
        // With no time it does nothing; `ABORT` would end one that somebody else has begun.
        if let Err(Refusal { is_denied: true, .. }) = session.run(&["FAILOVER", "TIMEOUT", "0"], deadline).await {
            missing.push(Shortcoming::forbids(self.denied(from, "FAILOVER", "+failover")));
        }
        missing
    }

    async fn of_primary(&self, from: &Member, to: (&Member, &Addresses), deadline: Deadline) -> Vec<Shortcoming> {
        let (mut session, info) = match self.ask(from, deadline).await {
            Ok(asked) => asked,
            Err(why) => return vec![Shortcoming::forbids(why)],
        };
        let mut missing = Vec::new();
        missing.extend(replica(&info, from, to).err().map(Shortcoming::loses));
        match value(&info, "master_failover_state") {
            Some("no-failover") => {}
            Some(_) => return vec![Shortcoming::forbids(format!("{} makes a FAILOVER already: wait for its end", from.name))],
            None => {
                let old = format!(
                    "{} has no FAILOVER, which came with Redis 6.2: promote by a command (how: {{exec: […]}})",
                    from.name
                );
                return vec![Shortcoming::forbids(old)];
            }
        }
        missing.extend(self.no_failover(&mut session, from, deadline).await);
        missing
    }

    fn denied(&self, member: &Member, command: &str, rule: &str) -> String {
        let user = self.check.user.as_deref().unwrap_or("default");
        format!(
            "on {} the user {user} may not give {command}: ACL SETUSER {user} {rule} (and in its ACL file, on every node)",
            member.name
        )
    }

    /// Holds writes and waits until the replica has all: by its own count, because it acknowledges only once a second.
    pub(super) async fn demote(&self, from: &Member, to: &Member, deadline: Deadline) -> Done {
        let (mut old, _) = self.ask(from, deadline).await?;
        let (mut new, _) = self.ask(to, deadline).await?;
        let (began, time) = (Instant::now(), left(deadline) + PAUSED_ON);
        *self.paused() = Some(began + time);
        match old.run(&["CLIENT", "PAUSE", &time.as_millis().to_string(), "WRITE"], deadline).await {
            Ok(_) => {}
            Err(Refusal { is_denied: true, why }) => {
                *self.paused() = None;
                return Ok(format!("writes on {} go on until FAILOVER ({why})", from.name).into());
            }
            Err(Refusal { why, .. }) => return Err(format!("CLIENT PAUSE on {}: {why}", from.name).into()),
        }
        let wrote = offset(&info(&mut old, from, deadline).await?, "master_repl_offset");
        loop {
            let has = offset(&info(&mut new, to, deadline).await?, "slave_repl_offset");
            if wrote.is_some() && has >= wrote {
                let (from, to) = (&from.name, &to.name);
                return Ok(format!("writes on {from} are held, and {to} has all of them, after {:.1?}", began.elapsed()).into());
            }
            if !pause(deadline).await {
                return Err(format!(
                    "{} does not catch up with {}: nothing was promoted. Look at master_link_status and slave_repl_offset in its INFO \
                     replication",
                    to.name, from.name
                )
                .into());
            }
        }
    }

    fn paused(&self) -> MutexGuard<'_, Option<Instant>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn promote(&self, from: Option<&Member>, to: &Member, deadline: Deadline) -> Done {
        match from {
            Some(from) => self.hand_over(from, to, deadline).await,
            None => self.alone(to, deadline).await,
        }
    }

    async fn hand_over(&self, from: &Member, to: &Member, deadline: Deadline) -> Done {
        let addresses = to.addresses(deadline).await?;
        let (mut old, info) = self.ask(from, deadline).await?;
        let (host, port) = replica(&info, from, (to, &addresses))?;
        let began = Instant::now();
        let timeout = (left(deadline) * SHARE.0 / SHARE.1).as_millis().max(1).to_string();
        // It need not wait for an acknowledgement of what the replica is known to have.
        let has_all = self.paused().is_some_and(|until| until > began + PAUSED_LEFT);
        let mut order = vec!["FAILOVER", "TO", &host, &port, "TIMEOUT"];
        if has_all {
            order.extend(["1", "FORCE"]);
        } else {
            order.push(&timeout);
        }
        match old.run(&order, deadline).await {
            Ok(_) => {}
            Err(Refusal { is_denied: true, .. }) => return Err(self.denied(from, "FAILOVER", "+failover").into()),
            Err(Refusal { why, .. }) => return Err(format!("FAILOVER on {}: {why}", from.name).into()),
        }
        let mut told = String::new();
        loop {
            // It may end its sessions when it begins to follow.
            let asked = match info_of(&mut old, deadline).await {
                Ok(info) => Some(info),
                Err(_) => self.ask(from, deadline).await.ok().map(|(session, info)| {
                    old = session;
                    info
                }),
            };
            told = asked.unwrap_or(told);
            let (role, state) = (value(&told, "role"), value(&told, "master_failover_state"));
            if role == Some("slave") && self.is_primary(to, deadline).await {
                if has_all {
                    *self.paused() = None;
                    // It ends by itself as well.
                    let _ = old.run(&["CLIENT", "UNPAUSE"], deadline).await;
                }
                return Ok(format!(
                    "FAILOVER made {} the primary and {} its replica in {:.1?}",
                    to.name,
                    from.name,
                    began.elapsed()
                )
                .into());
            }
            if role == Some("master") && state == Some("no-failover") {
                return Err(format!(
                    "{} gave FAILOVER up after {:.1?} and is the primary still: {} did not catch up. Look at its master_link_status and \
                     at slave_repl_offset in INFO replication",
                    from.name,
                    began.elapsed(),
                    to.name
                )
                .into());
            }
            if !pause(deadline).await {
                return Err(format!(
                    "FAILOVER to {} has not ended (role {}, {}): look at INFO replication of both before anything else is promoted",
                    to.name,
                    Printable::word(role.unwrap_or("unknown")),
                    Printable::word(state.unwrap_or("no answer"))
                )
                .into());
            }
        }
    }

    async fn alone(&self, to: &Member, deadline: Deadline) -> Done {
        let (mut session, info) = self.ask(to, deadline).await?;
        if value(&info, "role") == Some("master") {
            return Ok(format!("{} is the primary already", to.name).into());
        }
        match session.run(&["REPLICAOF", "NO", "ONE"], deadline).await {
            Ok(_) if self.is_primary(to, deadline).await => Ok(format!("REPLICAOF NO ONE made {} the primary", to.name).into()),
            Ok(_) => {
                Err(format!("{} was told REPLICAOF NO ONE, and is not the primary: look at INFO replication there", to.name)
                    .into())
            }
            Err(Refusal { is_denied: true, .. }) => Err(self.denied(to, "REPLICAOF", "+replicaof").into()),
            Err(Refusal { why, .. }) => Err(format!("REPLICAOF NO ONE on {}: {why}", to.name).into()),
        }
    }

    /// Ends a pause, and a `FAILOVER` that only waits. Once it hands over, an abort could make two primaries.
    pub(super) async fn undo_demote(&self, from: &Member, deadline: Deadline) -> Done {
        let paused = self.paused().take();
        if paused.is_some() {
            let (mut session, _) = self.ask(from, deadline).await?;
            let unpaused = session.run(&["CLIENT", "UNPAUSE"], deadline).await;
            unpaused.map_err(|refusal| {
                format!("CLIENT UNPAUSE on {}: {}; its writes are held for some seconds", from.name, refusal.why)
            })?;
        }
        loop {
            let (mut session, info) = self.ask(from, deadline).await?;
            match (value(&info, "role"), value(&info, "master_failover_state")) {
                (Some("master"), Some("waiting-for-sync")) => match session.run(&["FAILOVER", "ABORT"], deadline).await {
                    Ok(_) => return Ok(format!("FAILOVER was aborted: {} takes writes again", from.name).into()),
                    // It has ended meanwhile.
                    Err(_) if pause_before_login(deadline).await => {}
                    Err(Refusal { why, .. }) => return Err(format!("FAILOVER ABORT on {}: {why}", from.name).into()),
                },
                (Some("master"), Some("failover-in-progress")) if pause_before_login(deadline).await => {}
                (Some("master"), Some("failover-in-progress")) => {
                    return Err(
                        format!("{} is handing over and cannot be stopped: look at INFO replication of both", from.name).into()
                    );
                }
                (Some("master"), _) => return Ok(format!("{} is the primary, and no FAILOVER is under way", from.name).into()),
                _ => return Err(format!("{} is a replica already: its FAILOVER was faster", from.name).into()),
            }
        }
    }

    async fn is_primary(&self, member: &Member, deadline: Deadline) -> bool {
        self.ask(member, deadline).await.is_ok_and(|(_, info)| value(&info, "role") == Some("master"))
    }

    async fn ask(&self, member: &Member, deadline: Deadline) -> Result<(Standing, String), Printable> {
        let (mut session, _) = self.session(member, deadline).await?;
        let info = info(&mut session, member, deadline).await?;
        Ok((session, info))
    }

    async fn session(&self, member: &Member, deadline: Deadline) -> Result<(Standing, Addresses), Printable> {
        let addresses = member.addresses(deadline).await?;
        let session = Login::new(&member.address, &self.check).session(&addresses, deadline).await;
        Ok((session.map_err(|failure| no_login(member, Refusal::from(failure).why))?, addresses))
    }
}

async fn info(session: &mut Standing, member: &Member, deadline: Deadline) -> Result<String, Printable> {
    info_of(session, deadline).await.map_err(|why| format!("{} does not answer INFO: {why}", member.name).into())
}

async fn info_of(session: &mut Standing, deadline: Deadline) -> Result<String, Printable> {
    match session.run(&REPLICATION, deadline).await {
        Ok(Reply::Bulk(info)) => Ok(info),
        Ok(_) => Err("its answer is none".into()),
        Err(refusal) => Err(refusal.why),
    }
}

/// A replica receives from its primary.
fn hears(info: &str, member: &Member) -> Result<(), Printable> {
    if value(info, "master_link_status") == Some("up") {
        return Ok(());
    }
    Err(format!(
        "{} has lost its primary (master_link_status is down), so it would lack what was written last: look at its log",
        member.name
    )
    .into())
}

/// The host and the port by which the primary knows a replica. It may know it by another address than clients do.
fn replica(info: &str, from: &Member, (to, addresses): (&Member, &Addresses)) -> Result<(String, String), Printable> {
    let known: Vec<(&str, &str)> = info.lines().filter_map(of_line).collect();
    let port = to.address.port().map(|port| port.to_string());
    let has_port = |known: &str| port.as_deref() == Some(known);
    let is_there = |host: &str| {
        let ip = host.parse::<IpAddr>().ok();
        host.eq_ignore_ascii_case(to.address.host())
            || addresses.iter().any(|address| address.tcp().is_some_and(|address| ip == Some(address.ip())))
    };
    let exact = known.iter().find(|(host, port)| has_port(port) && is_there(host));
    let mut alike = known.iter().filter(|(_, port)| has_port(port));
    let only = alike.next().filter(|_| alike.next().is_none());
    if let Some((host, port)) = exact.or(only) {
        return Ok(((*host).to_owned(), (*port).to_owned()));
    }
    let list: Vec<String> =
        known.iter().map(|(host, port)| format!("{}:{}", Printable::word(host), Printable::word(port))).collect();
    let list = if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    Err(format!(
        "{} does not know {} ({}) as its replica; it knows {list}: look at replica-announce-ip and replica-announce-port of {}",
        from.name, to.name, to.address, to.name
    )
    .into())
}

fn offset(info: &str, key: &str) -> Option<u64> {
    value(info, key)?.parse().ok()
}

/// `slave0:ip=10.0.0.2,port=6379,state=online,…`
fn of_line(line: &str) -> Option<(&str, &str)> {
    let (number, rest) = line.strip_prefix("slave")?.split_once(':')?;
    number.parse::<u32>().ok()?;
    let of = |key: &str| rest.split(',').find_map(|part| part.trim().strip_prefix(key)?.strip_prefix('='));
    Some((of("ip")?, of("port")?))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const INFO: &str = "role:master\r\nconnected_slaves:2\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=1,lag=0\r\n\
                        slave1:ip=redis-c,port=6380,state=online,offset=1,lag=1\r\nslave_read_only:1\r\n";

    fn member(address: &str, ip: &str) -> (Member, Addresses) {
        let addresses: Addresses = ip.parse::<SocketAddr>().unwrap().into();
        (Member { name: "b".into(), address: address.parse().unwrap(), addresses: addresses.clone() }, addresses)
    }

    #[test]
    fn a_replica_is_found_by_the_address_that_its_primary_knows() {
        let (from, _) = member("redis-a:6379", "10.0.0.1:6379");
        let find = |address: &str, ip: &str| {
            let (to, addresses) = member(address, ip);
            replica(INFO, &from, (&to, &addresses))
        };
        let first = ("10.0.0.2".to_owned(), "6379".to_owned());
        assert_eq!(find("10.0.0.2:6379", "10.0.0.2:6379").unwrap(), first);
        assert_eq!(find("redis-b:6379", "10.0.0.2:6379").unwrap(), first);
        assert_eq!(find("redis-c:6380", "10.0.0.9:6380").unwrap().0, "redis-c");
        // Behind NAT: the port alone tells it apart.
        assert_eq!(find("192.0.2.7:6379", "192.0.2.7:6379").unwrap(), first);
        let why = find("192.0.2.7:7000", "192.0.2.7:7000").unwrap_err();
        assert!(why.contains("it knows 10.0.0.2:6379, redis-c:6380"), "{why}");
    }
}
