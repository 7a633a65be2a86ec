//! Streams as fast as they go: what a gigabyte costs the proxy, and how many pass in a second.

use lab::failure::Failure;

use super::{CPU, Plan, with_cpu, without_cpu_of_direct};
use crate::{
    arena::Target,
    bench::Bench,
    figure::{Bound, Figure, Sample},
    load::Job,
    proxy::Backend,
    wire::Direction,
};

const FIGURES: &[Figure] = &[
    Figure::new(CPU, "proxy's CPU for a gigabyte", "s", Bound::AtMost(0.8)),
    Figure::new("rate", "gigabytes in a second", "GB/s", Bound::AtLeast(1.0)),
];

/// Bytes of all streams together.
const BYTES: u64 = 4_000_000_000;

pub(super) const fn plan(name: &'static str, title: &'static str) -> Plan {
    Plan::new(name, title, FIGURES, &[Backend::Bulk])
}

pub(super) fn run(bench: &Bench, target: &Target<'_>, direction: Direction, streams: u32) -> Result<Sample, Failure> {
    let job = Job::Bulk { target: target.addresses[0], direction, streams, bytes: bench.scaled(BYTES) };
    let (outcome, cpu) = with_cpu(bench, target, &job)?;
    let bytes = outcome.done as f64;
    // Nanoseconds for a byte are seconds for a gigabyte.
    Ok(without_cpu_of_direct(target, vec![(CPU, cpu / bytes), ("rate", bytes / 1e9 / outcome.seconds)]))
}
