//! Faults that must not move anybody: too short for a verdict, or over before another node could serve.

use std::time::{Duration, Instant};

use lab::{failure::Failure, stats::millis};

use super::{
    Bench, Rows,
    run::{CLIENT_TIMEOUT, Scene, random_phase},
};
use crate::{
    pair,
    table::{
        Bound::{Exactly, Told},
        Row,
        Unit::{Count, Millis},
    },
};

/// Shorter than one probe may take (1 s).
const FROZEN: Duration = Duration::from_millis(800);
/// After the fault, mainstay gets this long to do something wrong.
const WATCHED: Duration = Duration::from_millis(2500);

#[derive(Debug)]
struct Frozen {
    events: usize,
    epochs: u64,
    sessions_lost: usize,
    failed_connects: usize,
}

pub(super) fn sigstop_short(bench: &mut Bench) -> Rows {
    let scene = Scene::open(bench, "sigstop_short", &[])?;
    let runs = (0..bench.runs).map(|run| freeze_shortly(bench, &scene, run)).collect::<Result<Vec<_>, _>>()?;
    let of = |value: fn(&Frozen) -> usize| runs.iter().map(move |run| value(run) as f64);
    Ok(vec![
        Row::new("state changes published", Count, Exactly(0.0), of(|run| run.events)),
        Row::new("epochs begun", Count, Exactly(0.0), runs.iter().map(|run| run.epochs as f64)),
        Row::new("sessions lost", Count, Exactly(0.0), of(|run| run.sessions_lost)),
        Row::new("failed connects", Count, Exactly(0.0), of(|run| run.failed_connects)),
    ])
}

fn freeze_shortly(bench: &mut Bench, scene: &Scene, run: u32) -> Result<Frozen, Failure> {
    let primary = scene.pair.primary();
    let (events, epoch) = (scene.mainstay.newest_event()?, scene.mainstay.pool()?.epoch);
    let writers = scene.writers(bench, run)?;
    random_phase(bench)?;
    let at = pair::freeze(primary);
    bench.stop.pause(FROZEN.saturating_sub(at.elapsed()))?;
    primary.sigcont_all();
    let thawed = Instant::now();
    bench
        .stop
        .wait("every client goes on", CLIENT_TIMEOUT, || writers.look(|books| books.all_wrote_since(thawed)).then_some(()))?;
    bench.stop.pause(WATCHED)?;
    let books = writers.stop();
    let seen = scene.mainstay.events_since(events)?;
    let frozen = Frozen {
        events: seen.len(),
        epochs: scene.mainstay.pool()?.epoch - epoch,
        sessions_lost: books.ends.len(),
        failed_connects: books.refusals.len(),
    };
    eprintln!("sigstop_short {}/{}: frozen for {:.0} ms, {frozen:?}", run + 1, bench.runs, millis(thawed.duration_since(at)));
    for event in seen {
        eprintln!("    {event}");
    }
    Ok(frozen)
}

#[derive(Debug)]
struct Recovered {
    failovers: f64,
    elsewhere: usize,
    lost: usize,
    failed_connects: usize,
    served_again: f64,
}

pub(super) fn backend_killed(bench: &mut Bench) -> Rows {
    let scene = Scene::open(bench, "backend_killed", &[])?;
    let runs = (0..bench.runs).map(|run| kill_one(bench, &scene, run)).collect::<Result<Vec<_>, _>>()?;
    let of = |value: fn(&Recovered) -> usize| runs.iter().map(move |run| value(run) as f64);
    Ok(vec![
        Row::new("failovers", Count, Exactly(0.0), runs.iter().map(|run| run.failovers)),
        Row::new("writes acknowledged by the other node", Count, Exactly(0.0), of(|run| run.elsewhere)),
        Row::new("acknowledged writes lost", Count, Exactly(0.0), of(|run| run.lost)),
        Row::new("fault to every client served again", Millis, Told, runs.iter().map(|run| run.served_again)),
        Row::new("failed connects", Count, Told, of(|run| run.failed_connects)),
    ])
}

fn kill_one(bench: &mut Bench, scene: &Scene, run: u32) -> Result<Recovered, Failure> {
    let primary = scene.pair.primary();
    let before = scene.mainstay.scrape()?.sum("mainstay_failovers_total", &[]);
    let writers = scene.writers(bench, run)?;
    random_phase(bench)?;
    let fault = pair::kill_one_backend(primary)?;
    let served = bench
        .stop
        .wait("every client is served again", CLIENT_TIMEOUT, || writers.look(|books| books.all_served_again(fault)))?;
    scene.pair.wait_ready()?;
    scene.mainstay.wait_ready(&bench.stop, primary.name())?;
    let books = writers.stop();
    let stored = pair::rows(primary)?;
    let port = primary.address().port();
    let recovered = Recovered {
        failovers: scene.mainstay.scrape()?.sum("mainstay_failovers_total", &[]) - before,
        elsewhere: books.acks.iter().filter(|ack| ack.node != port).count(),
        lost: books.acks.iter().filter(|ack| !stored.contains(&ack.row)).count(),
        failed_connects: books.refusals.len(),
        served_again: millis(served.duration_since(fault)),
    };
    eprintln!("backend_killed {}/{}: {recovered:?}", run + 1, bench.runs);
    for refusal in books.refusals {
        eprintln!(
            "    failed connect {:.1} ms after the fault: {}",
            millis(refusal.at.saturating_duration_since(fault)),
            refusal.what
        );
    }
    Ok(recovered)
}
