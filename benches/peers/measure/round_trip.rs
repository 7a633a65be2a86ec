//! Round trips on standing connections, each the next one when the last is done.

use lab::failure::Failure;

use super::{CPU, Plan, with_cpu, without_cpu_of_direct};
use crate::{
    arena::Target,
    bench::Bench,
    figure::{Bound, Figure, Sample},
    load::Job,
    proxy::Backend,
};

const FIGURES: &[Figure] = &[
    Figure::new(CPU, "proxy's CPU for a round trip", "µs", Bound::AtMost(1.0)),
    Figure::new("p50", "latency, median", "µs", Bound::Told),
    Figure::new("p99", "latency, 99 of 100", "µs", Bound::Told),
];

pub(super) const fn plan(name: &'static str, title: &'static str) -> Plan {
    Plan::new(name, title, FIGURES, &[Backend::RoundTrip]).short()
}

const ONE_CORE_FIGURES: &[Figure] = &[
    Figure::new("wall", "time for a round trip", "µs", Bound::AddedAtMost(0.9)),
    Figure::new(CPU, "proxy's CPU for a round trip", "µs", Bound::Told),
];

/// Nothing runs beside anything: what a round trip takes longer than without a proxy is what the proxy costs, in itself and in
/// the kernel.
pub(super) const ONE_CORE: Plan = Plan::new(
    "one_core",
    "Load, server and proxy on one core: 100 B there, 300 B back, on 32 connections at once.",
    ONE_CORE_FIGURES,
    &[Backend::RoundTrip],
)
.on_one_core()
.short();

pub(super) fn run(bench: &Bench, target: &Target<'_>, connections: u32, count: u64) -> Result<Sample, Failure> {
    let job = Job::RoundTrips { target: target.addresses[0], connections, count: bench.scaled(count) };
    let (outcome, cpu) = with_cpu(bench, target, &job)?;
    let trips = outcome.done as f64;
    let sample = vec![
        (CPU, cpu / 1e3 / trips),
        ("p50", outcome.p50 as f64 / 1e3),
        ("p99", outcome.p99 as f64 / 1e3),
        ("wall", outcome.seconds * 1e6 / trips),
    ];
    Ok(without_cpu_of_direct(target, sample))
}
