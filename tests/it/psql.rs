//! A real client through mainstay to a real server: encrypted end to end, and cancelling its query.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use mainstay::{
    app::{self, Running},
    config::{CheckKind, Config, PostgresCheck},
    failover::{Election, Policy, label::Label},
    reason::CloseReason,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    child::output,
    config::tcp_pool,
    front::{client, end},
    postgres::{Postgres, binaries},
    scratch::Scratch,
    wait::{Watch, until},
};

fn pool(server: &Postgres) -> Config {
    let mut config = tcp_pool(&[([127, 0, 0, 1], server.port).into()]);
    config.pools[0].check.kind = CheckKind::Postgres(PostgresCheck::default());
    config.pools[0].policy = Policy { election: Election::ByRole, ..Policy::default() };
    config
}

fn front(server: &Postgres) -> Running {
    start(&pool(server))
}

fn start(config: &Config) -> Running {
    let running = app::start(config).unwrap();
    until("the primary is active", || running.snapshots[0].get().active);
    running
}

/// Which timer runs on each connection to `port`, and when it goes off: `proc_net_tcp` in the kernel's documentation, whose 2 is
/// keepalive and whose clock has 100 ticks a second.
fn timers(port: u16) -> Vec<(String, Duration)> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let to_port = format!(":{port:04X}");
    let fields = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let timers = fields.filter(|fields| fields[2].ends_with(&to_port)).map(|fields| fields[5].split_once(':').unwrap());
    timers.map(|(timer, ticks)| (timer.to_owned(), Duration::from_millis(10 * u64::from_str_radix(ticks, 16).unwrap()))).collect()
}

#[test]
fn a_server_that_is_waited_for_before_there_is_a_relay_has_keepalive_from_the_start() {
    let server = Postgres::primary(&[]);
    let mut config = pool(&server);
    // So long that the checks' own connections cannot be meant.
    config.pools[0].listeners[0].keepalive.idle = Duration::from_hours(5);
    let running = start(&config);
    let _silent = client(running.listeners[0][0][0]);
    let own = |(timer, left): &(String, Duration)| timer == "02" && *left > Duration::from_hours(4);
    let started = Watch::start();
    until("its connection to the server has keepalive", || timers(server.port).iter().any(own).then_some(()));
    assert!(started.unhindered() < Duration::from_millis(900), "only after {:?}", started.elapsed());
}

fn psql(running: &Running, connection: &str, sql: &str) -> Child {
    let port = running.listeners[0][0][0].port();
    binaries()
        .command("psql")
        .args(["-XAtw", "-c", sql, &format!("host=127.0.0.1 port={port} dbname=postgres {connection}")])
        .env("PGPASSWORD", "secret")
        .env("LC_ALL", "C")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql is part of the PostgreSQL client")
}

fn said(child: Child) -> (String, String) {
    let output = output(child);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
    (text(output.stdout), text(output.stderr))
}

#[test]
fn encryption_and_channel_binding_go_through_untouched() {
    let files = Scratch::new();
    let mut server = Postgres::primary(&[]);
    server.sql("CREATE ROLE with_scram LOGIN PASSWORD 'secret'");
    server.hba("hostssl all with_scram all scram-sha-256");
    server.encrypt(files.directory());
    let running = front(&server);

    // Channel binding ties the login to the certificate the client saw: whoever stood in between would break it.
    let connection = "user=with_scram sslmode=require channel_binding=require";
    let query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(said(psql(&running, connection, query)), ("t".into(), String::new()));
    let connection = format!("user=postgres sslmode=verify-ca sslrootcert={}", files.path("server.crt").display());
    assert_eq!(said(psql(&running, &connection, query)), ("t".into(), String::new()));
    assert_eq!(said(psql(&running, "user=postgres sslmode=disable", query)), ("f".into(), String::new()));
    end(running);
}

#[test]
fn a_session_with_tls_that_ends_well_is_no_reset() {
    const SESSIONS: u64 = 20;
    let files = Scratch::new();
    let mut server = Postgres::primary(&[]);
    server.encrypt(files.directory());
    let running = front(&server);
    for _ in 0..SESSIONS {
        assert_eq!(said(psql(&running, "user=postgres sslmode=require", "SELECT 42")), ("42".into(), String::new()));
    }
    let closed = |reason| running.series[0].backends[0].closed.get(reason).get();
    let all = || CloseReason::ALL.iter().map(|reason| closed(*reason)).sum::<u64>();
    until("all are over", || (all() == SESSIONS).then_some(()));
    let ends: Vec<_> = CloseReason::ALL.iter().map(|reason| (reason.as_str(), closed(*reason))).filter(|end| end.1 > 0).collect();
    println!("{ends:?}");
    // Not all: the server may reset before a client that has said its last word has its turn to close.
    assert!(closed(CloseReason::ClientEof) > 0, "{ends:?}");
    end(running);
}

#[test]
fn a_query_can_be_cancelled() {
    let server = Postgres::primary(&[]);
    let running = front(&server);
    let child = psql(&running, "user=postgres", "SELECT pg_sleep(60)");
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'";
    until("the query runs", || (server.sql(sleeping) == "1").then_some(()));
    let started = Watch::start();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let (_, error) = said(child);
    assert!(error.contains("canceling statement due to user request"), "{error}");
    assert!(started.unhindered() < Duration::from_secs(10));
    end(running);
}
