//! Whichever of the processes dies or is told to stop.

use std::{net::TcpStream, thread, time::Duration};

use rustix::process::Signal;

use super::{Succession, is_gone, is_there, kill, load::Load};
use crate::support::{
    echo::{Backend, who},
    process::settings,
    site::Said,
    wait::{patience, until},
};

fn backend() -> Backend {
    Backend::speaker(b'a', crate::support::config::LOOPBACK)
}

#[test]
fn a_newer_one_that_dies_is_survived_by_the_older_one_which_serves_again() {
    let backend = backend();
    let succession = Succession::start(&mut settings(&[backend.address]));
    let session = succession.process().connect();
    assert_eq!(who(&session).unwrap(), b'a');
    let first = succession.answers();
    for round in 0..3 {
        let newer = succession.upgrade();
        assert_eq!(succession.answers(), newer);
        kill(newer, Signal::KILL);
        until("the older one answers", || {
            let answered = succession.process().try_get("/api/v1/status").ok()?;
            answered.1.contains(&format!("\"pid\":{first},")).then_some(())
        });
        assert_eq!(who(&session).unwrap(), b'a', "round {round}");
        assert_eq!(who(&succession.process().connect()).unwrap(), b'a');
        let admin = succession.site.run(&["status"]);
        admin.is_done("orders");
    }
    let status = succession.process().status();
    assert_eq!((&status["ready"], status["older"].as_array().unwrap().len()), (&serde_json::json!(true), 0));
    // And it hands over again.
    let newer = succession.upgrade();
    drop(session);
    is_gone(first);
    assert_eq!(succession.answers(), newer);
}

#[test]
fn the_newest_of_three_that_dies_is_survived_by_the_one_before() {
    let backend = backend();
    let succession = Succession::start(&mut settings(&[backend.address]));
    let sessions: Vec<_> = (0..3)
        .map(|number| {
            let session = succession.process().connect();
            assert_eq!(who(&session).unwrap(), b'a');
            if number < 2 {
                succession.upgrade();
            }
            session
        })
        .collect();
    let newest = succession.answers();
    let before = succession.newer.lock().unwrap()[0];
    kill(newest, Signal::KILL);
    until("the one before answers", || {
        let answered = succession.process().try_get("/api/v1/status").ok()?;
        answered.1.contains(&format!("\"pid\":{before},")).then_some(())
    });
    assert!(sessions[..2].iter().all(|session| who(session).unwrap() == b'a'));
    until("it leads the oldest", || (succession.older().len() == 1).then_some(()));
    succession.site.run(&["kill", "orders"]).is_done("told the same");
    until("no session is left", || sessions.iter().all(|session| who(session).is_err()).then_some(()));
    succession.is_alone();
}

#[test]
fn whoever_is_told_to_stop_stops_with_its_older_ones_and_clients_are_refused() {
    let backend = backend();
    let mut succession = Succession::start(&mut settings(&[backend.address]));
    let session = succession.process().connect();
    assert_eq!(who(&session).unwrap(), b'a');
    let newer = succession.upgrade();
    kill(newer, Signal::TERM);
    until("clients are refused", || TcpStream::connect_timeout(&succession.process().address, patience()).is_err().then_some(()));
    assert!(who(&session).is_ok(), "it has some seconds left");
    assert!(is_there(newer), "it waits for the older one");
    drop(session);
    is_gone(newer);
    let (status, _) = succession.site.process.ends_within(Duration::from_secs(20));
    assert!(status.success(), "{status}");
}

#[test]
fn an_older_one_that_dies_costs_its_own_sessions_only() {
    let backend = backend();
    let succession = Succession::start(&mut settings(&[backend.address]));
    let session = succession.process().connect();
    assert_eq!(who(&session).unwrap(), b'a');
    let first = succession.answers();
    succession.upgrade();
    let mut load = Load::start(succession.process().address, 20, 200);
    kill(first, Signal::KILL);
    succession.is_alone();
    assert!(who(&session).is_err());
    let before = load.so_far().asked;
    until("the others go on", || (load.so_far().asked > before + 100).then_some(()));
    let counted = load.end();
    assert_eq!((counted.failed, counted.broken), (vec![], vec![]));
}

#[test]
fn a_newer_one_that_hangs_leaves_older_sessions_alone_and_goes_on_after_it() {
    let backend = backend();
    let succession = Succession::start(&mut settings(&[backend.address]));
    let session = succession.process().connect();
    assert_eq!(who(&session).unwrap(), b'a');
    let first = succession.answers();
    let newer = succession.upgrade();
    kill(newer, Signal::STOP);
    for _ in 0..50 {
        assert_eq!(who(&session).unwrap(), b'a');
    }
    kill(newer, Signal::CONT);
    until("it answers", || (succession.answers() == newer).then_some(()));
    drop(session);
    is_gone(first);
    succession.is_alone();
}

#[test]
fn a_newer_one_may_die_at_any_moment() {
    let backend = backend();
    let succession = Succession::start(&mut settings(&[backend.address]));
    let first = succession.answers();
    let mut load = Load::start(succession.process().address, 20, 200);
    let mut taken_over = 0;
    for millis in [1, 4, 8, 12, 16, 20, 25, 30, 40, 60, 100, 300] {
        let real = env!("CARGO_BIN_EXE_mainstay");
        succession.replace_by_script(&format!("exec timeout -s KILL 0.{millis:03} '{real}' \"$@\""));
        let said = succession.site.run(&["upgrade", "--reason", "a test"]);
        taken_over += usize::from(said.code == 0);
        until("the first one answers", || {
            let answered = succession.process().try_get("/api/v1/status").ok()?;
            answered.1.contains(&format!("\"pid\":{first},")).then_some(())
        });
        let before = load.so_far();
        until("clients are served", || {
            let now = load.so_far();
            (now.connects > before.connects + 10 && now.asked > before.asked + 40).then_some(())
        });
    }
    let counted = load.end();
    println!("# {taken_over} of 12 took over before they died; {} connects, failed: {:?}", counted.connects, counted.failed);
    assert_eq!(counted.broken, Vec::<String>::new());
    // One that was just being served by a process that died.
    assert!(counted.failed.len() <= taken_over, "{:?}", counted.failed);
}

#[test]
fn an_older_one_may_die_while_it_hands_over() {
    for millis in [0, 4, 8, 12, 16, 20, 30, 60] {
        let backend = backend();
        let succession = Succession::start(&mut settings(&[backend.address]));
        let (first, address) = (succession.answers(), succession.process().address);
        let command = succession.began();
        // A delay of the story, not a wait for a condition.
        thread::sleep(Duration::from_millis(millis));
        kill(first, Signal::KILL);
        drop(Said::of(&["upgrade"], command));
        // Where the newer one had no socket yet, it ends as well, and whoever restarts mainstay does so. Nobody is left to wait for ever.
        let newer = until("the newer one serves, or nobody listens", || {
            if TcpStream::connect_timeout(&address, patience()).is_err() {
                return Some(None);
            }
            let status: serde_json::Value = serde_json::from_str(&succession.process().try_get("/api/v1/status").ok()?.1).ok()?;
            status["pid"].as_u64().filter(|pid| *pid != u64::from(first)).map(Some)
        });
        println!("# killed after {millis} ms: {newer:?} serves");
        if let Some(newer) = newer {
            succession.newer.lock().unwrap().push(u32::try_from(newer).unwrap());
            assert_eq!(who(&succession.process().connect()).unwrap(), b'a', "{millis} ms");
        }
    }
}
