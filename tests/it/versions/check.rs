//! What the check says of a server, and what the server notices of the check.

use std::time::{Duration, Instant};

use mainstay::{
    config::{CheckKind, MysqlCheck, TlsMode},
    control::probe::{self, Broken, Deadline, standing::Standing},
    failover::{Outcome, Role},
};

use super::{TIMEOUT, asked, local, seen, user};
use crate::support::{
    mysql::MySql,
    wait::{patience, until, until_async},
};

async fn standing(server: &MySql) -> Box<dyn Standing> {
    let login = probe::login(&local(server.port), &CheckKind::Mysql(user("root", None))).unwrap();
    login.open(&server.address().into(), Deadline::after(TIMEOUT)).await.unwrap().0
}

async fn becomes(server: &MySql, role: Role, words: &str) {
    let limit = Instant::now() + patience();
    loop {
        let finding = seen(server).await;
        if finding.evidence.contains(words) {
            assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(role)), "{}", finding.evidence);
            return;
        }
        assert!(Instant::now() < limit, "{words}: {}", finding.evidence);
    }
}

/// As [`becomes`], of a writable replica that is no primary yet.
async fn stays_a_standby(server: &MySql, words: &str) {
    becomes(server, Role::Standby, words).await;
    let finding = seen(server).await;
    assert!(finding.evidence.ends_with("; to make it the primary: STOP REPLICA; RESET REPLICA ALL"), "{}", finding.evidence);
}

async fn roles(primary: &MySql, replica: &MySql) {
    let finding = seen(primary).await;
    assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Primary)), "{}", finding.evidence);
    assert!(finding.facts.version.is_some_and(|version| version.starts_with(char::is_numeric)));
    becomes(replica, Role::Standby, "standby of 127.0.0.1, 0 s behind").await;
    for (order, expected) in [("STOP REPLICA SQL_THREAD", Duration::MAX), ("START REPLICA", Duration::ZERO)] {
        replica.sql(order);
        until_async(order, async || (seen(replica).await.facts.lag_time == Some(expected)).then_some(())).await;
    }
    // It has all that its primary had: a primary that is gone is no lag.
    replica.sql("STOP REPLICA IO_THREAD");
    let facts = seen(replica).await.facts;
    assert_eq!((facts.lag_time, facts.hears_primary), (None, Some(false)));
    replica.sql("START REPLICA");
    until_async("it hears it", async || (seen(replica).await.facts.hears_primary == Some(true)).then_some(())).await;
    // What it has received and not applied.
    replica.sql("STOP REPLICA SQL_THREAD");
    primary.sql("CREATE DATABASE late");
    until_async("it has received it", async || seen(replica).await.facts.lag_bytes.filter(|bytes| *bytes > 0)).await;
    replica.sql("START REPLICA");
    until_async("it has applied it", async || (seen(replica).await.facts.lag_bytes == Some(0)).then_some(())).await;
    // A replica whose read_only was forgotten is no primary.
    replica.sql("SET GLOBAL read_only = 0");
    becomes(replica, Role::Standby, "although read_only is off").await;
    replica.sql("SET GLOBAL super_read_only = 1");

    // A promotion, and a primary that is made read-only, are seen over the standing session.
    let mut session = standing(replica).await;
    replica.sql("STOP REPLICA; RESET REPLICA ALL; SET GLOBAL read_only = 0");
    for (order, refuses) in [
        ("DO 1", false),
        ("SET GLOBAL read_only = 1", true),
        ("SET GLOBAL super_read_only = 1", true),
        ("SET GLOBAL read_only = 0", false),
    ] {
        replica.sql(order);
        let finding = session.query(Deadline::after(TIMEOUT)).await;
        let role = (finding.facts.role, finding.facts.read_only);
        assert_eq!(role, (Some(Role::Primary), refuses), "{order}: {}", finding.evidence);
    }
    replica.sql("SET GLOBAL offline_mode = ON");
    assert_eq!(session.query(Deadline::after(TIMEOUT)).await.outcome, Outcome::Starting);
}

#[tokio::test]
async fn roles_follow_from_replication_by_numbers_and_read_only() {
    let primary = MySql::start(&[]);
    let replica = primary.replica(&["--super-read-only"]);
    roles(&primary, &replica).await;
}

#[tokio::test]
async fn roles_follow_from_replication_by_position_without_numbers() {
    const PLAIN: [&str; 2] = ["--gtid-mode=OFF", "--enforce-gtid-consistency=OFF"];
    let primary = MySql::start(&PLAIN);
    let replica = primary.replica_by_position(&[&PLAIN[..], &["--read-only"]].concat());
    roles(&primary, &replica).await;
}

/// Only what its account may see; and no word of an account that may see less is a wrong role.
#[tokio::test]
async fn the_documented_right_is_enough_and_without_it_the_safe_role_is_taken() {
    let primary = MySql::start(&[]);
    primary.sql(
        "CREATE USER documented@'%' IDENTIFIED BY ''; GRANT REPLICATION CLIENT ON *.* TO documented@'%'; CREATE USER poor@'%'",
    );
    let replica = primary.replica(&["--super-read-only"]);
    until("the accounts are there", || replica.try_sql("SHOW GRANTS FOR poor@'%'").ok());
    for (server, user_is, role, words) in [
        (&primary, "documented", Role::Primary, "primary"),
        (&replica, "documented", Role::Standby, "standby of 127.0.0.1"),
        (&primary, "poor", Role::Primary, "primary (read_only is off; this user may not see whether it follows another)"),
        (&replica, "poor", Role::Standby, "standby (read_only is on; this user may not see replication)"),
    ] {
        let finding = asked(server, &user(user_is, None)).await;
        assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(role)), "{user_is}: {}", finding.evidence);
        assert!(finding.evidence.starts_with(words), "{user_is}: {}", finding.evidence);
    }
}

#[tokio::test]
async fn a_writable_replica_that_cannot_follow_is_no_primary_until_it_is_told_to_stop() {
    let source = MySql::start(&[]);
    let replica = source.replica(&[]);
    // A thread that receives and meets an error stops by itself, alone. Both stop by an order, and the error stays.
    replica.sql("STOP REPLICA");
    source.sql(&format!("SET GLOBAL server_id = {}", replica.port));
    replica.sql("START REPLICA");
    stays_a_standby(&replica, "(error 13117)").await;
    replica.sql("STOP REPLICA");
    becomes(&replica, Role::Primary, "primary, replication from 127.0.0.1 is stopped").await;
    source.sql(&format!("SET GLOBAL server_id = {}", source.port));

    // One that applies and meets an error: what it has is not whole, and nothing tells an order from two failures.
    source.sql("CREATE DATABASE d; CREATE TABLE d.t (i INT PRIMARY KEY)");
    replica.sql("START REPLICA");
    until("the replica has it", || replica.try_sql("SELECT 1 FROM d.t").ok());
    replica.sql("INSERT INTO d.t VALUES (1)");
    source.sql("INSERT INTO d.t VALUES (1)");
    stays_a_standby(&replica, "(error 1062)").await;
    // What it lacks was purged.
    let late = MySql::start(&[]);
    source.sql("FLUSH BINARY LOGS; PURGE BINARY LOGS TO 'bin.000002'");
    late.sql(&format!(
        "CHANGE REPLICATION SOURCE TO source_host='127.0.0.1', source_port={}, source_user='root', source_auto_position=1; START REPLICA",
        source.port
    ));
    stays_a_standby(&late, "(error 13114)").await;
    source.signal("-KILL");
    until("it has lost its source", || (replica.replication("Replica_IO_Running") == "Connecting").then_some(()));
    stays_a_standby(&replica, "(error 1062)").await;
    replica.sql("STOP REPLICA");
    stays_a_standby(&replica, "(error 1062)").await;
    replica.sql("STOP REPLICA; RESET REPLICA ALL");
    let finding = seen(&replica).await;
    assert_eq!((finding.facts.role, &*finding.evidence), (Some(Role::Primary), "primary"));
}

#[tokio::test]
async fn a_full_server_is_alive_and_the_standing_session_has_its_place() {
    let server = MySql::start(&["--max-connections=10"]);
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
    assert_eq!(session.query(Deadline::after(TIMEOUT)).await.outcome, Outcome::Ok);
}

#[tokio::test]
async fn a_hung_server_is_a_timeout_a_killed_one_breaks_the_session_and_one_that_stops_says_so() {
    let mut server = MySql::start(&[]);
    let mut session = standing(&server).await;
    server.signal("-STOP");
    let finding = session.query(Deadline::after(Duration::from_millis(200))).await;
    assert_eq!(finding.outcome, Outcome::Timeout, "{}", finding.evidence);
    server.signal("-CONT");
    let mut session = standing(&server).await;
    server.signal("-KILL");
    let broken = tokio::time::timeout(TIMEOUT, session.broken()).await.expect("the kernel tells");
    assert!(matches!(&broken, Broken::Closed(finding) if finding.outcome == Outcome::Closed), "{broken:?}");

    server.restart();
    let mut session = standing(&server).await;
    server.signal("-TERM");
    let broken = tokio::time::timeout(TIMEOUT, session.broken()).await.expect("the kernel tells");
    println!("{broken:?}");
    assert!(matches!(broken.clone().finding().outcome, Outcome::Closed | Outcome::Starting), "{broken:?}");
}

async fn leaves_no_trace(check: &MysqlCheck) {
    let server = MySql::start(&[]);
    let counts = || ["Aborted_connects", "Aborted_clients"].map(|name| server.status(name));
    asked(&server, check).await;
    let (before, aborted) = (server.log(), counts());
    for round in 0..200 {
        assert_eq!(asked(&server, check).await.outcome, Outcome::Ok, "{round}");
    }
    until("all are gone", || (server.status("Threads_connected") == "1").then_some(()));
    assert_eq!(server.log(), before);
    assert_eq!(counts(), aborted);
    // Nor does one whose deadline strikes in the middle, which ends in the background.
    let login = probe::login(&local(server.port), &CheckKind::Mysql(check.clone())).unwrap();
    let mut late = 0;
    for micros in (0..100).map(|step| step * 40) {
        late += u32::from(login.open(&server.address().into(), Deadline::after(Duration::from_micros(micros))).await.is_err());
        if late % 4 == 3 {
            until_async("all have ended", async || (server.status("Threads_connected") == "1").then_some(())).await;
        }
    }
    assert!(late > 5, "{late} deadlines struck");
    until_async("all have ended", async || (server.status("Threads_connected") == "1").then_some(())).await;
    assert_eq!(counts(), aborted);
}

#[tokio::test]
async fn many_probes_leave_no_line_in_the_log_and_no_aborted_connection() {
    leaves_no_trace(&user("root", None)).await;
}

#[tokio::test]
async fn nor_do_those_without_tls() {
    leaves_no_trace(&MysqlCheck { tls: TlsMode::Off, ..user("root", None) }).await;
}
