//! How series are made. Each has a handle of its own with all its labels, and exists from the start.
//!
//! The values are those of the `prometheus` crate. Its vectors are not used: they find a series by a hash of its label values,
//! concatenated without a separator, so pool `a` with backend `bc` and pool `ab` with backend `c` would share one series.

use std::{
    cell::RefCell,
    fmt,
    marker::PhantomData,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use prometheus::{Counter, Error, Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, core::Metric as _};

use super::{
    live::LiveCount,
    names::Def,
    text::{Kind, Lines, escaped},
};
use crate::failover::label::Label;

/// The series of one name and one component.
pub(super) struct Family {
    pub(super) def: Def,
    pub(super) kind: Kind,
    /// Those that all of them have, as they are written.
    pub(super) labels: Arc<str>,
    pub(super) write: Box<dyn Fn(&mut Lines<'_>) + Send + Sync>,
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Family").field(&self.def.name).field(&self.labels).finish()
    }
}

/// Upper bounds of a histogram, and those of them that are shown in short.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buckets {
    pub(super) full: &'static [f64],
    pub(super) short: &'static [f64],
}

/// Makes series that share some labels.
#[derive(Clone, Debug)]
pub(super) struct Series<'a> {
    made: &'a RefCell<Vec<Family>>,
    labels: Arc<str>,
}

impl<'a> Series<'a> {
    pub(super) fn new(made: &'a RefCell<Vec<Family>>) -> Self {
        Self { made, labels: Arc::default() }
    }

    /// The same, with one more label.
    pub(super) fn with(&self, label: &str, value: &str) -> Self {
        let comma = if self.labels.is_empty() { "" } else { "," };
        Self { made: self.made, labels: format!("{}{comma}{label}=\"{}\"", self.labels, escaped(value)).into() }
    }

    pub(super) fn int_counter(&self, def: Def) -> Result<IntCounter, Error> {
        let counter = IntCounter::new(def.name, def.name)?;
        let told = counter.clone();
        self.make(def, Kind::Counter, move |lines| lines.one(told.get()));
        Ok(counter)
    }

    pub(super) fn counter(&self, def: Def) -> Result<Counter, Error> {
        let counter = Counter::new(def.name, def.name)?;
        let told = counter.clone();
        self.make(def, Kind::Counter, move |lines| lines.one(told.get()));
        Ok(counter)
    }

    pub(super) fn int_gauge(&self, def: Def) -> Result<IntGauge, Error> {
        let gauge = IntGauge::new(def.name, def.name)?;
        let told = gauge.clone();
        self.make(def, Kind::Gauge, move |lines| lines.one(told.get()));
        Ok(gauge)
    }

    pub(super) fn gauge(&self, def: Def) -> Result<Gauge, Error> {
        let gauge = Gauge::new(def.name, def.name)?;
        let told = gauge.clone();
        self.make(def, Kind::Gauge, move |lines| lines.one(told.get()));
        Ok(gauge)
    }

    pub(super) fn histogram(&self, def: Def, buckets: Buckets) -> Result<Histogram, Error> {
        let histogram = Histogram::with_opts(HistogramOpts::new(def.name, def.name).buckets(buckets.full.to_vec()))?;
        let told = histogram.clone();
        self.make(def, Kind::Histogram, move |lines| {
            let metric = told.metric();
            let told = metric.get_histogram();
            let counts = told.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
            lines.histogram(counts, buckets.short, told.get_sample_count(), told.get_sample_sum());
        });
        Ok(histogram)
    }

    /// One counter for each value of a closed enum.
    pub(super) fn int_counters<L: Label>(&self, def: Def, label: &'static str) -> Result<Per<L, IntCounter>, Error> {
        let counters = Per::new(|_: L| IntCounter::new(def.name, def.name))?;
        let told = counters.clone();
        self.make(def, Kind::Counter, move |lines| {
            told.iter().for_each(|(value, counter)| lines.word(label, value.as_str(), counter.get()));
        });
        Ok(counters)
    }

    /// One gauge for each value of a closed enum.
    pub(super) fn gauges<L: Label>(&self, def: Def, label: &'static str) -> Result<Per<L, Gauge>, Error> {
        let gauges = Per::new(|_: L| Gauge::new(def.name, def.name))?;
        let told = gauges.clone();
        self.make(def, Kind::Gauge, move |lines| {
            told.iter().for_each(|(value, gauge)| lines.word(label, value.as_str(), gauge.get()));
        });
        Ok(gauges)
    }

    /// One gauge for each value of a closed enum, of which `first` is 1.
    pub(super) fn one_hot<L: Label>(&self, def: Def, label: &'static str, first: L) -> OneHot<L> {
        let hot = OneHot { state: Arc::new(AtomicUsize::new(first.index())), label: PhantomData };
        let told = hot.clone();
        self.make(def, Kind::Gauge, move |lines| {
            let hot: L = told.get();
            for value in L::ALL {
                lines.word(label, value.as_str(), u8::from(*value == hot));
            }
        });
        hot
    }

    /// A series that is always 1; the information is in its labels.
    pub(super) fn info<const N: usize>(&self, def: Def, labels: [&'static str; N]) -> Info<N> {
        let info = Info { values: Arc::new(Mutex::new(std::array::from_fn(|_| String::new()))) };
        let told = info.clone();
        self.make(def, Kind::Gauge, move |lines| {
            lines.row(labels, &told.values.lock().unwrap_or_else(PoisonError::into_inner), 1.0);
        });
        info
    }

    /// Gauges of which there are as many as were set last.
    pub(super) fn table<const N: usize>(&self, def: Def, labels: [&'static str; N]) -> Table<N> {
        let table = Table { rows: Arc::default() };
        let told = table.clone();
        self.make(def, Kind::Gauge, move |lines| {
            let rows = told.rows.lock().unwrap_or_else(PoisonError::into_inner);
            rows.iter().for_each(|(values, value)| lines.row(labels, values, *value));
        });
        table
    }

    /// A gauge of what exists, which is counted elsewhere.
    pub(super) fn live(&self, def: Def) -> LiveCount {
        let count = LiveCount::default();
        let told = count.clone();
        self.make(def, Kind::Gauge, move |lines| lines.one(told.get()));
        count
    }

    fn make(&self, def: Def, kind: Kind, write: impl Fn(&mut Lines<'_>) + Send + Sync + 'static) {
        self.made.borrow_mut().push(Family { def, kind, labels: Arc::clone(&self.labels), write: Box::new(write) });
    }
}

/// One handle for each value of a closed enum.
#[derive(Clone, Debug)]
pub struct Per<L: Label, M> {
    handles: Arc<[M]>,
    // As of a function, so that it is shared between threads whatever it is.
    label: PhantomData<fn(L)>,
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
    // As of a function, so that it is shared between threads whatever it is.
    label: PhantomData<fn(L)>,
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
