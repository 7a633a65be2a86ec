//! How series are made. Each is registered separately with all its labels, and exists from the start.
//!
//! The vectors of the `prometheus` crate are not used: they find a series by a hash of its label values, concatenated without a
//! separator, so pool `a` with backend `bc` and pool `ab` with backend `c` would share one series.

use std::{
    collections::HashMap,
    marker::PhantomData,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use prometheus::{
    Counter, Error, Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry,
    core::{Collector, Desc},
    proto,
};

use super::{live::LiveCount, names::Def};
use crate::failover::label::Label;

/// Makes series that share some labels.
#[derive(Clone, Debug)]
pub(super) struct Series<'a> {
    registry: &'a Registry,
    labels: Vec<(&'static str, String)>,
}

impl<'a> Series<'a> {
    pub(super) const fn new(registry: &'a Registry) -> Self {
        Self { registry, labels: Vec::new() }
    }

    /// The same, with one more label.
    pub(super) fn with(&self, label: &'static str, value: &str) -> Self {
        let mut labels = self.labels.clone();
        labels.push((label, value.to_owned()));
        Self { registry: self.registry, labels }
    }

    pub(super) fn int_counter(&self, def: Def) -> Result<IntCounter, Error> {
        self.register(IntCounter::with_opts(self.opts(def))?)
    }

    pub(super) fn counter(&self, def: Def) -> Result<Counter, Error> {
        self.register(Counter::with_opts(self.opts(def))?)
    }

    pub(super) fn int_gauge(&self, def: Def) -> Result<IntGauge, Error> {
        self.register(IntGauge::with_opts(self.opts(def))?)
    }

    pub(super) fn gauge(&self, def: Def) -> Result<Gauge, Error> {
        self.register(Gauge::with_opts(self.opts(def))?)
    }

    pub(super) fn histogram(&self, def: Def, buckets: &[f64]) -> Result<Histogram, Error> {
        let opts = HistogramOpts { common_opts: self.opts(def), buckets: buckets.to_vec() };
        self.register(Histogram::with_opts(opts)?)
    }

    /// One counter for each value of a closed enum.
    pub(super) fn int_counters<L: Label>(&self, def: Def, label: &'static str) -> Result<Per<L, IntCounter>, Error> {
        Per::new(|value: L| self.with(label, value.as_str()).int_counter(def))
    }

    /// One gauge for each value of a closed enum.
    pub(super) fn gauges<L: Label>(&self, def: Def, label: &'static str) -> Result<Per<L, Gauge>, Error> {
        Per::new(|value: L| self.with(label, value.as_str()).gauge(def))
    }

    /// One gauge for each value of a closed enum, of which `first` is 1.
    pub(super) fn one_hot<L: Label>(&self, def: Def, label: &'static str, first: L) -> Result<OneHot<L>, Error> {
        let state = Arc::new(AtomicUsize::new(first.index()));
        let hot = Arc::clone(&state);
        self.on_scrape(def, &[label], move |desc| {
            let hot = hot.load(Ordering::Relaxed);
            L::ALL.iter().map(|value| gauge(desc, &[value.as_str()], f64::from(u8::from(value.index() == hot)))).collect()
        })?;
        Ok(OneHot { state, label: PhantomData })
    }

    /// A series that is always 1; the information is in its labels.
    pub(super) fn info<const N: usize>(&self, def: Def, labels: [&'static str; N]) -> Result<Info<N>, Error> {
        let values = Arc::new(Mutex::new(std::array::from_fn(|_| String::new())));
        let told: Arc<Mutex<[String; N]>> = Arc::clone(&values);
        self.on_scrape(def, &labels, move |desc| {
            let values = told.lock().unwrap_or_else(PoisonError::into_inner);
            vec![gauge(desc, &values.each_ref().map(String::as_str), 1.0)]
        })?;
        Ok(Info { values })
    }

    /// Gauges of which there are as many as were set last.
    pub(super) fn table<const N: usize>(&self, def: Def, labels: [&'static str; N]) -> Result<Table<N>, Error> {
        let rows = Table { rows: Arc::default() };
        let told = rows.clone();
        self.on_scrape(def, &labels, move |desc| {
            let rows = told.rows.lock().unwrap_or_else(PoisonError::into_inner);
            rows.iter().map(|(labels, value)| gauge(desc, &labels.each_ref().map(String::as_str), *value)).collect()
        })?;
        Ok(rows)
    }

    /// A gauge of what exists, which is counted elsewhere.
    pub(super) fn live(&self, def: Def) -> Result<LiveCount, Error> {
        let count = LiveCount::default();
        let counted = count.clone();
        self.on_scrape(def, &[], move |desc| vec![gauge(desc, &[], counted.get() as f64)])?;
        Ok(count)
    }

    fn on_scrape(
        &self,
        def: Def,
        labels: &[&str],
        metrics: impl Fn(&Desc) -> Vec<proto::Metric> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let desc = Desc::new(def.name.to_owned(), def.help.to_owned(), labels, self.const_labels())?;
        self.registry.register(Box::new(OnScrape { desc, metrics }))
    }

    fn opts(&self, def: Def) -> Opts {
        Opts::new(def.name, def.help).const_labels(self.const_labels())
    }

    fn const_labels(&self) -> HashMap<String, String> {
        self.labels.iter().map(|(label, value)| ((*label).to_owned(), value.clone())).collect()
    }

    fn register<M: Collector + Clone + 'static>(&self, metric: M) -> Result<M, Error> {
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

/// One handle for each value of a closed enum.
#[derive(Clone, Debug)]
pub struct Per<L: Label, M> {
    handles: Box<[M]>,
    label: PhantomData<L>,
}

impl<L: Label, M> Per<L, M> {
    pub(super) fn new(make: impl Fn(L) -> Result<M, Error>) -> Result<Self, Error> {
        let handles = L::ALL.iter().map(|value| make(*value)).collect::<Result<_, _>>()?;
        Ok(Self { handles, label: PhantomData })
    }

    /// The handle of this value.
    pub fn get(&self, value: L) -> &M {
        &self.handles[value.index()]
    }

    /// Every value with its handle, in declaration order.
    pub fn iter(&self) -> impl Iterator<Item = (L, &M)> {
        L::ALL.iter().copied().zip(self.handles.iter())
    }
}

/// Gauges of which exactly one is 1, even for a scrape while the value changes.
#[derive(Clone, Debug)]
pub struct OneHot<L: Label> {
    state: Arc<AtomicUsize>,
    label: PhantomData<L>,
}

impl<L: Label> OneHot<L> {
    /// Makes this value's gauge 1 and every other 0.
    pub fn set(&self, value: L) {
        self.state.store(value.index(), Ordering::Relaxed);
    }

    /// The value whose gauge is 1.
    pub fn get(&self) -> L {
        L::ALL[self.state.load(Ordering::Relaxed)]
    }
}

/// A gauge that is always 1, with labels that may change. There is one series at any time.
#[derive(Clone, Debug)]
pub struct Info<const N: usize> {
    values: Arc<Mutex<[String; N]>>,
}

impl<const N: usize> Info<N> {
    /// Enough for every host name with a port.
    const MAX_CHARS: usize = 264;

    /// Sets the labels. They may come from another machine: everything but printable ASCII is removed, and more than 264 characters
    /// are cut.
    pub fn set(&self, values: [&str; N]) {
        let mut present = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        for (present, value) in present.iter_mut().zip(values) {
            present.clear();
            present.extend(value.chars().filter(|c| (' '..='~').contains(c)).take(Self::MAX_CHARS));
        }
    }
}

/// Gauges with labels that are known only later, and change.
#[derive(Clone, Debug)]
pub struct Table<const N: usize> {
    rows: Arc<Mutex<Rows<N>>>,
}

/// Values of labels, and of the gauge.
type Rows<const N: usize> = Vec<([String; N], f64)>;

impl<const N: usize> Table<N> {
    /// These and no others, from now on.
    pub fn set(&self, rows: Rows<N>) {
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = rows;
    }
}

/// Gauges that are made when somebody looks.
struct OnScrape<F> {
    desc: Desc,
    metrics: F,
}

impl<F: Fn(&Desc) -> Vec<proto::Metric> + Send + Sync> Collector for OnScrape<F> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let mut family = proto::MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(proto::MetricType::GAUGE);
        family.set_metric((self.metrics)(&self.desc));
        vec![family]
    }
}

fn gauge(desc: &Desc, label_values: &[&str], value: f64) -> proto::Metric {
    let pairs = desc.variable_labels.iter().zip(label_values).map(|(label, label_value)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(label.clone());
        pair.set_value((*label_value).to_owned());
        pair
    });
    let mut labels: Vec<_> = desc.const_label_pairs.iter().cloned().chain(pairs).collect();
    labels.sort();
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value);
    let mut metric = proto::Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}
