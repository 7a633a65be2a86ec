//! Administrative states over a restart.

use std::fs;

use mainstay::{app, failover::Admin};
use serde_json::{Value, json};

use super::{Server, active, becomes_active, order, set};
use crate::support::{
    config::tcp_pool,
    front::end,
    process::{Process, Signal, settings},
    scratch::Scratch,
    wait::until,
};

fn remembered(path: &std::path::Path) -> Option<Value> {
    let text = fs::read_to_string(path).ok()?;
    Some(serde_json::from_str::<Value>(&text).ok()?["pool"]["admin"].clone())
}

#[test]
fn with_a_state_dir_a_killed_mainstay_knows_them_before_its_first_decision() {
    let scratch = Scratch::new();
    let [a, b] = [b'a', b'b'].map(Server::new);
    let mut config = tcp_pool(&[a.address(), b.address()]);
    config.state_dir = Some(scratch.directory().to_owned());
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    until("db-b is up", || (running.snapshots[0].get().failover_ready.to_string() == "ready").then_some(()));
    order(&running, set("db-b", Admin::Drain)).unwrap();
    order(&running, set("db-b", Admin::Ready)).unwrap();
    let done = order(&running, set("db-a", Admin::Maint)).unwrap();
    assert!(done.lines.iter().all(|line| !line.contains("state_dir")), "{done:?}");
    let file = scratch.path("orders.state.json");
    until("it is on the disk", || (remembered(&file)? == json!({"db-a": "maint"})).then_some(()));
    // What SIGKILL leaves: the file as it is now.
    let left = fs::read(&file).unwrap();
    end(running);
    fs::write(&file, left).unwrap();

    let mut settings = settings(&[a.address(), b.address()]);
    settings["state_dir"] = json!(scratch.directory());
    for _ in 0..2 {
        let mut process = Process::start(&settings).serving();
        let pool = process.status()["pools"][0].clone();
        assert_eq!((&pool["active"], &pool["epoch"]), (&json!("db-b"), &json!(1)), "db-a was active before it was out");
        assert_eq!(pool["backends"][0]["admin"], "maint");
        process.signal(Signal::KILL);
        process.ends_within(crate::support::wait::patience());
    }
}

#[test]
fn without_one_the_answer_says_that_a_restart_forgets() {
    let [a, b] = [b'a', b'b'].map(Server::new);
    let config = tcp_pool(&[a.address(), b.address()]);
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    until("db-b is up", || (running.snapshots[0].get().failover_ready.to_string() == "ready").then_some(()));
    let done = order(&running, set("db-a", Admin::Maint)).unwrap();
    assert!(done.lines.iter().any(|line| line.contains("a restart of mainstay forgets this")), "{done:?}");
    assert_eq!(active(&running).as_deref(), Some("db-b"));
    end(running);
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    end(running);
}

#[test]
fn a_backend_in_maintenance_that_moves_to_another_address_stays_out() {
    let [a, b, c] = [b'a', b'b', b'c'].map(Server::new);
    let running = app::start(&tcp_pool(&[a.address(), b.address()])).unwrap();
    becomes_active(&running, "db-a");
    until("db-b is up", || (running.snapshots[0].get().failover_ready.to_string() == "ready").then_some(()));
    order(&running, set("db-a", Admin::Maint)).unwrap();
    // The status shows what was reloaded, and an order finds it, however busy the pool is.
    for server in [&c, &a].into_iter().cycle().take(101) {
        running.reloader().reload(&tcp_pool(&[server.address(), b.address()])).unwrap();
        assert_eq!(*running.snapshots[0].get().backends[0].address, server.address().to_string(), "right after the reload");
        order(&running, set("db-b", Admin::Ready)).unwrap();
        let snapshot = running.snapshots[0].get();
        let moved = &snapshot.backends[0];
        assert_eq!((&*moved.address, moved.admin), (&*server.address().to_string(), Admin::Maint));
    }
    assert_eq!(active(&running).as_deref(), Some("db-b"));
    end(running);
}
