//! Reload: another configuration for a running mainstay, all or nothing. Comparing, binding and counting come first and may fail;
//! the rest cannot.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{bind, error::StartError, limits::budget, planes::Planes};
use crate::{
    config::{Config, PoolConfig},
    data::{SocketKey, admission::Budget},
    lifecycle::Phase,
    net::inherited::Inherited,
};

/// Changes the configuration of a running mainstay, one change at a time.
#[derive(Clone, Debug)]
pub struct Reloader(Arc<Mutex<Current>>);

#[derive(Debug)]
pub(super) struct Current {
    pub(super) config: Config,
    workers: usize,
    pub(super) planes: Planes,
}

/// What a reload has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Names of new pools.
    pub added: Vec<Arc<str>>,
    /// Names of pools that take no more clients.
    pub removed: Vec<Arc<str>>,
    /// Names of pools whose configuration changed.
    pub changed: Vec<Arc<str>>,
    /// New backends of those, as `pool/backend`.
    pub backends_added: Vec<Arc<str>>,
    /// Backends of those that take no more clients.
    pub backends_removed: Vec<Arc<str>>,
    /// Keys of the process that changed.
    pub keys: Vec<Arc<str>>,
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("added", &self.added),
            ("removed", &self.removed),
            ("changed", &self.changed),
            ("backends added", &self.backends_added),
            ("backends removed", &self.backends_removed),
            ("keys changed", &self.keys),
        ];
        let said: Vec<String> = kinds
            .iter()
            .filter(|(_, pools)| !pools.is_empty())
            .map(|(what, pools)| format!("{what}: {}", pools.join(", ")))
            .collect();
        f.write_str(if said.is_empty() { "nothing" } else { "" })?;
        f.write_str(&said.join("; "))
    }
}

impl Reloader {
    pub(super) fn new(config: Config, workers: usize, planes: Planes) -> Self {
        Self(Arc::new(Mutex::new(Current { config, workers, planes })))
    }

    /// Switches to `config`. Backends that stay keep their health, their epoch and their sessions; addresses that stay are never
    /// closed; sessions keep the settings they began with. Sessions of a removed backend go on until another is active; those of a
    /// removed pool, for `shutdown.timeout`.
    ///
    /// # Errors
    /// What cannot change while mainstay runs, or cannot be bound; the present configuration then stays.
    pub fn reload(&self, config: &Config) -> Result<Changes, StartError> {
        let mut present = self.lock();
        let (changes, budget) = present.changes(config)?;
        let Current { config: before, planes, .. } = &mut *present;
        let fresh = bind::bind_pools(config, &planes.bound, &mut Inherited::default())?;
        let series = planes.series(config)?;
        for key in fresh.keys() {
            tracing::info!(address = %key.endpoint, "listening here as well");
        }
        for key in planes.bound.keys().filter(|key| !listens(config, key)) {
            tracing::info!(address = %key.endpoint, "no longer listening here");
        }
        planes.apply(config, series, fresh, budget);
        *before = config.clone();
        Ok(changes)
    }

    /// A newer mainstay decides: this one's configuration changes no more.
    pub fn is_lent(&self) -> bool {
        self.lock().planes.is_lent
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Current> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What [`Reloader::reload`] would change; no address is bound, so it may still fail.
    ///
    /// # Errors
    /// What cannot change while mainstay runs.
    pub fn preview(&self, config: &Config) -> Result<Changes, StartError> {
        self.lock().changes(config).map(|(changes, _)| changes)
    }
}

impl Current {
    /// What differs, if it may, and the limits that the new configuration has.
    fn changes(&self, config: &Config) -> Result<(Changes, Budget), StartError> {
        if self.planes.lifeline.phase.get() != Phase::Running {
            return Err(StartError("mainstay is stopping".to_owned()));
        }
        if self.planes.is_lent {
            return Err(StartError("a newer mainstay has taken over: give the order to that one".to_owned()));
        }
        let fixed = fixed(&self.config, config);
        if !fixed.is_empty() {
            return Err(StartError(format!("{} cannot change while mainstay runs: restart it", fixed.join(", "))));
        }
        Ok((compare(&self.config, config), budget(config, self.workers)?))
    }
}

fn listens(config: &Config, key: &SocketKey) -> bool {
    let mut listeners = config.pools.iter().flat_map(|pool| pool.listeners.iter().map(move |listener| (pool, listener)));
    listeners.any(|(pool, listener)| bind::keys(pool, listener).any(|other| other == *key))
}

/// What differs and cannot change while the process runs.
fn fixed(before: &Config, after: &Config) -> Vec<String> {
    let keys = before.keys_that_differ(after).map(str::to_owned);
    let kinds = after.pools.iter().filter_map(|pool| {
        let (was, is) = (&find(before, pool)?.check, &pool.check);
        if was.kind.name() != is.kind.name() {
            return Some(format!("the kind of check of pool {} (from {} to {})", pool.name, was.name(), is.name()));
        }
        // A second opinion may be added or removed where the first check knows roles, too.
        (was.knows_roles() != is.knows_roles()).then(|| format!("whether the check of pool {} tells roles", pool.name))
    });
    keys.chain(kinds).collect()
}

fn find<'a>(config: &'a Config, pool: &PoolConfig) -> Option<&'a PoolConfig> {
    config.pools.iter().find(|other| other.name == pool.name)
}

/// Backends of one pool that another does not have.
fn missing(of: &PoolConfig, from: &PoolConfig) -> impl Iterator<Item = Arc<str>> {
    let missing = of.backends.iter().filter(|backend| !from.backends.iter().any(|other| other.is_same(backend)));
    missing.map(|backend| format!("{}/{}", of.name, backend.name).into())
}

fn compare(before: &Config, after: &Config) -> Changes {
    let both: Vec<_> = after.pools.iter().filter_map(|is| Some((find(before, is)?, is))).filter(|(was, is)| was != is).collect();
    let names = |pools: Vec<&PoolConfig>| pools.into_iter().map(|pool| Arc::clone(&pool.name)).collect();
    let keys = [("notify", before.notify != after.notify), ("reload", before.reload != after.reload)];
    Changes {
        added: names(after.pools.iter().filter(|pool| find(before, pool).is_none()).collect()),
        removed: names(before.pools.iter().filter(|pool| find(after, pool).is_none()).collect()),
        changed: both.iter().map(|(_, is)| Arc::clone(&is.name)).collect(),
        backends_added: both.iter().flat_map(|(was, is)| missing(is, was)).collect(),
        keys: keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.into()).collect(),
        backends_removed: both.iter().flat_map(|(was, is)| missing(was, is)).collect(),
    }
}
