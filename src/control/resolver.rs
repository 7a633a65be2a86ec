//! Resolves names in the background; the last good answer is kept.
//!
//! The system is asked by [`super::lookups`]: one lookup at most is in flight for a name, however slow DNS is.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{lookups, probe::finding::Finding};
use crate::{
    failover::{Outcome, Printable},
    net::{addr::BackendAddr, addresses::Addresses, endpoint::Endpoint},
};

/// Between two lookups of a name that works.
const REFRESH: Duration = Duration::from_secs(30);
/// Between two lookups of a name whose backend cannot be reached.
const SPACING: Duration = Duration::from_secs(1);
/// After this long without an answer the resolver is reported as silent; the lookup goes on.
const PATIENCE: Duration = Duration::from_secs(5);
/// Addresses of one name that are used; the rest are ignored.
const MAX_ADDRESSES: usize = 16;

/// What is known of a name.
#[derive(Clone, Debug, Default)]
pub struct Resolution {
    /// The last good answer, in the order to try; empty when there never was one.
    pub addresses: Addresses,
    /// Why the last lookup failed.
    pub error: Option<Printable>,
}

impl Resolution {
    /// Whether there is a result yet.
    pub fn is_settled(&self) -> bool {
        !self.addresses.is_empty() || self.error.is_some()
    }
}

/// Keeps the addresses of one backend. Dropping it ends its task.
#[derive(Debug)]
pub struct Resolver {
    known: watch::Receiver<Resolution>,
    refresh: Arc<Notify>,
    _stop: DropGuard,
}

impl Resolver {
    /// Starts to resolve `address` on the current runtime. An IP address resolves to itself and starts nothing. `last` is the last
    /// good answer of an earlier resolver, and stays until there is a better one.
    pub fn spawn(address: &BackendAddr, last: Addresses) -> Self {
        let stop = CancellationToken::new();
        let refresh = Arc::new(Notify::new());
        let (publish, known) = watch::channel(Resolution { addresses: last, error: None });
        if let Some(endpoint) = address.endpoint() {
            publish.send_replace(Resolution { addresses: [endpoint].into(), error: None });
        } else {
            let task = keep(address.clone(), publish, Arc::clone(&refresh));
            let stopped = stop.clone();
            tokio::spawn(async move { stopped.run_until_cancelled(task).await });
        }
        Self { known, refresh, _stop: stop.drop_guard() }
    }

    /// What is known now.
    pub fn get(&self) -> Resolution {
        self.known.borrow().clone()
    }

    /// Waits for the first answer or error. [`Resolver::changed`] still reports it.
    pub async fn settled(&self) {
        // Waiting marks what it saw as seen; so this is done with a receiver of its own.
        let mut known = self.known.clone();
        if known.wait_for(Resolution::is_settled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the result changes; for ever for an IP address.
    pub async fn changed(&mut self) {
        if self.known.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The backend could not be reached: perhaps it has moved. Looks it up again soon, at most once a second.
    pub fn suspect(&self) {
        self.refresh.notify_one();
    }
}

async fn keep(address: BackendAddr, publish: watch::Sender<Resolution>, refresh: Arc<Notify>) {
    loop {
        let started = Instant::now();
        let mut lookup = pin!(lookups::lookup(address.host()));
        let answer = if let Ok(answer) = timeout(PATIENCE, &mut lookup).await {
            answer
        } else {
            let silence = format!("the resolver did not answer for {} within {PATIENCE:?}", address.host());
            learn(&address, &publish, Err(silence.into()));
            lookup.await
        };
        learn(&address, &publish, usable(&address, answer));
        tokio::select! {
            () = sleep_until(started + REFRESH) => {}
            () = refresh.notified() => sleep_until(started + SPACING).await,
        }
    }
}

/// Publishes a change: another set of addresses, or another error. The same addresses in another order are no change.
fn learn(address: &BackendAddr, publish: &watch::Sender<Resolution>, answer: Result<Addresses, Printable>) {
    tell(address, &publish.borrow(), &answer);
    publish.send_if_modified(|known| {
        let error = answer.as_ref().err().cloned();
        let addresses = answer.ok().filter(|new| !is_same_set(&known.addresses, new));
        let modified = addresses.is_some() || known.error != error;
        known.error = error;
        if let Some(addresses) = addresses {
            known.addresses = addresses;
        }
        modified
    });
}

/// A log line when the last good answer begins to be used, and one when that is over. (For a name that never had an address, its
/// backend's health says so.)
fn tell(address: &BackendAddr, known: &Resolution, answer: &Result<Addresses, Printable>) {
    match (&known.error, answer) {
        _ if known.addresses.is_empty() => {}
        (None, Err(error)) => {
            tracing::warn!(name = address.host(), kept = ?known.addresses, %error, "the name cannot be resolved; its last good addresses are kept");
        }
        (Some(_), Ok(_)) => tracing::info!(name = address.host(), "the name can be resolved again"),
        (None, Ok(_)) | (Some(_), Err(_)) => {}
    }
}

fn is_same_set(a: &[Endpoint], b: &[Endpoint]) -> bool {
    a.len() == b.len() && a.iter().all(|address| b.contains(address))
}

/// Looks a name up once. An IP address resolves to itself.
///
/// # Errors
/// When the name has no address; one sentence for people.
pub async fn lookup(address: &BackendAddr) -> Result<Addresses, Printable> {
    match address.endpoint() {
        Some(endpoint) => Ok([endpoint].into()),
        None => usable(address, lookups::lookup(address.host()).await),
    }
}

/// The finding of a probe that had no address to go to.
pub fn unresolved(address: &BackendAddr, waited: Duration) -> Finding {
    let evidence = format!("the name {} was not resolved within {waited:?}", address.host());
    Finding { outcome: Outcome::Unreachable, facts: crate::failover::Facts::default(), evidence: evidence.into() }
}

fn usable(address: &BackendAddr, answer: lookups::Answer) -> Result<Addresses, Printable> {
    let fail = |why: &str| Err(format!("the name {} has no address: {why}", address.host()).into());
    match answer {
        Ok(found) => {
            let mut seen = std::collections::HashSet::new();
            let found = found.iter().filter(|address| seen.insert(**address)).take(MAX_ADDRESSES);
            let port = address.port().unwrap_or_default();
            let usable: Vec<Endpoint> = found.map(|ip| SocketAddr::new(*ip, port).into()).collect();
            if usable.is_empty() { fail("the answer was empty") } else { Ok(usable.into_iter().collect()) }
        }
        Err(error) => fail(&error),
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    fn at(ports: &[u16]) -> Addresses {
        ports.iter().map(|&port| SocketAddr::from(([127, 0, 0, 1], port)).into()).collect()
    }

    #[test]
    fn the_last_good_answer_survives_an_error_and_a_rotation_is_no_change() {
        let address: BackendAddr = "db:1".parse().unwrap();
        let (publish, mut known) = watch::channel(Resolution::default());
        let learn = |answer| learn(&address, &publish, answer);
        learn(Ok(at(&[1, 2])));
        assert_eq!(known.borrow_and_update().addresses, at(&[1, 2]));
        learn(Ok(at(&[2, 1])));
        assert!(!known.has_changed().unwrap());
        learn(Err("gone".into()));
        assert_eq!(known.borrow_and_update().addresses, at(&[1, 2]));
        assert_eq!(known.borrow().error.as_deref(), Some("gone"));
        learn(Ok(at(&[3])));
        assert_eq!(known.borrow_and_update().addresses, at(&[3]));
        assert_eq!(known.borrow().error, None);
    }

    #[test]
    fn an_answer_is_capped_and_without_repetitions() {
        let address: BackendAddr = "db:1".parse().unwrap();
        let many = |last: u8| (1..=last).chain(1..=last).map(|last| [127, 0, 0, last].into()).collect();
        assert_eq!(usable(&address, Ok(many(100))).unwrap().len(), MAX_ADDRESSES);
        assert_eq!(usable(&address, Ok(many(2))).unwrap().len(), 2);
        assert!(usable(&address, Ok(many(0))).is_err());
    }

    #[tokio::test]
    async fn names_and_numbers_resolve() {
        let local: BackendAddr = "localhost:5".parse().unwrap();
        let mut resolver = Resolver::spawn(&local, [].into());
        timeout(PATIENCE, resolver.settled()).await.unwrap();
        timeout(PATIENCE, resolver.changed()).await.expect("whoever waited for the answer has hidden it from the others");
        assert!(resolver.get().addresses.iter().all(|a| a.is_local() && a.tcp().is_some_and(|a| a.port() == 5)));
        let number: BackendAddr = "[::1]:5".parse().unwrap();
        assert_eq!(Resolver::spawn(&number, [].into()).get().addresses[..], [SocketAddr::from_str("[::1]:5").unwrap().into()]);
    }
}
