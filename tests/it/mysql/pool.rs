//! A pool of real servers: what becomes of clients.

use std::{
    net::TcpStream,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::support::{
    mariadb::{MariaDb, mariadb},
    process::{Process, settings},
    wait::{Watch, until},
};

/// Settings of a pool of these two, checked as root.
pub(super) fn before(servers: &[&MariaDb]) -> Value {
    let addresses: Vec<_> = servers.iter().map(|server| server.address()).collect();
    let mut settings = settings(&addresses);
    settings["pools"][0]["check"] = json!({"mysql": {"user": "root"}});
    settings
}

/// Statements of a client that comes through mainstay.
pub(crate) fn through(process: &Process, statements: &str) -> Result<String, String> {
    let port = format!("--port={}", process.address.port());
    mariadb(&["--protocol=tcp", "--host=127.0.0.1", "--user=root", &port], statements)
}

fn serving(process: &Process) -> Value {
    process.status()["pools"][0]["active"].clone()
}

#[test]
fn clients_of_a_killed_primary_wait_for_the_promotion_of_its_replica() {
    let primary = MariaDb::start(&[]);
    let replica = primary.replica(&["--read-only"]);
    let process = Process::start(&before(&[&primary, &replica])).serving();
    assert_eq!(serving(&process), "db-a");
    through(&process, "CREATE DATABASE d; CREATE TABLE d.t (i INT AUTO_INCREMENT PRIMARY KEY)").unwrap();
    let (stop, written) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut failed = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        match through(&process, "INSERT INTO d.t VALUES ()") {
                            Ok(_) => drop(written.fetch_add(1, Ordering::Relaxed)),
                            // What was under way when the server died; a connect that fails has another number.
                            Err(error) if error.contains("ERROR 2013") && !error.contains("initial") => {}
                            Err(error) => failed.push(error),
                        }
                    }
                    failed
                })
            })
            .collect();
        until("clients write", || (written.load(Ordering::Relaxed) > 20).then_some(()));
        primary.signal("-KILL");
        until("nobody is active", || serving(&process).is_null().then_some(()));
        replica.sql("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0");
        let promoted = Watch::start();
        until("the replica serves", || (serving(&process) == "db-b").then_some(()));
        let took = promoted.unhindered();
        let so_far = written.load(Ordering::Relaxed);
        until("clients write on", || (written.load(Ordering::Relaxed) > so_far + 20).then_some(()));
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            assert_eq!(client.join().unwrap(), Vec::<String>::new(), "connects failed");
        }
        assert!(took < Duration::from_secs(1), "{took:?}");
    });
    assert_eq!(process.status()["pools"][0]["last_failover"]["cause"], "down");
}

#[test]
fn a_switchover_moves_the_clients_and_an_old_primary_that_returns_is_fenced() {
    let mut primary = MariaDb::start(&[]);
    let replica = primary.replica(&["--read-only"]);
    let process = Process::start(&before(&[&primary, &replica])).serving();
    through(&process, "CREATE DATABASE d; CREATE TABLE d.t (i INT PRIMARY KEY)").unwrap();
    let mut client = process.connect();
    // A person's switchover: no more writes here, all of them there, then the roles change.
    primary.sql("SET GLOBAL read_only = 1");
    until("nobody takes writes", || serving(&process).is_null().then_some(()));
    let position = primary.sql("SELECT @@gtid_binlog_pos");
    assert_eq!(replica.sql(&format!("SELECT MASTER_GTID_WAIT('{position}', 10)")), "0");
    replica.sql("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0");
    until("the new primary serves", || (serving(&process) == "db-b").then_some(()));
    assert!(is_over(&mut client), "a session with a demoted primary goes on");
    through(&process, "INSERT INTO d.t VALUES (1)").unwrap();
    // The old one comes back as what its own settings say: one that takes writes.
    primary.signal("-KILL");
    primary.restart();
    until("there is a conflict", || (process.metric("mainstay_primary_conflict", &[]) == 1).then_some(()));
    until("it is fenced", || {
        (process.status()["pools"][0]["backends"][0]["reason"].as_str().is_some_and(|reason| reason.starts_with("fenced")))
            .then_some(())
    });
    assert_eq!(serving(&process), "db-b");
    assert_eq!(through(&process, "SELECT @@server_id").unwrap(), replica.port.to_string());
    // Without the new one the old one gets nobody.
    replica.signal("-KILL");
    until("nobody is active", || serving(&process).is_null().then_some(()));
    assert!(process.status()["pools"][0]["backends"][0]["reason"].as_str().is_some_and(|reason| reason.starts_with("fenced")));
}

fn is_over(client: &mut TcpStream) -> bool {
    use std::io::Read;
    let mut bytes = [0; 1024];
    loop {
        match client.read(&mut bytes) {
            Ok(0) => return true,
            // The greeting of a server that this client never answered.
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn a_client_that_waits_in_vain_is_told_in_its_own_protocol() {
    let server = MariaDb::start(&["--read-only"]);
    let mut settings = before(&[&server]);
    settings["pools"][0]["hold"] = json!({"timeout": "300ms"});
    let process = Process::start(&settings);
    until("it is known", || (process.status()["pools"][0]["backends"][0]["reason"] == "read_only").then_some(()));
    let error = through(&process, "SELECT 1").unwrap_err();
    assert!(error.contains("1053") && error.contains("mainstay: no database node may serve now"), "{error}");
    // One that waits gets nothing until somebody serves: the greeting comes from the server.
    settings["pools"][0]["hold"] = json!({"timeout": "30s"});
    let patient = Process::start(&settings);
    thread::scope(|scope| {
        let client = scope.spawn(|| through(&patient, "SELECT @@server_id"));
        until("it is held", || (patient.metric("mainstay_connections_held", &[]) == 1).then_some(()));
        server.sql("SET GLOBAL read_only = 0");
        assert_eq!(client.join().unwrap().unwrap(), server.port.to_string());
    });
}

#[test]
fn a_wrong_password_fails_nothing_over() {
    let primary = MariaDb::start(&[]);
    let replica = primary.replica(&["--read-only"]);
    primary.sql("CREATE USER probe; GRANT SLAVE MONITOR ON *.* TO probe");
    until("the replica has it", || replica.sql("SELECT COUNT(*) FROM mysql.user WHERE user = 'probe'").eq("1").then_some(()));
    let mut settings = before(&[&primary, &replica]);
    settings["pools"][0]["check"] = json!({"mysql": {"user": "probe"}, "fresh_login": "1s"});
    let process = Process::start(&settings).serving();
    let before = process.metric("mainstay_transitions_total", &[]);
    primary.sql("ALTER USER probe IDENTIFIED BY 'new'");
    let refused = || process.metric("mainstay_probes_total", &[("backend", "db-a"), ("outcome", "misconfigured")]);
    until("the check is refused", || (refused() > 0).then_some(()));
    until("there is an alert", || (process.status()["pools"][0]["backends"][0]["alert"] == "misconfigured").then_some(()));
    through(&process, "SELECT 1").unwrap();
    primary.sql("ALTER USER probe IDENTIFIED BY ''");
    until("the alert is gone", || process.status()["pools"][0]["backends"][0]["alert"].is_null().then_some(()));
    assert_eq!(serving(&process), "db-a");
    assert_eq!(process.metric("mainstay_transitions_total", &[]), before);
}
