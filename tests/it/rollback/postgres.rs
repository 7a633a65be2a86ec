//! Real `PostgreSQL`: no way back where something would be lost.

use lab::transactions::postgres::Client;
use serde_json::json;

use crate::support::{
    postgres::Postgres,
    scratch::Scratch,
    site::{Said, Site},
    wait::until,
};

struct Pair {
    site: Site,
    a: Postgres,
    b: Postgres,
    _scratch: Scratch,
}

/// Stops the one that the hook names, in order.
fn stop(a: &Postgres, b: &Postgres) -> String {
    let (a, b) = (a.data(), b.data());
    format!(
        "case $MAINSTAY_BACKEND in db-a) f={}/postmaster.pid;; *) f={}/postmaster.pid;; esac\n\
         kill -INT $(head -n 1 $f)\nwhile [ -e $f ]; do sleep 0.005; done",
        a.display(),
        b.display()
    )
}

impl Pair {
    fn new() -> Self {
        let scratch = Scratch::new();
        let a = Postgres::primary(&[]);
        a.sql("CREATE TABLE t (n bigint)");
        a.hba("host replication all 127.0.0.1/32 trust");
        let b = a.standby(&[]);
        streams(&a);
        let demote = json!({"exec": [scratch.script(&stop(&a, &b))], "timeout": "20s"});
        let mut settings = json!({
            "log": {"level": "info", "format": "json"},
            "state_dir": scratch.directory(),
            "pools": [{
                "name": "orders",
                "listen": "127.0.0.1:0",
                "check": {"postgres": {"user": "postgres"}, "interval": "200ms", "timeout": "1s", "fall": 8},
                "promotion": {"how": "sql", "demote": demote},
                "switchover": {"drain_timeout": "10s", "timeout": "20s"},
                "backends": [
                    {"name": "db-a", "address": format!("127.0.0.1:{}", a.port)},
                    {"name": "db-b", "address": format!("127.0.0.1:{}", b.port)},
                ],
            }],
        });
        let site = Site::start(&mut settings, &scratch.path("admin.sock"));
        until("db-b may take over", || (site.process.status()["pools"][0]["failover_ready"] == true).then_some(()));
        Self { site, a, b, _scratch: scratch }
    }

    fn write(&self) {
        Client::open(self.site.process.address, "postgres").unwrap().query("INSERT INTO t VALUES (1)").unwrap();
    }
}

fn streams(primary: &Postgres) {
    until("the standby streams", || {
        (primary.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1").then_some(())
    });
}

/// The old primary, which has stopped, follows the new one.
fn rejoin(old: &mut Postgres, new: &Postgres) {
    old.file("data/standby.signal", b"");
    old.restart(&[&format!("primary_conninfo=host=127.0.0.1 port={} user=postgres", new.port)]);
    streams(new);
}

#[test]
fn a_rollback_waits_for_the_old_one_to_follow_and_loses_nothing() {
    let mut pair = Pair::new();
    pair.write();
    pair.site.run(&["switchover", "orders"]).is_done("db-b is active");
    pair.site.run(&["rollback", "orders"]).is_refused("not done: db-a may not take over: ");
    assert_eq!((pair.site.metric("rollback_ready"), pair.site.metric("rollback_lost_bytes")), (0, 0));
    pair.write();
    rejoin(&mut pair.a, &pair.b);
    until("it is ready", || (pair.site.metric("rollback_ready") == 1).then_some(()));
    pair.site.run(&["drill", "orders"]).is_done("rollback: ready, to db-a");
    pair.site.run(&["rollback", "orders"]).is_done("db-a is active; switchover done");
    pair.write();
    assert_eq!(pair.a.sql("SELECT count(*) FROM t"), "3");
}

#[test]
fn what_is_cut_off_is_taken_only_when_the_newer_one_has_stopped() {
    let mut pair = Pair::new();
    pair.site.run(&["switchover", "orders"]).is_done("db-b is active");
    // It comes back as the primary that it was.
    pair.a.restart(&[]);
    pair.write();
    until("what would be lost is shown", || (pair.site.metric("rollback_lost_bytes") > 0).then_some(()));
    assert_eq!(pair.site.metric("rollback_ready"), 0);
    let cut_off = "db-a is cut off since LSN 0/";
    pair.site.run(&["drill", "orders"]).is_done(&format!("rollback: not now: {cut_off}"));
    for words in [&["rollback", "orders"][..], &["rollback", "orders", "--accept-loss"]] {
        let said = pair.site.run(words);
        assert!(said.err.contains("stop db-b, so that it takes no writes") && said.err.contains("would be lost"), "{}", said.err);
        said.is_refused(cut_off);
    }
    pair.write();
    assert_eq!(pair.site.active().as_deref(), Some("db-b"));
    pair.b.stop_fast();
    until("nobody is active", || pair.site.active().is_none().then_some(()));
    pair.site.run(&["rollback", "orders"]).is_refused("--accept-loss");
    pair.site.run(&["rollback", "orders", "--accept-loss"]).is_done("db-a is active; promote done");
    pair.write();
    assert_eq!(pair.a.sql("SELECT count(*) FROM t"), "1", "what db-b had taken is lost, as accepted");
}

#[test]
fn a_trial_that_fails_goes_back_once_when_nothing_is_lost() {
    let mut pair = Pair::new();
    pair.site.run(&["switchover", "orders", "--trial", "1h"]).is_done("db-b is active");
    pair.write();
    // It is silent for a while, three times a probe in vain, and comes back.
    let failed = || pair.site.process.metric("mainstay_probes_total", &[("backend", "db-b"), ("outcome", "timeout")]);
    let before = failed();
    pair.b.signal_all("-STOP");
    until("three probes failed", || (failed() >= before + 3).then_some(()));
    pair.b.signal_all("-CONT");
    let why = pair.site.trial_is("failed");
    assert!(why.contains("operation 1: the trial of db-b has failed: "), "{why}");
    // db-a is not there.
    until("it waits", || pair.site.trials().iter().any(|(to, why)| to == "waits" && why.contains("down")).then_some(()));
    assert_eq!(pair.site.active().as_deref(), Some("db-b"));
    pair.write();
    rejoin(&mut pair.a, &pair.b);
    pair.site.serves("db-a");
    assert_eq!(pair.a.sql("SELECT count(*) FROM t"), "2");
    let operations = pair.site.operations();
    assert_eq!((&operations[1]["by"], &operations[1]["to"]), (&json!("mainstay"), &json!("db-a")));
    assert_eq!(operations[0]["trial"]["end"], "went_back");
    pair.site.trials().iter().for_each(|(to, why)| println!("{to}: {why}"));
    pair.write();
    assert_eq!(pair.site.operations().len(), 2);
}

#[test]
fn a_trial_of_one_that_cannot_commit_goes_back() {
    let mut pair = Pair::new();
    pair.site.run(&["switchover", "orders", "--trial", "1h"]).is_done("db-b is active");
    rejoin(&mut pair.a, &pair.b);
    pair.write();
    // It waits for a standby that does not exist.
    pair.b.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    pair.b.sql("SELECT pg_reload_conf()");
    Client::open(pair.site.process.address, "postgres").unwrap().ask("INSERT INTO t VALUES (1)").unwrap();
    let why = pair.site.trial_is("failed");
    assert!(why.contains("a commit has not ended for"), "{why}");
    pair.site.serves("db-a");
    pair.write();
    assert!(["2", "3"].contains(&&*pair.a.sql("SELECT count(*) FROM t")), "the row that had no answer may be there");
}

#[test]
fn there_and_back_with_real_servers() {
    let mut pair = Pair::new();
    let words = ["drill", "orders", "--switch"];
    let command = pair.site.begin(&words);
    pair.site.serves("db-b");
    pair.write();
    rejoin(&mut pair.a, &pair.b);
    Said::of(&words, command).is_done("missing: promotion.rejoin; db-a must become a standby in another way");
    pair.site.serves("db-a");
    pair.write();
    assert_eq!(pair.a.sql("SELECT count(*) FROM t"), "2");
}
