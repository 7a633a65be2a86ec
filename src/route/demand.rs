//! Whether a client waits for a backend: data → control. A server that logs a line for each probe is probed rarely while none
//! waits.

use std::time::{Duration, Instant};

use tokio::sync::watch;

/// A client that was not served may come again within this time, and counts until then.
const RETURN: Duration = Duration::from_secs(1);

/// The clients of a pool that wait for a backend.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    clients: usize,
    /// When the first of them came.
    since: Option<Instant>,
    /// When one of them last left.
    left: Option<Instant>,
}

impl Waiting {
    fn since(&self, now: Instant) -> Option<Instant> {
        let is_wanted = self.clients > 0 || self.left.is_some_and(|left| now < left + RETURN);
        self.since.filter(|_| is_wanted)
    }
}

/// The byte path's end.
#[derive(Clone, Debug, Default)]
pub(super) struct Demand(watch::Sender<Waiting>);

/// Control's end. By default no client ever waits.
#[derive(Clone, Debug)]
pub struct DemandWatch(watch::Receiver<Waiting>);

/// A client that waits.
#[derive(Debug)]
pub struct Wait<'a>(&'a Demand);

impl Demand {
    pub(super) fn watch(&self) -> DemandWatch {
        DemandWatch(self.0.subscribe())
    }

    /// A client waits until the guard is dropped. Control is woken only for the first one: a crowd costs no more than one client.
    pub(super) fn wait(&self) -> Wait<'_> {
        self.0.send_if_modified(|waiting| {
            let now = Instant::now();
            let is_first = waiting.since(now).is_none();
            waiting.clients += 1;
            if is_first {
                waiting.since = Some(now);
            }
            is_first
        });
        Wait(self)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.0.0.send_if_modified(|waiting| {
            waiting.clients -= 1;
            waiting.left = Some(Instant::now());
            false
        });
    }
}

impl Default for DemandWatch {
    fn default() -> Self {
        Demand::default().watch()
    }
}

impl DemandWatch {
    /// Since when at least one client has waited without a break, if one waits at `now`.
    pub fn since(&self, now: Instant) -> Option<Instant> {
        self.0.borrow().since(now)
    }

    /// Resolves when a client has come while none waited; once.
    pub async fn begins(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_is_told_of_the_first_who_comes_and_of_no_other() {
        let demand = Demand::default();
        let mut watch = demand.watch();
        let mut told = || {
            let told = watch.0.has_changed().unwrap();
            watch.0.mark_unchanged();
            told
        };
        let first = demand.wait();
        assert!(told());
        let second = demand.wait();
        drop(first);
        let third = demand.wait();
        drop((second, third));
        let _soon_again = demand.wait();
        assert!(!told(), "somebody was there all the time");
    }

    #[test]
    fn who_leaves_counts_for_a_second_more() {
        let demand = Demand::default();
        let watch = demand.watch();
        assert_eq!(watch.since(Instant::now()), None);
        let wait = demand.wait();
        let since = watch.since(Instant::now()).unwrap();
        assert_eq!(watch.since(since + Duration::from_hours(1)), Some(since));
        let leaves = Instant::now();
        drop(wait);
        assert_eq!(watch.since(leaves), Some(since), "it may be back at once");
        assert_eq!(watch.since(Instant::now() + RETURN), None);
    }
}
