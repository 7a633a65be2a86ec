//! Connections that made one round trip and are silent. Each round has new proxies: memory that was used once stays.

use std::time::Duration;

use lab::failure::Failure;

use super::Plan;
use crate::{
    arena::Target,
    bench::Bench,
    figure::{Bound, Figure, Sample},
    load::Job,
    proxy::{Backend, Proxy},
    tool::Load,
};

const CONNECTIONS: u32 = 4000;
/// Until a proxy has given back what it does not need.
const SETTLE: Duration = Duration::from_millis(2500);

const FIGURES: &[Figure] = &[
    Figure::new("rss", "resident memory of a connection", "KiB", Bound::OfHaproxyAtMost(0.5)),
    Figure::new("base", "resident memory before them", "MiB", Bound::Told),
];

pub(super) const PLAN: Plan =
    Plan::new("idle_memory", "4,000 connections, one round trip each, then silence.", FIGURES, &[Backend::RoundTrip]).fresh();

pub(super) fn run(bench: &Bench, target: &Target<'_>) -> Result<Sample, Failure> {
    let resident = || target.proxy.map_or(Ok(0), Proxy::resident_kib);
    let mut load = Load::prepare(&bench.stop, &Job::Held { target: target.addresses[0], connections: CONNECTIONS })?;
    let before = resident()? as f64;
    load.go()?;
    let outcome = load.outcome(&bench.stop)?;
    bench.stop.pause(SETTLE)?;
    let after = resident()? as f64;
    Ok(vec![("rss", (after - before) / outcome.done as f64), ("base", before / 1024.0)])
}
