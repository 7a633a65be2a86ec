//! Nobody is refused, and no session ends but by the decisions of the newest mainstay.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Succession, is_gone, load::Load};
use crate::support::{
    echo::{Backend, who},
    process::settings,
    scratch::Scratch,
    wait::{patience, until},
};

fn backends() -> [Backend; 2] {
    [b'a', b'b'].map(|name| Backend::speaker(name, crate::support::config::LOOPBACK))
}

fn before(backends: &[Backend; 2]) -> serde_json::Value {
    settings(&[backends[0].address, backends[1].address])
}

#[test]
fn twenty_upgrades_under_load_refuse_nobody_and_break_nothing() {
    let backends = backends();
    let succession = Succession::start(&mut before(&backends));
    let address = succession.process().address;
    let mut load = Load::start(address, 200, 500);
    let mut kept = Vec::new();
    let mut took = Vec::new();
    for _ in 0..20 {
        // Each of them has a session of its own, so that none ends before the last one.
        kept.push(succession.process().connect());
        assert_eq!(who(kept.last().unwrap()).unwrap(), b'a');
        let began = Instant::now();
        succession.upgrade();
        took.push(began.elapsed());
    }
    let asked = load.so_far().asked;
    until("the sessions go on", || (load.so_far().asked > asked + 400).then_some(()));
    let counted = load.end();
    let last = succession.answers();
    println!("# 20 upgrades, {took:?}");
    println!("# {} connects, the longest {:?}; {} questions", counted.connects, counted.longest, counted.asked);
    assert_eq!((counted.failed, counted.broken), (vec![], vec![]));
    assert!(kept.iter().all(|session| who(session).is_ok()));
    assert!(counted.connects > 100, "{}", counted.connects);
    // All of the first sessions are in the first process, and each other one in the process that took it.
    let older = until("every process has told", || Some(succession.older()).filter(|older| older.len() == 20));
    assert_eq!(older.iter().map(|told| told["pid"].as_u64().unwrap()).collect::<std::collections::BTreeSet<_>>().len(), 20);
    drop(kept);
    succession.is_alone();
    assert_eq!(succession.answers(), last);
}

#[test]
fn a_backend_that_dies_around_an_upgrade_costs_its_own_sessions_and_no_connect() {
    for delay in [0, 5, 20, 60, 250] {
        let mut backends = backends();
        let succession = Succession::start(&mut before(&backends));
        let mut load = Load::start(succession.process().address, 50, 200);
        until("there is load", || (load.so_far().asked > 100).then_some(()));
        let upgrade = succession.began();
        // A delay of the story, not a wait for a condition.
        thread::sleep(Duration::from_millis(delay));
        backends[0].stop();
        let said = crate::support::site::Said::of(&["upgrade"], upgrade);
        said.is_done("has taken over");
        succession.took_over(&said);
        until("the other one is active", || (succession.site.active()? == "db-b").then_some(()));
        until("every session with the dead one has ended", || (load.alive() == 0).then_some(()));
        let before = load.so_far().connects;
        until("clients are served", || (load.so_far().connects > before + 50).then_some(()));
        let counted = load.end();
        println!("# {delay} ms: {} connects, the longest {:?}", counted.connects, counted.longest);
        // A client whose first byte has gone to the dying one has lost its session, as those that have one.
        let refused: Vec<_> = counted.failed.iter().filter(|error| error.contains("refused")).collect();
        assert!(refused.is_empty(), "{delay} ms: {:?}", counted.failed);
        assert!(counted.failed.len() <= 2, "{delay} ms: {:?}", counted.failed);
        assert_eq!(who(&succession.process().connect()).unwrap(), b'b');
    }
}

#[test]
fn what_the_newest_decides_ends_sessions_wherever_they_are() {
    let backends = backends();
    let succession = Succession::start(&mut before(&backends));
    let connect = || {
        let session = succession.process().connect();
        assert_eq!(who(&session).unwrap(), b'a');
        session
    };
    let mut sessions = vec![connect()];
    for _ in 0..3 {
        succession.upgrade();
        sessions.push(connect());
    }
    until("all have told", || (succession.older().len() == 3).then_some(()));
    let table = succession.site.run(&["status"]);
    assert_eq!(table.out.matches("still has clients (1): orders/db-a 1").count(), 3, "{}", table.out);
    let ends: Vec<_> = sessions.into_iter().map(|session| thread::spawn(move || end_of(session))).collect();
    succession.site.run(&["maint", "orders/db-a", "--reason", "a test"]).is_done("an older mainstay is told the same");
    let ends: Vec<_> = ends.into_iter().map(|end| end.join().unwrap()).collect();
    let spread = *ends.iter().max().unwrap() - *ends.iter().min().unwrap();
    println!("# four sessions in four processes ended within {spread:?}");
    assert!(spread < Duration::from_secs(1), "{spread:?}");
    succession.is_alone();
    assert_eq!(who(&succession.process().connect()).unwrap(), b'b');
}

/// When the other side ends it.
fn end_of(mut session: TcpStream) -> Instant {
    session.set_read_timeout(Some(patience())).unwrap();
    let end = session.read(&mut [0; 1]);
    assert!(matches!(end, Ok(0)) || end.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    Instant::now()
}

#[test]
fn a_kill_and_a_pause_reach_older_sessions_and_a_switchover_does_not_break_them() {
    let backends = backends();
    let succession = Succession::start(&mut before(&backends));
    let (first, second) = (succession.process().connect(), succession.process().connect());
    assert_eq!((who(&first).unwrap(), who(&second).unwrap()), (b'a', b'a'));
    succession.upgrade();
    until("it has told", || (succession.older().len() == 1).then_some(()));
    let site = &succession.site;
    site.run(&["switchover", "orders", "--to", "db-b", "--reason", "a test"])
        .is_refused("an older mainstay still has 2 sessions");
    assert_eq!((who(&first).unwrap(), who(&second).unwrap()), (b'a', b'a'));
    let client = first.local_addr().unwrap().to_string();
    site.run(&["kill", "orders", "--client", &client]).is_done("told the same");
    end_of(first);
    assert_eq!(who(&second).unwrap(), b'a', "it ends nobody else");
    site.run(&["switchover", "orders", "--to", "db-b", "--force", "--reason", "a test"]).is_done("");
    end_of(second);
    succession.is_alone();
    assert_eq!(who(&succession.process().connect()).unwrap(), b'b');
}

#[test]
fn clients_that_wait_are_served_by_the_process_that_has_them() {
    let mut backends = backends();
    let [a, b] = backends.each_ref().map(|backend| backend.address);
    let succession = Succession::start(&mut before(&backends));
    backends.iter_mut().for_each(Backend::stop);
    until("nobody serves", || succession.site.active().is_none().then_some(()));
    let mut waiting = succession.process().connect();
    waiting.write_all(b"?").unwrap();
    until("it is held", || (succession.process().metric("mainstay_connections_held", &[]) == 1).then_some(()));
    succession.upgrade();
    let mut later = succession.process().connect();
    later.write_all(b"?").unwrap();
    let _again = [Backend::speaker(b'c', a), Backend::speaker(b'd', b)];
    for mut session in [waiting, later] {
        session.set_read_timeout(Some(patience())).unwrap();
        let mut byte = [0; 1];
        session.read_exact(&mut byte).unwrap();
        assert!([b'c', b'd'].contains(&byte[0]));
    }
}

#[test]
fn what_was_known_is_known_afterwards_with_files_and_without() {
    for kept in [true, false] {
        let (scratch, backends) = (Scratch::new(), backends());
        let mut settings = before(&backends);
        if kept {
            settings["state_dir"] = json!(scratch.directory());
        }
        let succession = Succession::start(&mut settings);
        let site = &succession.site;
        site.run(&["switchover", "orders", "--to", "db-b", "--reason", "a test"]).is_done("");
        site.run(&["maint", "orders/db-a", "--reason", "a test"]).is_done("");
        let old = succession.answers();
        let new = succession.upgrade();
        is_gone(old);
        assert_eq!(succession.answers(), new);
        let status = succession.process().status();
        let pool = &status["pools"][0];
        assert_eq!((&pool["active"], &pool["backends"][0]["admin"]), (&json!("db-b"), &json!("maint")), "{status}");
        site.run(&["ready", "orders/db-a"]).is_done("");
        succession.upgrade();
        let status = succession.process().status();
        let pool = &status["pools"][0];
        assert_eq!((&pool["active"], &pool["backends"][0]["admin"]), (&json!("db-b"), &json!("ready")), "{status}");
    }
}
