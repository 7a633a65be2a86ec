//! The metrics of each pool, listener and backend, by name.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use prometheus::{Error, Registry, proto::MetricFamily};

use super::{
    pool::{BackendMetrics, ListenerMetrics, PoolMetrics},
    series::Series,
};

/// The names that become label values of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolLabels {
    /// The pool's name.
    pub name: Arc<str>,
    /// Its listeners' names, in configuration order.
    pub listeners: Vec<Arc<str>>,
    /// Its backends' names and configured addresses, in configuration order.
    pub backends: Vec<(Arc<str>, Arc<str>)>,
}

/// The metrics of a pool, its listeners and its backends. The same names always get the same series, which are exposed for as long
/// as they are in use: those of a removed backend until its last session has ended.
#[derive(Clone, Debug)]
pub struct PoolSeries {
    /// Of the pool itself.
    pub pool: Arc<PoolMetrics>,
    /// Of each listener, in configuration order.
    pub listeners: Vec<Arc<ListenerMetrics>>,
    /// Of each backend, in configuration order.
    pub backends: Vec<Arc<BackendMetrics>>,
}

/// The components that exist, by their label values.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pools: Family<PoolMetrics>,
    listeners: Family<ListenerMetrics>,
    backends: Family<BackendMetrics>,
}

/// Components of one kind. Each has its own registry, so that its series come and go with it.
#[derive(Debug)]
struct Family<T>(BTreeMap<[Arc<str>; 2], Entry<T>>);

#[derive(Debug)]
struct Entry<T> {
    component: Weak<T>,
    registry: Registry,
}

impl<T> Default for Family<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Family<T> {
    fn get_or_make(
        &mut self,
        names: [&Arc<str>; 2],
        make: impl FnOnce(&Series<'_>) -> Result<T, Error>,
    ) -> Result<Arc<T>, Error> {
        let names = names.map(Arc::clone);
        if let Some(present) = self.0.get(&names).and_then(|shelved| shelved.component.upgrade()) {
            return Ok(present);
        }
        let registry = Registry::new();
        let component = Arc::new(make(&Series::new(&registry))?);
        self.0.insert(names, Entry { component: Arc::downgrade(&component), registry });
        Ok(component)
    }

    fn forget_unused(&mut self) {
        self.0.retain(|_, shelved| shelved.component.strong_count() > 0);
    }

    fn gather(&self) -> impl Iterator<Item = MetricFamily> {
        self.0.values().flat_map(|shelved| shelved.registry.gather())
    }
}

impl Directory {
    pub(super) fn series(&mut self, labels: &PoolLabels) -> Result<PoolSeries, Error> {
        let pool = &labels.name;
        let listeners = labels.listeners.iter().map(|listener| {
            self.listeners.get_or_make([pool, listener], |series| {
                ListenerMetrics::new(&series.with("pool", pool).with("listener", listener))
            })
        });
        let listeners = listeners.collect::<Result<_, _>>()?;
        let backends = labels.backends.iter().map(|(backend, address)| {
            self.backends.get_or_make([pool, backend], |series| {
                BackendMetrics::new(&series.with("pool", pool).with("backend", backend), address)
            })
        });
        let backends = backends.collect::<Result<_, _>>()?;
        let pool = self.pools.get_or_make([pool, pool], |series| PoolMetrics::new(&series.with("pool", pool)))?;
        Ok(PoolSeries { pool, listeners, backends })
    }

    pub(super) fn sessions(&self) -> u64 {
        let backends = self.backends.0.values().filter_map(|shelved| shelved.component.upgrade());
        backends.map(|backend| backend.connections_active.get()).sum()
    }

    /// Merges the series of all components into one family per name.
    pub(super) fn gather(&mut self) -> Vec<MetricFamily> {
        self.pools.forget_unused();
        self.listeners.forget_unused();
        self.backends.forget_unused();
        let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
        for mut family in self.pools.gather().chain(self.listeners.gather()).chain(self.backends.gather()) {
            match families.get_mut(family.name()) {
                Some(known) => known.mut_metric().append(family.mut_metric()),
                None => drop(families.insert(family.name().to_owned(), family)),
            }
        }
        families.into_values().collect()
    }
}
