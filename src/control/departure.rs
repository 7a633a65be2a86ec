//! The sessions of a backend that goes into maintenance end where they are in no transaction; after `switchover.drain_timeout` the
//! rest. Meanwhile it is drained.

use std::{collections::HashMap, sync::Arc};

use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::drain::{Drain, Drained};
use crate::route::Revocation;

/// The backends whose sessions are ending for their maintenance, by name.
pub(super) struct Departures {
    running: HashMap<Arc<str>, Departure>,
    begun: u64,
    sender: mpsc::UnboundedSender<Departed>,
    departed: mpsc::UnboundedReceiver<Departed>,
}

/// Its sessions have ended, or the time was over.
pub(super) struct Departed {
    pub(super) backend: Arc<str>,
    number: u64,
    pub(super) drained: Vec<Drained>,
}

/// Dropped, its sessions go on.
struct Departure {
    number: u64,
    gated: Vec<Arc<Revocation>>,
    _task: DropGuard,
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.gated.iter().for_each(|route| route.ungate());
    }
}

impl Departures {
    pub(super) fn new() -> Self {
        let (sender, departed) = mpsc::unbounded_channel();
        Self { running: HashMap::new(), begun: 0, sender, departed }
    }

    /// The next backend whose sessions have ended.
    pub(super) async fn next(&mut self) -> Departed {
        match self.departed.recv().await {
            Some(departed) => departed,
            None => std::future::pending().await,
        }
    }

    /// Ends the sessions of a backend, which are under these routes.
    pub(super) fn begin(&mut self, backend: &Arc<str>, drains: Vec<Drain>) {
        let (over, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let gated = drains.iter().map(|drain| Arc::clone(&drain.route)).collect();
        for drain in drains {
            drain.route.gate();
            let over = over.clone();
            tasks.spawn(async move { drain.run(&over).await });
        }
        self.begun += 1;
        let (number, sender, name) = (self.begun, self.sender.clone(), Arc::clone(backend));
        tokio::spawn(async move {
            let drained = tasks.join_all().await;
            let _ = sender.send(Departed { backend: name, number, drained });
        });
        self.running.insert(Arc::clone(backend), Departure { number, gated, _task: over.drop_guard() });
    }

    /// Whether it was not called off.
    pub(super) fn awaits(&self, departed: &Departed) -> bool {
        self.running.get(&departed.backend).is_some_and(|departure| departure.number == departed.number)
    }

    /// Another order came for it, or all is done.
    pub(super) fn call_off(&mut self, backend: &str) {
        self.running.remove(backend);
    }
}
