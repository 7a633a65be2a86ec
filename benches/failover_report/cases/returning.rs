//! The old primary comes back and still thinks that it is one.

use std::time::{Duration, Instant};

use lab::failure::Failure;

use super::{
    Bench, Rows,
    run::{Fault, Scene, fail_over},
};
use crate::{
    table::{
        Bound::{Exactly, Told},
        Row,
        Unit::Count,
    },
    writers::Writers,
};

/// For how long it must not be trusted once it counts as up.
const WATCHED: Duration = Duration::from_secs(5);
/// One that went down run after run must answer this long at most before it does.
const UP_AGAIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Rows of the second set of clients of a run must not meet those of the first.
const SECOND_WRITERS: u32 = 1000;

#[derive(Debug)]
struct Returned {
    looks: usize,
    looks_active: usize,
    writes: usize,
    sessions_lost: usize,
    conflict: f64,
    fenced: f64,
}

pub(super) fn old_primary_returns(bench: &mut Bench) -> Rows {
    let mut scene = Scene::open(bench, "old_primary_returns", &[])?;
    let mut runs = Vec::new();
    for run in 0..bench.runs {
        fail_over(bench, &scene, "old_primary_returns", run, Fault::Kill9)?;
        runs.push(bring_back(bench, &scene, run)?);
        scene.next_run(bench)?;
    }
    let of = |value: fn(&Returned) -> usize| runs.iter().map(move |run| value(run) as f64);
    Ok(vec![
        Row::new(
            "looks until 5 s after it is up that saw the old primary active",
            Count,
            Exactly(0.0),
            of(|run| run.looks_active),
        ),
        Row::new("writes acknowledged by the old primary", Count, Exactly(0.0), of(|run| run.writes)),
        Row::new("sessions with the new primary lost", Count, Exactly(0.0), of(|run| run.sessions_lost)),
        Row::new("mainstay_primary_conflict", Count, Exactly(1.0), runs.iter().map(|run| run.conflict)),
        Row::new("reason `fenced` of the old primary", Count, Exactly(1.0), runs.iter().map(|run| run.fenced)),
        Row::new("looks", Count, Told, of(|run| run.looks)),
    ])
}

fn bring_back(bench: &Bench, scene: &Scene, run: u32) -> Result<Returned, Failure> {
    let old = scene.pair.primary();
    let writers = Writers::start(scene.mainstay.address(0), run + SECOND_WRITERS)?;
    old.start()?;
    let started = Instant::now();
    let mut up_since = None;
    let (mut looks, mut looks_active) = (0, 0);
    while up_since.unwrap_or(started).elapsed() < up_since.map_or(UP_AGAIN, |_: Instant| WATCHED) {
        let pool = scene.mainstay.pool()?;
        looks += 1;
        if pool.backends.iter().any(|backend| backend.name == old.name() && backend.health == "up") {
            up_since.get_or_insert_with(Instant::now);
        }
        let active = pool.active.as_deref() == Some(old.name())
            || pool.backends.iter().any(|backend| backend.active && backend.name == old.name());
        looks_active += usize::from(active);
        bench.stop.pause(LOOK_EVERY)?;
    }
    let scrape = scene.mainstay.scrape()?;
    let books = writers.stop();
    let port = old.address().port();
    let returned = Returned {
        looks,
        looks_active,
        writes: books.acks.iter().filter(|ack| ack.node == port).count(),
        sessions_lost: books.ends.len(),
        conflict: scrape.sum("mainstay_primary_conflict", &[]),
        fenced: scrape.sum("mainstay_backend_reason", &[("backend", old.name()), ("reason", "fenced")]),
    };
    eprintln!("old_primary_returns {}/{}: {returned:?}", run + 1, bench.runs);
    Ok(returned)
}
