//! The outage behind mainstay, replayed many times: `make post-mortem RUNS=20`. The figures are those of `docs/post-mortem-replayed.md`.

use std::time::Duration;

use super::runs;
use crate::post_mortem::{lone, primary, replay::Figures, standby};

fn many(what: &str, run: fn() -> Figures) {
    let all: Vec<Figures> = (0..runs().unwrap_or(20)).map(|_| run()).collect();
    let times = |of: &dyn Fn(&Figures) -> Option<Duration>| {
        let mut times: Vec<Duration> = all.iter().filter_map(of).collect();
        times.sort();
        let (middle, last) = (times.get(times.len() / 2), times.last());
        middle.zip(last).map_or_else(|| "-".to_owned(), |(middle, last)| format!("{middle:.2?} / {last:.2?}"))
    };
    println!(
        "TABLE | {what} | {} runs | told {} | first write {} | longest pause {} | lost {} | refused {} | sessions on it {} |",
        all.len(),
        times(&|run| Some(run.told)),
        times(&|run| run.first_write),
        times(&|run| Some(run.pause)),
        all.iter().map(|run| run.lost).sum::<usize>(),
        all.iter().map(|run| run.refused).sum::<u64>(),
        all.iter().map(|run| run.on_it).max().unwrap_or(0),
    );
}

#[test]
fn the_primary_does_not_start() {
    many("primary, does not start", primary::does_not_start);
}

#[test]
fn the_primary_does_not_commit() {
    many("primary, does not commit", primary::does_not_commit);
}

#[test]
fn the_primary_answers_wrongly() {
    many("primary, answers wrongly", primary::answers_wrongly);
}

#[test]
fn the_primary_answers_wrongly_and_must_not_serve() {
    many("primary, answers wrongly, enforce", primary::answers_wrongly_enforced);
}

#[test]
fn the_standby_is_broken() {
    many("standby, does not start", standby::does_not_start_there);
    many("standby, answers wrongly", standby::answers_wrongly_there);
    many("standby, is slow", standby::is_slow_there);
    many("standby, lacks an extension", standby::lacks_an_extension_there);
    many("standby, good update", standby::is_proven);
}

#[test]
fn the_only_one_is_broken() {
    many("alone, does not start", lone::lone_does_not_start);
    many("alone, answers wrongly", lone::lone_answers_wrongly);
    many("alone, answers wrongly, hold", lone::lone_is_held);
}
