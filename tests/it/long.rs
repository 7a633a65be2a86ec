//! The register workload through many failovers, each by chance in another way: how and when the primary ends, whether and when its
//! service starts it again, how long mainstay waits, how many clients there are and how fast. `make long RUNS=100` runs these.

mod post_mortem;
mod updates;

use std::{env, thread, time::Duration};

use serde_json::json;

use crate::{
    promotion::automatic::{Pair, promotion, register::History},
    support::{random::Random, wait::until},
};

const SYNCHRONOUS: &str = "synchronous_standby_names=*";

/// How often, as `make` was told.
fn runs() -> Option<u64> {
    number("RUNS")
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_acknowledged_is_lost_and_no_two_servers_are_written_to() {
    let (runs, mut seeds) = (runs().unwrap_or(100), Random::seeded());
    let mut given = number("MAINSTAY_TEST_SEED");
    let (mut promoted, mut returned) = (0, 0);
    for run in 1..=runs {
        // The first run with a seed that was given is the one that printed it.
        let seed = given.take().unwrap_or_else(|| seeds.next());
        println!("run {run} of {runs}, MAINSTAY_TEST_SEED={seed}");
        if one(&mut Random::new(seed)) { promoted += 1 } else { returned += 1 }
    }
    println!("{runs} runs: the standby was promoted in {promoted}, the old primary was back before in {returned}");
}

/// Whether the standby was promoted.
fn one(random: &mut Random) -> bool {
    let mut upto = |max| random.between(0, max);
    let millis = |millis: usize| Duration::from_millis(u64::try_from(millis).unwrap());
    let (after, writers, think) = (1000 + 200 * upto(6), 1 + upto(8), millis(upto(80)) / 10);
    let (moment, signal) = (millis(upto(400)), ["-KILL", "-KILL", "-QUIT", "-INT"][upto(4)]);
    let returns = (upto(3) > 0).then(|| millis(upto(2 * after + 1000)));
    println!("  after {after} ms; {writers} writers think {think:?}; {signal} after {moment:?}; back after {returns:?}");
    let mut pair = Pair::synchronous();
    // What is written and not sent was not acknowledged.
    let site = pair.site(&promotion(&json!({"after": format!("{after}ms"), "max_lag": "16MiB"})));
    let (old, new) = (pair.primary.port, pair.standby.port);
    let history = History::through(&|| site.endpoint(), think, writers, |history| {
        // The moment is what this is about.
        thread::sleep(moment);
        if signal == "-KILL" {
            pair.kill();
        } else {
            pair.primary.signal(signal);
        }
        if let Some(delay) = returns {
            until("it has ended", || pair.primary.has_ended().then_some(()));
            // So is this one.
            thread::sleep(delay);
            pair.primary.restart(&[SYNCHRONOUS]);
        }
        let served = || (site.pool()["active"].is_string() && site.promotions("done") == 1 || returns.is_some()).then_some(());
        until("it has been decided", served);
        history.goes_on(&[old, new]);
    });
    until("no operation runs", || site.pool()["operation"].is_null().then_some(()));
    let is_promoted = !pair.is_standby_still();
    history.check(old, &if is_promoted { &pair.standby } else { &pair.primary }.sql("SELECT id FROM register"));
    assert!(site.promotions("done") <= 1 && site.promotions("failed") == 0);
    assert!(is_promoted || returns.is_some());
    is_promoted
}
