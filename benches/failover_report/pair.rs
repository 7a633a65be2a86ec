//! The database under test: a real primary with its synchronous standby, and what the report needs in it.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read, Write},
    time::Instant,
};

use lab::{
    cluster::{Cluster, Node, Options},
    failure::Failure,
    process,
};
use rustix::process::{Pid, Signal};

/// A cluster, and which of its nodes is the primary.
#[derive(Debug)]
pub(crate) struct Pair {
    cluster: Cluster,
    primary: usize,
}

impl Pair {
    /// Makes a cluster with a table, a role `app` for the clients and a role `probe` for the checks; neither is a superuser.
    pub(crate) fn create(settings: &[&str]) -> Result<Self, Failure> {
        let settings = settings.iter().map(|line| (*line).to_owned()).collect();
        let cluster = Cluster::create(&Options { settings, ..Options::default() })?;
        let pair = Self { cluster, primary: 0 };
        for statement in [
            "CREATE ROLE app LOGIN",
            "CREATE ROLE probe LOGIN",
            "CREATE TABLE acks (row bigint PRIMARY KEY)",
            "GRANT INSERT ON acks TO app",
        ] {
            pair.primary().query(statement)?;
        }
        Ok(pair)
    }

    pub(crate) fn primary(&self) -> &Node {
        self.cluster.node(self.primary)
    }

    pub(crate) fn standby(&self) -> &Node {
        self.cluster.node(1 - self.primary)
    }

    pub(crate) const fn nodes(&self) -> &[Node; 2] {
        self.cluster.nodes()
    }

    /// What the server calls its version.
    pub(crate) fn version(&self) -> Result<String, Failure> {
        first_value(self.primary(), "SHOW server_version")
    }

    /// After a failover: the standby is the primary now, the old primary is rebuilt as its synchronous standby.
    pub(crate) fn swap_roles(&mut self) -> Result<(), Failure> {
        self.cluster.rejoin(self.primary, 1 - self.primary)?;
        self.primary = 1 - self.primary;
        Ok(())
    }

    /// After crash recovery in place: waits until writes are replicated synchronously again.
    pub(crate) fn wait_ready(&self) -> Result<(), Failure> {
        Ok(self.cluster.wait_ready(self.primary)?)
    }

    /// Demands a password from the role `probe`, on both nodes, for connections over TCP.
    pub(crate) fn demand_password_from_probe(&self) -> Result<(), Failure> {
        for node in self.nodes() {
            let path = node.data().join("pg_hba.conf");
            let mut rules = String::from("host all probe 127.0.0.1/32 scram-sha-256\n");
            File::open(&path)?.read_to_string(&mut rules)?;
            // Written in place, because the file belongs to the server's user.
            File::options().write(true).truncate(true).open(&path)?.write_all(rules.as_bytes())?;
            node.query("SELECT pg_reload_conf()")?;
        }
        Ok(())
    }
}

/// Rows that a node holds.
pub(crate) fn rows(node: &Node) -> Result<BTreeSet<u64>, Failure> {
    let rows = node.query("SELECT row FROM acks")?;
    Ok(rows.into_iter().flatten().flatten().filter_map(|text| text.parse().ok()).collect())
}

/// The one value that a statement returns.
pub(crate) fn first_value(node: &Node, sql: &str) -> Result<String, Failure> {
    node.query(sql)?.into_iter().flatten().flatten().next().ok_or_else(|| Failure::Said(format!("\"{sql}\" returned nothing")))
}

/// Sends SIGKILL to every process of a node, the postmaster first, as `pkill -9` does; the moment just before the first signal.
/// A child that is made while the children are listed ends by itself: it notices that its postmaster is gone.
pub(crate) fn kill9(node: &Node) -> Result<Instant, Failure> {
    let postmaster = postmaster(node)?;
    let children = process::children(postmaster);
    let at = Instant::now();
    for pid in [postmaster].into_iter().chain(children) {
        process::send(pid, Signal::KILL);
    }
    Ok(at)
}

/// Freezes every process of a node; the moment just before the first signal.
pub(crate) fn freeze(node: &Node) -> Instant {
    let at = Instant::now();
    node.sigstop_all();
    at
}

/// Kills one server process that serves a client; the moment just before.
pub(crate) fn kill_one_backend(node: &Node) -> Result<Instant, Failure> {
    let pid = first_value(node, "SELECT min(pid) FROM pg_stat_activity WHERE usename = 'app'")?;
    let pid = pid.parse().ok().and_then(Pid::from_raw).ok_or_else(|| Failure::Said("no client's server process".into()))?;
    let at = Instant::now();
    process::send(pid, Signal::KILL);
    Ok(at)
}

/// Tells an orderly stop, and waits for its end; the moment just before.
pub(crate) fn stop_fast(node: &Node) -> Result<Instant, Failure> {
    let at = Instant::now();
    node.stop_fast()?;
    Ok(at)
}

fn postmaster(node: &Node) -> Result<Pid, Failure> {
    let pid = node.pid().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    pid.ok_or_else(|| Failure::Said(format!("{} does not run", node.name())))
}
