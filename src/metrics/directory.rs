//! The metrics of each pool, listener and backend, by name.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Weak},
};

use prometheus::Error;

use super::{
    pool::{BackendMetrics, ListenerMetrics, PoolMetrics},
    series::{Family, Series},
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

/// The series of the process, and the components that exist, by their label values.
#[derive(Debug)]
pub(super) struct Directory {
    process: Families,
    pools: Components<PoolMetrics>,
    listeners: Components<ListenerMetrics>,
    backends: Components<BackendMetrics>,
}

/// Components of one kind. Each has its own series, which come and go with it.
#[derive(Debug)]
struct Components<T>(BTreeMap<[Arc<str>; 2], Entry<T>>);

#[derive(Debug)]
struct Entry<T> {
    component: Weak<T>,
    series: Families,
}

/// The series of one component, sorted by their names.
#[derive(Debug)]
pub(super) struct Families(Vec<Family>);

impl Families {
    /// Those that this makes.
    pub(super) fn of<T>(make: impl FnOnce(&Series<'_>) -> Result<T, Error>) -> Result<(T, Self), Error> {
        let families = RefCell::default();
        let component = make(&Series::new(&families))?;
        let mut families = families.into_inner();
        families.sort_by_key(|family| family.def.name);
        Ok((component, Self(families)))
    }

    /// The first name after this one.
    fn next_after(&self, name: &str) -> Option<&'static str> {
        self.0.get(self.0.partition_point(|family| family.def.name <= name)).map(|family| family.def.name)
    }

    /// Those of this name.
    fn named(&self, name: &str) -> &[Family] {
        &self.0[self.range(name)]
    }

    fn range(&self, name: &str) -> Range<usize> {
        let up_to = |is_before: fn(&str, &str) -> bool| self.0.partition_point(|family| is_before(family.def.name, name));
        up_to(|one, other| one < other)..up_to(|one, other| one <= other)
    }
}

impl<T> Default for Components<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Components<T> {
    fn get_or_make(
        &mut self,
        names: [&Arc<str>; 2],
        make: impl FnOnce(&Series<'_>) -> Result<T, Error>,
    ) -> Result<Arc<T>, Error> {
        let names = names.map(Arc::clone);
        if let Some(present) = self.0.get(&names).and_then(|shelved| shelved.component.upgrade()) {
            return Ok(present);
        }
        let (component, series) = Families::of(make)?;
        let component = Arc::new(component);
        self.0.insert(names, Entry { component: Arc::downgrade(&component), series });
        Ok(component)
    }

    fn forget_unused(&mut self) {
        self.0.retain(|_, shelved| shelved.component.strong_count() > 0);
    }

    fn first(&self) -> Option<&Families> {
        self.0.values().next().map(|shelved| &shelved.series)
    }

    /// All are made in the same way: what one of them has at a place, each has there.
    fn named(&self, name: &str) -> impl Iterator<Item = &Family> {
        let range = self.first().map(|first| first.range(name)).unwrap_or_default();
        self.0.values().filter_map(move |shelved| shelved.series.0.get(range.clone())).flatten()
    }
}

impl Directory {
    pub(super) fn new(process: Families) -> Self {
        let (pools, listeners, backends) = Default::default();
        Self { process, pools, listeners, backends }
    }

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

    /// Those that are no longer in use leave.
    pub(super) fn forget_unused(&mut self) {
        self.pools.forget_unused();
        self.listeners.forget_unused();
        self.backends.forget_unused();
    }

    /// The first name after this one.
    pub(super) fn next_after(&self, name: &str) -> Option<&'static str> {
        let kinds = [Some(&self.process), self.pools.first(), self.listeners.first(), self.backends.first()];
        kinds.into_iter().flatten().filter_map(|families| families.next_after(name)).min()
    }

    /// The series of this name.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = &Family> {
        let process = self.process.named(name).iter();
        process.chain(self.pools.named(name)).chain(self.listeners.named(name)).chain(self.backends.named(name))
    }
}
