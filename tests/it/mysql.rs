//! The `MySQL` check against real servers, and what becomes of clients when one dies.

mod galera;
pub(crate) mod pool;
pub(crate) mod scripted;

use std::time::{Duration, Instant};

use mainstay::{
    config::{CheckKind, MysqlCheck, Secret, TlsMode},
    control::probe::{self, Broken, Deadline, Finding, standing::Standing},
    failover::{Outcome, Role},
    net::addr::BackendAddr,
};

use crate::support::{
    mariadb::MariaDb,
    wait::{patience, until, until_async},
};

/// For what must succeed, however slow the machine is.
const TIMEOUT: Duration = Duration::from_secs(20);

fn local(port: u16) -> BackendAddr {
    format!("127.0.0.1:{port}").parse().unwrap()
}

fn root() -> MysqlCheck {
    user("root", None)
}

fn user(name: &str, password: Option<&str>) -> MysqlCheck {
    let password = password.map(|password| Secret::new(password.into()));
    MysqlCheck { user: name.into(), password, ..MysqlCheck::default() }
}

async fn once(port: u16, check: &MysqlCheck) -> Finding {
    probe::once(&local(port), &CheckKind::Mysql(check.clone()), TIMEOUT).await.unwrap()
}

async fn standing(server: &MariaDb) -> Box<dyn Standing> {
    let login = probe::login(&local(server.port), &CheckKind::Mysql(root())).unwrap();
    login.open(&server.address().into(), Deadline::after(TIMEOUT)).await.unwrap().0
}

#[tokio::test]
async fn roles_follow_from_replication_and_read_only() {
    let primary = MariaDb::start(&[]);
    let replica = primary.replica(&["--read-only"]);
    let finding = once(primary.port, &root()).await;
    assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Primary)), "{}", finding.evidence);
    assert!(finding.facts.version.is_some_and(|version| version.contains("MariaDB") && !version.starts_with("5.5.5")));
    let finding = once(replica.port, &root()).await;
    assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Standby)), "{}", finding.evidence);
    assert!(finding.facts.lag_bytes.is_some(), "{}", finding.evidence);
    let mut lag = None;
    until("it has caught up", || replica.sql("SHOW SLAVE STATUS").contains("has read all relay log").then_some(()));
    for (order, expected) in [("DO 1", Duration::ZERO), ("STOP SLAVE SQL_THREAD", Duration::MAX), ("START SLAVE", Duration::ZERO)]
    {
        replica.sql(order);
        let asked = Instant::now();
        while lag != Some(expected) && asked.elapsed() < patience() {
            lag = once(replica.port, &root()).await.facts.lag_time;
        }
        assert_eq!(lag, Some(expected), "after {order}");
    }
    let facts = async |port| once(port, &root()).await.facts;
    primary.sql("CREATE DATABASE numbered");
    let wrote = facts(primary.port).await;
    assert!(wrote.position.is_some() && wrote.history == 0 && wrote.hears_primary.is_none(), "{wrote:?}");
    until_async("the replica has it", async || {
        let facts = facts(replica.port).await;
        assert_eq!(facts.hears_primary, Some(true));
        (facts.history == wrote.history && facts.position == wrote.position).then_some(())
    })
    .await;
    // It has all that its primary had: a primary that is gone is no lag.
    replica.sql("STOP SLAVE IO_THREAD");
    let alone = facts(replica.port).await;
    assert_eq!((alone.lag_time, alone.hears_primary, alone.position), (None, Some(false), wrote.position));
    replica.sql("START SLAVE");
    // A replica whose read_only was forgotten is no primary.
    replica.sql("SET GLOBAL read_only = 0");
    let finding = once(replica.port, &root()).await;
    assert_eq!(finding.facts.role, Some(Role::Standby), "{}", finding.evidence);
    assert!(finding.evidence.contains("although read_only is off"), "{}", finding.evidence);

    // A promotion, and a primary that is made read-only, are seen over the standing session.
    let mut session = standing(&replica).await;
    replica.sql("STOP SLAVE; RESET SLAVE ALL");
    let finding = session.query(Deadline::after(TIMEOUT)).await;
    assert_eq!((finding.facts.role, finding.facts.read_only), (Some(Role::Primary), false), "{}", finding.evidence);
    replica.sql("SET GLOBAL read_only = 1");
    let finding = session.query(Deadline::after(TIMEOUT)).await;
    assert_eq!((finding.facts.role, finding.facts.read_only), (Some(Role::Primary), true), "{}", finding.evidence);
}

#[tokio::test]
async fn a_promotion_raises_the_epoch_and_writes_do_not() {
    let mut primary = MariaDb::start(&[]);
    let replica = primary.replica(&[]);
    primary.sql("CREATE DATABASE d; CREATE TABLE d.t (i INT PRIMARY KEY); INSERT INTO d.t VALUES (1), (2)");
    until("the replica has it", || replica.try_sql("SELECT COUNT(*) FROM d.t").is_ok_and(|n| n == "2").then_some(()));
    let first = once(primary.port, &root()).await.facts.db_epoch.unwrap();
    primary.sql("INSERT INTO d.t VALUES (3)");
    assert_eq!(once(primary.port, &root()).await.facts.db_epoch, Some(first));
    until("the replica has it", || (replica.sql("SELECT COUNT(*) FROM d.t") == "3").then_some(()));
    primary.signal("-KILL");
    replica.sql("STOP SLAVE; RESET SLAVE ALL");
    let second = once(replica.port, &root()).await.facts.db_epoch.unwrap();
    assert!(second > first, "{second} after {first}");
    replica.sql("INSERT INTO d.t VALUES (4)");
    assert_eq!(once(replica.port, &root()).await.facts.db_epoch, Some(second));
    // The old primary comes back as one, and is behind however much it writes.
    primary.restart();
    primary.sql("INSERT INTO d.t VALUES (10), (11), (12)");
    assert_eq!(once(primary.port, &root()).await.facts.db_epoch, Some(first));
    let next = replica.replica(&[]);
    until("it has all", || next.try_sql("SELECT COUNT(*) FROM d.t").is_ok_and(|n| n == "4").then_some(()));
    next.sql("STOP SLAVE; RESET SLAVE ALL");
    let third = once(next.port, &root()).await.facts.db_epoch.unwrap();
    assert!(third > second, "{third} after {second}");
}

#[tokio::test]
async fn every_way_to_log_in_and_every_refusal() {
    let server = MariaDb::start(&["--plugin-load-add=auth_ed25519"]);
    server.sql(
        "CREATE USER native IDENTIFIED VIA mysql_native_password USING PASSWORD('S3cr3t word'); \
         CREATE USER modern IDENTIFIED VIA ed25519 USING PASSWORD('S3cr3t word'); \
         CREATE USER open; CREATE USER locked ACCOUNT LOCK; \
         GRANT SLAVE MONITOR ON *.* TO modern",
    );
    for check in [user("native", Some("S3cr3t word")), user("modern", Some("S3cr3t word")), user("open", None), root()] {
        let finding = once(server.port, &check).await;
        assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Primary)), "{check:?}: {}", finding.evidence);
    }
    for wrong in [
        user("native", Some("wrong")),
        user("modern", Some("wrong")),
        user("native", None),
        user("modern", None),
        user("open", Some("wrong")),
        user("nobody", Some("S3cr3t word")),
        user("locked", None),
        MysqlCheck { tls: TlsMode::Require, ..root() },
    ] {
        let finding = once(server.port, &wrong).await;
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{wrong:?}: {}", finding.evidence);
        assert!(!finding.evidence.contains("S3cr3t"), "{}", finding.evidence);
    }
    // Whoever may not see replication sees read_only, and takes the careful word for it.
    server.sql("SET GLOBAL read_only = 1");
    assert_eq!(once(server.port, &user("native", Some("S3cr3t word"))).await.facts.role, Some(Role::Standby));
    let seen = once(server.port, &user("modern", Some("S3cr3t word"))).await;
    assert_eq!((seen.facts.role, seen.facts.read_only), (Some(Role::Primary), true), "{}", seen.evidence);
}

#[tokio::test]
async fn a_full_server_is_alive_and_the_standing_session_has_its_place() {
    let server = MariaDb::start(&["--max-connections=10"]);
    server.sql("CREATE USER crowd");
    let mut session = standing(&server).await;
    let login = probe::login(&local(server.port), &CheckKind::Mysql(user("crowd", None))).unwrap();
    let (mut held, mut full) = (Vec::new(), None);
    for _ in 0..20 {
        match login.open(&server.address().into(), Deadline::after(TIMEOUT)).await {
            Ok(session) => held.push(session),
            Err(probe::Failure::Backend(finding)) => full = Some(finding),
            Err(other) => panic!("{other:?}"),
        }
    }
    let full = full.expect("ten places are enough for twenty");
    assert_eq!(full.outcome, Outcome::Saturated, "{}", full.evidence);
    assert!(full.evidence.contains("1040"), "{}", full.evidence);
    assert_eq!(session.query(Deadline::after(TIMEOUT)).await.outcome, Outcome::Ok);
    drop(held);
    until("there is room again", || server.try_sql("SELECT 1").ok());
}

#[tokio::test]
async fn a_hung_server_is_a_timeout_a_killed_one_breaks_the_session_and_one_that_stops_says_so() {
    let mut server = MariaDb::start(&[]);
    let mut session = standing(&server).await;
    server.signal("-STOP");
    let finding = session.query(Deadline::after(Duration::from_millis(200))).await;
    assert_eq!(finding.outcome, Outcome::Timeout, "{}", finding.evidence);
    let login = probe::login(&local(server.port), &CheckKind::Mysql(root())).unwrap();
    let hung = login.open(&server.address().into(), Deadline::after(Duration::from_millis(200))).await;
    assert!(matches!(&hung, Err(probe::Failure::Backend(finding)) if finding.outcome == Outcome::Timeout), "{hung:?}");
    server.signal("-CONT");
    let mut session = standing(&server).await;
    server.signal("-KILL");
    let broken = tokio::time::timeout(TIMEOUT, session.broken()).await.expect("the kernel tells");
    assert!(matches!(&broken, Broken::Closed(finding) if finding.outcome == Outcome::Closed), "{broken:?}");
    assert_eq!(session.ended(), Some(broken));

    server.restart();
    let mut session = standing(&server).await;
    server.signal("-TERM");
    let broken = tokio::time::timeout(TIMEOUT, session.broken()).await.expect("the kernel tells");
    assert!(matches!(broken.clone().finding().outcome, Outcome::Closed | Outcome::Starting), "{broken:?}");
}

#[tokio::test]
async fn a_thousand_probes_leave_no_line_in_the_log_and_no_aborted_connection() {
    let server = MariaDb::start(&[]);
    once(server.port, &root()).await;
    let (before, aborted) = (server.log(), ["Aborted_connects", "Aborted_clients"].map(|name| server.status(name)));
    for round in 0..1000 {
        assert_eq!(once(server.port, &root()).await.outcome, Outcome::Ok, "{round}");
    }
    until("all are gone", || (server.status("Threads_connected") == "1").then_some(()));
    assert_eq!(server.log(), before);
    assert_eq!(["Aborted_connects", "Aborted_clients"].map(|name| server.status(name)), aborted);
}

#[tokio::test]
async fn a_deadline_in_the_middle_aborts_no_connection() {
    let server = MariaDb::start(&[]);
    once(server.port, &root()).await;
    let aborted = ["Aborted_connects", "Aborted_clients"].map(|name| server.status(name));
    let login = probe::login(&local(server.port), &CheckKind::Mysql(root())).unwrap();
    // What was abandoned ends in the background, so the runtime must go on.
    let all_end =
        async || until_async("all have ended", async || (server.status("Threads_connected") == "1").then_some(())).await;
    let mut late = 0;
    for micros in (0..200).map(|step| step * 10) {
        let opened = login.open(&server.address().into(), Deadline::after(Duration::from_micros(micros))).await;
        late += u32::from(opened.is_err());
        // No more than may take their time at once.
        if opened.is_err() && late % 4 == 0 {
            all_end().await;
        }
    }
    assert!(late > 5, "{late} deadlines struck");
    all_end().await;
    assert_eq!(["Aborted_connects", "Aborted_clients"].map(|name| server.status(name)), aborted);
}
