//! The update breaks the primary; a standby follows it.

use std::time::Instant;

use mainstay::cli::exit;
use serde_json::json;

use super::{
    replay::{DEFAULT, Figures, LATE, Replay},
    sister::Fault,
};
use crate::support::wait::until;

/// It does not start any more: the standby is promoted.
pub fn does_not_start() -> Figures {
    let mut replay = Replay::new(2, ("*", DEFAULT), &json!({}));
    let stopped = replay.update(0, Fault::NoStart);
    let told = replay.told(&["no backend may serve"]);
    let first_write = Some(replay.writes_since(stopped));
    replay.site.serves("db-b");
    replay.end(1, Figures { told, first_write, ..Figures::default() })
}

/// It takes logins, and no commit ends: the clients are moved to the standby.
pub fn does_not_commit() -> Figures {
    let mut replay = Replay::new(2, ("*", LATE), &json!({"on_commit_stuck": "failover"}));
    let before = replay.sessions(0);
    let stopped = replay.update(0, Fault::NoCommit);
    let told = replay.told(&["cannot commit"]);
    let first_write = Some(replay.writes_since(stopped));
    replay.site.serves("db-b");
    let on_it = replay.sessions(0) - before;
    replay.end(1, Figures { told, first_write, on_it, ..Figures::default() })
}

/// It starts at once, and answers wrongly: that is told, and whoever is told moves the clients at once.
pub fn answers_wrongly() -> Figures {
    let mut replay = Replay::new(2, ("*", LATE), &json!({}));
    let before = replay.sessions(0);
    replay.update(0, Fault::Wrong);
    let (told, what) = replay.is(0, "failed");
    println!("-- told after {told:?}: {what}");
    replay.site.serves("db-a");
    // Its replication was cut by the update, and it connects again by itself.
    until("db-b follows", || (replay.site.run(&["switchover", "orders", "--dry-run"]).code == exit::DONE).then_some(()));
    replay.site.run(&["switchover", "orders", "--reason", "the update is bad"]).is_done("db-b is active");
    let first_write = Some(replay.writes_since(Instant::now()));
    let on_it = replay.sessions(0) - before;
    replay.end(1, Figures { told, first_write, on_it, ..Figures::default() })
}

/// The clients are held, and not given to it, since there is another one that is proven. That one is a standby, and its primary lives:
/// whoever is told orders the switchover, which stops the bad one and promotes the other.
pub fn answers_wrongly_enforced() -> Figures {
    let mut replay = Replay::new(2, ("*", DEFAULT), &json!({"mode": "enforce"}));
    let before = replay.sessions(0);
    let stopped = replay.update(0, Fault::Wrong);
    let told = replay.told(&["conditions do not hold"]);
    println!("-- told after {told:?}");
    let said = replay.site.run(&["promote", "orders"]);
    assert!(said.err.contains("mainstay approve orders/db-a") && said.err.contains("mainstay switchover orders"), "{}", said.err);
    replay.site.run(&["switchover", "orders", "--trial", "1m"]).is_refused("mainstay switchover orders");
    replay.tell();
    assert_eq!((replay.sessions(0) - before, replay.site.active()), (0, None));
    // Its replication was cut by the update, and it connects again by itself.
    until("db-b follows", || (replay.site.run(&["switchover", "orders", "--dry-run"]).code == exit::DONE).then_some(()));
    replay.site.run(&["switchover", "orders", "--reason", "the update is bad"]).is_done("db-b is active");
    assert_eq!(replay.sessions(0) - before, 0);
    let first_write = Some(replay.writes_since(stopped));
    replay.site.serves("db-b");
    replay.end(1, Figures { told, first_write, ..Figures::default() })
}

#[test]
fn a_primary_that_does_not_start_after_its_update_is_replaced() {
    does_not_start();
}

#[test]
fn a_primary_that_cannot_commit_after_its_update_is_left() {
    does_not_commit();
}

#[test]
fn a_primary_that_answers_wrongly_and_must_not_serve_is_left_by_order() {
    answers_wrongly_enforced();
}

#[test]
fn a_primary_that_answers_wrongly_after_its_update_is_told() {
    answers_wrongly();
}
