//! Pools without roles: what the commands say, what outlives a restart, and how a trial ends.

use std::{
    fs,
    io::{self, Write},
    process::Child,
    time::Duration,
};

use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};

use crate::support::{
    echo::Backend,
    process::{Signal, settings},
    scratch::Scratch,
    site::{Said, Site},
    wait::until,
};

struct Plain {
    site: Site,
    settings: Value,
    backends: [Backend; 2],
    scratch: Scratch,
}

impl Plain {
    fn new() -> Self {
        Self::with([Backend::echo(), Backend::echo()], "10s")
    }

    fn with(backends: [Backend; 2], drain: &str) -> Self {
        let scratch = Scratch::new();
        let mut settings = settings(&[backends[0].address, backends[1].address]);
        settings["state_dir"] = json!(scratch.directory());
        settings["pools"][0]["switchover"] = json!({"drain_timeout": drain});
        let site = Site::start(&mut settings, &scratch.path("admin.sock"));
        let plain = Self { site, settings, backends, scratch };
        plain.both_are_up();
        plain
    }

    fn both_are_up(&self) {
        until("the other backend", || (self.site.process.status()["pools"][0]["failover_ready"] == true).then_some(()));
    }

    /// Ends as by `kill -9` once this is on the disk, and another one starts.
    fn restart(self, kept: &str) -> Self {
        let Self { site, mut settings, backends, scratch } = self;
        let file = scratch.path("orders.state.json");
        until(kept, || fs::read_to_string(&file).ok()?.contains(kept).then_some(()));
        drop(site);
        let site = Site::start(&mut settings, &scratch.path("admin.sock"));
        let plain = Self { site, settings, backends, scratch };
        plain.both_are_up();
        plain
    }
}

#[test]
fn a_rollback_leads_to_the_one_before_also_after_a_restart() {
    let plain = Plain::new();
    plain.site.run(&["rollback", "orders"]).is_refused("not done: nothing to go back to");
    plain.site.run(&["drill", "orders"]).is_done("rollback: not now: nothing to go back to");
    assert_eq!(plain.site.metric("rollback_ready"), 0);
    plain.site.run(&["switchover", "orders"]).is_done("db-b is active; switchover done");
    assert_eq!(plain.site.metric("rollback_ready"), 1);
    let plain = plain.restart("\"previous\":\"db-a\"");
    assert_eq!(plain.site.active().as_deref(), Some("db-b"));
    plain.site.run(&["drill", "orders"]).is_done("rollback: ready, to db-a\n");
    plain.site.run(&["rollback", "orders", "--dry-run"]).is_done("nothing was changed (--dry-run)\nswitchover from db-b to db-a");
    plain.site.run(&["rollback", "orders", "--reason", "the new kernel is slow"]).is_done("db-a is active; switchover done");
    let orders: Vec<_> = plain.site.process.log().into_iter().filter(|line| line["order"] == "rollback").collect();
    assert_eq!((&orders[0]["result"], &orders[1]["result"]), (&json!("dry_run"), &json!("done")));
    assert_eq!(plain.site.operations()[0]["reason"], "the new kernel is slow");
    // The other way round.
    plain.site.run(&["rollback", "orders", "--no-wait"]).is_done("operation 2 has begun");
    plain.site.serves("db-b");
}

#[test]
fn a_trial_passes_or_ends_with_an_order_or_with_a_restart() {
    let plain = Plain::new();
    plain.site.run(&["switchover", "orders", "--trial", "1s"]).is_done("then db-b is on trial for 1s; if it fails, back to db-a");
    assert!(plain.site.trial_is("begun").contains("operation 1: db-b is on trial for 1s"));
    assert!(plain.site.trial_is("passed").contains("the trial has passed: db-b stays"));
    assert_eq!(plain.site.operations()[0]["trial"]["end"], "passed");
    assert_eq!(plain.site.active().as_deref(), Some("db-b"));
    plain.site.run(&["abort", "orders"]).is_refused("not done: no operation of pool orders is under way, and no trial");
    plain.site.run(&["switchover", "orders", "--trial", "1h"]).is_done("db-a is active");
    plain.site.run(&["drill", "orders"]).is_done("trial: db-a is on trial for 1h; if it fails, back to db-b");
    plain.site.run(&["abort", "orders"]).is_done("nothing leads back by itself any more");
    assert!(plain.site.trial_is("ordered").contains("by order"));
    plain.site.run(&["switchover", "orders", "--trial", "1h"]).is_done("db-b is active");
    let plain = plain.restart("the trial of db-b after a switchover");
    let told = plain.site.process.logged("was interrupted by the end of mainstay");
    assert_eq!(told["operation"], "the trial of db-b after a switchover");
    assert_eq!(plain.site.active().as_deref(), Some("db-b"));
    plain.site.run(&["abort", "orders"]).is_refused("no operation");
    plain.site.run(&["switchover", "orders", "--trial", "25h"]).is_refused("`trial` is a duration from 1s to 24h");
}

#[test]
fn there_and_back_shows_what_clients_felt() {
    let plain = Plain::new();
    let said = plain.site.run(&["drill", "orders", "--switch"]);
    let waited = said.out.lines().last().unwrap().to_owned();
    assert!(waited.starts_with("clients waited at most: ") && waited.contains(" from db-a to db-b, "), "{waited}");
    assert!(waited.ends_with(" from db-b to db-a"), "{waited}");
    said.is_done("db-a is active; switchover done");
    let text = plain.site.process.get("/metrics").1;
    let at = text.lines().find_map(|line| line.strip_prefix("mainstay_drill_last_success_timestamp_seconds{pool=\"orders\"} "));
    assert!(at.unwrap().parse::<f64>().unwrap() > 1.0e9, "{at:?}");
    let operations = plain.site.operations();
    assert_eq!((&operations[0]["trial"]["operation"], &operations[1]["by"]), (&json!(2), &json!("mainstay")));
    assert_eq!(operations[1]["reason"], "after operation 1");
    assert_eq!(plain.site.active().as_deref(), Some("db-a"));
}

/// The first one is lost in between, and `end` ends the wait.
fn there_and_not_back(end: impl FnOnce(&Site, &Child)) -> Said {
    let mut plain = Plain::new();
    let words = ["drill", "orders", "--switch"];
    let command = plain.site.begin(&words);
    plain.site.serves("db-b");
    plain.backends[0].stop();
    let why = until("it waits", || plain.site.trials().pop().filter(|(to, _)| to == "waits").map(|(_, why)| why));
    assert!(why.contains("db-b stays for now: db-a may not take over: down"), "{why}");
    end(&plain.site, &command);
    let said = Said::of(&words, command);
    said.is_refused("NOT back: nothing leads back to db-a by itself any more, by order");
    assert_eq!(plain.site.active().as_deref(), Some("db-b"));
    said
}

#[test]
fn there_and_not_back_is_a_failure() {
    there_and_not_back(|site, _| site.run(&["abort", "orders"]).is_done("nothing leads back"));
    let said = there_and_not_back(|_, command| kill_process(Pid::from_child(command), Signal::INT).unwrap());
    assert!(said.err.contains("aborting …"), "{}", said.err);
}

#[test]
fn what_runs_is_aborted_without_its_number() {
    // Never answers: its session stays in the middle of a request, and the drain waits for it.
    let dumb = Backend::start(|stream| drop(io::copy(&mut &stream, &mut io::sink())));
    let plain = Plain::with([dumb, Backend::echo()], "0s");
    plain.site.run(&["abort", "orders"]).is_refused("no operation");
    let mut session = plain.site.process.connect();
    session.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    session.write_all(b"?").unwrap();
    until("the session", || (plain.site.metric("connections_active") == 1).then_some(()));
    plain.site.run(&["switchover", "orders", "--no-wait"]).is_done("operation 1 has begun");
    plain.site.run(&["abort", "orders", "--dry-run"]).is_done("nothing was changed");
    plain.site.run(&["abort", "orders", "--reason", "wrong pool"]).is_done("aborted; everything is as it was");
    until("it is over", || plain.site.operations()[0]["end"]["result"].as_str().filter(|result| *result == "aborted").map(drop));
    assert_eq!(plain.site.active().as_deref(), Some("db-a"));
}
