//! The steps of `promotion: {how: sql}`, one by one. No mainstay runs here.

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use lab::servers::{
    mysql::{Oracle, mysql},
    mysqld::Flavour as _,
};
use mainstay::control::{probe::Deadline, promotion::Severity};
use serde_json::json;

use crate::{
    promoter::{FAILED, OCCASION, Writers, ample, done, lacks, member, none_lost, promoter, refused, wait},
    support::{mysql::MySql, wait::until},
};

const GRANT: &str = "GRANT SYSTEM_VARIABLES_ADMIN, REPLICATION_SLAVE_ADMIN, RELOAD ON *.* TO 'app'@'%'";

/// An account that may write, and nothing more; another that the pool logs in as; the replica has both.
fn pair(arguments: &[&str]) -> (MySql, MySql) {
    let source = MySql::start(arguments);
    source.sql(
        "CREATE DATABASE d; CREATE TABLE d.t (i BIGINT PRIMARY KEY); \
         CREATE USER writer@'%'; GRANT INSERT ON d.* TO writer@'%'; \
         CREATE USER app@'%'; GRANT REPLICATION CLIENT ON *.* TO app@'%'",
    );
    let replica = source.replica(&[arguments, &["--super-read-only"]].concat());
    until("the replica has it", || replica.try_sql("SHOW GRANTS FOR app@'%'").ok());
    (source, replica)
}

/// One row, by an account that `read_only` holds for.
fn insert(server: &MySql, number: u64) -> bool {
    let port = format!("--port={}", server.port);
    mysql(&["--protocol=tcp", "--host=127.0.0.1", &port, "--user=writer"], &format!("INSERT INTO d.t VALUES ({number})")).is_ok()
}

#[test]
fn a_switchover_under_load_loses_nothing_and_needs_only_the_rights_that_it_names() {
    let (source, replica) = pair(&[]);
    let (from, to) = (member("db-a", source.address()), member("db-b", replica.address()));
    let promoter = promoter(&json!({"mysql": {"user": "app"}}), &json!({"how": "sql"}));

    let missing = wait(promoter.preflight(Some(&from), &to, ample()));
    lacks(
        &missing,
        Severity::Forbids,
        &format!("on db-b the account lacks SYSTEM_VARIABLES_ADMIN, REPLICATION_SLAVE_ADMIN, RELOAD: {GRANT}"),
    );
    let old = "on db-a the account lacks SYSTEM_VARIABLES_ADMIN: GRANT SYSTEM_VARIABLES_ADMIN ON *.* TO 'app'@'%'";
    lacks(&missing, Severity::Forbids, old);
    assert_eq!(missing.len(), 2, "{missing:#?}");
    refused(wait(promoter.demote(&from, &to, &OCCASION, ample())), GRANT);
    refused(wait(promoter.promote(Some(&from), &to, &OCCASION, ample())), GRANT);
    assert!(insert(&source, 1_000_000));

    source.sql(GRANT);
    until("the replica has them", || replica.sql("SHOW GRANTS FOR app@'%'").contains("SYSTEM_VARIABLES_ADMIN").then_some(()));
    assert_eq!(wait(promoter.preflight(Some(&from), &to, ample())), []);
    let acknowledged = Writers::during(
        || (),
        |(), number| insert(&source, number),
        || {
            let words = done(wait(promoter.demote(&from, &to, &OCCASION, ample())));
            assert!(words.starts_with("db-a is read-only, and db-b has all of it ("), "{words}");
            let words = done(wait(promoter.promote(Some(&from), &to, &OCCASION, ample())));
            assert!(words.starts_with("db-b follows nobody and takes writes"), "{words}");
        },
    );
    none_lost(&acknowledged, &replica.sql("SELECT i FROM d.t"));
    assert!(insert(&replica, 2_000_000) && !insert(&source, 2_000_001));

    // And back, after the old one follows again.
    source.follow(replica.port);
    assert_eq!(wait(promoter.preflight(Some(&to), &from, ample())), []);
    done(wait(promoter.demote(&to, &from, &OCCASION, ample())));
    done(wait(promoter.promote(Some(&to), &from, &OCCASION, ample())));
    assert!(insert(&source, 3_000_000) && !insert(&replica, 3_000_001));
}

#[test]
fn a_replica_that_does_not_catch_up_is_not_promoted_and_the_old_one_takes_writes_again() {
    let (source, replica) = pair(&[]);
    let (from, to) = (member("db-a", source.address()), member("db-b", replica.address()));
    let promoter = promoter(&json!({"mysql": {"user": "root"}}), &json!({"how": "sql"}));
    replica.sql("STOP REPLICA SQL_THREAD");
    assert!(insert(&source, 1));
    let why = refused(
        wait(promoter.demote(&from, &to, &OCCASION, Deadline::after(Duration::from_secs(2)))),
        "db-b does not have all of",
    );
    assert!(why.contains("nothing was promoted"), "{why}");
    assert!(!insert(&source, 2), "it is read-only until that is taken back");
    assert!(done(wait(promoter.undo_demote(&from, ample()))).contains("takes writes again"));
    assert!(insert(&source, 2));
    assert_eq!(source.sql("SELECT @@super_read_only + @@read_only"), "0");
    replica.sql("START REPLICA SQL_THREAD");
    until("it has caught up", || (replica.sql("SELECT COUNT(*) FROM d.t") == "2").then_some(()));
}

#[test]
fn without_numbers_nothing_is_promoted() {
    let source = MySql::start(&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"]);
    let replica = source.replica_by_position(&["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF", "--super-read-only"]);
    let (from, to) = (member("db-a", source.address()), member("db-b", replica.address()));
    let promoter = promoter(&json!({"mysql": {"user": "root"}}), &json!({"how": "sql"}));
    lacks(&wait(promoter.preflight(Some(&from), &to, ample())), Severity::Forbids, "turn on gtid_mode");
    refused(wait(promoter.demote(&from, &to, &OCCASION, ample())), "turn on gtid_mode");
}

/// A session that holds a lock, until this is dropped.
struct Held<'a> {
    server: &'a MySql,
    child: Child,
}

const HOLDS: &str = "SELECT id FROM performance_schema.processlist WHERE info LIKE '%SLEEP(600)' AND id <> CONNECTION_ID()";

impl<'a> Held<'a> {
    fn new(server: &'a MySql, lock: &str) -> Self {
        let mut command = Command::new(Oracle::client());
        let socket = format!("--socket={}", server.socket().display());
        command.args(["--no-defaults", &socket, "--user=root", &format!("--execute={lock}; SELECT SLEEP(600)")]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let held = Self { server, child };
        until("it holds the lock", || (!server.sql(HOLDS).is_empty()).then_some(()));
        held
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let _ = self.server.try_sql(&format!("KILL {}", self.server.sql(HOLDS)));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `SET GLOBAL super_read_only` waits for whoever holds a lock. Given up in the middle, it must not happen later.
#[test]
fn a_demotion_that_waits_and_is_given_up_never_happens_afterwards() {
    let (source, replica) = pair(&[]);
    let (from, to) = (member("db-a", source.address()), member("db-b", replica.address()));
    let promoter = promoter(&json!({"mysql": {"user": "root"}}), &json!({"how": "sql"}));
    let waits = || {
        let waiting = "SELECT COUNT(*) FROM performance_schema.processlist WHERE info = 'SET GLOBAL super_read_only = 1'";
        source.sql(waiting) == "1"
    };
    let held = Held::new(&source, "LOCK TABLES d.t WRITE");
    wait(async {
        tokio::select! {
            ended = promoter.demote(&from, &to, &OCCASION, Deadline::after(Duration::from_mins(10))) => panic!("{ended:?}"),
            () = crate::support::wait::until_async("it waits", async || waits().then_some(())) => {}
        }
    });
    done(wait(promoter.undo_demote(&from, ample())));
    assert!(!waits(), "the statement is still there");
    drop(held);
    until("the lock is gone", || insert(&source, 1).then_some(()));
    assert_eq!(source.sql("SELECT @@super_read_only + @@read_only"), "0");
}

/// What the receiving thread has is in the relay log; what is in it is lost with the end of replication.
#[test]
fn a_replica_applies_all_that_it_received_before_it_is_promoted_after_a_death() {
    let (mut source, replica) = pair(&[]);
    let to = member("db-b", replica.address());
    let promoter = promoter(&json!({"mysql": {"user": "root"}}), &json!({"how": "sql"}));
    assert!(insert(&source, 0));
    until("the replica has it", || (replica.sql("SELECT COUNT(*) FROM d.t") == "1").then_some(()));
    // Its workers wait for a lock, while the thread that gives them their work has read everything.
    let held = Held::new(&replica, "SET GLOBAL super_read_only = 0; BEGIN; SELECT i FROM d.t WHERE i >= 0 FOR UPDATE");
    for number in 1..4 {
        assert!(insert(&source, number));
    }
    let read_all = || replica.replication("Replica_SQL_Running_State").contains("has read all relay log");
    let written = source.sql("SELECT @@gtid_executed").replace('\n', "");
    until("it has received all", || {
        let received = replica.replication("Retrieved_Gtid_Set").replace('\n', "");
        let last = |set: &str| set.rsplit(['-', ':']).next().unwrap_or_default().to_owned();
        (last(&received) == last(&written) && read_all()).then_some(())
    });
    source.kill();
    let late = Deadline::after(Duration::from_secs(4));
    refused(wait(promoter.promote(None, &to, &FAILED, late)), "has not applied all that it received");
    thread::scope(|scope| {
        let ended = scope.spawn(|| wait(promoter.promote(None, &to, &FAILED, ample())));
        drop(held);
        done(ended.join().unwrap());
    });
    assert_eq!(replica.sql("SELECT COUNT(*) FROM d.t"), "4");
    assert!(insert(&replica, 20));
    assert_eq!(replica.sql("SHOW REPLICA STATUS"), "");
}

#[test]
fn a_replica_of_two_sources_is_not_made_to_forget_one() {
    let (source, replica) = pair(&[]);
    let other = MySql::start(&[]);
    let (from, to) = (member("db-a", source.address()), member("db-b", replica.address()));
    let promoter = promoter(&json!({"mysql": {"user": "root"}}), &json!({"how": "sql"}));
    replica.sql(&format!(
        "CHANGE REPLICATION SOURCE TO source_host='127.0.0.1', source_port={}, source_user='root', source_auto_position=1 \
         FOR CHANNEL 'other'; START REPLICA FOR CHANNEL 'other'",
        other.port
    ));
    lacks(&wait(promoter.preflight(Some(&from), &to, ample())), Severity::Forbids, "db-b follows 2 sources");
    refused(wait(promoter.promote(None, &to, &FAILED, ample())), "mainstay would forget all of them");
    assert_eq!(replica.sql("SHOW REPLICA STATUS").lines().count(), 2);
}

/// The only source may have a name.
#[test]
fn a_channel_with_a_name_is_ended_as_any_other() {
    let (source, _) = pair(&[]);
    let replica = MySql::start(&["--super-read-only"]);
    replica.sql(&format!(
        "CHANGE REPLICATION SOURCE TO source_host='127.0.0.1', source_port={}, source_user='root', source_auto_position=1 \
         FOR CHANNEL 'it''s'; START REPLICA",
        source.port
    ));
    until("the replica has it", || replica.try_sql("SHOW GRANTS FOR app@'%'").ok());
    let (from, to) = (member("db-a", source.address()), member("db-b", replica.address()));
    let promoter = promoter(&json!({"mysql": {"user": "root"}}), &json!({"how": "sql"}));
    assert_eq!(wait(promoter.preflight(Some(&from), &to, ample())), []);
    done(wait(promoter.demote(&from, &to, &OCCASION, ample())));
    done(wait(promoter.promote(Some(&from), &to, &OCCASION, ample())));
    assert_eq!(replica.sql("SHOW REPLICA STATUS"), "");
    assert!(insert(&replica, 1));
}
