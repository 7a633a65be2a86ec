//! How an abandoned login or session ends: with a proper logout, if the server allows it within a moment. A server counts
//! connections that are cut off, or logs a line for each.
//!
//! Only a few per backend at a time: with a server that does not answer, or does not close, each probe leaves one behind, and they
//! would take the descriptors of all others.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

/// How long one may take to end properly.
const MOMENT: Duration = Duration::from_secs(3);

/// Most of a backend that may take their time: more than a slow server causes, and few enough for the limit of open files.
pub(super) const PLACES: usize = 8;

/// The places of a backend.
#[derive(Clone, Debug)]
pub(super) struct Linger(Arc<Semaphore>);

impl Default for Linger {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(PLACES)))
    }
}

impl Linger {
    /// Resolves when the abandoned session must be cut off: after a moment, or at once when there is no place.
    pub(super) async fn is_over(&self, abandoned: impl Future<Output = ()>) {
        abandoned.await;
        if let Ok(_place) = self.0.try_acquire() {
            sleep(MOMENT).await;
        }
    }

    /// Logs out in the background; sends as much as possible at once when there is no place.
    pub(super) fn part(&self, farewell: impl Future<Output: Send> + Send + 'static) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let Ok(place) = Arc::clone(&self.0).try_acquire_owned() else {
            drop(pin!(farewell).poll(&mut Context::from_waker(Waker::noop())));
            return;
        };
        runtime.spawn(async move {
            drop(timeout(MOMENT, farewell).await);
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn no_more_farewells_take_their_time_than_there_are_places() {
        let (linger, server_is_silent) = (Linger::default(), Arc::new(()));
        for _ in 0..3 * PLACES {
            let keeps_its_descriptor = Arc::clone(&server_is_silent);
            linger.part(async move {
                pending::<()>().await;
                drop(keeps_its_descriptor);
            });
        }
        assert_eq!(Arc::strong_count(&server_is_silent) - 1, PLACES);
    }
}
