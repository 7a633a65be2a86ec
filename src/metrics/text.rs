//! Prometheus text format 0.0.4.
//!
//! The encoder of the `prometheus` crate wants a copy of every name, help text and label of every series, at each scrape. That takes
//! three times as long as to write the text.

use std::fmt::{Display, Write as _};

use super::names::Def;

/// How many series are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Those that an alert, a panel or the runbook needs.
    Short,
    /// All.
    Full,
}

/// Type of a metric.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Where the series of one name and one component are written.
pub(super) struct Lines<'a> {
    pub(super) text: &'a mut String,
    pub(super) def: Def,
    pub(super) detail: Detail,
    /// Those that all of them have, as they are written.
    pub(super) labels: &'a str,
}

impl Lines<'_> {
    /// The only one.
    pub(super) fn one(&mut self, value: impl Display) {
        self.sample("", &[], value);
    }

    /// That of one word of an enum, if it is shown.
    pub(super) fn word(&mut self, label: &str, word: &str, value: impl Display + Default + PartialEq) {
        if self.detail == Detail::Full || value != Default::default() || self.def.shows_zero(word) {
            self.sample("", &[(label, &word)], value);
        }
    }

    /// One whose labels may have any value.
    pub(super) fn row<const N: usize>(&mut self, labels: [&'static str; N], values: &[String; N], value: f64) {
        let values = values.each_ref().map(|value| escaped(value));
        let own: [(&str, &dyn Display); N] = std::array::from_fn(|at| (labels[at], &values[at] as &dyn Display));
        self.sample("", &own, value);
    }

    /// Those of a histogram: how many were at most so much, how many there were, and their sum. A bucket counts all that is below its
    /// bound, so one that is left out takes nothing from the others.
    pub(super) fn histogram(&mut self, buckets: impl Iterator<Item = (f64, u64)>, short: &[f64], count: u64, sum: f64) {
        let detail = self.detail;
        for (bound, below) in buckets.filter(|(bound, _)| detail == Detail::Full || short.contains(bound)) {
            self.sample("_bucket", &[("le", &bound)], below);
        }
        self.sample("_bucket", &[("le", &"+Inf")], count);
        self.sample("_sum", &[], sum);
        self.sample("_count", &[], count);
    }

    fn sample(&mut self, suffix: &str, own: &[(&str, &dyn Display)], value: impl Display) {
        let Self { text, def, labels, .. } = self;
        text.push_str(def.name);
        text.push_str(suffix);
        let mut before = '{';
        if !labels.is_empty() {
            text.push(before);
            text.push_str(labels);
            before = ',';
        }
        for (label, value) in own {
            // A `String` takes whatever is written.
            let _ = write!(text, "{before}{label}=\"{value}\"");
            before = ',';
        }
        let close = if before == ',' { "}" } else { "" };
        let _ = writeln!(text, "{close} {value}");
    }
}

/// The head of a metric.
pub(super) fn head(text: &mut String, Def { name, help, .. }: Def, kind: Kind) {
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// The value of a label, with backslash, quote and line feed escaped.
pub(super) fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}
