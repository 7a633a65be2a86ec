//! `PostgreSQL`: `pg_promote()`, `pg_ctl promote`, and the trigger file.

use std::fs;

use serde_json::json;

use super::{AT_ONCE, LATE, LATER, Promotion, SOON, pools, promote, reason, serves};
use crate::support::{postgres::Postgres, scratch::Scratch, wait::until};

#[test]
fn a_standby_is_served_however_and_whenever_it_is_promoted() {
    let scratch = Scratch::new();
    let trigger = scratch.path("trigger");
    let triggered = format!("promote_trigger_file={}", trigger.display());
    let settings = [triggered.as_str()];
    let mut source = Postgres::primary(&[]);
    let standbys: Vec<_> = (0..6).map(|number| source.standby(if number == 3 { &settings[..] } else { &[] })).collect();
    let addresses: Vec<_> = standbys.iter().map(|standby| ([127, 0, 0, 1], standby.port).into()).collect();
    let process = pools(&json!({"postgres": {"user": "postgres"}}), ([127, 0, 0, 1], source.port).into(), &addresses);
    let function = |pool: usize, delay| {
        let standby = &standbys[pool];
        Promotion::new(pool, delay, move || assert_eq!(standby.sql("SELECT pg_promote()"), "t"))
    };
    let command = |pool: usize, delay| {
        let standby = &standbys[pool];
        Promotion::new(pool, delay, move || standby.promote())
    };
    // Two primaries: the one promoted last is on the higher timeline.
    promote(&process, vec![function(0, AT_ONCE)]);

    source.signal_all("-KILL");
    let file = Promotion::new(3, LATER, || fs::write(&trigger, "").unwrap());
    promote(&process, vec![command(1, AT_ONCE), function(2, SOON), file, function(4, LATE)]);

    // It returns to whom nobody has left it, and is fenced by all others.
    source.restart(&[]);
    serves(&process, 5, "old");
    for pool in 0..5 {
        until("the old one is fenced", || reason(&process, pool, 0).starts_with("fenced").then_some(()));
        serves(&process, pool, "new");
    }
    source.signal_all("-STOP");
    promote(&process, vec![command(5, LATER)]);
    source.signal_all("-CONT");
    until("the old one is fenced", || reason(&process, 5, 0).starts_with("fenced").then_some(()));
    serves(&process, 5, "new");
}
