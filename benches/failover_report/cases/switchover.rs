//! The writer moves by order, there and back: what the clients feel of it, and what mainstay adds to the database's own part. The
//! switchover itself is the one of the tests (`lab::pairs`, `lab::transactions`), with every setting at its default.

use std::time::{Duration, Instant};

use lab::{
    failure::Failure,
    pairs::{NAMES, Pair, postgres::PostgresPair},
    stats::millis,
    transactions::{Client as _, Failed, Tally, WRITERS, Writers},
};
use serde_json::{Value, json};

use super::{Bench, Rows, run::random_phase};
use crate::{
    mainstay::{Mainstay, Operation},
    rng::Rng,
    table::{
        Bound::{Exactly, Median, Told, Worst},
        Row,
        Unit::{Count, Millis},
    },
};

/// A cluster, a step, a client that waits: none takes as long.
const PATIENCE: Duration = Duration::from_secs(90);

/// Who is moved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) writers: usize,
    /// Mean of a uniform time between two transactions.
    pub(super) think: Duration,
    pub(super) idle: usize,
}

impl Load {
    pub(super) const THINKING: Self = Self { writers: WRITERS, think: Duration::from_millis(10), idle: 0 };
    pub(super) const BUSY: Self = Self { writers: WRITERS, think: Duration::ZERO, idle: 0 };
    pub(super) const CROWD: Self = Self { writers: 20, think: Duration::ZERO, idle: 200 };
}

/// How long things may take, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Goals {
    pub(super) drain_median: Option<f64>,
    pub(super) added: Option<f64>,
    pub(super) hold: Option<f64>,
    /// Every session hears from the server that it ends.
    pub(super) told: bool,
}

/// What one of them showed.
struct Run {
    operation: Operation,
    stopped_in: Option<Duration>,
    broken: [f64; 3],
    untold: f64,
    idle_untold: f64,
    /// Committed and not there, or there and not committed.
    wrong: f64,
    slowest: f64,
    /// From the moment at which a step failed to a transaction of every client.
    resumed: f64,
}

impl Run {
    /// What mainstay adds to the stop of the old primary and the promotion.
    fn added(&self) -> f64 {
        let stop = self.stopped_in.map_or_else(|| self.operation.took("demote"), millis);
        self.operation.took_ms - stop - self.operation.took("promote")
    }
}

/// mainstay before two servers.
struct Scene<P: Pair> {
    mainstay: Mainstay,
    pair: P,
    serves: usize,
}

impl<P: Pair> Scene<P> {
    fn open(bench: &Bench, case: &str, more: &Value) -> Result<Self, Failure> {
        let pair = P::start();
        let mainstay = Mainstay::before(&pair, more, &bench.log(case))?;
        let serves = pair.primary();
        mainstay.wait_ready(&bench.stop, NAMES[serves])?;
        Ok(Self { mainstay, pair, serves })
    }

    fn writers(&self, bench: &mut Bench, load: Load) -> Result<Writers, Failure> {
        let began = Instant::now();
        let pauses = || {
            let mut rng = Rng::new(bench.rng.next());
            move || if load.think.is_zero() { Duration::ZERO } else { rng.duration_below(2 * load.think) }
        };
        let writers = Writers::several::<P::Client, _>(load.writers, self.mainstay.address(0), pauses);
        bench.stop.wait("every client writes", PATIENCE, || writers.tally().all_since(began))?;
        Ok(writers)
    }

    /// Orders it, as soon as the servers are ready; returns at its end.
    fn switch(&self, bench: &Bench) -> Result<Operation, Failure> {
        let body = json!({"to": NAMES[1 - self.serves], "reason": "the report"}).to_string();
        let mut why = String::new();
        let id = bench.stop.wait("a switchover is possible", PATIENCE, || {
            match self.mainstay.order("/api/v1/pools/orders/switchover", &body) {
                Ok(answer) if answer["operation"].is_u64() => answer["operation"].as_u64(),
                Ok(answer) => {
                    why = answer.to_string();
                    None
                }
                Err(failure) => {
                    why = failure.to_string();
                    None
                }
            }
        });
        let id = id.map_err(|failure| failure.during(&why))?;
        bench.stop.wait("the operation is over", PATIENCE, || self.mainstay.operation(id).ok().filter(|it| it.end.is_some()))
    }

    fn once(&mut self, bench: &mut Bench, load: Load, wanted: &str) -> Result<Run, Failure> {
        let (old, new) = (self.serves, 1 - self.serves);
        self.mainstay.wait_ready(&bench.stop, NAMES[old])?;
        let before = self.pair.written(old);
        let writers = self.writers(bench, load)?;
        let address = self.mainstay.address(0);
        let idlers: Vec<_> = (0..load.idle).map(|_| P::Client::login(address)).collect::<Result<_, _>>()?;
        random_phase(bench)?;
        let operation = self.switch(bench)?;
        let end = operation.end.clone().ok_or_else(|| Failure::Said("it has no end".into()))?;
        if end.result != wanted {
            return Err(Failure::Said(format!("it was to be {wanted}, and is {}: {}", end.result, end.sentence)));
        }
        let over = self.mainstay.moment_of(&end.at).ok_or_else(|| Failure::Said("no moment of its end".into()))?;
        let resumed =
            bench.stop.wait("every client writes again", PATIENCE, || writers.tally().all_since(over))?.duration_since(over);
        let tally = writers.stop();
        let hears = |mut idler: P::Client| match idler.say(P::Client::TRANSACTION[0]) {
            Err(Failed::Told(code)) => P::Client::FAREWELLS.contains(&&*code),
            _ => false,
        };
        let idle_untold = idlers.into_iter().filter_map(|idler| (!hears(idler)).then_some(())).count() as f64;
        if wanted == "done" {
            self.serves = new;
            self.pair.rejoined(old, new);
        }
        let written = self.pair.written(self.serves) - before;
        if tally.broken() != [0; 3] {
            eprintln!("    {tally:?}");
        }
        Ok(Run {
            stopped_in: self.pair.stopped_in().filter(|_| wanted == "done"),
            broken: tally.broken().map(|count| count as f64),
            untold: Tally::of(&tally.untold) as f64,
            idle_untold,
            wrong: written.abs_diff(Tally::of(&tally.committed)) as f64,
            slowest: Tally::of(&tally.slowest) as f64 / 1000.0,
            resumed: millis(resumed),
            operation,
        })
    }
}

/// There and back, as often as there are runs.
pub(super) fn run<P: Pair>(bench: &mut Bench, case: &str, load: Load, goals: Goals) -> Rows {
    let mut scene = Scene::<P>::open(bench, case, &json!({}))?;
    let mut runs = Vec::new();
    for number in 0..bench.runs {
        let run = scene.once(bench, load, "done")?;
        eprintln!("{case} {}/{}: {}, slowest client {:.0} ms", number + 1, bench.runs, run.operation, run.slowest);
        runs.push(run);
    }
    let within = |most: Option<f64>| most.map_or(Told, Worst);
    let mut rows = counts(&runs);
    rows.push(Row::new(
        "sessions of writers that ended without the server's word",
        Count,
        if goals.told { Exactly(0.0) } else { Told },
        of(&runs, |run| run.untold),
    ));
    if load.idle > 0 {
        rows.push(Row::new(
            "idle sessions that ended without the server's word",
            Count,
            Exactly(0.0),
            of(&runs, |run| run.idle_untold),
        ));
    }
    rows.extend([
        Row::new("drain", Millis, goals.drain_median.map_or(Told, Median), of(&runs, |run| run.operation.took("drain"))),
        Row::new("added to the old one's stop and the promotion", Millis, within(goals.added), of(&runs, Run::added)),
        Row::new("whole hold, from the gate to the new one", Millis, within(goals.hold), of(&runs, |run| run.operation.took_ms)),
        Row::new("longest time of a client for one transaction", Millis, Told, of(&runs, |run| run.slowest)),
    ]);
    Ok(rows)
}

/// The hook that stops the old primary fails.
pub(super) fn aborted(bench: &mut Bench) -> Rows {
    let demote = json!({"promotion": {"how": "sql", "demote": {"exec": ["/bin/false"]}}});
    let mut scene = Scene::<PostgresPair>::open(bench, "switchover_aborted", &demote)?;
    let mut runs = Vec::new();
    for number in 0..bench.runs {
        let run = scene.once(bench, Load::THINKING, "failed")?;
        eprintln!(
            "switchover_aborted {}/{}: {}, everybody went on after {:.1} ms",
            number + 1,
            bench.runs,
            run.operation,
            run.resumed
        );
        runs.push(run);
    }
    let mut rows = counts(&runs);
    rows.push(Row::new(
        "from the failed step to a transaction of every client",
        Millis,
        Worst(200.0),
        of(&runs, |run| run.resumed),
    ));
    Ok(rows)
}

fn of(runs: &[Run], value: impl Fn(&Run) -> f64) -> Vec<f64> {
    runs.iter().map(value).collect()
}

fn counts(runs: &[Run]) -> Vec<Row> {
    vec![
        Row::new("aborted transactions", Count, Exactly(0.0), of(runs, |run| run.broken[0])),
        Row::new("ambiguous transactions (no answer to COMMIT)", Count, Exactly(0.0), of(runs, |run| run.broken[1])),
        Row::new("failed connects", Count, Exactly(0.0), of(runs, |run| run.broken[2])),
        Row::new("transactions lost, or done without an answer", Count, Exactly(0.0), of(runs, |run| run.wrong)),
    ]
}
