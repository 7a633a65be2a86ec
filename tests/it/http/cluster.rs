//! In front of a real Patroni cluster: etcd, two nodes, synchronous replication.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use mainstay::{
    config::{CheckKind, HttpCheck, PostgresCheck, TlsMode},
    control::probe,
    failover::{Outcome, Role},
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    child::Lines,
    patroni::{Cluster, LONG, sql_at},
    postgres::binaries,
    process::{Process, settings},
    wait::{Watch, patience, until, within},
};

/// Settings of a pool of the two nodes, with this check at its default times.
fn before(cluster: &Cluster, check: Value) -> Value {
    let mut settings = settings(&[cluster.address(0), cluster.address(1)]);
    settings["pools"][0]["check"] = check;
    for (backend, node) in settings["pools"][0]["backends"].as_array_mut().unwrap().iter_mut().zip(&cluster.nodes) {
        backend["name"] = json!(node.name);
    }
    settings
}

fn both(cluster: &Cluster) -> Value {
    json!({"postgres": {"tls": "off"}, "http": {"port": cluster.api}})
}

fn active(process: &Process) -> Value {
    process.status()["pools"][0]["active"].clone()
}

/// A client that keeps its session.
struct Session {
    child: Child,
    lines: Lines,
}

impl Session {
    fn open(address: SocketAddr) -> Self {
        let connection = format!("host={} port={} user=postgres dbname=postgres", address.ip(), address.port());
        let mut psql = binaries().command("psql");
        psql.args(["-XqAtw", &connection]).env("LC_ALL", "C.UTF-8").env("PGPASSWORD", "secret");
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Lines::of(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The answer to a query that has one line; `None` when the session is over.
    fn ask(&mut self, sql: &str) -> Option<String> {
        writeln!(self.child.stdin.as_mut().unwrap(), "{sql};").ok()?;
        self.lines.next()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const WHERE: &str = "SELECT inet_server_addr()";

#[test]
fn the_leader_is_found_a_frozen_api_moves_nobody_and_a_switchover_moves_everybody() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader().unwrap();
    let other = 1 - leader;
    roles_by_http_alone(&cluster, leader);
    hundreds_of_probes_leave_no_line(&cluster);

    let process = Process::start(&before(&cluster, both(&cluster))).serving();
    assert_eq!(active(&process), cluster.nodes[leader].name);
    let mut session = Session::open(process.address);
    assert_eq!(session.ask(WHERE).unwrap(), cluster.nodes[leader].ip.to_string());

    // P19: the API hangs, the database is well.
    let transitions = || process.metric("mainstay_transitions_total", &[]);
    let (quiet, epoch) = (transitions(), process.status()["pools"][0]["epoch"].clone());
    let names = [leader, other].map(|node| cluster.nodes[node].name);
    let answers = || process.metric("mainstay_probes_total", &[("backend", names[0]), ("outcome", "ok")]);
    let (probed, began) = (answers(), Instant::now());
    cluster.nodes[leader].signal_patroni(Signal::STOP);
    until("mainstay says that the API is silent", || {
        let status = process.status();
        let backend = status["pools"][0]["backends"].as_array().unwrap().iter().find(|backend| backend["name"] == names[0]);
        let evidence = backend?["last_probe"]["evidence"].as_str()?.to_owned();
        evidence.contains("the HTTP check says nothing").then_some(())
    });
    process.logged("gives no second opinion");
    until("it is probed on", || (answers() >= probed + 5).then_some(()));
    let frozen = began.elapsed();
    cluster.nodes[leader].signal_patroni(Signal::CONT);
    // No bound of mainstay's, but what the rest rests upon.
    assert!(frozen < Duration::from_secs(15), "longer than the leader's lock lasts: {frozen:?}");
    process.logged("gives a second opinion again");
    for stance in ["silent", "agrees"] {
        // The log may be read before the event is there.
        until(stance, || {
            let events = process.get("/api/v1/events?since=0").1;
            (events.contains("second_opinion") && events.contains(&format!("\"to\":\"{stance}\""))).then_some(())
        });
    }
    assert!(!process.log().iter().any(|line| line["message"].as_str().is_some_and(|message| message.contains("was late"))));
    assert_eq!((transitions(), &process.status()["pools"][0]["epoch"]), (quiet, &epoch), "the frozen API moved somebody");

    // Patroni is upgraded, as its manual says: in pause, PostgreSQL goes on.
    cluster.control(&["pause", "--wait"]);
    cluster.nodes[leader].restart_patroni();
    within(LONG, "Patroni is back", || (cluster.leader() == Some(leader)).then_some(()));
    cluster.control(&["resume", "--wait"]);
    let probed = answers();
    until("it is probed on", || (answers() >= probed + 3).then_some(()));
    assert_eq!((transitions(), &process.status()["pools"][0]["epoch"]), (quiet, &epoch), "a restarted Patroni moved somebody");
    assert_eq!(session.ask(WHERE).unwrap(), cluster.nodes[leader].ip.to_string());

    let began = Instant::now();
    cluster.control(&["switchover", "--leader", names[0], "--candidate", names[1], "--force"]);
    within(LONG, "the other node serves", || (active(&process) == names[1]).then_some(()));
    println!("switchover: served again after {:?}", began.elapsed());
    assert_eq!(session.ask(WHERE), None, "a session with the former leader goes on");
    let written = sql_at(process.address, "CREATE TABLE t (i int); INSERT INTO t VALUES (1) RETURNING inet_server_addr()");
    assert_eq!(written.unwrap(), cluster.nodes[other].ip.to_string());
}

/// `check: http` without any other, of both nodes.
fn roles_by_http_alone(cluster: &Cluster, leader: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let system_id: u64 = cluster.sql(leader, "SELECT system_identifier FROM pg_control_system()").unwrap().parse().unwrap();
    let check = CheckKind::Http(HttpCheck { port: Some(cluster.api), ..HttpCheck::default() });
    for node in 0..2 {
        let address = cluster.address(node).to_string().parse().unwrap();
        let finding = runtime.block_on(probe::once(&address, &check, patience())).unwrap();
        let role = if node == leader { Role::Primary } else { Role::Standby };
        assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(role)), "{}", finding.evidence);
        let facts = finding.facts;
        assert_eq!((facts.db_epoch, facts.system_id), (Some(1), Some(system_id)), "{}", finding.evidence);
        assert!(facts.version.as_deref().is_some_and(|version| version.starts_with("15.")), "{facts:?}");
        assert_eq!(facts.lag_bytes.is_some(), role == Role::Standby);
    }
}

/// Of the API, and of the database behind it.
fn hundreds_of_probes_leave_no_line(cluster: &Cluster) {
    const ROUNDS: usize = 100;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let before = [0, 1].map(|node| cluster.log_of(node));
    let http = CheckKind::Http(HttpCheck { port: Some(cluster.api), ..HttpCheck::default() });
    let postgres = CheckKind::Postgres(PostgresCheck { tls: TlsMode::Off, ..PostgresCheck::default() });
    for round in 0..ROUNDS {
        for (node, check) in [(0, &http), (1, &http), (0, &postgres), (1, &postgres)] {
            let address = cluster.address(node).to_string().parse().unwrap();
            let finding = runtime.block_on(probe::once(&address, check, patience())).unwrap();
            assert_eq!(finding.outcome, Outcome::Ok, "{round}, {}: {}", check.name(), finding.evidence);
        }
    }
    for (node, before) in before.iter().enumerate() {
        assert!(before.len() > 5, "this is no log: {before:?}");
        // Both write now and then what their cluster does; of a probe they would write [`ROUNDS`] times, and in these words.
        let after = &cluster.log_of(node)[before.len()..];
        let of_us = |line: &&String| ["GET ", "HTTP/1", "connection", "FATAL", "EOF"].iter().any(|word| line.contains(word));
        assert_eq!(after.iter().find(of_us), None);
        // Whatever its words: what a probe writes, it writes at each. The cluster writes a line a second.
        assert!(after.len() < ROUNDS, "{after:#?}");
    }
}

#[test]
fn the_clients_of_a_killed_leader_wait_for_the_one_that_patroni_promotes() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader().unwrap();
    let other = 1 - leader;
    // The example, with the addresses of the test.
    let example = include_str!("../../../examples/patroni.yaml")
        .replace("10.0.0.1:5432", &cluster.address(0).to_string())
        .replace("10.0.0.2:5432", &cluster.address(1).to_string())
        .replace("db-a", cluster.nodes[0].name)
        .replace("db-b", cluster.nodes[1].name)
        .replace("port: 8008", &format!("port: {}", cluster.api))
        .replace("127.0.0.1:5432", "127.0.0.1:0")
        .replace("127.0.0.1:8432", "127.0.0.1:0")
        .replace("${MAINSTAY_STATE_DIR:-/var/lib/mainstay}", "null")
        .replace("user: mainstay", "user: postgres")
        .replace("password: ${MAINSTAY_PG_PASSWORD:?set it to the password of the role mainstay}", "tls: off");
    let process = Process::start_with(&format!("{example}log: {{level: info, format: json}}\n")).serving();
    assert_eq!(active(&process), cluster.nodes[leader].name);
    assert!(sql_at(process.address, "CREATE TABLE t (i int); INSERT INTO t VALUES (1)").is_some());
    let mut session = Session::open(process.address);
    assert_eq!(session.ask("SELECT count(*) FROM t").unwrap(), "1");

    let began = Watch::start();
    cluster.nodes[leader].kill();
    until("the death is seen", || active(&process).is_null().then_some(()));
    let seen = began.unhindered();
    assert!(seen < Duration::from_secs(2), "{seen:?}");
    assert_eq!(session.ask("SELECT 1"), None);
    within(LONG, "the other node serves", || (active(&process) == cluster.nodes[other].name).then_some(()));
    let ready = within(LONG, "Patroni says it is the leader", || (cluster.leader() == Some(other)).then(|| began.elapsed()));
    println!("killed: seen after {seen:?}, served again after {:?}, Patroni ready after {ready:?}", began.elapsed());
    let count = sql_at(process.address, "INSERT INTO t VALUES (2); SELECT count(*) FROM t").unwrap();
    assert_eq!(count.lines().last(), Some("2"), "what was committed is there, and writes go on");
    assert_eq!(process.status()["pools"][0]["last_failover"]["to"], cluster.nodes[other].name);
}
