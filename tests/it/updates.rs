//! A minor update of `PostgreSQL`, one node after the other, with the programs of two real releases, before a whole mainstay and while
//! clients work: a good one goes through, a bad one stops at the standby.

pub(crate) mod bad;
pub(crate) mod by_hand;
pub(crate) mod rolling;

use lab::transactions::{Client as _, Tally, postgres::Client};
use serde_json::json;

use crate::support::{
    example::start,
    wait::{until, within},
};
use rolling::{Change, NEW, OLD, READ, Readers, Rolling, new_release, writers};

/// The standby, a switchover, the old primary, and back again.
fn goes_through(mode: &str) {
    let mut rolling = Rolling::new(&json!({"mode": mode, "soak": "2s"}));
    let (writers, readers) = (writers(rolling.rw()), Readers::start(rolling.ro()));
    let new = new_release();
    for (node, name, other) in [(1, "db-b", "db-a"), (0, "db-a", "db-b")] {
        let before = rolling.begin_change(node, &new, &[], Change::Announced);
        rolling.nodes[node].wait_ready();
        rolling.ready(node, Change::Announced);
        rolling.is_after(3, node, "proven");
        let told = rolling.told(node);
        assert_eq!((told.first().map(String::as_str), told.last().map(String::as_str)), (Some("unproven"), Some("proven")));
        assert!(told.iter().any(|to| to == "proving"), "{told:?}");
        // Once it has proven itself, it is read again.
        let is_read = || (rolling.sessions(node) > before).then_some(());
        until("it is read", is_read);
        until("it may take over", || (rolling.pool()["failover_ready"] == true).then_some(()));
        rolling.site.run(&["switchover", "orders", "--to", name]).is_done("db-");
        assert_eq!(rolling.site.active().as_deref(), Some(name), "from {other}");
        rolling.rejoin(1 - node, node);
    }
    rolling.start(1);
    until("db-b may take over", || (rolling.pool()["failover_ready"] == true).then_some(()));
    assert_eq!([rolling.version(0), rolling.version(1)], [NEW; 2]);
    let (tally, reads) = (writers.stop(), readers.stop());
    println!("{mode}: {tally:?}, {reads:?}");
    assert_eq!(tally.broken(), [0; 3], "{tally:?}");
    assert_eq!(rolling.nodes[0].sql("SELECT count(*) FROM t"), Tally::of(&tally.committed).to_string(), "lost");
    assert_eq!(reads.failed, [""; 0]);
}

/// What the example asks of the servers can be asked with the rights that it names.
#[test]
fn the_example_proves_what_it_says() {
    let rolling = Rolling::new(&json!({}));
    let [old, changed] = &rolling.nodes;
    let local = |port: u16| ([127, 0, 0, 1], port).into();
    let process = start("rolling-update.yaml", &[("10.0.0.1:5432", local(old.port)), ("10.0.0.2:5432", local(changed.port))]);
    let backend = || process.status()["pools"][0]["backends"][1].clone();
    until("db-b is known", || {
        let diff: serde_json::Value = serde_json::from_str(&process.get("/api/v1/pools/orders/diff").1).ok()?;
        diff["backends"].as_array()?.iter().all(|backend| backend["print"].is_string()).then_some(())
    });
    changed.sql("ALTER SYSTEM SET random_page_cost = 2.5");
    changed.sql("SELECT pg_reload_conf()");
    within(READ, "its proofs passed", || backend()["proof_what"].as_str()?.contains("guard.soak").then_some(()));
    for proof in ["goods", "lookup", "config_file", "hba_file", "extensions", "replication"] {
        assert_eq!(process.metric("mainstay_proof_result", &[("proof", proof), ("result", "passed")]), 1, "{proof}");
    }
}

#[test]
fn a_rolling_update_goes_through_and_no_client_notices() {
    goes_through("enforce");
}

#[test]
fn so_it_does_with_warn() {
    goes_through("warn");
}

// Each way in which mainstay comes to know it, once; `make long` has twenty runs of all twelve kinds.

#[test]
fn bad_updates_that_answer_stop_at_the_standby() {
    bad::stop_at_the_standby(["an extension is not on disk", "a query crashes it"].map(bad::kind), 1);
}

#[test]
fn bad_updates_that_do_not_last_stop_at_the_standby() {
    bad::stop_at_the_standby(["it does not start", "it crashes after a while"].map(bad::kind), 1);
}

/// What `warn` does differently: readers are sent to it all the same. A switchover to it is refused likewise.
#[test]
fn with_warn_a_bad_update_is_read_and_told() {
    let mut rolling = Rolling::new(&json!({"mode": "warn", "soak": "1s"}));
    let kind = bad::kind("time zones");
    let release = new_release();
    (kind.tamper)(&release);
    rolling.change(1, &release, kind.settings, Change::Announced);
    rolling.is(1, "failed");
    let before = rolling.sessions(1);
    let mut client = Client::login(rolling.ro()).unwrap();
    client.query("SELECT 1").unwrap();
    assert_eq!(rolling.sessions(1), before + 1);
    assert_eq!(rolling.site.process.metric("mainstay_failover_ready_reason", &[("reason", "unproven")]), 1);
    rolling.site.run(&["switchover", "orders", "--to", "db-b"]).is_refused("time: ");
    assert!(rolling.site.run(&["status"]).out.contains("db-b is failed: time: "));
}

/// A playbook that goes on as soon as the server answers.
#[test]
fn a_switchover_right_after_the_start_comes_too_early() {
    for mode in ["warn", "enforce"] {
        let mut rolling = Rolling::new(&json!({"mode": mode, "soak": "1s"}));
        let kind = bad::kind("a library of another ABI");
        let release = new_release();
        (kind.tamper)(&release);
        rolling.begin_change(1, &release, kind.settings, Change::Unannounced);
        within(READ, "it is refused for its proof", || {
            let refused = rolling.site.run(&["switchover", "orders", "--to", "db-b"]);
            refused.is_refused("");
            refused.err.contains("search: ").then_some(())
        });
        assert_eq!(rolling.pool()["epoch"], 1, "{mode}");
    }
}

/// Only that share of new sessions, and only while it has to last.
#[test]
fn a_canary_gets_its_share() {
    let mut rolling = Rolling::new(&json!({"mode": "enforce", "soak": "1h", "canary": "20%"}));
    let release = new_release();
    rolling.change(1, &release, &[], Change::Announced);
    within(READ, "it has to last", || rolling.proof(1).1.contains("guard.soak").then_some(()));
    let before = rolling.sessions(1);
    for _ in 0..200 {
        Client::login(rolling.ro()).unwrap().query("SELECT 1").unwrap();
    }
    let share = rolling.sessions(1) - before;
    println!("{share} of 200");
    assert!((20..=60).contains(&share), "{share} of 200");
    assert_eq!(rolling.version(0), OLD);
}

#[test]
fn enforce_holds_clients_of_a_bad_update_that_is_promoted_by_hand() {
    by_hand::promoted("enforce", "hold", 0, by_hand::BY[0]);
}

#[test]
fn as_the_last_one_it_serves() {
    by_hand::promoted("enforce", "serve", 50, by_hand::BY[1]);
}

#[test]
fn warn_serves_from_a_bad_update_that_is_promoted_by_hand() {
    by_hand::promoted("warn", "serve", 1000, by_hand::BY[0]);
}

#[test]
fn promoted_before_anything_was_read_of_it_it_does_not_serve() {
    by_hand::promoted_at_once();
}
