//! What is told, when, and what is not.

use std::{
    fs,
    io::{Read, Write},
    thread,
    time::{Duration, Instant},
};

use lab::pairs::{self, NAMES, Pair as _, postgres::PostgresPair};
use mainstay::cli::exit;
use serde_json::{Value, json};

use super::{Receiver, telling};
use crate::support::{
    echo::Backend,
    process::Process,
    redis::Redis,
    scratch::Scratch,
    site::Site,
    wait::{until, within},
};

/// Says what a file of the backend's port says.
const SAYS: &str = "read role code < $DIR/$MAINSTAY_BACKEND_PORT; echo $role; exit ${code:-0}";

fn say(scratch: &Scratch, backend: &Backend, what: &str) {
    let (new, path) = (scratch.path("new"), scratch.path(&backend.address.port().to_string()));
    fs::write(&new, format!("{what}\n")).unwrap();
    fs::rename(new, path).unwrap();
}

/// A backend at the address of one that was stopped.
fn again(at: std::net::SocketAddr) -> Backend {
    Backend::start_at(at, |mut stream| {
        let mut bytes = [0; 4];
        while stream.read_exact(&mut bytes).is_ok() && stream.write_all(&bytes).is_ok() {}
    })
}

#[test]
fn an_outage_is_told_and_its_end_with_what_clients_felt() {
    let (scratch, receiver, mut a) = (Scratch::new(), Receiver::start(), Backend::echo());
    let process = Process::start(&telling(&scratch, &receiver, &[a.address])).serving();
    a.stop();
    let outage = receiver.nth(1).json();
    assert_eq!((&outage["kind"], &outage["alert"], &outage["status"]), (&json!("outage"), &json!("outage"), &json!("firing")));
    assert_eq!((&outage["severity"], &outage["pool"]), (&json!("critical"), &json!("orders")));
    assert_eq!(outage["key"], "mainstay/orders/outage");
    assert!(outage["summary"].as_str().unwrap().contains("Pool orders: no database serves."), "{outage}");
    assert!(outage["why"].as_str().unwrap().contains("db-a: down"), "{outage}");
    assert!(outage["now"].as_str().unwrap().contains("mainstay status"), "{outage}");
    assert_eq!(outage["runbook"], "docs/runbook.md#databaseoutage");
    // A client waits, and is served late.
    let mut client = process.connect();
    let served = thread::spawn(move || {
        client.write_all(b"ping").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
    });
    until("it waits", || (process.metric("mainstay_connections_held", &[]) == 1).then_some(()));
    let _again = again(a.address);
    served.join().unwrap();
    let over = receiver.nth(2).json();
    assert_eq!((&over["kind"], &over["alert"], &over["status"]), (&json!("over"), &json!("outage"), &json!("resolved")));
    assert_eq!(over["key"], outage["key"]);
    assert!(over["lasted_seconds"].as_f64().unwrap() > 0.5, "{over}");
    assert_eq!(over["clients"]["held"], 1, "{over}");
    assert_eq!((&over["clients"]["served_late"], &over["clients"]["turned_away"]), (&json!(1), &json!(0)), "{over}");
    assert!(over["clients"]["waited_seconds"].as_f64().unwrap() > 0.0, "{over}");
    assert_eq!(process.metric("mainstay_notifications_total", &[("kind", "webhook"), ("result", "sent")]), 2);
    assert_eq!(process.metric("mainstay_notifications_dropped_total", &[]), 0);
}

#[test]
fn a_primary_that_is_killed_without_a_standby_is_told_within_a_second() {
    let (scratch, receiver, mut redis) = (Scratch::new(), Receiver::start(), Redis::primary(&[]));
    let mut settings = telling(&scratch, &receiver, &[redis.address()]);
    settings["pools"][0]["check"] = json!("redis");
    let _process = Process::start(&settings).serving();
    let killed = Instant::now();
    redis.kill();
    let outage = receiver.nth(1);
    let took = outage.at - killed;
    println!("# kill -9 to the receiver: {took:?}");
    assert_eq!(outage.kind(), "outage");
    // Half a second is the time that it must last; the rest is the machine's.
    assert!(took >= Duration::from_millis(500), "{took:?}: a failover would have been told as an outage");
}

#[test]
fn a_quick_failover_is_told_as_one_and_not_as_an_outage() {
    let (scratch, receiver, mut a, b) = (Scratch::new(), Receiver::start(), Backend::echo(), Backend::echo());
    let process = Process::start(&telling(&scratch, &receiver, &[a.address, b.address])).serving();
    a.stop();
    let told = receiver.nth(1).json();
    assert_eq!((&told["kind"], &told["severity"], &told["status"]), (&json!("failover"), &json!("warning"), &json!("event")));
    assert!(told["summary"].as_str().unwrap().contains("failed over from db-a to db-b"), "{told}");
    assert!(told["why"].as_str().unwrap().starts_with("db-a: down"), "{told}");
    assert_eq!(told["runbook"], "docs/runbook.md#failoverhappened");
    let last = process.status()["pools"][0]["last_failover"].clone();
    assert_eq!(last["to"], "db-b");
    // The next thing that happens is the next message: there was nothing between.
    let mut b = b;
    b.stop();
    assert_eq!(receiver.nth(2).kind(), "outage");
}

#[test]
fn a_start_and_what_is_ordered_is_not_told() {
    let (scratch, receiver, a, mut b) = (Scratch::new(), Receiver::start(), Backend::echo(), Backend::echo());
    let mut settings = telling(&scratch, &receiver, &[a.address, b.address]);
    let site = Site::start(&mut settings, &scratch.path("admin.sock"));
    site.run(&["switchover", "orders", "--to", "db-b", "--reason", "a test"]);
    site.run(&["maint", "orders/db-a", "--reason", "a test"]).is_done("");
    site.run(&["ready", "orders/db-a", "--reason", "a test"]).is_done("");
    site.run(&["maint", "orders/db-a", "--reason", "a test"]).is_done("");
    site.serves("db-b");
    site.run(&["pause", "orders", "--max", "2s", "--reason", "a test"]).is_done("");
    site.run(&["resume", "orders", "--reason", "a test"]).is_done("");
    let uptime = || site.process.status()["uptime_seconds"].as_u64().unwrap();
    let ordered = uptime();
    until("a failover would have been told by now", || (uptime() >= ordered + 3).then_some(()));
    assert_eq!(receiver.kinds(), Vec::<String>::new());
    b.stop();
    let told = receiver.nth(1).json();
    assert_eq!(told["kind"], "outage", "{told}");
    assert!(told["why"].as_str().unwrap().contains("db-b: down"), "{told}");
    assert!(told["why"].as_str().unwrap().contains("db-a: maint"), "{told}");
}

#[test]
fn a_real_switchover_is_not_told_and_what_comes_after_it_is() {
    const LONG: Duration = Duration::from_secs(90);
    let (scratch, receiver, mut pair) = (Scratch::new(), Receiver::start(), PostgresPair::start());
    let (first, second) = (pair.primary(), 1 - pair.primary());
    let more = json!({"switchover": {"drain_timeout": "10s", "timeout": "20s"}});
    let mut settings = json!({"log": {"level": "info", "format": "json"}, "pools": [pairs::pool(&pair, "127.0.0.1:0", &more)]});
    settings["notify"] = json!([super::webhook(&scratch, &receiver.url())]);
    let site = Site::start(&mut settings, &scratch.path("admin.sock"));
    for (old, new) in [(first, second), (second, first)] {
        let words = ["switchover", "orders", "--to", NAMES[new], "--reason", "planned"];
        within(LONG, "a switchover is possible", || {
            (site.run(&[&words[..], &["--dry-run"]].concat()).code == exit::DONE).then_some(())
        });
        site.run(&words).is_done("");
        site.serves(NAMES[new]);
        pair.rejoined(old, new);
    }
    assert_eq!(receiver.kinds(), Vec::<String>::new());
    // Both servers end.
    drop(pair);
    let told = receiver.nth(1).json();
    assert_eq!(told["kind"], "outage", "{told}");
    println!("# {told:#}");
}

/// A primary and a standby, whose states the test says.
fn by_scripts() -> (Scratch, Receiver, [Backend; 2], Process) {
    let (scratch, receiver, a, b) = (Scratch::new(), Receiver::start(), Backend::echo(), Backend::echo());
    say(&scratch, &a, "primary");
    say(&scratch, &b, "standby");
    let mut settings = telling(&scratch, &receiver, &[a.address, b.address]);
    settings["pools"][0]["check"] =
        json!({"exec": {"command": [scratch.script(SAYS)], "roles": true}, "interval": "200ms", "fast_interval": "100ms"});
    let process = Process::start(&settings).serving();
    (scratch, receiver, [a, b], process)
}

#[test]
fn two_primaries_and_their_end_are_told() {
    let (scratch, receiver, [_a, b], _process) = by_scripts();
    say(&scratch, &b, "primary");
    let told = receiver.nth(1).json();
    assert_eq!((&told["kind"], &told["key"]), (&json!("conflict"), &json!("mainstay/orders/conflict")), "{told}");
    assert!(told["why"].as_str().unwrap().contains("db-a, db-b"), "{told}");
    say(&scratch, &b, "standby");
    let over = receiver.nth(2).json();
    assert_eq!((&over["kind"], &over["alert"], &over["key"]), (&json!("over"), &json!("conflict"), &told["key"]), "{over}");
}

#[test]
fn a_check_that_does_not_work_is_told_after_a_while() {
    let (scratch, receiver, [_a, b], process) = by_scripts();
    say(&scratch, &b, "the-password-is-wrong 78");
    let told = receiver.nth(1).json();
    assert_eq!(told["kind"], "check_broken", "{told}");
    assert!(told["summary"].as_str().unwrap().contains("the check of db-b does not work"), "{told}");
    assert!(told["why"].as_str().unwrap().contains("the-password-is-wrong"), "{told}");
    assert_eq!(process.status()["pools"][0]["active"], "db-a");
    say(&scratch, &b, "standby");
    assert_eq!(receiver.nth(2).json()["alert"], "check_broken");
}

#[test]
fn a_backend_that_fails_its_proof_is_told() {
    let (scratch, receiver, source) = (Scratch::new(), Receiver::start(), Redis::primary(&[]));
    let replica = source.replica(&[]);
    let mut settings = telling(&scratch, &receiver, &[source.address(), replica.address()]);
    settings["pools"][0]["check"] = json!("redis");
    let site = Site::start(&mut settings, &scratch.path("admin.sock"));
    until("both prints", || {
        let diff: Value = serde_json::from_str(&site.process.get("/api/v1/pools/orders/diff").1).ok()?;
        diff["backends"].as_array()?.iter().all(|backend| backend["print"].is_string()).then_some(())
    });
    site.run(&["reject", "orders/db-b", "--reason", "a test"]).is_done("");
    let told = receiver.nth(1).json();
    assert_eq!((&told["kind"], &told["severity"]), (&json!("unproven"), &json!("warning")), "{told}");
    assert!(told["summary"].as_str().unwrap().contains("a proof fails on db-b"), "{told}");
    site.run(&["approve", "orders/db-b", "--reason", "a test"]).is_done("");
    assert_eq!(receiver.nth(2).json()["alert"], "unproven");
}

#[test]
fn what_is_too_much_is_left_out_and_counted_and_its_end_is_not_told() {
    let (scratch, receiver, mut a) = (Scratch::new(), Receiver::start(), Backend::echo());
    let mut settings = telling(&scratch, &receiver, &[a.address]);
    let pool = settings["pools"][0].clone();
    let pools = (0..30).map(|number| {
        let mut pool = pool.clone();
        pool["name"] = json!(format!("pool-{number}"));
        pool
    });
    settings["pools"] = pools.collect();
    let process = Process::start(&settings);
    until("all serve", || {
        let status = process.status();
        status["pools"].as_array().unwrap().iter().all(|pool| pool["active"].is_string()).then_some(())
    });
    a.stop();
    until("all were told or left out", || {
        let sent = process.metric("mainstay_notifications_total", &[("result", "sent")]);
        (sent + process.metric("mainstay_notifications_dropped_total", &[]) >= 30).then_some(())
    });
    let dropped = process.metric("mainstay_notifications_dropped_total", &[]);
    let begun = receiver.all();
    let outages = begun.iter().filter(|told| told.kind() == "outage").count() as u64;
    assert_eq!(outages + dropped, 30);
    assert!(outages >= 20, "{outages}");
    let _again = again(a.address);
    let ends = until("the end of each that was told", || {
        let over: Vec<Value> =
            receiver.all().iter().map(super::receiver::Told::json).filter(|told| told["kind"] == "over").collect();
        (over.len() as u64 >= outages).then_some(over)
    });
    assert_eq!(ends.len() as u64, outages);
    let told: u64 = receiver.all().iter().map(|told| told.json()["left_out"].as_u64().unwrap()).sum();
    assert_eq!(told, dropped, "what was left out is told with the next message");
}

#[test]
fn a_pool_that_flaps_does_not_flood() {
    let (scratch, receiver, a) = (Scratch::new(), Receiver::start(), Backend::echo());
    say(&scratch, &a, "primary");
    let mut settings = telling(&scratch, &receiver, &[a.address]);
    settings["pools"][0]["check"] =
        json!({"exec": {"command": [scratch.script(SAYS)], "roles": true}, "interval": "200ms", "fast_interval": "100ms"});
    let process = Process::start(&settings).serving();
    let epoch = || process.status()["pools"][0]["epoch"].as_u64().unwrap();
    let began = Instant::now();
    let (mut flaps, first) = (0, epoch());
    while began.elapsed() < Duration::from_secs(12) {
        say(&scratch, &a, "standby");
        until("nobody serves", || process.status()["pools"][0]["active"].is_null().then_some(()));
        let before = epoch();
        say(&scratch, &a, "primary");
        until("it serves again", || (epoch() > before).then_some(()));
        flaps += 1;
    }
    println!("# {flaps} flaps (epoch {first} to {}): {:?}", epoch(), receiver.kinds());
    assert!(flaps >= 5, "{flaps}");
    let told = receiver.all().len();
    assert!((1..=4).contains(&told), "{flaps} flaps: {:?}", receiver.kinds());
}
