//! `MariaDB`: the process list, and the transactions that `InnoDB` shows.

use std::{thread, time::Duration};

use lab::transactions::mysql;
use mainstay::{
    config::{CheckKind, MysqlCheck},
    route::Position,
};

use super::{Drained, LONG, Scene, all_ended, draining, runtime};
use crate::support::{config::tcp_pool, mariadb::MariaDb, wait::until};

/// The server's own client, which reads its statements from the test.
struct Client {
    child: std::process::Child,
    input: std::process::ChildStdin,
}

impl Client {
    fn through(scene: &Scene) -> Self {
        use std::process::{Command, Stdio};
        let port = format!("--port={}", scene.address().port());
        let mut command = Command::new("mariadb");
        command.args([
            "--no-defaults",
            "--host=127.0.0.1",
            &port,
            "--user=root",
            "--skip-ssl",
            "-N",
            "-n",
            "--skip-reconnect",
            "db",
        ]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        Self { child, input }
    }

    fn write(&mut self, sql: &str) {
        use std::io::Write;
        writeln!(self.input, "{sql}").unwrap();
    }

    /// What it said of an error.
    fn error(self) -> String {
        drop(self.input);
        String::from_utf8(crate::support::child::output(self.child).stderr).unwrap()
    }
}

fn server() -> (MariaDb, Scene) {
    let server = MariaDb::start(&[]);
    server.sql("CREATE DATABASE db; CREATE TABLE db.t (n bigint) ENGINE=InnoDB; CREATE USER app@'%'; CREATE USER poor@'%'");
    server.sql("GRANT ALL ON db.* TO app@'%'; CREATE USER mainstay@'%'");
    let scene = scene(&server, "root");
    (server, scene)
}

fn scene(server: &MariaDb, user: &str) -> Scene {
    let mut config = tcp_pool(&[server.address()]);
    config.pools[0].check.kind = CheckKind::Mysql(MysqlCheck { user: user.into(), ..MysqlCheck::default() });
    config.pools[0].check.timeout = Duration::from_secs(10);
    Scene::new(config, server.address())
}

#[track_caller]
fn until_rows(server: &MariaDb, sql: &str, count: usize) {
    until(sql, || (server.sql(sql) == count.to_string()).then_some(()));
}

const SLEEPERS: &str = "SELECT COUNT(*) FROM information_schema.processlist WHERE DB = 'db' AND COMMAND = 'Sleep'";
/// Asked seldom, or its cache is never renewed.
const OPEN: &str = "SELECT SLEEP(0.15) + COUNT(*) FROM information_schema.innodb_trx";

#[test]
fn idle_sessions_end_and_a_transaction_goes_on_to_its_end() {
    let (server, scene) = server();
    let mut idle: Vec<_> = (0..5).map(|_| Client::through(&scene)).collect();
    let mut open = Client::through(&scene);
    open.write("BEGIN; INSERT INTO t VALUES (1);");
    for client in &mut idle {
        client.write("SELECT 1;");
    }
    until_rows(&server, SLEEPERS, 6);
    until_rows(&server, OPEN, 1);
    let route = scene.gate();
    let drain = draining(scene.drain(&route, LONG));
    until_rows(&server, SLEEPERS, 1);
    for row in 2..10 {
        open.write(&format!("INSERT INTO t VALUES ({row});"));
    }
    // The time is the subject: a fault needs its chance.
    thread::sleep(Duration::from_millis(150));
    assert!(!drain.is_finished());
    open.write("COMMIT;");
    assert_eq!(drain.join().unwrap(), all_ended(6));
    assert_eq!(server.sql("SELECT COUNT(*) FROM db.t"), "9");
    open.write("SELECT 1;");
    assert!(open.error().contains("ERROR"));
}

/// No server shows it: its statement waits at the gate, and it is let pass until a transaction shows, or three have shown none.
#[test]
fn a_transaction_that_has_only_begun_goes_on_to_its_end() {
    let (server, scene) = server();
    for row in 0..3 {
        let mut client = mysql::Client::open(scene.address(), "root").unwrap();
        client.query("BEGIN").unwrap();
        let route = scene.gate();
        client.ask("INSERT INTO db.t VALUES (1)").unwrap();
        until("it waits at the gate", || {
            let stand = scene.sessions().first()?.gate.stand(route.gating()?)?;
            (stand.position() == Position::Unread).then_some(())
        });
        let drain = draining(scene.drain(&route, LONG));
        client.answer().unwrap();
        client.query("SELECT SLEEP(0.01)").unwrap();
        client.query("COMMIT").unwrap();
        assert_eq!(drain.join().unwrap(), all_ended(1));
        assert_eq!(server.sql("SELECT COUNT(*) FROM db.t"), (row + 1).to_string());
        scene.give_up(&route);
    }
}

/// Statement by statement, each of which is one transaction.
#[test]
fn a_client_that_commits_each_statement_and_never_pauses_is_ended_soon() {
    let (server, scene) = server();
    let address = scene.address();
    let writer = thread::spawn(move || {
        let mut client = mysql::Client::open(address, "root").unwrap();
        let mut written = 0_u32;
        while client.query("INSERT INTO db.t VALUES (1)").is_ok() {
            written += 1;
        }
        written
    });
    until_some_rows(&server);
    assert_eq!(scene.emptied(LONG), all_ended(1));
    assert_eq!(server.sql("SELECT COUNT(*) FROM db.t"), writer.join().unwrap().to_string());
}

#[track_caller]
fn until_some_rows(server: &MariaDb) {
    until("rows come", || (server.sql("SELECT COUNT(*) > 20 FROM db.t") == "1").then_some(()));
}

#[test]
fn after_the_timeout_an_open_transaction_is_broken() {
    let (server, scene) = server();
    let mut open = Client::through(&scene);
    open.write("BEGIN; INSERT INTO t VALUES (1);");
    until_rows(&server, OPEN, 1);
    let Drained { ended, broken, left, .. } = scene.emptied(Duration::from_millis(400));
    assert_eq!((ended, broken, left), (0, 1, 0));
    assert_eq!(server.sql("SELECT COUNT(*) FROM db.t"), "0");
}

/// One answer that comes late is no reason to leave those who are still there to themselves, and so to break them later.
#[test]
fn a_server_that_is_late_once_is_asked_again() {
    let (server, _) = server();
    let mut config = tcp_pool(&[server.address()]);
    config.pools[0].check.kind = CheckKind::Mysql(MysqlCheck { user: "root".into(), ..MysqlCheck::default() });
    config.pools[0].check.timeout = Duration::from_secs(1);
    config.pools[0].policy.fall = 60;
    let scene = Scene::new(config, server.address());
    let mut open = Client::through(&scene);
    open.write("BEGIN; INSERT INTO t VALUES (1);");
    until_rows(&server, OPEN, 1);
    let route = scene.gate();
    let drain = draining(scene.drain(&route, LONG));
    let looks = || server.status("Com_show_engine_status").parse::<u64>().unwrap();
    let before = looks();
    until("it looks", || (looks() > before + 2).then_some(()));
    server.signal("-STOP");
    // Longer than the deadline of one question.
    thread::sleep(Duration::from_millis(2500));
    server.signal("-CONT");
    open.write("COMMIT;");
    assert_eq!(drain.join().unwrap(), all_ended(1));
    assert_eq!(server.sql("SELECT COUNT(*) FROM db.t"), "1");
}

#[test]
fn an_account_without_the_privileges_leaves_everybody_and_says_what_to_grant() {
    let (server, _) = server();
    let scene = scene(&server, "poor");
    let preflight = || {
        let drain = scene.drain(&scene.route(), LONG);
        runtime().block_on(drain.preflight()).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let mut client = Client::through(&scene);
    client.write("SELECT 1;");
    until_rows(&server, SLEEPERS, 1);
    let notes = preflight();
    assert!(notes.len() == 1 && notes[0].contains("GRANT PROCESS ON *.* TO 'poor'@'%';"), "{notes:?}");
    let result = scene.emptied(Duration::from_millis(300));
    assert_eq!((result.ended, result.broken, result.left), (0, 0, 1));
    server.sql("GRANT PROCESS ON *.* TO poor@'%'");
    let notes = preflight();
    assert!(notes.len() == 1 && notes[0].contains("GRANT CONNECTION ADMIN ON *.* TO 'poor'@'%';"), "{notes:?}");
    let route = scene.route();
    let result = super::drained(scene.drain(&route, Duration::from_millis(300)));
    assert_eq!((result.ended, result.broken, result.left), (0, 0, 1), "{result:?}");
    server.sql("GRANT CONNECTION ADMIN ON *.* TO poor@'%'");
    assert_eq!(preflight(), Vec::<String>::new());
    assert_eq!(super::drained(scene.drain(&route, LONG)), all_ended(1));
}
