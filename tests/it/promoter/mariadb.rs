//! `MariaDB`: `read_only`, a wait for the position, the end of replication.

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use mainstay::control::{probe::Deadline, promotion::Severity};
use serde_json::json;

use super::{FAILED, OCCASION, Writers, ample, done, lacks, member, none_lost, promoter, refused, wait};
use crate::support::{mariadb::MariaDb, wait::until};

const GRANT: &str = "GRANT READ_ONLY ADMIN, REPLICATION SLAVE ADMIN, RELOAD ON *.* TO 'app'@'%'";

/// An account that may write, and nothing more; another that the pool logs in as; the replica has both.
fn pair() -> (MariaDb, MariaDb) {
    pair_with(&[])
}

fn pair_with(arguments: &[&str]) -> (MariaDb, MariaDb) {
    let source = MariaDb::start(&[]);
    source.sql(
        "CREATE DATABASE d; CREATE TABLE d.t (i BIGINT PRIMARY KEY); \
         CREATE USER writer@'%'; GRANT INSERT ON d.* TO writer@'%'; \
         CREATE USER app@'%'; GRANT SLAVE MONITOR ON *.* TO app@'%'",
    );
    let replica = source.replica(&[&["--read-only"], arguments].concat());
    until("the replica has it", || replica.try_sql("SHOW GRANTS FOR app@'%'").ok());
    (source, replica)
}

/// One row, by an account that `read_only` holds for.
fn insert(server: &MariaDb, number: u64) -> bool {
    let port = format!("--port={}", server.port);
    let arguments = ["--host=127.0.0.1", &port, "--user=writer"];
    crate::support::mariadb::mariadb(&arguments, &format!("INSERT INTO d.t VALUES ({number})")).is_ok()
}

#[test]
fn a_switchover_under_load_loses_nothing_and_needs_only_the_rights_that_it_names() {
    let (source, replica) = pair();
    let (from, to) = (member("db-a", source.address()), member("db-b", replica.address()));
    let promoter = promoter(&json!({"mysql": {"user": "app"}}), &json!({"how": "sql"}));

    let missing = wait(promoter.preflight(Some(&from), &to, ample()));
    lacks(
        &missing,
        Severity::Forbids,
        &format!("on db-b the account lacks READ_ONLY ADMIN, REPLICATION SLAVE ADMIN, RELOAD: {GRANT}"),
    );
    lacks(&missing, Severity::Forbids, "on db-a the account lacks READ_ONLY ADMIN: GRANT READ_ONLY ADMIN ON *.* TO 'app'@'%'");
    assert_eq!(missing.len(), 2, "{missing:#?}");
    refused(wait(promoter.demote(&from, &to, &OCCASION, ample())), GRANT);
    refused(wait(promoter.promote(Some(&from), &to, &OCCASION, ample())), GRANT);
    assert!(insert(&source, 1_000_000));

    source.sql(GRANT);
    let granted = || replica.sql("SHOW GRANTS FOR app@'%'").contains("READ_ONLY ADMIN");
    until("the replica has them", || granted().then_some(()));
    assert_eq!(wait(promoter.preflight(Some(&from), &to, ample())), []);
    let acknowledged = Writers::during(
        || (),
        |(), number| insert(&source, number),
        || {
            let words = done(wait(promoter.demote(&from, &to, &OCCASION, ample())));
            assert!(words.starts_with("db-a is read-only, and db-b has all of it (0-"), "{words}");
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
    let (source, replica) = pair();
    let (from, to) = (member("db-a", source.address()), member("db-b", replica.address()));
    let promoter = promoter(&json!({"mysql": {"user": "root"}}), &json!({"how": "sql"}));
    replica.sql("STOP SLAVE SQL_THREAD");
    assert!(insert(&source, 1));
    let why = refused(
        wait(promoter.demote(&from, &to, &OCCASION, Deadline::after(Duration::from_secs(2)))),
        "db-b does not have all of",
    );
    assert!(why.contains("nothing was promoted"), "{why}");
    assert!(!insert(&source, 2), "it is read-only until that is taken back");
    assert!(done(wait(promoter.undo_demote(&from, ample()))).contains("takes writes again"));
    assert!(insert(&source, 2));
    replica.sql("START SLAVE SQL_THREAD");
    until("it has caught up", || (replica.sql("SELECT COUNT(*) FROM d.t") == "2").then_some(()));
}

/// A session that holds a lock, until this is dropped.
struct Locked<'a> {
    server: &'a MariaDb,
    child: Child,
}

const HOLDS: &str = "SELECT id FROM information_schema.processlist WHERE info LIKE '%SLEEP(600)' AND id <> CONNECTION_ID()";

impl<'a> Locked<'a> {
    fn new(server: &'a MariaDb) -> Self {
        Self::with(server, "LOCK TABLES d.t WRITE")
    }

    fn with(server: &'a MariaDb, lock: &str) -> Self {
        let socket = format!("--socket={}", server.socket().display());
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", &socket, "--user=root", &format!("--execute={lock}; SELECT SLEEP(600)")]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let locked = Self { server, child };
        until("it holds the lock", || (!server.sql(HOLDS).is_empty()).then_some(()));
        locked
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        let _ = self.server.try_sql(&format!("KILL {}", self.server.sql(HOLDS)));
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `SET GLOBAL read_only` waits for whoever holds a lock. Given up in the middle, it must not happen later.
#[test]
fn a_demotion_that_waits_and_is_given_up_never_happens_afterwards() {
    let (source, replica) = pair();
    let (from, to) = (member("db-a", source.address()), member("db-b", replica.address()));
    let promoter = promoter(&json!({"mysql": {"user": "root"}}), &json!({"how": "sql"}));
    let waits = || {
        let waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE info = 'SET GLOBAL read_only = 1'";
        source.sql(waiting) == "1"
    };
    let locked = Locked::new(&source);
    wait(async {
        tokio::select! {
            ended = promoter.demote(&from, &to, &OCCASION, Deadline::after(Duration::from_mins(10))) => panic!("{ended:?}"),
            () = crate::support::wait::until_async("it waits", async || waits().then_some(())) => {}
        }
    });
    done(wait(promoter.undo_demote(&from, ample())));
    assert!(!waits(), "the statement is still there");
    drop(locked);
    until("the lock is gone", || insert(&source, 1).then_some(()));
    assert_eq!(source.sql("SELECT @@read_only"), "0");
}

#[test]
fn a_replica_applies_all_that_it_received_before_it_is_promoted_after_a_death() {
    let (mut source, replica) = pair();
    let to = member("db-b", replica.address());
    let promoter = promoter(&json!({"mysql": {"user": "root"}}), &json!({"how": "sql"}));
    replica.sql("STOP SLAVE SQL_THREAD");
    for number in 0..20 {
        assert!(insert(&source, number));
    }
    let position = source.sql("SELECT @@gtid_binlog_pos");
    until("it has received all", || replica.sql("SHOW ALL SLAVES STATUS\\G").contains(&position).then_some(()));
    source.kill();
    let late = Deadline::after(Duration::from_secs(2));
    refused(wait(promoter.promote(None, &to, &FAILED, late)), "has not applied all that it received");
    thread::scope(|scope| {
        let ended = scope.spawn(|| wait(promoter.promote(None, &to, &FAILED, ample())));
        replica.sql("START SLAVE SQL_THREAD");
        done(ended.join().unwrap());
    });
    assert_eq!(replica.sql("SELECT COUNT(*) FROM d.t"), "20");
    assert!(insert(&replica, 20));
    assert_eq!(replica.sql("SHOW ALL SLAVES STATUS"), "");
}

/// The thread that gives the others their work has read everything before they have applied it.
#[test]
fn a_replica_with_threads_that_apply_beside_each_other_applies_all_of_it_as_well() {
    let (mut source, replica) = pair_with(&["--slave-parallel-threads=4"]);
    let to = member("db-b", replica.address());
    let promoter = promoter(&json!({"mysql": {"user": "root"}}), &json!({"how": "sql"}));
    assert!(insert(&source, 0));
    until("the replica has it", || (replica.sql("SELECT COUNT(*) FROM d.t") == "1").then_some(()));
    let locked = Locked::with(&replica, "BEGIN; SELECT i FROM d.t WHERE i >= 0 FOR UPDATE");
    for number in 1..20 {
        assert!(insert(&source, number));
    }
    let position = source.sql("SELECT @@gtid_binlog_pos");
    until("it has received all", || replica.sql("SHOW ALL SLAVES STATUS\\G").contains(&position).then_some(()));
    source.kill();
    let late = Deadline::after(Duration::from_secs(4));
    refused(wait(promoter.promote(None, &to, &FAILED, late)), "has not applied all that it received");
    thread::scope(|scope| {
        let ended = scope.spawn(|| wait(promoter.promote(None, &to, &FAILED, ample())));
        drop(locked);
        done(ended.join().unwrap());
    });
    assert_eq!(replica.sql("SELECT COUNT(*) FROM d.t"), "20");
}

#[test]
fn a_replica_of_two_sources_is_not_made_to_forget_one() {
    let (source, replica) = pair();
    let other = MariaDb::start(&["--gtid-domain-id=5"]);
    let (from, to) = (member("db-a", source.address()), member("db-b", replica.address()));
    let promoter = promoter(&json!({"mysql": {"user": "root"}}), &json!({"how": "sql"}));
    replica.sql(&format!(
        "CHANGE MASTER 'other' TO master_host='127.0.0.1', master_port={}, master_user='root', master_use_gtid=slave_pos; START SLAVE 'other'",
        other.port
    ));
    lacks(&wait(promoter.preflight(Some(&from), &to, ample())), Severity::Forbids, "db-b follows 2 sources");
    refused(wait(promoter.promote(None, &to, &FAILED, ample())), "mainstay would forget all of them");
    assert_eq!(replica.sql("SHOW ALL SLAVES STATUS").lines().count(), 2);
}
