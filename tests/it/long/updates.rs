//! Bad updates, each of them many times; 20 unless RUNS says otherwise.

use std::{env, time::Duration};

use crate::updates::{
    bad::{KINDS, kind, stop_at_the_standby},
    by_hand::{BY, promoted_of},
};

fn runs() -> usize {
    env::var("RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

#[test]
fn wrong_answers_stop_at_the_standby() {
    stop_at_the_standby(&KINDS[0..2], runs());
}

#[test]
fn slow_queries_and_missing_extensions_stop_at_the_standby() {
    stop_at_the_standby(&KINDS[2..4], runs());
}

#[test]
fn broken_libraries_stop_at_the_standby() {
    stop_at_the_standby(&KINDS[4..6], runs());
}

#[test]
fn crashes_of_queries_and_at_the_start_stop_at_the_standby() {
    stop_at_the_standby(&KINDS[6..8], runs());
}

#[test]
fn crashes_and_no_replication_stop_at_the_standby() {
    stop_at_the_standby(&KINDS[8..10], runs());
}

#[test]
fn what_the_next_restart_would_show_stop_at_the_standby() {
    stop_at_the_standby(&KINDS[10..12], runs());
}

/// Whoever promotes it, and however long the old primary lives on.
#[test]
fn whatever_is_promoted_by_hand_is_decided_in_time() {
    const DELAYS: [u64; 4] = [0, 50, 1_000, 10_000];
    for (mode, last_resort) in [("warn", "serve"), ("enforce", "serve"), ("enforce", "hold")] {
        let mut times = Vec::new();
        for run in 0..runs() {
            let (delay, by) = (DELAYS[run % DELAYS.len()], BY[run / DELAYS.len() % BY.len()]);
            let kind = kind(["time zones", "a library of another ABI", "an extension is not on disk"][run % 3]);
            times.push(promoted_of(kind, (mode, last_resort), delay, by));
        }
        times.sort();
        let zero = Duration::ZERO;
        let (median, worst) = (times.get(times.len() / 2).unwrap_or(&zero), times.last().unwrap_or(&zero));
        println!("{mode}, {last_resort}: {} runs, decided after {median:.0?} (median), {worst:.0?} (worst)", times.len());
    }
}
