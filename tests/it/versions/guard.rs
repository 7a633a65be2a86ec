//! What servers are made of, and the proofs of one that has changed.

use std::time::Duration;

use lab::servers::mysql::mysql;
use mainstay::{config, control::guard::proofs::Scope, route::PrintGroup};
use serde_json::{Value, json};

use crate::{
    prints::{alike, becomes, changes, read, setting},
    proofs::Pool,
    support::{mysql::MySql, wait::until},
};

const UNTOLD: &str = "probe_latency";

const SETTINGS: [&str; 3] =
    ["--report-password=hunter22", "--init-connect=SET @password = 'hunter22'", "--report-host=somewhere"];

#[test]
fn a_primary_and_its_replica_have_the_same_print_whatever_happens() {
    let mut source = MySql::start(&SETTINGS);
    source.sql("CREATE USER plain@'%'; CREATE DATABASE d; CREATE TABLE d.t (i BIGINT PRIMARY KEY)");
    let replica = source.replica(&[&SETTINGS[..], &["--super-read-only", "--report-host=elsewhere"]].concat());
    until("the replica has it", || replica.try_sql("SHOW GRANTS FOR plain@'%'").ok());
    let role = json!({"mysql": {"user": "plain"}});
    let before = read(&role, source.address());
    alike("primary and replica", &before, &read(&role, replica.address()));
    println!("{} items", before.len());
    assert!(before.unseen.is_empty() && before.len() > 500, "{}", before.len());
    assert!(!format!("{before:?}").contains("hunter22"));
    assert_eq!(setting(&before, "init_connect").unwrap().value, "(set)");
    for shown in ["max_connections", "binlog_format", "innodb_redo_log_capacity"] {
        assert!(setting(&before, shown).is_some(), "{shown}");
    }
    for (name, item) in &before.items[&PrintGroup::Setting] {
        if ["hostname", "port", "uuid", "gtid_", "/"].iter().any(|word| name.contains(word) || item.value.contains("/dev/shm")) {
            println!("{name}: {item:?}");
        }
    }
    for i in 0..100 {
        source.sql(&format!("INSERT INTO d.t VALUES ({i})"));
    }
    alike("after writes", &before, &read(&role, source.address()));
    alike("another account", &before, &read(&json!({"mysql": {"user": "root"}}), source.address()));
    source.kill();
    replica.sql("STOP REPLICA; RESET REPLICA ALL; SET GLOBAL read_only = OFF; SET GLOBAL event_scheduler = ON");
    alike("after a promotion", &before, &read(&role, replica.address()));
    source.restart();
    alike("after a restart", &before, &read(&role, source.address()));
}

#[test]
fn every_change_of_a_server_shows() {
    let server = MySql::start(&[]);
    let role = json!({"mysql": {"user": "root"}});
    let node = server.address();
    let before = read(&role, node);
    assert_eq!(before.items[&PrintGroup::Version]["version"].value, server.sql("SELECT VERSION()"));
    server.sql("SET GLOBAL innodb_buffer_pool_size = 33554432");
    let changed = becomes(&role, node, "innodb_buffer_pool_size", "33554432");
    let size = changes(&before, &changed);
    println!("{size:?}");
    assert!(size.contains(&r#"setting innodb_buffer_pool_size: "16MB", then "32MB""#.to_owned()), "{size:?}");
    server.sql("SET GLOBAL optimizer_switch = 'index_merge=off'");
    let switched = read(&role, node);
    assert_eq!(changes(&changed, &switched), [r#"setting optimizer_switch.index_merge: "on", then "off""#]);
    server.sql("INSTALL PLUGIN rewriter SONAME 'rewriter.so'");
    let loaded = changes(&switched, &read(&role, node));
    println!("{loaded:?}");
    assert!(loaded.iter().any(|one| one.to_lowercase().starts_with("plugin rewriter: absent, then")), "{loaded:?}");
    let with_plugin = read(&role, node);
    server.sql("INSTALL COMPONENT 'file://component_log_filter_dragnet'");
    let component = changes(&with_plugin, &read(&role, node));
    println!("{component:?}");
    assert!(!component.is_empty(), "a component shows by its variables");
}

fn pool() -> Pool {
    Pool::new(&json!({"mysql": {"user": "app"}}), &json!({}))
}

fn pair(arguments: &[&str]) -> (MySql, MySql) {
    let source = MySql::start(&[]);
    source.sql("CREATE USER app@'%'; GRANT REPLICATION CLIENT ON *.* TO app@'%'");
    let replica = source.replica(&[&["--super-read-only"], arguments].concat());
    until("the replica has it", || replica.try_sql("SHOW GRANTS FOR app@'%'").ok().filter(|grants| grants.contains("CLIENT")));
    (source, replica)
}

#[test]
fn each_proof_is_failed_by_a_server_that_lacks_something() {
    let (source, replica) = pair(&["--max-connections=10"]);
    let prove = || pool().prove(replica.address(), Some(source.address()));
    prove().all_but(&[UNTOLD]);
    // What whoever promotes sets.
    replica.sql("SET GLOBAL super_read_only = 0; SET GLOBAL super_read_only = 1; SET GLOBAL event_scheduler = ON");
    prove().all_but(&[UNTOLD]);
    // A variable that the next restart takes back, and one that it does not.
    replica.sql("SET GLOBAL super_read_only = 0; SET PERSIST long_query_time = 3; SET GLOBAL super_read_only = 1");
    prove().all_but(&[UNTOLD]);
    replica.sql("SET GLOBAL long_query_time = 4");
    prove().failed("pending_restart", "is in no file: long_query_time; the active one: no variable was set");
    replica.sql("SET GLOBAL long_query_time = 3");
    prove().all_but(&[UNTOLD]);
    replica.sql("SET GLOBAL sync_binlog = 7");
    prove().failed("pending_restart", "is in no file: sync_binlog; the active one: no variable was set");
    source.sql("SET GLOBAL sync_binlog = 7");
    prove().inconclusive("pending_restart", "sync_binlog");
    let ignoring = Pool::new(&json!({"mysql": {"user": "app"}}), &json!({"ignore": ["sync_binlog"]}));
    ignoring.prove(replica.address(), Some(source.address())).all_but(&[UNTOLD]);
    // It does not apply, then it does not receive.
    let quick = || pool().prove_in(Scope::Quick, replica.address(), Some(source.address()));
    replica.sql("STOP REPLICA SQL_THREAD");
    quick().failed("replication", "receiving: Yes, applying: No");
    replica.sql("STOP REPLICA");
    quick().failed("replication", "receiving: No, applying: No");
    replica.sql("START REPLICA");
    until("it follows", || replica.follows().then_some(()));
    prove().passed("replication");
    // Sessions.
    let sleepers: Vec<_> =
        (0..10).map(|_| std::net::TcpStream::connect_timeout(&source.address(), Duration::from_secs(5)).unwrap()).collect();
    until("they are there", || source.status("Threads_connected").parse::<u32>().ok().filter(|count| *count > 11));
    prove().failed("max_connections", "max_connections takes 10 sessions, and the active one has 1");
    drop(sleepers);
    // One that follows nobody, beside one that serves.
    let other = MySql::start(&[]);
    other.sql("CREATE USER app@'%'; GRANT REPLICATION CLIENT ON *.* TO app@'%'");
    pool().prove(other.address(), Some(source.address())).failed("replication", "it follows nobody");
    other.sql("REVOKE REPLICATION CLIENT ON *.* FROM app@'%'");
    pool().prove(other.address(), None).skipped("replication", "GRANT REPLICATION CLIENT ON *.* TO app@%");
}

fn pool_with(sql: &str) -> Value {
    let guard = json!({"proofs": [{"name": "q", "sql": sql}]});
    json!({"name": "orders", "listen": "127.0.0.1:5432", "backends": ["db-a:5432"], "check": "mysql", "guard": guard})
}

#[test]
fn queries_of_the_user_are_compared_bounded_and_write_nothing() {
    let (source, replica) = pair(&["--log-bin-trust-function-creators=ON"]);
    source.sql("SET GLOBAL log_bin_trust_function_creators = 1");
    source.sql(
        "CREATE DATABASE d; CREATE TABLE d.t (i INT PRIMARY KEY); INSERT INTO d.t VALUES (1), (2); GRANT ALL ON d.* TO app@'%'",
    );
    let socket = format!("--socket={}", source.socket().display());
    let function = "CREATE FUNCTION d.writes() RETURNS INT BEGIN INSERT INTO d.t VALUES (9); RETURN 1; END";
    mysql(&["--user=root", &socket, "--delimiter=//"], function).unwrap();
    until("the replica has it", || replica.try_sql("SELECT 1 FROM d.t").ok());
    let position = source.sql("SELECT @@gtid_executed");
    until("the replica has all of it", || (replica.sql("SELECT @@gtid_executed") == position).then_some(()));
    let proofs = |proofs: Value| Pool::new(&json!({"mysql": {"user": "app"}}), &json!({ "proofs": proofs }));
    let prove = |one: Value| proofs(json!([one])).prove(replica.address(), Some(source.address()));
    let same = |sql: &str| json!({"name": "q", "sql": sql, "same_as": "active"});
    prove(same("SELECT i FROM d.t ORDER BY i")).passed("q");
    prove(json!({"name": "q", "sql": "SELECT COUNT(*) FROM d.t", "same_as": "active", "slower_at_most": "50x"})).passed("q");
    prove(same("SELECT @@server_id")).failed("q", "");
    // Slow, by each way of being slow.
    for slow in [
        "SELECT SLEEP(30)",
        "SELECT BENCHMARK(100000000000, SHA2('x', 512))",
        "SELECT COUNT(*) FROM information_schema.COLUMNS a, information_schema.COLUMNS b, information_schema.COLUMNS c",
    ] {
        println!("{slow}");
        let results = prove(json!({"name": "q", "sql": slow, "timeout": "2s"}));
        assert!(format!("{results}").contains("did not end") || format!("{results}").contains("interrupted"), "{results}");
    }
    // What would write, on the active one too, where nothing but the transaction forbids it.
    for write in [
        "SELECT 1 INTO OUTFILE '/tmp/mainstay-proof'",
        "SELECT 1; INSERT INTO d.t VALUES (3)",
        "WITH n AS (SELECT 3 AS i) DELETE FROM d.t",
        "SELECT d.writes()",
        "SELECT i FROM d.t FOR UPDATE",
        "SELECT GET_LOCK('mainstay', 0)",
    ] {
        println!("{write}");
        let loaded = config::parse(&json!({"pools": [pool_with(write)]}).to_string(), "mainstay.yaml", &|_| None);
        match loaded {
            Err(refused) => println!("refused as configuration: {refused}"),
            Ok(_) => drop(proofs(json!([{"name": "q", "sql": write}])).prove(source.address(), None)),
        }
    }
    assert_eq!(source.sql("SELECT @@gtid_executed"), position, "something was written");
    assert_eq!(source.sql("SELECT COUNT(*) FROM d.t"), "2");
    until("nothing of it runs on", || (replica.status("Threads_running").parse::<u32>().unwrap() <= 8).then_some(()));
    let busy = "SELECT COUNT(*) FROM performance_schema.processlist WHERE user = 'app' AND command = 'Query'";
    until("no query of a proof is left", || (replica.sql(busy) == "0").then_some(()));
}
