//! The two nodes of the demo, embedded or real, behind the same few verbs.

use std::{collections::BTreeSet, fmt, fs, net::SocketAddr, time::Duration};

use lab::{
    clients::{CREATE_TABLE, READ_ROWS},
    cluster::{Cluster, ClusterError, Options},
    server::MiniServer,
    session::{Endpoint, query_once},
    system::{Build, Fault, Role, System},
};
use serde_json::{Value, json};

/// How long reading all rows may take.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

/// As whom the clients of a story about updates log in, so that their sessions can be counted.
pub(super) const CLIENT: &str = "app";

/// What the programs of the embedded nodes are called before an update, and after a good one and a bad one.
const VERSIONS: [&str; 3] = ["15.1 (mainstay demo)", "15.2 (mainstay demo)", "15.3 (mainstay demo)"];

/// The real ones have one set of programs; their update is another configuration, in this file.
const UPDATE_FILE: &str = "update.conf";

/// What the real ones hold besides, for the queries that must prove an update.
const REPORT: [&str; 5] = [
    "CREATE ROLE app LOGIN",
    "GRANT SELECT, INSERT ON demo TO app",
    "CREATE TABLE orders (id int PRIMARY KEY, at timestamptz)",
    "INSERT INTO orders SELECT n, '2026-01-01 12:00+00'::timestamptz + n * interval '1 min' FROM generate_series(1, 200000) n",
    "ANALYZE orders",
];

/// An update of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Update {
    Good,
    Bad(Fault),
}

/// Two nodes; at the start 0 is the primary on timeline 1 and 1 its synchronous standby.
#[derive(Debug)]
pub(super) enum Nodes {
    /// In this process.
    Embedded([MiniServer; 2]),
    /// Real servers.
    Real(Cluster),
}

/// A node did not do as it was told; the demo cannot go on.
#[derive(Debug)]
pub(super) struct NodeError(String);

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ClusterError> for NodeError {
    fn from(error: ClusterError) -> Self {
        Self(error.to_string())
    }
}

impl From<std::io::Error> for NodeError {
    fn from(error: std::io::Error) -> Self {
        Self(format!("The embedded database could not be started or stopped: {error}"))
    }
}

impl Nodes {
    pub(super) fn embedded() -> Result<Self, NodeError> {
        let system = System::new();
        let primary = MiniServer::start(&system, Role::Primary, 1)?;
        let standby = MiniServer::start(&system, Role::Standby, 1)?;
        standby.follow(&primary);
        Ok(Self::Embedded([primary, standby]))
    }

    pub(super) fn real() -> Result<Self, NodeError> {
        let cluster = Cluster::create(&Options { settings: Self::settings(), ..Options::default() })?;
        cluster.node(0).query(CREATE_TABLE)?;
        Ok(Self::Real(cluster))
    }

    /// Those of a story about updates.
    pub(super) fn updatable(self) -> Result<Self, NodeError> {
        match &self {
            Self::Embedded(servers) => servers.iter().for_each(|server| server.install(Build::of(VERSIONS[0]))),
            Self::Real(cluster) => {
                for statement in REPORT {
                    cluster.node(0).query(statement)?;
                }
            }
        }
        Ok(self)
    }

    /// Settings of the real ones for that.
    fn settings() -> Vec<String> {
        vec!["log_connections = on".into(), "timezone = UTC".into(), format!("include_if_exists = '{UPDATE_FILE}'")]
    }

    /// The bad updates that it has.
    pub(super) const fn faults(&self) -> &'static [Fault] {
        match self {
            Self::Embedded(_) => &[Fault::Wrong, Fault::Slow, Fault::NoExtension],
            Self::Real(_) => &[Fault::Wrong, Fault::Slow],
        }
    }

    /// What an update must prove.
    pub(super) fn proofs(&self) -> Value {
        match self {
            Self::Embedded(_) => json!([
                {"name": "report", "sql": "SELECT count(*), sum(id) FROM demo WHERE id <= 100", "same_as": "active", "slower_at_most": "2x"},
            ]),
            Self::Real(_) => json!([
                {"name": "report", "sql": "SELECT at::text FROM orders WHERE id = 1", "same_as": "active"},
                {"name": "order", "sql": "SELECT at FROM orders WHERE id = 199999", "slower_at_most": "2x"},
            ]),
        }
    }

    /// An update in words.
    pub(super) fn words(&self, update: Update) -> &'static str {
        match (self, update) {
            (Self::Embedded(_), Update::Good) => "15.1 > 15.2",
            (Self::Embedded(_), Update::Bad(Fault::Wrong)) => "15.2 > 15.3, wrong answers",
            (Self::Embedded(_), Update::Bad(Fault::Slow)) => "15.2 > 15.3, ten times slower",
            (Self::Embedded(_), Update::Bad(Fault::NoExtension)) => "15.2 > 15.3, extension missing",
            (Self::Real(_), Update::Good) => "new settings",
            (Self::Real(_), Update::Bad(Fault::Wrong)) => "another time zone",
            (Self::Real(_), Update::Bad(_)) => "no index is used",
        }
    }

    /// Clients that have logged in to a node so far, as the node itself has it.
    pub(super) fn sessions(&self, node: usize) -> u64 {
        match self {
            Self::Embedded(servers) => servers[node].logins(CLIENT),
            Self::Real(cluster) => {
                let log = fs::read_to_string(cluster.node(node).log_path()).unwrap_or_default();
                let count = log.matches(&format!("connection authorized: user={CLIENT}")).count();
                u64::try_from(count).unwrap_or(u64::MAX)
            }
        }
    }

    /// Stops a node in order.
    pub(super) fn stop(&self, node: usize) -> Result<(), NodeError> {
        match self {
            Self::Embedded(servers) => Ok(servers[node].stop()?),
            Self::Real(cluster) => Ok(cluster.node(node).stop_fast()?),
        }
    }

    /// Stops a node for its update. The primary waits for no standby meanwhile.
    pub(super) fn begin_update(&self, node: usize, primary: usize) -> Result<(), NodeError> {
        if let Self::Real(cluster) = self {
            cluster.node(primary).set_synchronous_standby_names("")?;
        }
        self.stop(node)
    }

    /// Updates a node that has stopped, and starts it as a standby of the other one.
    pub(super) fn update(&self, node: usize, primary: usize, update: Update) -> Result<(), NodeError> {
        match self {
            Self::Embedded(servers) => {
                let (version, fault) = match update {
                    Update::Good => (VERSIONS[1], None),
                    Update::Bad(fault) => (VERSIONS[2], Some(fault)),
                };
                servers[node].install(Build { fault, ..Build::of(version) });
                // What is written before it runs is copied afterwards.
                servers[node].start_as(Role::Standby, servers[primary].timeline())?;
                servers[node].follow(&servers[primary]);
                Ok(())
            }
            Self::Real(cluster) => {
                let (server, source) = (cluster.node(node), cluster.node(primary));
                let settings = match update {
                    Update::Good => "random_page_cost = 1.1\n",
                    Update::Bad(Fault::Wrong) => "random_page_cost = 1.1\ntimezone = 'Pacific/Auckland'\n",
                    Update::Bad(_) => {
                        "random_page_cost = 1.1\nenable_indexscan = off\nenable_bitmapscan = off\nenable_indexonlyscan = off\n"
                    }
                };
                // The file of the primary is copied along.
                if !server.data().join("standby.signal").exists() {
                    cluster.rejoin(node, primary)?;
                    server.stop_fast()?;
                }
                fs::write(server.data().join(UPDATE_FILE), settings)?;
                server.start()?;
                source.set_synchronous_standby_names("*")?;
                Ok(cluster.wait_ready(primary)?)
            }
        }
    }

    pub(super) fn name(node: usize) -> &'static str {
        ["db-a", "db-b"][node]
    }

    pub(super) fn address(&self, node: usize) -> SocketAddr {
        match self {
            Self::Embedded(servers) => servers[node].address(),
            Self::Real(cluster) => cluster.node(node).address(),
        }
    }

    pub(super) fn kill(&self, node: usize) -> Result<(), NodeError> {
        match self {
            Self::Embedded(servers) => Ok(servers[node].kill()?),
            Self::Real(cluster) => Ok(cluster.node(node).kill9()?),
        }
    }

    pub(super) fn promote(&self, node: usize) -> Result<(), NodeError> {
        match self {
            Self::Embedded(servers) => {
                servers[node].promote();
                Ok(())
            }
            Self::Real(cluster) => Ok(cluster.node(node).promote()?),
        }
    }

    /// Starts a killed node again as what it was: a primary on its old timeline.
    pub(super) fn come_back(&self, node: usize) -> Result<(), NodeError> {
        match self {
            Self::Embedded(servers) => Ok(servers[node].start_as(servers[node].role(), servers[node].timeline())?),
            Self::Real(cluster) => Ok(cluster.node(node).start()?),
        }
    }

    /// Turns a node into a synchronous standby of the other.
    pub(super) fn rejoin(&self, standby: usize, primary: usize) -> Result<(), NodeError> {
        match self {
            Self::Embedded(servers) => {
                servers[standby].follow(&servers[primary]);
                Ok(())
            }
            Self::Real(cluster) => Ok(cluster.rejoin(standby, primary)?),
        }
    }

    /// Every row a node holds, asked past mainstay.
    pub(super) fn rows(&self, node: usize) -> Result<BTreeSet<u64>, NodeError> {
        let endpoint = match self {
            Self::Embedded(servers) => Endpoint::Tcp(servers[node].address()),
            Self::Real(cluster) => cluster.node(node).endpoint(),
        };
        let rows = query_once(&endpoint, READ_ROWS, READ_TIMEOUT)
            .map_err(|error| NodeError(format!("The rows of {} could not be read back: {error}", Self::name(node))))?;
        Ok(rows.into_iter().flatten().flatten().filter_map(|id| id.parse().ok()).collect())
    }
}
