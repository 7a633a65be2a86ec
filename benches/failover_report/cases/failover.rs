//! Faults that need the other node: killed, frozen, stopped.

use lab::{failure::Failure, stats::millis};

use super::{
    Bench, Rows, delay,
    run::{Failover, Fault, Scene, fail_over},
};
use crate::{
    table::{
        Bound::{Exactly, MedianAndWorst, Told, Worst, ZeroInNineOfTen},
        Row,
        Unit::{Count, Millis},
    },
    writers::{self, End},
};

/// `PostgreSQL`'s `admin_shutdown`: "terminating connection due to administrator command".
const ADMIN_SHUTDOWN: &str = "57P01";

/// The proxy's share of a gap.
const SHARE: (f64, f64) = (30.0, 150.0);

fn repeat(bench: &mut Bench, case: &str, fault: Fault) -> Result<Vec<Failover>, Failure> {
    let mut scene = Scene::open(bench, case, &[])?;
    let mut runs = Vec::new();
    for run in 0..bench.runs {
        runs.push(fail_over(bench, &scene, case, run, fault)?);
        scene.next_run(bench)?;
    }
    Ok(runs)
}

fn of<'a>(runs: &'a [Failover], value: impl Fn(&Failover) -> f64 + 'a) -> impl Iterator<Item = f64> + 'a {
    runs.iter().map(value)
}

/// What every failover must keep.
fn promises(runs: &[Failover]) -> Vec<Row> {
    vec![
        Row::new("acknowledged writes lost", Count, Exactly(0.0), of(runs, |run| run.lost as f64)),
        Row::new("writes on the old primary after the new one's first", Count, Exactly(0.0), of(runs, |run| run.late as f64)),
    ]
}

/// What is told of every failover.
fn told(runs: &[Failover]) -> Vec<Row> {
    let own = |runs: &[Failover], value: fn(&crate::mainstay::LastFailover) -> f64| {
        runs.iter().filter_map(|run| run.own.as_ref().map(value)).collect::<Vec<_>>()
    };
    vec![
        Row::new("fault to standby writable", Millis, Told, of(runs, |run| millis(run.writable.duration_since(run.fault)))),
        Row::new("fault to first write", Millis, Told, of(runs, |run| millis(run.first_ack.duration_since(run.fault)))),
        Row::new("detection in mainstay's own view", Millis, Told, own(runs, |own| own.detected_ms)),
        Row::new("nobody active, in mainstay's own view", Millis, Told, own(runs, |own| own.gap_ms)),
        Row::new("acknowledged writes", Count, Told, of(runs, |run| run.books.acks.len() as f64)),
    ]
}

/// A backend that waits for the standby when it is told to end sends no `ErrorResponse` but a WARNING with the same SQLSTATE, and
/// closes (`SyncRepWaitForLSN` in the server's `syncrep.c`): its client must have that whole.
fn told_of_shutdown(end: &End) -> bool {
    let is_shutdown = |code: &Option<String>| code.as_deref() == Some(ADMIN_SHUTDOWN);
    is_shutdown(&end.code) || is_shutdown(&end.warned)
}

pub(super) fn kill9(bench: &mut Bench) -> Rows {
    let runs = repeat(bench, "kill9", Fault::Kill9)?;
    let mut rows = promises(&runs);
    rows.extend([
        Row::new("failed connects", Count, Exactly(0.0), of(&runs, Failover::failed_connects)),
        Row::new("mainstay's share of the gap", Millis, MedianAndWorst(SHARE.0, SHARE.1), of(&runs, Failover::share)),
        Row::new("detection", Millis, Worst(50.0), of(&runs, Failover::detection)),
    ]);
    rows.extend(told(&runs));
    Ok(rows)
}

/// The standby is promoted some time after the primary died.
pub(super) fn promotion(bench: &mut Bench) -> Rows {
    const CASE: &str = "postgres_promotion";
    let mut scene = Scene::holding(bench, CASE, &[], Some(delay::HOLD))?;
    let (mut rows, mut all) = (Vec::new(), Vec::new());
    for delay in &delay::DELAYS {
        let mut measured = Vec::new();
        for _ in 0..delay.runs(bench.runs) {
            let run = u32::try_from(all.len()).unwrap_or(u32::MAX);
            let failover = fail_over(bench, &scene, CASE, run, Fault::Kill9Then(delay.after))?;
            measured.push((failover.share(), failover.failed_connects()));
            all.push(failover);
            scene.next_run(bench)?;
        }
        rows.extend(delay.rows(&measured));
    }
    rows.extend(promises(&all));
    Ok(rows)
}

pub(super) fn sigstop(bench: &mut Bench) -> Rows {
    frozen(bench, "sigstop", Fault::Freeze)
}

pub(super) fn sigstop_unnoticed(bench: &mut Bench) -> Rows {
    frozen(bench, "sigstop_unnoticed", Fault::FreezeUnnoticed)
}

fn frozen(bench: &mut Bench, case: &str, fault: Fault) -> Rows {
    let runs = repeat(bench, case, fault)?;
    let mut rows = promises(&runs);
    rows.extend([
        Row::new("detection", Millis, Worst(3200.0), of(&runs, Failover::detection)),
        Row::new(
            "sessions of the frozen node ended, of 8",
            Count,
            Exactly(writers::COUNT as f64),
            of(&runs, |run| run.ends().len() as f64),
        ),
        Row::new(
            "share after the later of writable and revoked",
            Millis,
            MedianAndWorst(SHARE.0, SHARE.1),
            of(&runs, Failover::share_after_revocation),
        ),
        Row::new("first write after writable, detection included", Millis, Told, of(&runs, Failover::share)),
        Row::new("failed connects", Count, Told, of(&runs, Failover::failed_connects)),
    ]);
    rows.extend(told(&runs));
    Ok(rows)
}

pub(super) fn stop_fast(bench: &mut Bench) -> Rows {
    let runs = repeat(bench, "stop_fast", Fault::StopFast)?;
    let mut rows = promises(&runs);
    rows.extend([
        Row::new(
            "sessions told 57P01 in a whole message, of 8",
            Count,
            Exactly(writers::COUNT as f64),
            of(&runs, |run| run.ends().iter().filter(|end| told_of_shutdown(end)).count() as f64),
        ),
        Row::new("failed connects", Count, ZeroInNineOfTen, of(&runs, Failover::failed_connects)),
        Row::new("mainstay's share of the gap", Millis, Told, of(&runs, Failover::share)),
        Row::new("detection", Millis, Told, of(&runs, Failover::detection)),
    ]);
    rows.extend(told(&runs));
    Ok(rows)
}
