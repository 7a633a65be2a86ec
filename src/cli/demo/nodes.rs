//! The two nodes of the demo, embedded or real, behind the same few verbs.

use std::{collections::BTreeSet, fmt, net::SocketAddr, time::Duration};

use lab::{
    clients::{CREATE_TABLE, READ_ROWS},
    cluster::{Cluster, ClusterError, Options},
    server::MiniServer,
    session::{Endpoint, query_once},
    system::{Role, System},
};

/// How long reading all rows may take.
const READ_TIMEOUT: Duration = Duration::from_mins(1);

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
        let cluster = Cluster::create(&Options::default())?;
        cluster.node(0).query(CREATE_TABLE)?;
        Ok(Self::Real(cluster))
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
