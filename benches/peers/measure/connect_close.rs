//! Short connections. Each round has a new server and new proxies, hence new ports: what is left of the closed connections of
//! others (TIME-WAIT) stands in nobody's way.

use lab::failure::Failure;

use super::{CPU, Plan, with_cpu, without_cpu_of_direct};
use crate::{
    arena::Target,
    bench::Bench,
    figure::{Bound, Figure, Sample},
    load::Job,
    proxy::Backend,
};

/// Fewer than half of the ports that the kernel hands out by itself.
const CONNECTIONS: u64 = 12_000;
const PARALLEL: u32 = 8;

const FIGURES: &[Figure] = &[
    Figure::new(CPU, "proxy's CPU for a connection", "µs", Bound::AtMost(1.0)),
    Figure::new("rate", "connections in a second", "/s", Bound::Told),
];

pub(super) const PLAN: Plan =
    Plan::new("connect_close", "Connect, one round trip, close; eight at a time.", FIGURES, &[Backend::RoundTrip])
        .fresh()
        .short();

pub(super) fn run(bench: &Bench, target: &Target<'_>) -> Result<Sample, Failure> {
    let job = Job::Connects { target: target.addresses[0], parallel: PARALLEL, count: bench.scaled(CONNECTIONS) };
    let (outcome, cpu) = with_cpu(bench, target, &job)?;
    let connections = outcome.done as f64;
    Ok(without_cpu_of_direct(target, vec![(CPU, cpu / 1e3 / connections), ("rate", connections / outcome.seconds)]))
}
