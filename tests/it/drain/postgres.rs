//! Single sessions: what each was doing when the gate closed, and what its client reads.

use std::{
    io::Write,
    process::{Child, ChildStdin, Stdio},
    thread,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{Client, LONG, Scene, all_ended, drained, draining, runtime, through, took, until_sessions};
use crate::support::{
    child::output,
    postgres::{Postgres, binaries},
    scratch::Scratch,
    wait::until,
};

/// Long enough that a fault has its chance, and nobody waits for it in vain.
const WHILE: Duration = Duration::from_millis(150);

fn server() -> (Postgres, Scene) {
    let server = Postgres::primary(&["max_connections=50"]);
    server.sql("CREATE TABLE t (n bigint)");
    let scene = Scene::postgres(&server, "postgres");
    (server, scene)
}

#[test]
fn idle_sessions_are_ended_by_the_server_itself() {
    let (_server, scene) = server();
    let clients: Vec<_> = (0..20).map(|_| through(&scene)).collect();
    let (result, took) = took(|| scene.emptied(LONG));
    assert_eq!(result, all_ended(20));
    println!("20 idle sessions took {took:?}");
    clients.into_iter().for_each(Client::was_ended);
}

#[test]
fn a_transaction_goes_on_through_the_gate_and_is_ended_at_its_end() {
    let (server, scene) = server();
    let mut client = through(&scene);
    client.query("BEGIN").unwrap();
    let route = scene.gate();
    let drain = draining(scene.drain(&route, LONG));
    for _ in 0..20 {
        client.query("INSERT INTO t VALUES (1)").unwrap();
    }
    // The time is the subject: a fault needs its chance.
    thread::sleep(WHILE);
    client.query("INSERT INTO t VALUES (1)").unwrap();
    assert!(!drain.is_finished());
    // One that failed has to be rolled back by its client.
    client.query("COMMIT").unwrap();
    assert_eq!(drain.join().unwrap(), all_ended(1));
    client.was_ended();
    assert_eq!(server.sql("SELECT count(*) FROM t"), "21");
}

#[test]
fn a_failed_transaction_is_let_roll_back() {
    let (_server, scene) = server();
    let mut client = through(&scene);
    client.query("BEGIN").unwrap();
    client.query("SELECT 1/0").unwrap_err();
    // The error is the answer; what follows it is still to be read.
    client.answer().unwrap();
    let route = scene.gate();
    let drain = draining(scene.drain(&route, LONG));
    // The time is the subject: a fault needs its chance.
    thread::sleep(WHILE);
    assert!(!drain.is_finished());
    client.query("ROLLBACK").unwrap();
    assert_eq!(drain.join().unwrap(), all_ended(1));
    client.was_ended();
}

#[test]
fn a_statement_that_runs_is_answered_first() {
    let (server, scene) = server();
    let mut client = through(&scene);
    // It runs for as long as somebody else holds the lock.
    let mut holder = Client::open(([127, 0, 0, 1], server.port).into(), "postgres").unwrap();
    holder.query("SELECT pg_advisory_lock(1)").unwrap();
    client.ask("SELECT 42 FROM pg_advisory_xact_lock(1)").unwrap();
    until_sessions(&server, "wait_event_type = 'Lock'", 1);
    let route = scene.gate();
    let drain = draining(scene.drain(&route, LONG));
    // The time is the subject: a fault needs its chance.
    thread::sleep(WHILE);
    assert!(!drain.is_finished());
    holder.query("SELECT pg_advisory_unlock(1)").unwrap();
    assert_eq!(client.answer().unwrap(), "42");
    assert_eq!(drain.join().unwrap(), all_ended(1));
    client.was_ended();
}

#[test]
fn a_copy_is_let_finish() {
    let (server, scene) = server();
    let mut client = through(&scene);
    client.ask("COPY t FROM STDIN").unwrap();
    client.until(b'G').unwrap();
    let route = scene.gate();
    let drain = draining(scene.drain(&route, LONG));
    for row in 0..10 {
        client.send(b'd', format!("{row}\n").as_bytes()).unwrap();
        // The time is the subject: a fault needs its chance.
        thread::sleep(WHILE / 10);
    }
    assert!(!drain.is_finished());
    client.send(b'c', b"").unwrap();
    client.answer().unwrap();
    assert_eq!(drain.join().unwrap(), all_ended(1));
    client.was_ended();
    assert_eq!(server.sql("SELECT count(*) FROM t"), "10");
}

#[test]
fn what_is_sent_ahead_is_done_first() {
    const STATEMENTS: usize = 300;
    let (server, scene) = server();
    for _ in 0..5 {
        let before: usize = server.sql("SELECT count(*) FROM t").parse().unwrap();
        let mut client = through(&scene);
        let ahead: Vec<_> = (0..STATEMENTS).flat_map(|_| *b"Q\0\0\0\x1dINSERT INTO t VALUES (1)\0").collect();
        client.0.write_all(&ahead).unwrap();
        client.answer().unwrap();
        let route = scene.gate();
        let drain = draining(scene.drain(&route, LONG));
        let mut answered = 1;
        // All that the server has got by then is answered, and nothing else was done.
        while client.answer().is_ok() {
            answered += 1;
        }
        assert_eq!(drain.join().unwrap(), all_ended(1));
        let after: usize = server.sql("SELECT count(*) FROM t").parse().unwrap();
        assert_eq!(after - before, answered);
        scene.give_up(&route);
    }
}

#[test]
fn a_request_that_nobody_has_read_waits_for_a_moment_and_was_not_executed() {
    let (server, scene) = server();
    let mut client = through(&scene);
    let route = scene.gate();
    client.ask("INSERT INTO t VALUES (1)").unwrap();
    // Unread, by the time of the first look.
    until("it waits at the gate", || {
        let gating = route.gating().unwrap();
        let stand = scene.sessions()[0].gate.stand(gating)?;
        (stand.position() == mainstay::route::Position::Unread).then_some(())
    });
    let (result, took) = took(|| drained(scene.drain(&route, LONG)));
    assert_eq!(result, all_ended(1));
    assert!(took >= Duration::from_millis(20), "after {took:?}");
    client.was_ended();
    assert_eq!(server.sql("SELECT count(*) FROM t"), "0");
}

#[test]
fn after_the_timeout_the_rest_is_broken_and_counted_apart() {
    let (server, scene) = server();
    let mut open = through(&scene);
    open.query("BEGIN").unwrap();
    open.query("INSERT INTO t VALUES (1)").unwrap();
    let mut runs = through(&scene);
    runs.ask("SELECT pg_sleep(600)").unwrap();
    until_sessions(&server, "state = 'active' AND query LIKE '%pg_sleep(600)%' AND query NOT LIKE '%count%'", 1);
    let idle = through(&scene);
    let (result, took) = took(|| scene.emptied(Duration::from_millis(400)));
    assert_eq!((result.ended, result.broken, result.left), (1, 2, 0));
    assert!(took >= Duration::from_millis(400), "after {took:?}");
    open.was_ended();
    runs.was_ended();
    idle.was_ended();
    assert_eq!(server.sql("SELECT count(*) FROM t"), "0");
}

/// While it logs in to the server, or while it looks.
#[test]
fn given_up_everybody_goes_on() {
    for after in [Duration::ZERO, WHILE] {
        let (server, scene) = server();
        let mut open = through(&scene);
        open.query("BEGIN").unwrap();
        open.query("INSERT INTO t VALUES (1)").unwrap();
        let route = scene.gate();
        let cancel = CancellationToken::new();
        let drain = scene.drain(&route, LONG);
        let handle = {
            let cancel = cancel.clone();
            thread::spawn(move || runtime().block_on(drain.run(&cancel)))
        };
        // The time is the subject: a fault needs its chance.
        thread::sleep(after);
        cancel.cancel();
        let result = handle.join().unwrap();
        assert_eq!((result.ended, result.broken, result.left), (0, 0, 1), "after {after:?}");
        // At the gate, and nobody lets it pass any more.
        open.query("SELECT 1").unwrap();
        open.ask("COMMIT").unwrap();
        scene.give_up(&route);
        open.answer().unwrap();
        assert_eq!(server.sql("SELECT count(*) FROM t"), "1");
        through(&scene).query("SELECT 1").unwrap();
    }
}

/// psql with TLS, which reads its statements from the test.
struct Psql {
    child: Child,
    input: ChildStdin,
}

impl Psql {
    fn start(scene: &Scene) -> Self {
        let target = format!("host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=require", scene.address().port());
        let mut command = binaries().command("psql");
        command.args(["-XAtqw", &target]).env("LC_ALL", "C");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        Self { child, input }
    }

    fn write(&mut self, sql: &str) {
        writeln!(self.input, "{sql}").unwrap();
    }

    fn said(self) -> (String, String) {
        drop(self.input);
        let output = output(self.child);
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap().trim().to_owned()).into()
    }
}

#[test]
fn encrypted_sessions_hear_the_server_itself() {
    let files = Scratch::new();
    let mut server = Postgres::primary(&[]);
    server.sql("CREATE TABLE t (n bigint)");
    server.encrypt(files.directory());
    let scene = Scene::postgres(&server, "postgres");
    let (mut idle, mut open) = (Psql::start(&scene), Psql::start(&scene));
    idle.write("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid();");
    open.write("BEGIN; INSERT INTO t VALUES (1);");
    until_sessions(&server, "state = 'idle in transaction'", 1);
    until_sessions(&server, "state = 'idle' AND query LIKE '%pg_stat_ssl%' AND query NOT LIKE '%count%'", 1);
    let route = scene.gate();
    let drain = draining(scene.drain(&route, LONG));
    until_sessions(&server, "state = 'idle' AND query LIKE '%pg_stat_ssl%' AND query NOT LIKE '%count%'", 0);
    open.write("INSERT INTO t VALUES (2);");
    open.write("COMMIT;");
    assert_eq!(drain.join().unwrap(), all_ended(2));
    assert_eq!(server.sql("SELECT count(*) FROM t"), "2");
    for mut session in [idle, open] {
        session.write("SELECT 1;");
        let (_, error) = session.said();
        assert!(error.contains("terminating connection due to administrator command"), "{error}");
    }
}
