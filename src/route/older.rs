//! What older processes of an upgrade still serve: from the process itself to the admin plane.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::orders::Verb;

/// An older mainstay whose sessions have not ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OlderProcess {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Its clients, with a session or without one yet.
    pub connections: u64,
    /// Its sessions by pool and backend.
    pub pools: Vec<OlderPool>,
}

/// The sessions of a pool in an older mainstay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OlderPool {
    /// The pool.
    pub name: String,
    /// Those of its backends that have some.
    pub backends: Vec<OlderBackend>,
}

/// A backend, and its sessions in an older mainstay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OlderBackend {
    /// Its name.
    pub name: String,
    /// How many.
    pub sessions: u64,
}

/// What older processes have told lately, and orders for them.
#[derive(Debug)]
pub struct OlderLog {
    told: Mutex<Vec<OlderProcess>>,
    /// This process leads some.
    leads: watch::Sender<bool>,
    orders: mpsc::UnboundedSender<(String, Verb)>,
}

impl OlderLog {
    /// Nobody yet; and where orders for them come out.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<(String, Verb)>) {
        let (orders, ordered) = mpsc::unbounded_channel();
        (Self { told: Mutex::default(), leads: watch::Sender::new(false), orders }, ordered)
    }

    /// All of them, the newest first.
    pub fn all(&self) -> Vec<OlderProcess> {
        self.lock().clone()
    }

    /// This process leads older ones from now on, or no longer.
    pub fn lead(&self, leads: bool) {
        self.leads.send_replace(leads);
    }

    /// Waits until this process leads none.
    pub async fn gone(&self) {
        // The sender is this log's own.
        let _ = self.leads.subscribe().wait_for(|leads| !leads).await;
    }

    /// Shows these.
    pub fn show(&self, told: Vec<OlderProcess>) {
        *self.lock() = told;
    }

    /// Sessions of this pool.
    pub fn sessions(&self, pool: &str) -> u64 {
        let told = self.lock();
        let pools = told.iter().flat_map(|process| &process.pools).filter(|own| own.name == pool);
        pools.flat_map(|own| &own.backends).map(|backend| backend.sessions).sum()
    }

    /// What was ordered of a pool here counts for their sessions, too; whether there may be some.
    pub fn pass(&self, pool: &str, verb: &Verb) -> bool {
        *self.leads.borrow() && self.orders.send((pool.to_owned(), verb.clone())).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<OlderProcess>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
