//! Queries of the user: what they must not do, what they may cost, and how their answers are compared.

use std::{net::SocketAddr, time::Duration};

use mainstay::control::guard::proofs::{ProofResult, Scope};
use serde_json::{Value, json};

use super::{Pool, local};
use crate::support::{
    mariadb::MariaDb,
    postgres::Postgres,
    wait::{Watch, until},
};

fn pool(sql: &str, more: &Value) -> Pool {
    // A dollar sign of its own is written twice.
    let mut proof = json!({"name": "mine", "sql": sql.replace('$', "$$"), "timeout": "2s"});
    proof.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Pool::proving("postgres", &json!([proof]))
}

fn tables(server: &Postgres) {
    server.sql(
        "CREATE TABLE t (i int PRIMARY KEY, s text); INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 100) g;
         CREATE SEQUENCE numbers",
    );
}

struct Pair {
    here: Postgres,
    active: Postgres,
}

impl Pair {
    /// Two servers with the same tables, either of which can be changed alone.
    fn new() -> Self {
        let pair = Self { here: Postgres::primary(&[]), active: Postgres::primary(&[]) };
        tables(&pair.here);
        tables(&pair.active);
        pair
    }

    fn addresses(&self) -> (SocketAddr, Option<SocketAddr>) {
        (local(self.here.port), Some(local(self.active.port)))
    }

    fn prove(&self, sql: &str, more: &Value) -> super::Results {
        let (here, active) = self.addresses();
        pool(sql, more).prove(here, active)
    }
}

/// Each text would write, or leave the transaction, if it were run as it stands.
#[test]
fn nothing_writes_and_nothing_leaves_the_transaction() {
    let server = Postgres::primary(&[]);
    tables(&server);
    server.sql(
        "CREATE FUNCTION writes() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (1000, 'x'); RETURN 1; END $$;
         CREATE FUNCTION opens() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
           PERFORM set_config('transaction_read_only', 'off', false); INSERT INTO t VALUES (1001, 'x'); RETURN 1; END $$;
         CREATE FUNCTION opens_sql() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
           EXECUTE 'SET TRANSACTION READ WRITE'; INSERT INTO t VALUES (1002, 'x'); RETURN 1; END $$;
         CREATE FUNCTION commits() RETURNS int LANGUAGE plpgsql AS $$ BEGIN COMMIT; INSERT INTO t VALUES (1003, 'x'); RETURN 1; END $$;
         CREATE FUNCTION dies() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'CREATE TABLE made (i int)'; RETURN 1; END $$",
    );
    for sql in [
        "SELECT 1; INSERT INTO t VALUES (1, 'x')",
        "SELECT 1; COMMIT; INSERT INTO t VALUES (2000, 'x')",
        "SELECT 1 FOR UPDATE; COMMIT; BEGIN; INSERT INTO t VALUES (2001, 'x')",
        "WITH a AS (INSERT INTO t VALUES (2002, 'x') RETURNING i) SELECT * FROM a",
        "WITH a AS (DELETE FROM t RETURNING i) SELECT count(*) FROM a",
        "SELECT * FROM t FOR UPDATE",
        "SELECT * INTO made FROM t",
        "SELECT nextval('numbers')",
        "SELECT writes()",
        "SELECT opens()",
        "SELECT opens_sql()",
        "SELECT commits()",
        "SELECT dies()",
        "SELECT $1::int",
        "SELECT 1 -- ; \n; COMMIT",
        "SELECT 1 /* */) ; COMMIT; SELECT (1",
        "(SELECT 1) UNION ALL SELECT writes()",
        "TABLE t; DELETE FROM t",
        "SELECT * FROM nowhere",
        "-- nothing",
        "/* */ INSERT INTO t VALUES (2003, 'x')",
        "-- now\nDELETE FROM t",
        "/**/ COMMIT",
        "/**/ DO $$ BEGIN INSERT INTO t VALUES (2004, 'x'); END $$",
        "/**/ SET default_transaction_read_only = off",
    ] {
        let results = pool(sql, &json!({})).prove(local(server.port), None);
        results.failed("mine", "");
        assert_eq!(
            server.sql("SELECT count(*), max(i), to_regclass('made') IS NULL, (SELECT is_called FROM numbers) FROM t"),
            "100|100|t|f",
            "{sql}"
        );
    }
    // Before PostgreSQL 16 this is no write. The transaction is rolled back all the same.
    pool("SELECT lo_create(0), pg_advisory_xact_lock(1)", &json!({})).prove(local(server.port), None);
    assert_eq!(server.sql("SELECT count(*) FROM pg_largeobject_metadata"), "0");
    assert_eq!(server.sql("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"), "0");
    // What reads is run.
    for sql in [
        "SELECT 1",
        "VALUES (1), (2)",
        "TABLE t;",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "(SELECT 1)",
        "SELECT 1 -- one",
        "/* a */ SELECT ';'",
    ] {
        pool(sql, &json!({})).prove(local(server.port), None).passed("mine");
    }
}

#[test]
fn a_query_that_never_ends_is_ended() {
    let server = Postgres::primary(&[]);
    server.sql(
        "CREATE FUNCTION stubborn() RETURNS int LANGUAGE plpgsql AS $$ BEGIN LOOP BEGIN PERFORM pg_sleep(1000);
           EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$;
         CREATE TABLE held (i int)",
    );
    let queries = || server.sql("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()");
    let watch = Watch::start();
    pool("SELECT pg_sleep(1000)", &json!({"timeout": "1s"})).prove(local(server.port), None).failed("mine", "statement timeout");
    // It catches what the server's own timeout throws. Then its session is ended.
    pool("SELECT stubborn()", &json!({"timeout": "1s"})).prove(local(server.port), None).failed("mine", "did not end");
    println!("{:.1?}", watch.unhindered());
    until("nothing is left of them", || (queries() == "0").then_some(()));
    // A lock that somebody holds.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let endpoint = lab::session::Endpoint::Unix(server.socket());
    let mut holder = runtime.block_on(lab::session::Session::connect(&endpoint, "postgres", "postgres")).unwrap();
    runtime.block_on(holder.query("BEGIN; LOCK TABLE held")).unwrap();
    pool("SELECT * FROM held", &json!({"timeout": "1s"})).prove(local(server.port), None).failed("mine", "timeout");
    // In a hurry its own time is not over.
    let quick = pool("SELECT pg_sleep(1000)", &json!({"timeout": "1m"})).prove_in(Scope::Quick, local(server.port), None);
    quick.unanswered("mine", "there was no time");
    until("nothing is left of it", || (queries() == "0").then_some(()));
}

#[test]
fn an_answer_is_bounded() {
    let pair = Pair::new();
    pair.active.sql("CREATE VIEW many AS SELECT g FROM generate_series(1, 10) g");
    pair.here.sql("CREATE VIEW many AS SELECT g FROM generate_series(1, 1000000) g");
    let same = json!({"same_as": "active", "timeout": "20s"});
    pair.prove("SELECT * FROM many", &json!({"timeout": "20s"})).has("mine", ProofResult::Passed, "more than 10000 rows");
    pair.prove("SELECT * FROM many", &same).failed("mine", "more than 10000 rows here, 10 rows on the active one");
    pair.active.sql("CREATE OR REPLACE VIEW many AS SELECT g FROM generate_series(1, 1000000) g");
    pair.prove("SELECT * FROM many", &same).unanswered("mine", "too many rows to be compared");
    // A row that nobody wants to hold.
    pair.prove("SELECT repeat('x', 10000000)", &json!({"timeout": "20s"})).unanswered("mine", "it sent more for one check");
}

#[test]
fn answers_are_compared_with_those_of_the_active_one() {
    let pair = Pair::new();
    let same = json!({"same_as": "active"});
    let list = json!({"same_as": "active", "order": "list"});
    pair.prove("SELECT * FROM t ORDER BY i", &list).has("mine", ProofResult::Passed, "100 rows");
    // In another order.
    pair.here.sql("CREATE VIEW v AS SELECT * FROM t ORDER BY i DESC");
    pair.active.sql("CREATE VIEW v AS SELECT * FROM t ORDER BY i");
    pair.prove("SELECT * FROM v", &same).passed("mine");
    pair.prove("SELECT * FROM v", &list).failed("mine", "here (100, row 100), there (1, row 1)");
    // Wrong in one row, and NULL is no text.
    pair.here.sql(
        "CREATE FUNCTION answer(i int) RETURNS text LANGUAGE sql AS $$ SELECT CASE WHEN i = 7 THEN 'wrong' ELSE 'right' END $$",
    );
    pair.active.sql("CREATE FUNCTION answer(i int) RETURNS text LANGUAGE sql AS $$ SELECT 'right' $$");
    pair.prove("SELECT i, answer(i) FROM t", &same)
        .failed("mine", "100 rows here, 100 rows on the active one; here (7, wrong), there (7, right)");
    // It fails here alone, there alone, and on both.
    pair.active.sql("CREATE TABLE there (i int)");
    pair.prove("SELECT * FROM there", &same).failed("mine", "the active one: 0 rows");
    pair.here.sql("CREATE TABLE here (i int)");
    pair.prove("SELECT * FROM here", &same).inconclusive("mine", "the active one does not answer");
    pair.prove("SELECT * FROM nowhere", &same).inconclusive("mine", "the active one: ");
    // Nothing stands still.
    pair.prove("SELECT clock_timestamp()", &same).inconclusive("mine", "changes from one moment to the next");
    // Nobody to compare with.
    pool("SELECT 1", &same).prove(local(pair.here.port), None).skipped("mine", "there is no other one");
    pair.active.signal_all("-KILL");
    pair.prove("SELECT 1", &same).inconclusive("mine", "cannot log in");
}

#[test]
fn a_standby_is_compared_while_clients_write() {
    let source = Postgres::primary(&[]);
    tables(&source);
    let standby = source.standby(&[]);
    let socket = lab::session::Endpoint::Unix(source.socket());
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut session = lab::session::Session::connect(&socket, "postgres", "postgres").await.unwrap();
                while !over.load(std::sync::atomic::Ordering::SeqCst) {
                    session.query("UPDATE t SET s = s || 'x' WHERE i = 1").await.unwrap();
                    // A client that thinks.
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            });
        });
        let prove = |sql| pool(sql, &json!({"same_as": "active"})).prove(local(standby.port), Some(local(source.port)));
        // What stands still is the same, at once and whatever the lag.
        let results: Vec<_> = (0..20).map(|_| prove("SELECT * FROM t WHERE i > 1").of("mine").result).collect();
        // What changes is never called different.
        let changing: Vec<_> = (0..3).map(|_| prove("SELECT s FROM t WHERE i = 1").of("mine").result).collect();
        over.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(results.iter().all(|result| *result == ProofResult::Passed), "{results:?}");
        assert!(changing.iter().all(|result| *result != ProofResult::Failed), "{changing:?}");
    });
    // One that applies nothing is not compared.
    standby.sql("SELECT pg_wal_replay_pause()");
    source.sql("UPDATE t SET s = 'y' WHERE i = 2");
    let results = pool("SELECT * FROM t", &json!({"same_as": "active"})).prove(local(standby.port), Some(local(source.port)));
    results.unanswered("mine", "it has not applied what the active one had");
}

#[test]
fn a_query_that_has_become_slow_fails() {
    let pair = Pair::new();
    let slow = |seconds: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION work() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN 1; END $$"
        )
    };
    pair.here.sql(&slow("0.1"));
    pair.active.sql(&slow("0.01"));
    let twice = json!({"slower_at_most": "2x", "timeout": "10s"});
    pair.prove("SELECT work()", &twice).failed("mine", "more than 2x");
    pair.here.sql(&slow("0.01"));
    // A machine that is busy slows both.
    pair.prove("SELECT work()", &json!({"slower_at_most": "4x", "timeout": "10s"})).has(
        "mine",
        ProofResult::Passed,
        "at best of",
    );
    // Both the answer and its time.
    let both = json!({"same_as": "active", "slower_at_most": "4x", "timeout": "10s"});
    pair.prove("SELECT work()", &both).has("mine", ProofResult::Passed, "as the active one; ");
}

#[test]
fn a_role_that_may_not_ask_is_told_what_to_grant() {
    let server = Postgres::primary(&[]);
    tables(&server);
    server.sql("CREATE ROLE probe LOGIN");
    server.hba("host all probe 127.0.0.1/32 trust");
    let check = json!({"postgres": {"user": "probe"}});
    let pool = Pool::new(&check, &json!({"proofs": [{"name": "mine", "sql": "SELECT * FROM t"}]}));
    let results = pool.prove(local(server.port), None);
    results.unanswered("mine", "permission denied for table t").unanswered("mine", "TO probe");
    server.sql("GRANT SELECT ON t TO probe");
    pool.prove(local(server.port), None).passed("mine");
}

fn mariadb(sql: &str, more: &Value) -> Pool {
    // A dollar sign of its own is written twice.
    let mut proof = json!({"name": "mine", "sql": sql.replace('$', "$$"), "timeout": "2s"});
    proof.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Pool::new(&json!({"mysql": {"user": "app"}}), &json!({"proofs": [proof]}))
}

#[test]
fn on_mariadb_nothing_writes_and_what_never_ends_is_ended() {
    let server = MariaDb::start(&[]);
    server.sql(
        "CREATE DATABASE d; CREATE TABLE d.t (i INT PRIMARY KEY) ENGINE=InnoDB; INSERT INTO d.t VALUES (1), (2), (3);
         CREATE USER app@'%'; GRANT ALL ON *.* TO app@'%'; SET GLOBAL log_bin_trust_function_creators = 1;
         \nDELIMITER //\nCREATE FUNCTION d.writes() RETURNS INT MODIFIES SQL DATA BEGIN INSERT INTO d.t VALUES (10); RETURN 1; END//\nDELIMITER ;",
    );
    let prove = |sql: &str| mariadb(sql, &json!({})).prove(server.address(), None);
    let file = std::env::temp_dir().join(format!("mainstay-outfile-{}", std::process::id()));
    let outfile = format!("SELECT 1 INTO OUTFILE '{}'", file.display());
    for sql in [
        "SELECT 1; INSERT INTO d.t VALUES (11)",
        "SELECT d.writes()",
        "WITH a AS (SELECT 1) DELETE FROM d.t",
        "/* */ INSERT INTO d.t VALUES (12)",
        "/* */ COMMIT",
        "/* */ SET GLOBAL read_only = 1",
        "/* */ CREATE TABLE d.made (i INT)",
        "-- a\nDROP TABLE d.t",
        "SELECT 1 /*! INTO OUTFILE '/tmp/x' */",
        &outfile,
        "SELECT * FROM d.nowhere",
    ] {
        prove(sql).failed("mine", "");
        assert_eq!(server.sql("SELECT GROUP_CONCAT(i ORDER BY i) FROM d.t; SHOW TABLES FROM d"), "1,2,3\nt", "{sql}");
    }
    assert!(!file.exists());
    for sql in ["SELECT 1", "SELECT * FROM d.t ORDER BY i", "VALUES (1)", "WITH a AS (SELECT 1) SELECT * FROM a", "SELECT ';'"] {
        prove(sql).passed("mine");
    }
    mariadb("SELECT SLEEP(1000)", &json!({"timeout": "1s"})).prove(server.address(), None).failed("mine", "");
    mariadb("SELECT BENCHMARK(100000000000, SHA2('a', 512))", &json!({"timeout": "1s"}))
        .prove(server.address(), None)
        .failed("mine", "did not end within 1s");
    let left = || server.sql("SELECT COUNT(*) FROM information_schema.processlist WHERE USER = 'app' AND COMMAND = 'Query'");
    until("nothing is left of them", || (left() == "0").then_some(()));
    // Many rows.
    prove("SELECT seq FROM d.t JOIN (SELECT 1 AS one) x JOIN d.seq_1_to_1000000").passed("mine");
}

#[test]
fn on_mariadb_answers_are_compared_and_timed() {
    let active = MariaDb::start(&[]);
    active.sql("CREATE DATABASE d; CREATE TABLE d.t (i INT PRIMARY KEY); INSERT INTO d.t VALUES (1), (2), (3); CREATE USER app@'%'; GRANT ALL ON *.* TO app@'%'");
    let here = active.replica(&["--read-only"]);
    until("it has them", || here.try_sql("SELECT COUNT(*) FROM d.t").ok().filter(|count| count == "3"));
    let prove = |sql: &str, more: &Value| mariadb(sql, more).prove(here.address(), Some(active.address()));
    let same = json!({"same_as": "active", "slower_at_most": "100x"});
    prove("SELECT * FROM d.t", &same).has("mine", ProofResult::Passed, "at best of");
    active.sql("INSERT INTO d.t SELECT seq FROM d.seq_4_to_500");
    prove("SELECT COUNT(*) FROM d.t", &same).passed("mine");
    here.sql("SET GLOBAL read_only = 0; SET SESSION sql_log_bin = 0; DELETE FROM d.t WHERE i = 2");
    prove("SELECT * FROM d.t", &same).failed("mine", "499 rows here, 500 rows on the active one; here no such row, there (2)");
    here.sql("SET SESSION sql_log_bin = 0; CREATE FUNCTION d.work() RETURNS INT NO SQL RETURN SLEEP(0.2)");
    active.sql("SET SESSION sql_log_bin = 0; CREATE FUNCTION d.work() RETURNS INT NO SQL RETURN SLEEP(0.02)");
    prove("SELECT d.work()", &json!({"slower_at_most": "2x", "timeout": "10s"})).failed("mine", "more than 2x");
}
