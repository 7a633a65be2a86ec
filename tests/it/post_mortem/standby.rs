//! The update breaks the standby first.

use serde_json::json;

use super::{
    replay::{DEFAULT, Figures, Replay},
    sister::Fault,
};

/// Nobody notices but whoever is told, and the next step of the update is refused.
fn broken(fault: Fault) -> Figures {
    let mut replay = Replay::new(2, ("", DEFAULT), &json!({}));
    let before = (replay.sessions(1), replay.lost_sessions());
    replay.update(1, fault);
    let (told, why) = if fault == Fault::NoStart {
        (replay.told(&["db-b", "refused the connection"]), "down".to_owned())
    } else {
        let (told, what) = replay.is(1, "failed");
        println!("-- told after {told:?}: {what}");
        (told, what.split(':').next().unwrap().to_owned())
    };
    // The next step of whoever updates: the clients go to the updated one, so that the other one can be updated.
    replay.site.run(&["switchover", "orders", "--to", "db-b"]).is_refused(&why);
    replay.site.serves("db-a");
    let on_it = replay.sessions(1) - before.0;
    assert_eq!((on_it, replay.lost_sessions(), replay.refused()), (0, before.1, 0));
    replay.end(0, Figures { told, on_it, ..Figures::default() })
}

pub fn does_not_start_there() -> Figures {
    broken(Fault::NoStart)
}

pub fn answers_wrongly_there() -> Figures {
    broken(Fault::Wrong)
}

pub fn is_slow_there() -> Figures {
    broken(Fault::Slow)
}

pub fn lacks_an_extension_there() -> Figures {
    broken(Fault::NoExtension)
}

/// An update without a fault: the clients go there.
pub fn is_proven() -> Figures {
    let mut replay = Replay::new(2, ("*", DEFAULT), &json!({}));
    let before = replay.sessions(1);
    replay.update(1, Fault::None);
    let told = replay.told(&["proof changed", r#""to":"proven""#]);
    replay.site.run(&["switchover", "orders", "--to", "db-b"]).is_done("db-b is active");
    let first_write = Some(replay.writes_since(std::time::Instant::now()));
    let on_it = replay.sessions(1) - before;
    replay.end(1, Figures { told, first_write, on_it, ..Figures::default() })
}

#[test]
fn an_update_that_breaks_the_standby_ends_there() {
    lacks_an_extension_there();
}

#[test]
fn a_good_update_is_proven_and_serves() {
    is_proven();
}
