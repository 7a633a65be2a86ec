//! The check against real servers.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use mainstay::{
    config::{CheckConfig, CheckKind, PostgresCheck, TlsMode},
    control::{
        probe::{Broken, Deadline},
        prober::{self, ProberEvent, ProberKey, ProberSettings},
    },
    failover::{Outcome, Pace, Passive, Report, Role},
    net::addr::BackendAddr,
    route::{Clock, DemandWatch},
};
use tokio::{sync::mpsc, time::timeout};

use super::{TIMEOUT, check, local, once, postgres::Postgres, role, standing};
use crate::support::{
    child::{Bounded, until_stopped},
    wait::{Watch, patience, until_async},
};

const ORDINARY: &str = "CREATE ROLE ordinary LOGIN";

/// Awaits a condition of the server.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_async(what, async || condition().then_some(())).await;
}

fn sessions(server: &Postgres) -> u32 {
    server.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'mainstay'").parse().unwrap()
}

#[tokio::test]
async fn roles_timelines_and_lag_of_a_pair() {
    let mut primary = Postgres::primary(&[]);
    primary.sql(ORDINARY);
    let replica = primary.standby(&[]);
    let system_id: u64 = primary.sql("SELECT system_identifier FROM pg_control_system()").parse().unwrap();
    until("streaming", || primary.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1").await;
    for user in ["postgres", "ordinary"] {
        let (finding, _) = once(primary.port, &role(user, None), TIMEOUT).await;
        assert_eq!(finding.outcome, Outcome::Ok, "{}", finding.evidence);
        let facts = finding.facts;
        assert_eq!((facts.role, facts.db_epoch, facts.system_id), (Some(Role::Primary), Some(1), Some(system_id)));
        assert_eq!((facts.lag_bytes, facts.read_only), (None, false));
        assert!(facts.version.unwrap().starts_with("15."));
        let (finding, _) = once(replica.port, &role(user, None), TIMEOUT).await;
        let facts = finding.facts;
        assert_eq!((facts.role, facts.db_epoch, facts.system_id), (Some(Role::Standby), Some(1), Some(system_id)));
        assert!(facts.lag_bytes.is_some() && !facts.read_only, "{facts:?}");
    }

    // The same for every role: the standby has what the primary wrote, and hears it.
    let facts = async |port, user| once(port, &role(user, None), TIMEOUT).await.0.facts;
    for user in ["postgres", "ordinary"] {
        assert_eq!(facts(primary.port, user).await.hears_primary, None);
        let wrote = facts(primary.port, user).await.position.unwrap();
        let at = primary.sql("SELECT pg_current_wal_lsn() - '0/0'");
        assert!(wrote <= at.parse().unwrap(), "{wrote} {at}");
        until_async("the standby has it", async || {
            let facts = facts(replica.port, user).await;
            assert_eq!(facts.hears_primary, Some(true));
            (facts.position.unwrap() >= wrote).then_some(())
        })
        .await;
    }

    replica.sql("SELECT pg_wal_replay_pause()");
    primary.sql("CREATE TABLE t AS SELECT generate_series(1, 10000)");
    let lag = async || once(replica.port, &role("ordinary", None), TIMEOUT).await.0.facts.lag_bytes.unwrap();
    let limit = Instant::now() + patience();
    while lag().await < 100_000 {
        assert!(Instant::now() < limit, "the lag of a paused standby was not seen");
    }
    // What it has received counts, applied or not.
    let wrote = facts(primary.port, "ordinary").await.position.unwrap();
    until_async("it has received it", async || (facts(replica.port, "ordinary").await.position >= Some(wrote)).then_some(()))
        .await;
    assert!(lag().await >= 100_000);
    replica.sql("SELECT pg_wal_replay_resume()");

    // The new timeline must be seen with the first answer as primary, not with the next checkpoint.
    primary.stop_fast();
    until_async("the standby has lost it", async || {
        let facts = facts(replica.port, "ordinary").await;
        assert!(facts.position >= Some(wrote));
        (facts.hears_primary == Some(false)).then_some(())
    })
    .await;
    let (mut session, _) = standing(replica.port, &role("ordinary", None)).await;
    replica.promote();
    let facts = session.query(Deadline::after(TIMEOUT)).await.facts;
    assert_eq!((facts.role, facts.db_epoch), (Some(Role::Primary), Some(2)));
    let (finding, _) = once(replica.port, &role("ordinary", None), TIMEOUT).await;
    assert_eq!(finding.facts.db_epoch, Some(2));
}

#[tokio::test]
async fn a_refusal_to_write_counts_unless_it_is_the_checks_own_role() {
    let server = Postgres::primary(&[]);
    server.sql(ORDINARY);
    server.sql("ALTER ROLE ordinary SET default_transaction_read_only = on");
    let read_only = async || once(server.port, &role("ordinary", None), TIMEOUT).await.0.facts.read_only;
    assert!(!read_only().await);
    server.sql("ALTER ROLE ordinary RESET default_transaction_read_only");
    let (mut session, _) = standing(server.port, &role("ordinary", None)).await;
    server.sql("ALTER SYSTEM SET default_transaction_read_only = on");
    server.sql("SELECT pg_reload_conf()");
    let limit = Instant::now() + patience();
    while !session.query(Deadline::after(TIMEOUT)).await.facts.read_only {
        assert!(Instant::now() < limit, "a read-only server was not seen");
    }
    assert!(read_only().await);
}

#[tokio::test]
async fn a_role_that_may_not_read_the_control_file_still_sees_the_rest() {
    let server = Postgres::primary(&[]);
    server.sql(ORDINARY);
    server.sql("REVOKE EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint() FROM PUBLIC");
    let (mut session, finding) = standing(server.port, &role("ordinary", None)).await;
    assert_eq!((finding.facts.role, finding.facts.db_epoch), (Some(Role::Primary), Some(1)));
    assert_eq!(finding.facts.system_id, None);
    let lines = server.log().lines().count();
    for _ in 0..5 {
        assert_eq!(session.query(Deadline::after(TIMEOUT)).await.outcome, Outcome::Ok);
    }
    assert_eq!(server.log().lines().count(), lines, "{}", server.log());
}

#[tokio::test]
async fn passwords_databases_and_limits() {
    let server = Postgres::primary(&["superuser_reserved_connections=1"]);
    server.sql("SET password_encryption = 'md5'; CREATE ROLE with_md5 LOGIN PASSWORD 'secret'");
    server.sql("SET password_encryption = 'scram-sha-256'; CREATE ROLE with_scram LOGIN PASSWORD 'secret'");
    server.sql("CREATE ROLE in_clear LOGIN PASSWORD 'secret'; CREATE ROLE unwanted LOGIN; CREATE ROLE trusted LOGIN");
    server.hba(
        "host all with_md5 all md5\nhost all with_scram all scram-sha-256\nhost all in_clear all password\nhost all trusted all trust",
    );
    let outcome = async |check: PostgresCheck| once(server.port, &check, TIMEOUT).await.0;
    let allowed = |user, password| PostgresCheck { allow_cleartext_password: true, ..role(user, password) };
    for user in ["with_md5", "with_scram", "in_clear"] {
        let finding = outcome(allowed(user, Some("secret"))).await;
        assert_eq!(finding.outcome, Outcome::Ok, "{user}: {}", finding.evidence);
        for password in [Some("wrong"), None] {
            let finding = outcome(allowed(user, password)).await;
            assert_eq!(finding.outcome, Outcome::Misconfigured, "{user}: {}", finding.evidence);
            assert!(finding.evidence.contains("password"), "{}", finding.evidence);
        }
    }
    let finding = outcome(role("unwanted", None)).await;
    assert_eq!(finding.outcome, Outcome::Misconfigured);
    assert!(finding.evidence.contains("pg_hba.conf"), "{}", finding.evidence);
    let finding = outcome(PostgresCheck { database: "nowhere".into(), ..role("trusted", None) }).await;
    assert_eq!(finding.outcome, Outcome::Misconfigured);
    assert!(finding.evidence.contains("nowhere"), "{}", finding.evidence);

    let mut taken = Vec::new();
    loop {
        let login = super::login(server.port, &role("trusted", None));
        match login.open(&super::sockets(server.port), Deadline::after(TIMEOUT)).await {
            Ok(session) => taken.push(session),
            Err(_) => break,
        }
        assert!(taken.len() < 30);
    }
    let finding = outcome(role("trusted", None)).await;
    assert_eq!(finding.outcome, Outcome::Saturated, "{}", finding.evidence);
    assert_eq!(taken[0].0.query(Deadline::after(TIMEOUT)).await.outcome, Outcome::Ok);
}

#[tokio::test]
async fn a_hung_server_times_out_and_the_session_lives_on() {
    let server = Postgres::primary(&[]);
    let (mut session, _) = standing(server.port, &check(TlsMode::Off)).await;
    server.signal("-STOP");
    let watch = Watch::start();
    let (finding, took) = once(server.port, &check(TlsMode::Off), Duration::from_millis(300)).await;
    assert_eq!(finding.outcome, Outcome::Timeout, "{}", finding.evidence);
    assert!(took >= Duration::from_millis(300) && watch.unhindered() < Duration::from_millis(700), "{took:?}");
    assert_eq!(session.query(Deadline::after(TIMEOUT)).await.outcome, Outcome::Ok);
    server.signal("-CONT");
    assert_eq!(once(server.port, &check(TlsMode::Off), TIMEOUT).await.0.outcome, Outcome::Ok);
}

#[tokio::test]
async fn the_end_of_a_session_is_told_at_once() {
    let mut server = Postgres::primary(&[]);
    let (mut session, _) = standing(server.port, &check(TlsMode::Off)).await;
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'mainstay'");
    let broken = timeout(TIMEOUT, session.broken()).await.unwrap();
    assert!(matches!(&broken, Broken::Shutdown(finding) if finding.evidence.contains("57P01")), "{broken:?}");
    let finding = session.query(Deadline::after(TIMEOUT)).await;
    assert_eq!(finding.outcome, Outcome::Closed);
    assert!(finding.evidence.contains("57P01"), "{}", finding.evidence);

    let (mut session, _) = standing(server.port, &check(TlsMode::Off)).await;
    server.signal("-INT");
    let broken = timeout(TIMEOUT, session.broken()).await.unwrap();
    assert!(matches!(broken, Broken::Shutdown(_)), "{broken:?}");
    server.restart(&[]);

    // A process that is killed says nothing; the kernel does. (A postmaster that is killed is different: its sessions notice,
    // and say 57P01 themselves.)
    let (mut session, _) = standing(server.port, &check(TlsMode::Off)).await;
    let backend = server.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'mainstay'");
    assert!(Command::new("kill").args(["-KILL", &backend]).bounded_status().unwrap().success());
    let broken = timeout(TIMEOUT, session.broken()).await.unwrap();
    assert!(matches!(broken, Broken::Lost(_)), "{broken:?}");
}

#[tokio::test]
async fn hours_of_checks_leave_nothing_behind() {
    let server = Postgres::primary(&[]);
    let log = server.log();
    for _ in 0..100 {
        assert_eq!(once(server.port, &check(TlsMode::Prefer), TIMEOUT).await.0.outcome, Outcome::Ok);
    }
    let (sender, mut events) = mpsc::channel(64);
    let handle = prober::spawn(prober_settings(server.port, Duration::from_millis(60)), sender, Clock::start());
    handle.pace(Pace::Urgent);
    let (mut probes, mut fresh) = (0, 0);
    while probes < 100 {
        if let Some((_, ProberEvent::Report { report: Report { finding, fresh: is_fresh, .. }, .. })) =
            timeout(patience(), events.recv()).await.unwrap()
        {
            assert_eq!(finding.outcome, Outcome::Ok, "{}", finding.evidence);
            probes += 1;
            fresh += u32::from(is_fresh);
        }
    }
    assert!((10..90).contains(&fresh), "{fresh} fresh logins");
    until("one standing session", || sessions(&server) == 1).await;
    drop(handle);
    until("no session", || sessions(&server) == 0).await;
    assert_eq!(server.log(), log);
}

#[tokio::test]
async fn a_query_that_is_cut_off_by_the_deadline_leaves_no_line_either() {
    let server = Postgres::primary(&[]);
    let (mut session, _) = standing(server.port, &check(TlsMode::Off)).await;
    let log = server.log();
    let backend = server.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'mainstay'");
    let kill = |signal: &str| assert!(Command::new("kill").args([signal, &backend]).bounded_status().unwrap().success());
    kill("-STOP");
    until_stopped(backend.parse().unwrap());
    let finding = session.query(Deadline::after(Duration::from_millis(100))).await;
    assert_eq!(finding.outcome, Outcome::Timeout);
    drop(session);
    kill("-CONT");
    until("no session", || sessions(&server) == 0).await;
    assert_eq!(server.log(), log);
}

#[tokio::test]
async fn a_crash_is_seen_by_two_signals_within_milliseconds() {
    let mut server = Postgres::primary(&[]);
    let (sender, mut events) = mpsc::channel(64);
    let _handle = prober::spawn(prober_settings(server.port, Duration::from_secs(5)), sender, Clock::start());
    while !matches!(timeout(patience(), events.recv()).await.unwrap().unwrap().1, ProberEvent::Report { .. }) {}
    server.stop_fast();
    let zero = Watch::start();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match timeout(patience(), events.recv()).await.unwrap().unwrap().1 {
            ProberEvent::Passive(Passive::StandingShutdown) => seen.push("shutdown"),
            ProberEvent::Report { report: Report { finding, .. }, .. } if finding.outcome == Outcome::Refused => {
                seen.push("refused");
            }
            ProberEvent::Report { report: Report { finding, .. }, .. } => {
                assert!(matches!(finding.outcome, Outcome::Starting | Outcome::Closed), "{finding:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    // Without an order, the next probe after the first refusal to serve comes with the normal pace.
    assert!(zero.unhindered() < Duration::from_millis(1500), "{:?}", zero.elapsed());
}

fn prober_settings(port: u16, fresh_login: Duration) -> ProberSettings {
    ProberSettings {
        key: ProberKey(0),
        last_seq: 0,
        address: local(port),
        resolved: [].into(),
        demand: DemandWatch::default(),
        check: CheckConfig {
            kind: CheckKind::Postgres(check(TlsMode::Prefer)),
            second: None,
            interval: Duration::from_secs(1),
            fast_interval: Duration::from_millis(50),
            timeout: TIMEOUT,
            fresh_login,
            proxy_header: None,
        },
    }
}

/// An authority and a certificate of the server, signed by it, for the name `localhost`.
fn certificates(dir: &Path, name: &str) -> (PathBuf, Vec<u8>, Vec<u8>) {
    let script = format!(
        "set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj '/CN=test authority {name}' \
  -keyout {name}-ca.key -out {name}-ca.crt
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=server -keyout {name}.key -out {name}.csr
printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:FALSE\\n' > {name}.ext
openssl x509 -req -in {name}.csr -CA {name}-ca.crt -CAkey {name}-ca.key -CAcreateserial -days 2 -extfile {name}.ext -out {name}.crt"
    );
    let output = Command::new("sh").args(["-c", &script]).current_dir(dir).bounded_output().unwrap();
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    let read = |file: String| std::fs::read(dir.join(file)).unwrap();
    (dir.join(format!("{name}-ca.crt")), read(format!("{name}.crt")), read(format!("{name}.key")))
}

#[tokio::test]
async fn tls_is_verified_as_asked() {
    let mut server = Postgres::primary(&[]);
    server.sql("CREATE ROLE with_scram LOGIN PASSWORD 'secret'");
    server.sql("CREATE ROLE in_clear LOGIN PASSWORD 'secret'");
    server.hba("hostssl all with_scram all scram-sha-256\nhostssl all in_clear all password");
    let dir = std::env::temp_dir().join(format!("mainstay-tls-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let (authority, certificate, key) = certificates(&dir, "good");
    let (stranger, ..) = certificates(&dir, "other");
    let files = [server.file("server.crt", &certificate), server.file("server.key", &key)];

    let finding = once(server.port, &check(TlsMode::Require), TIMEOUT).await.0;
    assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
    assert!(finding.evidence.contains("offers no TLS"), "{}", finding.evidence);

    server.stop_fast();
    let [crt, key] = files.map(|path| path.to_str().unwrap().to_owned());
    server.restart(&["ssl=on", &format!("ssl_cert_file={crt}"), &format!("ssl_key_file={key}")]);
    let is_encrypted = || {
        server.sql("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'mainstay'")
    };

    // With a password over TLS this is SCRAM-SHA-256-PLUS: the login is bound to the certificate.
    for tls in [TlsMode::Prefer, TlsMode::Require] {
        let (session, _) = standing(server.port, &PostgresCheck { tls, ..role("with_scram", Some("secret")) }).await;
        assert_eq!(is_encrypted(), "t");
        session.close().await;
        until("no session", || sessions(&server) == 0).await;
    }
    let verify = |authority: &Path| PostgresCheck { tls_ca_file: Some(authority.into()), ..check(TlsMode::VerifyFull) };
    let by_name: BackendAddr = format!("localhost:{}", server.port).parse().unwrap();
    let probe = async |address: &BackendAddr, check: PostgresCheck| {
        mainstay::control::probe::once(address, &CheckKind::Postgres(check), TIMEOUT).await.unwrap()
    };
    let finding = probe(&by_name, verify(&authority)).await;
    assert_eq!(finding.outcome, Outcome::Ok, "{}", finding.evidence);
    // A password in clear text is for nobody but the server that it is for.
    let in_clear = role("in_clear", Some("secret"));
    let verified = PostgresCheck { tls: TlsMode::VerifyFull, tls_ca_file: Some(authority.clone()), ..in_clear.clone() };
    assert_eq!(probe(&by_name, verified).await.outcome, Outcome::Ok);
    for tls in [TlsMode::Prefer, TlsMode::Require] {
        let finding = probe(&by_name, PostgresCheck { tls, ..in_clear.clone() }).await;
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{tls}: {}", finding.evidence);
        assert!(finding.evidence.contains("not verified"), "{}", finding.evidence);
    }
    for (address, check, word) in [
        (&by_name, verify(&stranger), "UnknownIssuer"),
        (&local(server.port), verify(&authority), "not valid for"),
        (&by_name, verify(Path::new("/nonexistent/ca.crt")), "tls_ca_file /nonexistent/ca.crt"),
    ] {
        let finding = probe(address, check).await;
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
        assert!(finding.evidence.contains(word), "{word}: {}", finding.evidence);
    }

    // A certificate that is its own authority, as the manual's shortest recipe makes it, works but where it is verified.
    let own = |name: &str| server.file(name, &std::fs::read(dir.join(name)).unwrap()).to_str().unwrap().to_owned();
    let (crt, key) = (own("good-ca.crt"), own("good-ca.key"));
    server.stop_fast();
    server.restart(&["ssl=on", &format!("ssl_cert_file={crt}"), &format!("ssl_key_file={key}")]);
    assert_eq!(probe(&by_name, check(TlsMode::Require)).await.outcome, Outcome::Ok);
    let finding = probe(&by_name, verify(&authority)).await;
    assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
    assert!(finding.evidence.contains("its own authority"), "{}", finding.evidence);
    std::fs::remove_dir_all(&dir).unwrap();
}
