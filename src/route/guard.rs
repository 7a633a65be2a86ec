//! What is proven of each backend, as control shows it to the admin plane.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::prints::Print;
use crate::failover::{Printable, Proof, Time};

/// What is known of a backend.
#[derive(Clone, Debug, Default)]
pub struct GuardView {
    /// What it was made of when it was last read.
    pub print: Option<Arc<Print>>,
    /// When that was.
    pub read_at: Option<Time>,
    /// Why it could not be read last time, or why it never can.
    pub unread: Option<Printable>,
    /// The short name of the print.
    pub digest: Option<Arc<str>>,
    /// That of the print that was proven of it last.
    pub proven: Option<Arc<str>>,
    /// Whether it has proven itself.
    pub proof: Proof,
    /// Since when.
    pub since: Time,
    /// What has changed since the print that was proven, in words.
    pub changed: Vec<Printable>,
    /// The last results, one for each proof.
    pub results: Vec<ProofView>,
}

/// The result of a proof.
#[derive(Clone, Debug)]
pub struct ProofView {
    /// Its name.
    pub name: Printable,
    /// The result, a word of a closed set.
    pub result: &'static str,
    /// What was asked, what came, and what the active one says.
    pub evidence: Printable,
    /// When it began.
    pub at: Time,
    /// How long it took.
    pub took: Duration,
}

type Views = BTreeMap<Arc<str>, BTreeMap<Arc<str>, GuardView>>;

/// What is proven of the backends of every pool: written by the supervisors, read by the admin plane.
#[derive(Debug, Default)]
pub struct GuardLog(Mutex<Views>);

impl GuardLog {
    /// Shows a backend as it is now, in place of what was shown of it before.
    pub fn show(&self, pool: &Arc<str>, backend: &Arc<str>, view: GuardView) {
        self.lock().entry(Arc::clone(pool)).or_default().insert(Arc::clone(backend), view);
    }

    /// What a backend is made of was read again, and is as it was.
    pub fn read(&self, pool: &str, backend: &str, at: Time) {
        if let Some(view) = self.lock().get_mut(pool).and_then(|views| views.get_mut(backend)) {
            view.read_at = Some(at);
        }
    }

    /// Forgets the backends of `pool` that are not among these; with none of them the pool.
    pub fn keep(&self, pool: &str, backends: &[Arc<str>]) {
        let mut pools = self.lock();
        if let Some(views) = pools.get_mut(pool) {
            views.retain(|backend, _| backends.contains(backend));
            if views.is_empty() {
                pools.remove(pool);
            }
        }
    }

    /// What is shown of a backend.
    pub fn get(&self, pool: &str, backend: &str) -> Option<GuardView> {
        self.lock().get(pool)?.get(backend).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Views> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_view_is_shown_until_its_backend_is_gone() {
        let (log, pool) = (GuardLog::default(), Arc::<str>::from("orders"));
        let [a, b] = ["db-a", "db-b"].map(Arc::<str>::from);
        let view = |proof| GuardView { proof, ..GuardView::default() };
        log.show(&pool, &a, view(Proof::Proven));
        log.show(&pool, &a, view(Proof::Failed));
        log.show(&pool, &b, view(Proof::Proven));
        let shown = |pool: &str, backend: &str| log.get(pool, backend).map(|view| view.proof);
        assert_eq!((shown("orders", "db-a"), shown("orders", "db-b")), (Some(Proof::Failed), Some(Proof::Proven)));
        assert_eq!((shown("orders", "db-c"), shown("carts", "db-a")), (None, None));
        log.keep("orders", &[b]);
        assert_eq!((shown("orders", "db-a"), shown("orders", "db-b")), (None, Some(Proof::Proven)));
        log.keep("orders", &[]);
        log.keep("orders", &[]);
        assert_eq!(shown("orders", "db-b"), None);
    }
}
