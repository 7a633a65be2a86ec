//! Servers that refuse what the check asks beyond the role: the role is enough to serve.

use mainstay::{
    config::TlsMode,
    failover::{Outcome, Role},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{TIMEOUT, check, fake, once, role};
use crate::support::{
    postgres::Postgres,
    process::{Process, settings},
    wait::until,
};

const CONTROL_FILE: &str = "pg_control_system(), pg_control_checkpoint(), pg_control_recovery()";
const WAL: &str = "pg_current_wal_lsn(), pg_walfile_name(pg_lsn), pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), \
                   pg_stat_get_wal_receiver()";

/// Amazon Aurora has these functions by name only (0A000), other servers have them not at all (42883).
#[tokio::test]
async fn a_server_without_the_functions_is_a_primary_without_a_fence() {
    for code in ["0A000", "42883", "42501"] {
        for (refuses, timeline, system_id) in [
            (&["pg_control_"][..], Some(7), None),
            (&["_wal_", "pg_walfile_name"][..], None, Some(42)),
            (&["pg_control_", "_wal_", "pg_walfile_name"][..], None, None),
        ] {
            let port = fake::serve(move |mut stream: TcpStream, _| async move {
                assert!(fake::read(&mut stream).await);
                stream.write_all(&fake::welcome()).await.unwrap();
                let mut question = vec![0; 8192];
                while let Ok(length @ 1..) = stream.read(&mut question).await {
                    let text = String::from_utf8_lossy(&question[..length]);
                    let named = |word: &str, value: &'static str| text.contains(word).then_some(value);
                    let answer = if refuses.iter().any(|word| text.contains(word)) {
                        [fake::error("ERROR", code, "not here"), fake::message(b'Z', b"I")].concat()
                    } else {
                        fake::row(named("pg_walfile_name", "7"), named("pg_control_system", "42"))
                    };
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
            let (finding, _) = once(port.await, &check(TlsMode::Off), TIMEOUT).await;
            assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Primary)), "{code}: {}", finding.evidence);
            assert_eq!((finding.facts.db_epoch, finding.facts.system_id), (timeline, system_id), "{code}: {}", finding.evidence);
            assert_eq!(finding.evidence.contains("no fence"), timeline.is_none(), "{}", finding.evidence);
            assert_eq!(finding.evidence.contains("another cluster is not"), system_id.is_none(), "{}", finding.evidence);
        }
    }
    // Where not even the role is told, nothing is known.
    let port = fake::serve(|mut stream: TcpStream, _| async move {
        assert!(fake::read(&mut stream).await);
        stream.write_all(&fake::welcome()).await.unwrap();
        while fake::read(&mut stream).await {
            let answer = [fake::error("ERROR", "42501", "not you"), fake::message(b'Z', b"I")].concat();
            stream.write_all(&answer).await.unwrap();
        }
    });
    assert_eq!(once(port.await, &check(TlsMode::Off), TIMEOUT).await.0.outcome, Outcome::Misconfigured);
}

#[tokio::test]
async fn a_role_without_the_grants_sees_roles_and_says_what_it_lacks() {
    let primary = Postgres::primary(&[]);
    primary.sql("CREATE ROLE ordinary LOGIN");
    let standby = primary.standby(&[]);
    let both = async || {
        let primary = once(primary.port, &role("ordinary", None), TIMEOUT).await.0;
        let standby = once(standby.port, &role("ordinary", None), TIMEOUT).await.0;
        assert_eq!((primary.facts.role, standby.facts.role), (Some(Role::Primary), Some(Role::Standby)), "{}", primary.evidence);
        assert_eq!(primary.evidence.split_once(", may").unwrap().1, standby.evidence.split_once(", may").unwrap().1);
        primary
    };
    // Each alone, then both. The standby has it a moment after the primary.
    let refuse = |functions: &str| {
        primary.sql(&format!("REVOKE EXECUTE ON FUNCTION {functions} FROM PUBLIC"));
        let position = primary.sql("SELECT pg_current_wal_lsn()");
        let has = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
        until("the standby has it", || (standby.sql(&has) == "t").then_some(()));
    };
    refuse(WAL);
    let finding = both().await;
    assert_eq!((finding.facts.db_epoch, finding.facts.system_id.is_some()), (None, true), "{}", finding.evidence);
    refuse(CONTROL_FILE);
    let finding = both().await;
    assert_eq!((finding.facts.db_epoch, finding.facts.system_id), (None, None), "{}", finding.evidence);
    assert!(finding.evidence.contains("no fence, and another cluster is not told apart"), "{}", finding.evidence);
    primary.sql(&format!("GRANT EXECUTE ON FUNCTION {WAL} TO PUBLIC"));
    let finding = once(primary.port, &role("ordinary", None), TIMEOUT).await.0;
    assert_eq!((finding.facts.db_epoch, finding.facts.system_id), (Some(1), None), "{}", finding.evidence);
}

#[test]
fn clients_are_served_by_a_role_alone_and_follow_a_promotion() {
    let primary = Postgres::primary(&[]);
    primary.sql(&format!("CREATE ROLE ordinary LOGIN; REVOKE EXECUTE ON FUNCTION {CONTROL_FILE}, {WAL} FROM PUBLIC"));
    let standby = primary.standby(&[]);
    let mut settings = settings(&[([127, 0, 0, 1], primary.port).into(), ([127, 0, 0, 1], standby.port).into()]);
    settings["pools"][0]["check"] = json!({"postgres": {"user": "ordinary"}});
    let process = Process::start(&settings).serving();
    let events = process.get("/api/v1/events").1;
    assert!(events.contains("no fence, and another cluster is not told apart"), "{events}");
    primary.signal("-KILL");
    standby.promote();
    until("the standby serves", || (process.status()["pools"][0]["active"] == "db-b").then_some(()));
    // What is refused was learned once: a line for each question that had to be left out, in each server's log.
    let refusals = standby.log().lines().filter(|line| line.contains("permission denied for function")).count();
    assert_eq!(refusals, 3, "{}", standby.log());
}
