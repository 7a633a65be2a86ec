//! A pause stops the sessions of the active backend as well, each where it is in no transaction. Sessions of readers go on.

use std::sync::Arc;

use tokio_util::sync::{CancellationToken, DropGuard};

use super::drain::Drain;
use crate::route::Revocation;

/// The sessions of a route are paused, until this is dropped.
pub(super) struct SessionPause {
    route: Arc<Revocation>,
    _task: DropGuard,
}

impl SessionPause {
    pub(super) fn begin(drain: Drain, pool: Arc<str>) -> Self {
        let (route, over) = (Arc::clone(&drain.route), CancellationToken::new());
        let (own, cancelled) = (Arc::clone(&route), over.clone());
        tokio::spawn(async move {
            let why = tokio::select! {
                // First, so that nobody closes the gate after the pause. (Control has one thread.)
                biased;
                () = cancelled.cancelled() => return,
                why = drain.keep(|| own.pause()) => why,
            };
            own.resume();
            tracing::warn!(pool = &*pool, %why, "paused: sessions go on, because nobody can tell which are in a transaction");
        });
        Self { route, _task: over.drop_guard() }
    }
}

impl Drop for SessionPause {
    fn drop(&mut self) {
        self.route.resume();
    }
}
