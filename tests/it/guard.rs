//! Backends that have changed, in a whole mainstay before a real primary and its standby: what is told, what is refused, who serves.

mod canary;
mod scripted;

use std::time::Duration;

use lab::{
    pairs::{NAMES, Pair as _, postgres::PostgresPair},
    transactions::postgres::Client,
};
use serde_json::{Value, json};

use crate::support::{
    scratch::Scratch,
    site::Site,
    wait::{Watch, patience, until, within},
};

/// A print is read every ten seconds.
const READ: Duration = Duration::from_mins(1);

/// Fails on a standby, and not on a primary.
const NOT_ON_A_STANDBY: &str = "SELECT 1 / (pg_is_in_recovery()::int - 1)";

struct Guarded {
    site: Site,
    pair: PostgresPair,
    settings: Value,
    scratch: Scratch,
}

impl Guarded {
    fn new(guard: &Value) -> Self {
        Self::with(guard, |_| {})
    }

    /// With more in the pool.
    fn with(guard: &Value, edit: impl FnOnce(&mut Value)) -> Self {
        let (pair, scratch) = (PostgresPair::start(), Scratch::new());
        let mut pool = lab::pairs::pool(&pair, "127.0.0.1:0", &json!({"guard": guard}));
        pool["check"] = json!({"postgres": {"user": "mainstay"}, "interval": "200ms", "fall": 5});
        edit(&mut pool);
        let mut settings = json!({"log": {"level": "info", "format": "json"}, "state_dir": scratch.directory(), "pools": [pool]});
        let site = Site::start(&mut settings, &scratch.path("admin.sock"));
        let guarded = Self { site, pair, settings, scratch };
        guarded.both_are_seen();
        guarded
    }

    /// What both are made of is known.
    fn both_are_seen(&self) {
        until("both prints", || {
            let diff: Value = serde_json::from_str(&self.site.process.get("/api/v1/pools/orders/diff").1).ok()?;
            diff["backends"].as_array()?.iter().all(|backend| backend["print"].is_string()).then_some(())
        });
        until("db-b may take over", || (self.pool()["failover_ready"] == true).then_some(()));
    }

    /// mainstay ends as by `kill -9`, and another one starts.
    fn restart(self) -> Self {
        let Self { site, pair, mut settings, scratch } = self;
        drop(site);
        let site = Site::start(&mut settings, &scratch.path("admin.sock"));
        Self { site, pair, settings, scratch }
    }

    fn pool(&self) -> Value {
        self.site.process.status()["pools"][0].clone()
    }

    /// The state of a backend's proof, and what is said of it.
    fn proof(&self, node: usize) -> (String, String) {
        let backend = self.pool()["backends"][node].clone();
        let text = |key: &str| backend[key].as_str().unwrap_or_default().to_owned();
        (text("proof"), text("proof_what"))
    }

    fn is(&self, node: usize, state: &str) -> String {
        self.comes_to(node, &format!("{} is {state}", NAMES[node]), |is, _| is == state)
    }

    /// Waits for what it comes to. That a busy machine makes one node slower than the other is no subject here.
    fn comes_to(&self, node: usize, what: &str, is: impl Fn(&str, &str) -> bool) -> String {
        within(2 * READ, what, || {
            let (state, said) = self.proof(node);
            if state == "failed" && said.starts_with("probe_latency") {
                self.site.run(&["prove", &format!("orders/{}", NAMES[node])]);
                return None;
            }
            is(&state, &said).then_some(said)
        })
    }

    /// An update, as far as mainstay can see one: a setting that nobody set alike on the other node.
    fn change(&self, node: usize, value: &str) {
        self.pair.administer(node, &format!("ALTER SYSTEM SET random_page_cost = {value}"));
        self.pair.administer(node, "SELECT pg_reload_conf()");
    }

    /// States of a backend's proof, in the order in which they were told.
    fn told(&self, node: usize, kind: &str) -> Vec<String> {
        let list: Value = serde_json::from_str(&self.site.process.get("/api/v1/events").1).unwrap();
        let events = list["events"].as_array().unwrap().iter();
        let of = events.filter(|event| event["kind"] == kind && event["backend"] == NAMES[node]);
        of.map(|event| event["to"].as_str().unwrap().to_owned()).collect()
    }

    fn errors(&self) -> Vec<String> {
        let log = self.site.process.log().into_iter();
        let errors = log.filter(|line| line["level"] == "ERROR");
        errors.map(|line| line["message"].as_str().unwrap().to_owned()).collect()
    }

    fn promote_by_hand(&self) {
        self.pair.cluster.node(0).kill9().unwrap();
        self.pair.cluster.node(1).promote().unwrap();
    }
}

#[test]
fn a_standby_that_has_changed_is_told_and_proves_itself() {
    let guarded = Guarded::new(&json!({"soak": "3s", "ignore": ["work_mem"]}));
    guarded.pair.administer(1, "ALTER SYSTEM SET work_mem = '64MB'");
    guarded.change(1, "2.5");
    let ready =
        |value| (guarded.site.process.metric("mainstay_failover_ready_reason", &[("reason", "unproven")]) == value).then_some(());
    within(READ, "it is not ready", || ready(1));
    let what = guarded.is(1, "proving");
    assert!(what.contains("guard.soak") || what.contains("random_page_cost"), "{what}");
    assert_eq!(guarded.is(1, "proven"), "");
    within(READ, "it is ready again", || ready(0));
    let told = guarded.told(1, "proof");
    assert_eq!(
        (told.first().map(String::as_str), told.last().map(String::as_str)),
        (Some("unproven"), Some("proven")),
        "{told:?}"
    );
    assert!(told.contains(&"proving".to_owned()), "{told:?}");
    let log = guarded.site.process.log();
    let first = log.iter().find(|line| line["message"] == "proof changed").unwrap();
    assert!(first["what"].as_str().unwrap().contains("random_page_cost"), "{first}");
    assert!(!first["what"].as_str().unwrap().contains("work_mem"), "{first}");
    assert_eq!(guarded.told(0, "proof"), [""; 0]);
    // The role may not read pg_file_settings, and is not refused it either.
    for node in guarded.pair.cluster.nodes() {
        assert!(!node.log().contains("ERROR"), "{}", node.log());
    }
}

#[test]
fn an_operation_to_one_that_failed_is_refused_until_a_person_approves() {
    let guarded = Guarded::new(&json!({"soak": "0s", "proofs": [{"name": "not_here", "sql": NOT_ON_A_STANDBY}]}));
    guarded.site.run(&["prove", "orders"]).is_refused("there is nothing to prove");
    guarded.change(1, "2.5");
    let what = guarded.is(1, "failed");
    assert!(what.contains("not_here") && what.contains("division by zero"), "{what}");
    guarded.site.run(&["switchover", "orders", "--to", "db-b"]).is_refused("not_here");
    guarded.site.run(&["switchover", "orders", "--to", "db-b", "--force", "--dry-run"]).is_done("switchover from db-a to db-b");
    guarded.site.run(&["approve", "orders/db-b"]).is_refused("`reason` is needed");
    guarded.site.run(&["approve", "orders/db-b", "--reason", "seen", "--dry-run"]).is_done("nothing was changed");
    assert_eq!(guarded.proof(1).0, "failed");
    guarded.site.run(&["approve", "orders/db-b", "--reason", "the query is wrong"]).is_done("until it changes again");
    let (state, what) = guarded.proof(1);
    assert!(state == "approved" && what.contains("the query is wrong"), "{state}: {what}");
    guarded.site.run(&["switchover", "orders", "--to", "db-b", "--dry-run"]).is_done("switchover from db-a to db-b");
    let kept = || std::fs::read_to_string(guarded.scratch.path("orders.prints.json")).ok();
    until("the decision is kept", || kept()?.contains("the query is wrong").then_some(()));
    // The decision outlives mainstay, and holds for one state of the server.
    let guarded = guarded.restart();
    guarded.both_are_seen();
    guarded.is(1, "approved");
    guarded.change(1, "3.5");
    guarded.is(1, "failed");
    guarded.change(1, "2.5");
    guarded.is(1, "approved");
    guarded.site.run(&["reject", "orders/db-b", "--reason", "it was right"]).is_done("until it changes again");
    assert!(guarded.is(1, "failed").contains("it was right"));
    guarded.site.run(&["prove", "orders/db-x"]).is_refused("there is no backend of this name");
}

#[test]
fn a_proof_that_fails_on_the_active_one_too_is_not_to_blame() {
    let guarded = Guarded::new(&json!({"soak": "0s", "proofs": [{"name": "broken", "sql": "SELECT 1 / 0"}]}));
    guarded.change(1, "2.5");
    assert!(guarded.is(1, "inconclusive").contains("broken"));
}

#[test]
fn warn_serves_from_whoever_is_promoted() {
    let guarded = Guarded::new(&json!({"proofs": [{"name": "not_here", "sql": NOT_ON_A_STANDBY}]}));
    guarded.change(1, "2.5");
    guarded.is(1, "failed");
    guarded.promote_by_hand();
    guarded.site.serves("db-b");
    Client::open(guarded.site.process.address, "app").unwrap().query("INSERT INTO t VALUES (1)").unwrap();
}

#[test]
fn enforce_serves_from_one_that_proves_itself_while_clients_wait() {
    let guarded = Guarded::new(&json!({"mode": "enforce", "last_resort": "hold", "soak": "1h"}));
    guarded.change(1, "2.5");
    guarded.is(1, "proving");
    guarded.promote_by_hand();
    guarded.site.serves("db-b");
    assert_eq!(guarded.proof(1).0, "proven");
}

#[test]
fn quick_proofs_that_take_their_time_are_not_given_up_and_all_others_follow() {
    let scratch = Scratch::new();
    let broken = scratch.path("broken");
    let command = scratch.script(&format!("[ ! -e {} ]", broken.display()));
    let slow = json!([{"name": "slow", "sql": "SELECT pg_sleep(1.1)"}, {"name": "command", "exec": [command]}]);
    let guarded = Guarded::new(&json!({"mode": "enforce", "last_resort": "hold", "soak": "1h", "proofs": slow}));
    guarded.change(1, "2.5");
    within(READ, "it has to last", || guarded.proof(1).1.contains("guard.soak").then_some(()));
    std::fs::write(&broken, "").unwrap();
    guarded.promote_by_hand();
    guarded.site.serves("db-b");
    // The command is not run while clients wait, and fails afterwards. Its sessions go on.
    assert!(guarded.is(1, "failed").contains("command"));
    assert_eq!(guarded.site.active().as_deref(), Some("db-b"));
}

#[test]
fn what_was_mended_while_clients_wait_is_found() {
    let fails = json!([{"name": "fails", "sql": "SELECT 1 / (current_setting('work_mem') <> '4MB')::int"}]);
    let guarded = Guarded::new(&json!({"mode": "enforce", "last_resort": "hold", "proofs": fails, "ignore": ["work_mem"]}));
    guarded.change(1, "2.5");
    guarded.is(1, "inconclusive");
    guarded.promote_by_hand();
    until("nobody may serve", || (guarded.pool()["verdict"] == "no_proven_node").then_some(()));
    guarded.pair.administer(1, "ALTER SYSTEM SET work_mem = '64MB'");
    guarded.pair.administer(1, "SELECT pg_reload_conf()");
    guarded.site.run(&["prove", "orders/db-b"]).is_done("its proofs begin");
    within(READ, "db-b is active", || (guarded.site.active()? == "db-b").then_some(()));
}

#[test]
fn a_restart_without_a_change_is_no_change() {
    let guarded = Guarded::new(&json!({"mode": "enforce", "last_resort": "hold", "soak": "1h"}));
    for node in [1, 0] {
        guarded.pair.cluster.node(node).stop_fast().unwrap();
        guarded.pair.cluster.node(node).start().unwrap();
        guarded.site.serves("db-a");
        until("both are as they were", || (guarded.proof(0).0 == "proven" && guarded.proof(1).0 == "proven").then_some(()));
        until("db-b follows", || (guarded.pool()["failover_ready"] == true).then_some(()));
    }
    // Nobody is called for what is only to be read again.
    assert_eq!(guarded.errors(), [""; 0]);
    // The doubt of then makes no quick proof of a later change.
    guarded.change(1, "2.5");
    within(READ, "it has to last", || guarded.proof(1).1.contains("guard.soak").then_some(()));
}

#[test]
fn a_primary_that_was_restarted_and_is_another_is_an_error() {
    let fails = json!([{"name": "fails", "sql": "SELECT 1 / (2.5 - current_setting('random_page_cost')::numeric)"}]);
    let guarded = Guarded::new(&json!({"mode": "enforce", "last_resort": "hold", "proofs": fails}));
    // It counts from the restart on.
    guarded.pair.administer(0, "ALTER SYSTEM SET random_page_cost = 2.5");
    guarded.pair.cluster.node(0).stop_fast().unwrap();
    guarded.pair.cluster.node(0).start().unwrap();
    within(READ, "its proof fails", || (guarded.proof(0).0 == "failed").then_some(()));
    let errors = until("it is told", || Some(guarded.errors()).filter(|errors| !errors.is_empty()));
    assert!(errors.len() == 1 && errors[0].contains("has changed and has not proven itself"), "{errors:?}");
}

/// Two that are written to are worse than none.
#[test]
fn nobody_is_told_to_promote_beside_a_primary_that_lives() {
    let fails = json!([{"name": "fails", "sql": "SELECT 1 / (2.5 - current_setting('random_page_cost')::numeric)"}]);
    let guarded = Guarded::with(&json!({"mode": "enforce", "last_resort": "hold", "proofs": fails}), |pool| {
        pool["promotion"] = json!({"how": "none"});
    });
    // It is the active one at first, and then a primary that serves nobody.
    guarded.site.run(&["switchover", "orders", "--to", "db-b"]).is_refused("stop db-a, which is a primary, and only then");
    guarded.pair.administer(0, "ALTER SYSTEM SET random_page_cost = 2.5");
    guarded.pair.cluster.node(0).stop_fast().unwrap();
    guarded.pair.cluster.node(0).start().unwrap();
    within(READ, "its proof fails", || (guarded.proof(0).0 == "failed").then_some(()));
    assert_eq!(guarded.site.active(), None);
    guarded.site.run(&["promote", "orders", "--to", "db-b"]).is_refused("stop db-a, which is a primary, and only then");
    guarded.pair.cluster.node(0).kill9().unwrap();
    let refused = || guarded.site.run(&["promote", "orders", "--to", "db-b"]).err;
    until("it is gone", || refused().contains("make sure that the old primary has stopped, and only then").then_some(()));
}

#[test]
fn enforce_holds_the_clients_of_one_that_fails() {
    let fails = json!([{"name": "fails", "sql": "SELECT 1 / (2.5 - current_setting('random_page_cost')::numeric)"}]);
    let guarded = Guarded::new(&json!({"mode": "enforce", "last_resort": "hold", "proofs": fails}));
    guarded.change(1, "2.5");
    guarded.is(1, "failed");
    guarded.promote_by_hand();
    until("nobody may serve", || (guarded.pool()["verdict"] == "no_proven_node").then_some(()));
    let told = guarded.site.run(&["status"]);
    assert!(told.out.contains("db-b is failed: fails"), "{}", told.out);
    guarded.site.run(&["approve", "orders/db-b", "--reason", "better than nobody"]).is_done("until it changes again");
    guarded.site.serves("db-b");
}

#[test]
fn the_last_one_serves_unless_that_is_forbidden() {
    let fails = json!([{"name": "fails", "sql": "SELECT 1 / (2.5 - current_setting('random_page_cost')::numeric)"}]);
    let guarded = Guarded::new(&json!({"mode": "enforce", "proofs": fails}));
    guarded.change(1, "2.5");
    guarded.is(1, "failed");
    guarded.promote_by_hand();
    guarded.site.serves("db-b");
    assert_eq!(guarded.proof(1).0, "failed");
}

#[test]
fn sessions_of_an_active_one_that_changes_in_place_go_on() {
    let guarded = Guarded::new(&json!({"mode": "enforce", "last_resort": "hold", "soak": "1h"}));
    let mut client = Client::open(guarded.site.process.address, "app").unwrap();
    client.query("INSERT INTO t VALUES (1)").unwrap();
    guarded.change(0, "2.5");
    guarded.is(0, "proving");
    client.query("INSERT INTO t VALUES (2)").unwrap();
    Client::open(guarded.site.process.address, "app").unwrap().query("INSERT INTO t VALUES (3)").unwrap();
    assert_eq!(guarded.pool()["epoch"], 1);
}

#[test]
fn a_promoter_is_told_whom_not_to_choose() {
    let scratch = Scratch::new();
    let told = scratch.path("told");
    let hook = scratch.script(&format!("echo \"$MAINSTAY_BACKEND $MAINSTAY_CAUSE\" >>{}", told.display()));
    let guarded = Guarded::new(&json!({"soak": "0s", "on_unproven": {"exec": [hook]}}));
    guarded.change(1, "2.5");
    let lines = || std::fs::read_to_string(&told).unwrap_or_default();
    guarded.comes_to(1, "it is told twice", |_, _| lines().lines().count() == 2);
    assert_eq!(lines(), "db-b unproven\ndb-b proven\n");
}

/// It is read at a pace that costs nothing, so this much takes some seconds.
#[test]
fn a_proof_that_says_very_much_costs_no_memory() {
    let scratch = Scratch::new();
    let command = scratch.script("head -c 16777216 /dev/zero | tr '\\0' x");
    let talks = json!([{"name": "talks", "exec": [command], "timeout": "5m"}]);
    let guarded = Guarded::new(&json!({"soak": "0s", "proofs": talks}));
    let memory = || guarded.site.process.metric("process_resident_memory_bytes", &[]);
    let (before, mut most) = (memory(), 0);
    guarded.change(1, "2.5");
    within(5 * READ, "it has proven itself", || {
        most = most.max(memory());
        (guarded.told(1, "proof").last()? == "proven").then_some(())
    });
    assert!(most < before + (12 << 20), "{before} bytes before, {most} at most");
}

#[test]
fn a_database_that_cannot_commit_is_left_where_that_is_wanted() {
    let guarded = Guarded::new(&json!({"on_commit_stuck": "failover"}));
    // It waits for a standby that does not exist.
    guarded.pair.administer(0, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    guarded.pair.administer(0, "SELECT pg_reload_conf()");
    within(READ, "db-b is active", || (guarded.site.active()? == "db-b").then_some(()));
    Client::open(guarded.site.process.address, "app").unwrap().query("INSERT INTO t VALUES (1)").unwrap();
    let operation = &guarded.site.operations()[0];
    assert!(operation["by"] == "mainstay" && operation["reason"].as_str().unwrap().contains("cannot commit"), "{operation}");
}

#[test]
fn a_server_to_which_nobody_writes_is_left_alone() {
    let guarded = Guarded::new(&json!({}));
    let tried = |line: &str| line.starts_with("mainstay_commit_probe_seconds{") && !line.ends_with(" 0");
    until("a commit was tried", || guarded.site.process.get("/metrics").1.lines().any(tried).then_some(()));
    let end = || guarded.pair.cluster.node(0).query("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')").unwrap();
    let bytes = |rows: lab::session::Rows| rows[0][0].clone().unwrap().parse::<u64>().unwrap();
    let before = bytes(end());
    // Three more looks at least.
    let looks = Watch::start();
    within(READ, "three looks", || (looks.elapsed() > Duration::from_secs(16)).then_some(()));
    assert!(bytes(end()) <= before + 1024, "{before} {}", bytes(end()));
}

#[test]
fn one_commit_waits_however_often_mainstay_starts() {
    let guarded = Guarded::new(&json!({}));
    guarded.pair.cluster.node(1).sigstop_all();
    Client::open(guarded.site.process.address, "app").unwrap().ask("INSERT INTO t VALUES (1)").unwrap();
    let waiting = |guarded: &Guarded| {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = 'mainstay'";
        guarded.pair.cluster.node(0).query(sql).unwrap()[0][0].clone().unwrap()
    };
    let mut guarded = guarded;
    for _ in 0..3 {
        within(READ, "it is told", || guarded.told(0, "commit").contains(&"stuck".to_owned()).then_some(()));
        assert!(["0", "1"].contains(&&*waiting(&guarded)), "{} wait", waiting(&guarded));
        guarded = guarded.restart();
        guarded.site.serves("db-a");
    }
    guarded.pair.cluster.node(1).sigcont_all();
}

#[test]
fn a_database_that_cannot_commit_is_seen() {
    let guarded = Guarded::new(&json!({}));
    let standby = guarded.pair.cluster.node(1);
    let tried = |line: &str| line.starts_with("mainstay_commit_probe_seconds{") && !line.ends_with(" 0");
    until("commits are tried", || guarded.site.process.get("/metrics").1.lines().any(tried).then_some(()));
    let frozen = Watch::start();
    standby.sigstop_all();
    Client::open(guarded.site.process.address, "app").unwrap().ask("INSERT INTO t VALUES (1)").unwrap();
    within(patience(), "it is told", || guarded.told(0, "commit").contains(&"stuck".to_owned()).then_some(()));
    assert!(frozen.unhindered() < Duration::from_secs(10), "{:?}", frozen.elapsed());
    // It goes on serving: a failover would not help.
    assert_eq!(guarded.site.active().as_deref(), Some("db-a"));
    standby.sigcont_all();
    within(patience(), "it is over", || (guarded.told(0, "commit") == ["stuck", "done"]).then_some(()));
}
