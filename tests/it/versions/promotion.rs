//! Who is served after a promotion, by whomever it was made.

use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::Duration,
};

use lab::{
    servers::mysql::mysql,
    session::Endpoint,
    transactions::{Client as _, mysql::Client},
};
use serde_json::{Value, json};

use crate::{
    promoter::{Writers, none_lost},
    promotion::{
        AT_ONCE, LATE, LATER, Promotion, SOON,
        automatic::{fence, others::site, promotion},
        pools, promote, reason, serves,
    },
    support::{
        mysql::MySql,
        process::{Process, settings},
        scratch::Scratch,
        wait::{Watch, until},
    },
};

/// Statements of a client that comes through mainstay.
fn through(process: &Process, statements: &str) -> Result<String, String> {
    let port = format!("--port={}", process.address.port());
    mysql(&["--protocol=tcp", "--host=127.0.0.1", "--user=root", &port], statements)
}

/// By every command of an operator, some time after its source died, fell silent, or while it lives.
#[test]
fn a_replica_is_served_however_and_whenever_it_is_promoted() {
    let mut source = MySql::start(&[]);
    let replicas = source.replicas(7, &["--super-read-only"]);
    source.sql("CREATE DATABASE d");
    let position = source.sql("SELECT @@gtid_executed");
    for replica in &replicas {
        until("the replica has it", || (replica.sql("SELECT @@gtid_executed") == position).then_some(()));
    }
    let addresses: Vec<_> = replicas.iter().map(MySql::address).collect();
    let process = pools(&json!({"mysql": {"user": "root"}}), source.address(), &addresses);
    let order = |pool: usize, delay, statements: &'static str| {
        let replica = &replicas[pool];
        Promotion::new(pool, delay, move || drop(replica.sql(statements)))
    };
    source.signal("-KILL");
    let dead = vec![
        order(0, AT_ONCE, "STOP REPLICA; SET GLOBAL read_only = 0"),
        order(1, AT_ONCE, "STOP REPLICA; RESET REPLICA ALL; SET GLOBAL read_only = 0"),
        order(2, SOON, "SET GLOBAL super_read_only = 0; SET GLOBAL read_only = 0; STOP REPLICA"),
        order(3, LATER, "STOP REPLICA; SET GLOBAL read_only = 0"),
        order(4, LATE, "STOP REPLICA FOR CHANNEL ''; RESET REPLICA; SET GLOBAL read_only = 0"),
        order(5, LATER, "STOP REPLICA IO_THREAD; STOP REPLICA SQL_THREAD; SET GLOBAL read_only = 0"),
    ];
    promote(&process, dead);
    assert_eq!(through(&process, "SELECT @@port").unwrap(), replicas[0].port.to_string());

    // The old one returns, and takes writes: it serves only those whom nobody has left. No number of MySQL's tells that it is the older
    // one, so it is not fenced: it might serve, and whoever is active stays.
    let both = |pool: usize| {
        until("both are primaries", || {
            (process.status()["pools"][pool]["conflict"] == true && reason(&process, pool, 0) == "eligible").then_some(())
        });
        serves(&process, pool, "new");
    };
    source.restart();
    serves(&process, 6, "old");
    (0..6).for_each(both);
    until("the last replica follows again", || replicas[6].follows().then_some(()));
    source.signal("-STOP");
    promote(
        &process,
        vec![order(6, LATER, "STOP REPLICA; RESET REPLICA ALL; SET GLOBAL super_read_only = 0, GLOBAL read_only = 0")],
    );
    source.signal("-CONT");
    both(6);
    // Without the new one the old one is used again.
    replicas[0].signal("-KILL");
    serves(&process, 0, "old");
}

#[test]
fn clients_of_a_killed_primary_wait_for_the_promotion_of_its_replica() {
    let primary = MySql::start(&[]);
    let replica = primary.replica(&["--super-read-only"]);
    let mut settings = settings(&[primary.address(), replica.address()]);
    settings["pools"][0]["check"] = json!({"mysql": {"user": "root"}});
    let process = Process::start(&settings).serving();
    let serving = || process.status()["pools"][0]["active"].clone();
    through(&process, "CREATE DATABASE d; CREATE TABLE d.t (i INT AUTO_INCREMENT PRIMARY KEY)").unwrap();
    let (stop, written) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let write = || {
            let mut failed = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                match through(&process, "INSERT INTO d.t VALUES ()") {
                    Ok(_) => drop(written.fetch_add(1, Ordering::Relaxed)),
                    // What was under way when the server died; a connect that fails has another number.
                    Err(error)
                        if (error.contains("ERROR 2013") && !error.contains("initial")) || error.contains("ERROR 2026") => {}
                    Err(error) => failed.push(error),
                }
            }
            failed
        };
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(write)).collect();
        until("clients write", || (written.load(Ordering::Relaxed) > 20).then_some(()));
        primary.signal("-KILL");
        until("nobody is active", || serving().is_null().then_some(()));
        replica.sql("STOP REPLICA; RESET REPLICA ALL; SET GLOBAL read_only = 0");
        let promoted = Watch::start();
        until("the replica serves", || (serving() == "db-b").then_some(()));
        let took = promoted.unhindered();
        println!("served {took:?} after its promotion");
        let so_far = written.load(Ordering::Relaxed);
        until("clients write on", || (written.load(Ordering::Relaxed) > so_far + 20).then_some(()));
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            assert_eq!(client.join().unwrap(), Vec::<String>::new(), "connects failed");
        }
        assert!(took < Duration::from_secs(1), "{took:?}");
    });
}

/// Semi-synchronous replication. The primary may have written what its replica has not confirmed yet, and then nobody has an answer.
#[test]
fn nothing_acknowledged_is_lost_where_the_source_waits_for_its_replica() {
    let mut source = MySql::start(&["--plugin-load-add=semisync_source.so"]);
    let arguments = ["--super-read-only", "--plugin-load-add=semisync_replica.so", "--loose-rpl-semi-sync-replica-enabled=ON"];
    let replica = source.replica(&arguments);
    source.sql("CREATE DATABASE d; CREATE TABLE d.t (i BIGINT PRIMARY KEY); CREATE USER app@'%'; GRANT INSERT ON d.* TO app@'%'");
    until("the replica has it", || replica.try_sql("SHOW GRANTS FOR app@'%'").ok().filter(|grants| grants.contains("INSERT")));
    source.sql("SET GLOBAL rpl_semi_sync_source_timeout = 600000; SET GLOBAL rpl_semi_sync_source_enabled = ON");
    until("it waits for its replica", || {
        (source.status("Rpl_semi_sync_source_clients") == "1" && source.status("Rpl_semi_sync_source_status") == "ON")
            .then_some(())
    });
    let backends = [source.address(), replica.address()];
    let site = site(&backends, &json!({"mysql": {"user": "root"}}), &promotion(&json!({})));
    site.sees(2);
    let Endpoint::Tcp(address) = site.endpoint() else { panic!("a unix socket") };
    let acknowledged = Writers::during(
        || Client::login(address).unwrap(),
        |client, number| client.say(&format!("INSERT INTO d.t VALUES ({number})")).is_ok(),
        || {
            source.kill();
            site.serves("db-b");
        },
    );
    none_lost(&acknowledged, &replica.sql("SELECT i FROM d.t"));
    assert_eq!(site.promotions("done"), 1);
    Client::login(address).unwrap().say("INSERT INTO d.t VALUES (1000000)").unwrap();
}

/// mainstay promotes by itself: not while the replica hears the primary, nor one that lacks something.
#[test]
fn a_killed_primary_is_replaced_by_itself() {
    let scratch = Scratch::new();
    let mut source = MySql::start(&[]);
    let replica = source.replica(&["--super-read-only"]);
    source.sql("CREATE DATABASE d");
    let has_all = |source: &MySql| {
        let position = source.sql("SELECT @@gtid_executed");
        until("the replica has it", || (replica.sql("SELECT @@gtid_executed") == position).then_some(()));
    };
    has_all(&source);
    let backends = [source.address(), replica.address()];
    let site_with = |promotion: &Value| site(&backends, &json!({"mysql": {"user": "root"}}), promotion);
    {
        let site = site_with(&fence(&scratch, "touch $DIR/fenced", &json!({})));
        source.signal("-STOP");
        site.refuses(&["witness"]);
        source.signal("-CONT");
        site.serves("db-a");
        assert!(!scratch.path("fenced").exists());
    }
    {
        let site = site_with(&promotion(&json!({})));
        replica.sql("STOP REPLICA IO_THREAD");
        source.sql("CREATE DATABASE missing");
        site.sees(2);
        source.kill();
        site.refuses(&["lag"]);
        source.restart();
        site.serves("db-a");
    }
    replica.sql("START REPLICA");
    has_all(&source);
    let site = site_with(&promotion(&json!({})));
    source.sql("CREATE DATABASE e");
    has_all(&source);
    site.sees(2);
    source.kill();
    site.serves("db-b");
    replica.sql("CREATE DATABASE f");
    assert_eq!((site.epoch(), site.promotions("done")), (2, 1));
    // And back, once the old one follows the new one and has all of it.
    drop(site);
    source.restart();
    source.sql("SET GLOBAL super_read_only = 1");
    source.follow(replica.port);
    let position = replica.sql("SELECT @@gtid_executed");
    until("the old one has it", || (source.sql("SELECT @@gtid_executed") == position).then_some(()));
    let mut backends = [source.address(), replica.address()];
    backends.reverse();
    let site = crate::promotion::automatic::others::site(&backends, &json!({"mysql": {"user": "root"}}), &promotion(&json!({})));
    site.sees(2);
    replica.signal("-KILL");
    site.serves("db-b");
    source.sql("CREATE DATABASE g");
}
