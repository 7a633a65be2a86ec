//! Fairness: streams at a rate that everybody carries, and round trips on a fixed schedule beside them.

use lab::failure::Failure;

use super::{CPU, Plan, SETTLE, without_cpu_of_direct};
use crate::{
    arena::Target,
    bench::Bench,
    figure::{Bound, Figure, Sample},
    load::{Job, Outcome},
    proxy::Backend,
    tool::Load,
};

const STREAMS: u32 = 8;
/// Bytes per second of all streams together.
const BULK_RATE: u64 = 300_000_000;
const CONNECTIONS: u32 = 16;
/// Round trips per second of all connections together.
const TRIP_RATE: u64 = 5000;
const SECONDS: u64 = 8;
/// Part of its rates that the load must reach; below, its numbers say nothing.
const KEPT: f64 = 0.95;

const FIGURES: &[Figure] = &[
    Figure::new(CPU, "proxy's share of a core", "%", Bound::AtMost(0.8)),
    Figure::new("p50", "latency of a round trip, median", "µs", Bound::Told),
    Figure::new("p99", "latency of a round trip, 99 of 100", "µs", Bound::AtMost(1.0)),
    Figure::new("p999", "latency of a round trip, 999 of 1,000", "µs", Bound::AtMost(1.0)),
];

pub(super) const PLAN: Plan = Plan::new(
    "mixed",
    "Eight streams at 300 MB/s together; beside them 16 connections with 5,000 round trips per second together, on a fixed schedule.",
    FIGURES,
    &[Backend::RoundTrip, Backend::Bulk],
);

pub(super) fn run(bench: &Bench, target: &Target<'_>) -> Result<Sample, Failure> {
    let seconds = if bench.smoke { 2 } else { SECONDS };
    let trips = Job::PacedRoundTrips { target: target.addresses[0], connections: CONNECTIONS, rate: TRIP_RATE, seconds };
    let streams = Job::PacedBulk { target: target.addresses[1], streams: STREAMS, rate: BULK_RATE, seconds };
    let mut loads = [Load::prepare(&bench.stop, &trips)?, Load::prepare(&bench.stop, &streams)?];
    bench.stop.pause(SETTLE)?;
    let before = target.cpu_nanos()?;
    loads.iter_mut().try_for_each(Load::go)?;
    let trips = loads[0].outcome(&bench.stop)?;
    let streams = loads[1].outcome(&bench.stop)?;
    let cpu = (target.cpu_nanos()? - before) as f64;
    kept("round trips a second", &trips, TRIP_RATE)?;
    kept("streamed bytes a second", &streams, BULK_RATE)?;
    let sample = vec![
        (CPU, 100.0 * cpu / 1e9 / trips.seconds.max(streams.seconds)),
        ("p50", trips.p50 as f64 / 1e3),
        ("p99", trips.p99 as f64 / 1e3),
        ("p999", trips.p999 as f64 / 1e3),
    ];
    Ok(without_cpu_of_direct(target, sample))
}

/// Whether a load reached its rate.
fn kept(what: &str, outcome: &Outcome, rate: u64) -> Result<(), Failure> {
    let reached = outcome.done as f64 / outcome.seconds;
    if reached >= KEPT * rate as f64 {
        return Ok(());
    }
    Err(Failure::Disturbed(format!(
        "{reached:.0} {what} where {rate} were asked: the machine or the proxy is too slow for this load"
    )))
}
