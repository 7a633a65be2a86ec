//! What the embedded nodes hold and know: one cluster's identity, and for each node its role, timeline and rows.
//!
//! The rules are `PostgreSQL`'s: a primary acknowledges a write only after every standby that follows it has it; a standby
//! refuses writes; a promotion starts a new timeline and ends the following. Two primaries do not see each other's rows, so a
//! client that is sent to the wrong one really loses its writes.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::watch;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows another node, and refuses writes.
    Standby,
}

/// What is wrong with an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A query is answered with something else.
    Wrong,
    /// A query takes ten times as long.
    Slow,
    /// The files of an extension are missing.
    NoExtension,
}

/// The programs that a node runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// What it calls itself.
    pub version: String,
    /// What is wrong with it.
    pub fault: Option<Fault>,
}

impl Build {
    /// One with which nothing is wrong.
    pub fn of(version: &str) -> Self {
        Self { version: version.to_owned(), fault: None }
    }
}

/// What a node says of itself.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) system_id: u64,
    pub(crate) role: Role,
    pub(crate) timeline: u64,
    /// It is connected to its primary.
    pub(crate) hears: bool,
    /// How many bytes of the log it has.
    pub(crate) position: u64,
    pub(crate) build: Build,
}

/// One cluster: the nodes that share an identity and replicate to each other.
#[derive(Debug)]
pub struct System {
    id: u64,
    nodes: watch::Sender<Vec<Node>>,
}

/// A node's place in its [`System`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(usize);

/// One node as it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) role: Role,
    pub(crate) timeline: u64,
    /// Accepts connections; `false` after a kill.
    pub(crate) running: bool,
    /// Holds still, like a process after SIGSTOP.
    pub(crate) frozen: bool,
    pub(crate) build: Build,
    following: Option<NodeId>,
    rows: BTreeSet<u64>,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Stored here and on every follower.
    Done,
    /// This node is a standby.
    ReadOnly,
    /// The row was there already.
    Duplicate,
    /// This node was killed meanwhile.
    Gone,
}

impl System {
    /// A new cluster without nodes, with an identity of its own.
    pub fn new() -> Arc<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // As the server's own initdb makes it: seconds above, what tells two clusters of one second apart below.
        let id = (now.as_secs() << 32) | u64::from(now.subsec_nanos());
        Arc::new(Self { id, nodes: watch::Sender::new(Vec::new()) })
    }

    /// The system identifier that every node reports.
    pub const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn add(&self, role: Role, timeline: u64, build: Build) -> NodeId {
        let mut id = NodeId(0);
        self.nodes.send_modify(|nodes| {
            id = NodeId(nodes.len());
            nodes.push(Node { role, timeline, running: false, frozen: false, build, following: None, rows: BTreeSet::new() });
        });
        id
    }

    pub(crate) fn update(&self, id: NodeId, change: impl FnOnce(&mut Node)) {
        self.nodes.send_modify(|nodes| change(&mut nodes[id.0]));
    }

    pub(crate) fn read<T>(&self, id: NodeId, look: impl FnOnce(&Node) -> T) -> T {
        look(&self.nodes.borrow()[id.0])
    }

    pub(crate) fn view(&self, id: NodeId) -> View {
        /// A row is so long in the log, and the log begins somewhere.
        const ROW: usize = 100;
        const BEGIN: usize = 0x300_0000;
        let nodes = self.nodes.borrow();
        let node = &nodes[id.0];
        View {
            system_id: self.id,
            role: node.role,
            timeline: node.timeline,
            hears: node.following.is_some_and(|primary| nodes[primary.0].running),
            position: u64::try_from(BEGIN + ROW * node.rows.len()).unwrap_or(u64::MAX),
            build: node.build.clone(),
        }
    }

    /// Takes over the primary's rows and timeline, and gets every further write before it is acknowledged.
    pub(crate) fn follow(&self, id: NodeId, primary: NodeId) {
        self.nodes.send_modify(|nodes| {
            let (rows, timeline) = (nodes[primary.0].rows.clone(), nodes[primary.0].timeline);
            let build = nodes[id.0].build.clone();
            nodes[id.0] = Node { role: Role::Standby, timeline, rows, following: Some(primary), build, ..nodes[id.0] };
        });
    }

    /// Waits while the node is frozen.
    pub(crate) async fn thawed(&self, id: NodeId) {
        self.until(|nodes| !nodes[id.0].frozen).await;
    }

    /// Stores a row here and on every follower; waits for a frozen follower, as synchronous replication does.
    pub(crate) async fn write(&self, id: NodeId, row: u64) -> Written {
        loop {
            let mut written = None;
            self.nodes.send_if_modified(|nodes| {
                written = try_write(nodes, id, row);
                false
            });
            match written {
                Some(written) => return written,
                None => self.until(|nodes| !nodes[id.0].running || !awaits_follower(nodes, id)).await,
            }
        }
    }

    /// A commit without a row: as [`System::write`] it waits for every follower. `false`: this node was killed meanwhile.
    pub(crate) async fn commit(&self, id: NodeId) -> bool {
        self.until(|nodes| !nodes[id.0].running || !awaits_follower(nodes, id)).await;
        self.read(id, |node| node.running)
    }

    async fn until(&self, condition: impl FnMut(&Vec<Node>) -> bool) {
        // The sender lives in `self`, so the channel cannot close while we wait.
        let _ = self.nodes.subscribe().wait_for(condition).await;
    }
}

impl Node {
    pub(crate) fn promote(&mut self) {
        if self.role != Role::Primary {
            self.role = Role::Primary;
            self.timeline += 1;
            self.following = None;
        }
    }

    pub(crate) fn start(&mut self, role: Role, timeline: u64) {
        self.running = true;
        self.frozen = false;
        self.role = role;
        self.timeline = timeline;
        if role == Role::Primary {
            self.following = None;
        }
    }

    pub(crate) const fn rows(&self) -> &BTreeSet<u64> {
        &self.rows
    }
}

fn followers(nodes: &[Node], id: NodeId) -> impl Iterator<Item = usize> {
    (0..nodes.len()).filter(move |other| nodes[*other].running && nodes[*other].following == Some(id))
}

fn awaits_follower(nodes: &[Node], id: NodeId) -> bool {
    followers(nodes, id).any(|follower| nodes[follower].frozen)
}

/// `None` when a follower holds still.
fn try_write(nodes: &mut [Node], id: NodeId, row: u64) -> Option<Written> {
    let node = &nodes[id.0];
    if !node.running {
        return Some(Written::Gone);
    }
    if node.role != Role::Primary {
        return Some(Written::ReadOnly);
    }
    if node.rows.contains(&row) {
        return Some(Written::Duplicate);
    }
    if awaits_follower(nodes, id) {
        return None;
    }
    for follower in followers(nodes, id).collect::<Vec<_>>() {
        nodes[follower].rows.insert(row);
    }
    nodes[id.0].rows.insert(row);
    Some(Written::Done)
}
