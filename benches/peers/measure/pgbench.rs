//! A real client and a real server: pgbench, selecting one row at a time.

use lab::failure::Failure;

use super::{CPU, Plan, without_cpu_of_direct};
use crate::{
    arena::Target,
    bench::Bench,
    database,
    figure::{Bound, Figure, Sample},
    proxy::Backend,
};

const SECONDS: u64 = 2;

const FIGURES: &[Figure] = &[
    Figure::new("latency", "latency of a transaction, mean", "µs", Bound::AddedAtMost(1.0)),
    Figure::new(CPU, "proxy's CPU for a transaction", "µs", Bound::Told),
];

pub(super) const fn plan(name: &'static str, title: &'static str) -> Plan {
    Plan::new(name, title, FIGURES, &[Backend::Postgres]).short()
}

pub(super) fn run(bench: &Bench, target: &Target<'_>, clients: u32) -> Result<Sample, Failure> {
    let seconds = if bench.smoke { 1 } else { SECONDS };
    let before = target.cpu_nanos()?;
    let selects = database::selects(bench.place(), target.addresses[0], clients, seconds)?;
    let cpu = (target.cpu_nanos()? - before) as f64;
    let sample = vec![("latency", selects.latency), (CPU, cpu / 1e3 / selects.transactions)];
    Ok(without_cpu_of_direct(target, sample))
}
