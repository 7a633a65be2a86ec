//! The update breaks the only node.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    replay::{DEFAULT, Figures, Replay},
    sister::Fault,
};
use crate::support::wait::within;

/// It does not start any more. Whoever was told takes the old packages once the first client was refused.
pub fn lone_does_not_start() -> Figures {
    let mut replay = Replay::new(1, ("", DEFAULT), &json!({}));
    replay.update(0, Fault::NoStart);
    let told = replay.told(&["no backend may serve"]);
    within(Duration::from_mins(1), "a client is refused", || (replay.refused() > 0).then_some(()));
    println!("-- clients are told: {:?}", replay.refusal());
    replay.tell();
    replay.take_back(0);
    let first_write = Some(replay.first_write_since_mended());
    replay.end(0, Figures { told, first_write, ..Figures::default() })
}

/// It answers wrongly, and there is no other one.
fn wrongly(guard: &Value) -> (Replay, Figures) {
    let mut replay = Replay::new(1, ("", DEFAULT), guard);
    let before = replay.sessions(0);
    let stopped = replay.update(0, Fault::Wrong);
    let (told, what) = replay.is(0, "failed");
    println!("-- told after {told:?}: {what}; active: {:?}", replay.site.active());
    let first_write = (guard["last_resort"] != "hold").then(|| replay.writes_since(stopped));
    let on_it = replay.sessions(0) - before;
    (replay, Figures { told, first_write, on_it, ..Figures::default() })
}

/// It serves, and that is told.
pub fn lone_answers_wrongly() -> Figures {
    let (replay, figures) = wrongly(&json!({}));
    replay.end(0, figures)
}

/// It serves nobody, because somebody wrote that it must not, until the old packages are back.
pub fn lone_is_held() -> Figures {
    let (mut replay, mut figures) = wrongly(&json!({"mode": "enforce", "last_resort": "hold"}));
    replay.tell();
    assert_eq!((figures.on_it, replay.site.active()), (0, None));
    replay.take_back(0);
    figures.first_write = Some(replay.first_write_since_mended());
    replay.end(0, figures)
}

#[test]
fn the_only_node_that_does_not_start_after_its_update_is_told() {
    lone_does_not_start();
}

#[test]
fn the_only_node_that_answers_wrongly_serves_unless_that_is_forbidden() {
    lone_answers_wrongly();
    lone_is_held();
}
