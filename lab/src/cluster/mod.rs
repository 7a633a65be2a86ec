//! A real `PostgreSQL` primary and its synchronous streaming standby, in a temporary directory on free ports of 127.0.0.1.
//!
//! It stands behind `mainstay demo --postgres`, the failover report and the integration tests. Everything blocks and every wait is
//! bounded. Dropping the [`Cluster`] ends its servers and removes its directory.
//!
//! | file | what it holds |
//! |---|---|
//! | [`node`] | one server: start, stop, kill, freeze, promote, ask |
//! | [`programs`] | the server's own programs: where they are |
//! | [`initdb`] | initdb and base backup |
//! | [`shared`] | what both nodes share, and what can be chosen of it |
//! | [`error`] | why something could not be done |

mod error;
pub(crate) mod initdb;
pub mod node;
pub mod programs;
mod shared;

use std::{fs, path::Path, sync::Arc};

pub use error::ClusterError;
use error::doing;
pub use node::Node;
pub(crate) use shared::Shared;
pub use shared::{Auth, Options};

/// A primary and its synchronous standby; which node is which changes with promotions.
#[derive(Debug)]
pub struct Cluster {
    nodes: [Node; 2],
    shared: Arc<Shared>,
}

impl Cluster {
    /// Makes a cluster and starts it: node 0 is the primary on timeline 1, node 1 its synchronous standby. Takes a few seconds.
    ///
    /// # Errors
    /// When the server's programs are missing, or do not do as they should; what was begun is removed.
    pub fn create(options: &Options) -> Result<Self, ClusterError> {
        let shared = Arc::new(Shared::new()?);
        // From here on, dropping the cluster ends whatever a failure leaves.
        let cluster = Self { nodes: [Node::new(&shared, "db-a")?, Node::new(&shared, "db-b")?], shared };
        initdb::initdb(&cluster.shared, cluster.nodes[0].data(), options)?;
        cluster.nodes[0].start()?;
        cluster.rejoin(1, 0)?;
        Ok(cluster)
    }

    /// One node.
    ///
    /// # Panics
    /// When `index` is above 1.
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Both nodes.
    pub const fn nodes(&self) -> &[Node; 2] {
        &self.nodes
    }

    /// The temporary directory that holds everything.
    pub fn directory(&self) -> &Path {
        &self.shared.base
    }

    /// Waits until `primary` takes writes and every acknowledged write is on the other node first.
    ///
    /// # Errors
    /// When it does not come to that in time.
    pub fn wait_ready(&self, primary: usize) -> Result<(), ClusterError> {
        let node = self.node(primary);
        node.wait_for("SELECT NOT pg_is_in_recovery()", "the primary takes writes")?;
        node.wait_for(
            "SELECT count(*) > 0 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')",
            "the standby streams synchronously",
        )
    }

    /// Turns `standby`, whatever it was and holds, into a synchronous standby of `primary`: stops it, throws its data away, takes
    /// a fresh base backup and starts it. Returns when [`Cluster::wait_ready`] holds. (`pg_rewind` would keep the data; for a few
    /// megabytes it is not faster, and a base backup also works after a data directory was damaged.)
    ///
    /// # Errors
    /// When the primary cannot be backed up or the standby does not start.
    pub fn rejoin(&self, standby: usize, primary: usize) -> Result<(), ClusterError> {
        let (standby, source) = (self.node(standby), self.node(primary));
        standby.stop_immediate()?;
        standby.remove_leftovers();
        if standby.data().exists() {
            doing("cannot remove the old data directory", fs::remove_dir_all(standby.data()))?;
        }
        initdb::base_backup(&self.shared, &self.shared.base.display().to_string(), source.port(), standby.data())?;
        standby.start()?;
        source.wait_for("SELECT count(*) > 0 FROM pg_stat_replication WHERE state = 'streaming'", "the standby streams")?;
        source.set_synchronous_standby_names("*")?;
        self.wait_ready(primary)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &self.nodes {
            // A failure leaves a process that the next line kills, or nothing.
            node.sigcont_all();
            if node.stop_immediate().is_err() {
                let _ = node.kill9();
            }
            node.remove_leftovers();
        }
    }
}
