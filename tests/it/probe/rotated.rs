//! Passwords and certificates that are changed while the check goes on: what stands in their files counts from the next login. The files
//! are those of a Secret of Kubernetes.

use std::{
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use mainstay::{
    config::{CheckKind, HttpCheck, HttpLogin, MysqlCheck, PostgresCheck, RedisCheck, Secret, Sentinels, TlsIdentity, TlsMode},
    control::probe::{self, Deadline, Failure, Finding, standing::Login},
    failover::Outcome,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{TIMEOUT, fake, local, login::certificates, postgres::Postgres, role, sockets};
use crate::support::{child::Bounded, mariadb::MariaDb, redis::Redis, scratch::Scratch, volume::Volume};

async fn open(login: &dyn Login, port: u16) -> Finding {
    match login.open(&sockets(port), Deadline::after(TIMEOUT)).await {
        Ok((standing, finding)) => {
            standing.close().await;
            finding
        }
        Err(Failure::Backend(finding)) => finding,
        Err(Failure::Local(evidence)) => panic!("{evidence}"),
    }
}

/// One login before its password is changed, at the server and in the file, one after; then what stands in the file's place is none.
async fn rotated(port: u16, mut volume: Volume, kind: CheckKind, change: impl Fn(&str)) {
    let login = probe::login(&local(port), &kind).unwrap();
    assert_eq!(open(&*login, port).await.outcome, Outcome::Ok);
    change("second");
    let finding = open(&*login, port).await;
    assert_eq!(finding.outcome, Outcome::Misconfigured, "the old one counts no more: {}", finding.evidence);
    volume.swap(&[("password", "second\n")]);
    let finding = open(&*login, port).await;
    assert_eq!(finding.outcome, Outcome::Ok, "a renewed file is read at the next login: {}", finding.evidence);
    // Nothing, or a FIFO that nobody writes into: the last that was good is used.
    volume.swap(&[("other", "")]);
    let finding = open(&*login, port).await;
    assert_eq!(finding.outcome, Outcome::Ok, "nothing in its place: {}", finding.evidence);
    assert!(Command::new("mkfifo").arg(volume.path("password")).bounded_status().unwrap().success());
    let finding = open(&*login, port).await;
    assert_eq!(finding.outcome, Outcome::Ok, "a FIFO in its place: {}", finding.evidence);
}

fn first(scratch: &Scratch) -> (Volume, Option<Secret>) {
    let volume = Volume::new(scratch.path("secret"), &[("password", "first\n")]);
    let password = Secret::from_file("first".into(), &volume.path("password"));
    (volume, Some(password))
}

#[tokio::test]
async fn a_rotated_password_of_postgres_is_read_at_the_next_login() {
    let (server, scratch) = (Postgres::primary(&[]), Scratch::new());
    server.sql("CREATE ROLE probe LOGIN PASSWORD 'first'");
    server.hba("host all probe all scram-sha-256");
    let (volume, password) = first(&scratch);
    let kind = CheckKind::Postgres(PostgresCheck { password, ..role("probe", None) });
    rotated(server.port, volume, kind, |word| drop(server.sql(&format!("ALTER ROLE probe PASSWORD '{word}'")))).await;
}

#[tokio::test]
async fn a_rotated_password_of_mysql_is_read_at_the_next_login() {
    let (server, scratch) = (MariaDb::start(&[]), Scratch::new());
    server.sql("CREATE USER probe IDENTIFIED BY 'first'");
    let (volume, password) = first(&scratch);
    let kind = CheckKind::Mysql(MysqlCheck { user: "probe".into(), password, ..MysqlCheck::default() });
    rotated(server.port, volume, kind, |word| drop(server.sql(&format!("ALTER USER probe IDENTIFIED BY '{word}'")))).await;
}

#[tokio::test]
async fn a_rotated_password_of_redis_is_read_at_the_next_login() {
    let (server, scratch) = (Redis::primary(&["user probe on >first +ping +info"]), Scratch::new());
    let (volume, password) = first(&scratch);
    let kind = CheckKind::Redis(RedisCheck { user: Some("probe".into()), password, ..RedisCheck::default() });
    rotated(server.port, volume, kind, |word| {
        drop(server.ask(&["ACL", "SETUSER", "probe", "resetpass", &format!(">{word}")]));
    })
    .await;
}

#[tokio::test]
async fn a_rotated_password_of_http_is_read_for_the_next_connection() {
    let scratch = Scratch::new();
    let wanted = Arc::new(Mutex::new("first".to_owned()));
    let own = Arc::clone(&wanted);
    let port = fake::serve(move |mut stream, _| {
        let own = Arc::clone(&own);
        async move {
            let (mut request, mut block) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"\r\n\r\n") {
                let Ok(count @ 1..) = stream.read(&mut block).await else { return };
                request.extend_from_slice(&block[..count]);
            }
            let basic = format!("basic {}", STANDARD.encode(format!("probe:{}", own.lock().unwrap()))).to_lowercase();
            let status =
                if String::from_utf8_lossy(&request).to_lowercase().contains(&basic) { "200 OK" } else { "401 Unauthorized" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let (volume, password) = first(&scratch);
    let login = Some(HttpLogin { user: "probe".into(), password: password.unwrap() });
    let kind = CheckKind::Http(HttpCheck { login, ..HttpCheck::default() });
    rotated(port.await, volume, kind, |word| word.clone_into(&mut wanted.lock().unwrap())).await;
}

#[tokio::test]
async fn a_rotated_password_of_the_sentinels_is_read_when_they_are_asked() {
    let (primary, scratch) = (Redis::primary(&[]), Scratch::new());
    let sentinel = primary.watched_with(&["user asker on >first +sentinel|get-master-addr-by-name +sentinel|master"]);
    let (mut volume, password) = first(&scratch);
    let sentinels =
        Sentinels { addresses: vec![local(sentinel.port)], name: "mymaster".into(), user: Some("asker".into()), password };
    let login = |sentinels: &Sentinels| {
        let check = RedisCheck { sentinels: Some(sentinels.clone()), ..RedisCheck::default() };
        probe::login(&local(primary.port), &CheckKind::Redis(check)).unwrap()
    };
    let epoch = async || open(&*login(&sentinels), primary.port).await.facts.db_epoch;
    assert!(epoch().await.is_some());
    // The same council asks on, about once a second.
    let council = login(&sentinels);
    assert!(open(&*council, primary.port).await.facts.db_epoch.is_some());
    sentinel.ask(&["ACL", "SETUSER", "asker", "resetpass", ">second"]);
    assert_eq!(epoch().await, None, "the old one counts no more");
    volume.swap(&[("password", "second\n")]);
    assert!(epoch().await.is_some(), "a renewed file is read at the next question");
}

/// The files of [`certificates`] that a check needs.
fn shown(scratch: &Scratch) -> [(&'static str, String); 3] {
    ["ca.crt", "probe.crt", "probe.key"].map(|name| (name, std::fs::read_to_string(scratch.path(name)).unwrap()))
}

async fn outcome(port: u16, kind: &CheckKind) -> Outcome {
    probe::once(&format!("localhost:{port}").parse().unwrap(), kind, TIMEOUT).await.unwrap().outcome
}

#[tokio::test]
async fn certificates_and_authority_that_are_renewed_together_count_at_the_next_login() {
    let (old, new, scratch) = (Scratch::new(), Scratch::new(), Scratch::new());
    certificates(&old);
    certificates(&new);
    let files = shown(&old);
    let mut volume = Volume::new(scratch.path("secret"), &files.each_ref().map(|(name, text)| (*name, text.as_str())));

    let mut postgres = Postgres::primary(&[]);
    postgres.sql("CREATE ROLE probe LOGIN");
    postgres.hba("hostssl all probe all cert");
    let give = |postgres: &Postgres, from: &Scratch| {
        ["server.crt", "server.key", "ca.crt"]
            .map(|name| postgres.file(name, &std::fs::read(from.path(name)).unwrap()).display().to_string())
    };
    let [cert, key, authority] = give(&postgres, &old);
    postgres.stop_fast();
    let settings = [format!("ssl_cert_file={cert}"), format!("ssl_key_file={key}"), format!("ssl_ca_file={authority}")];
    postgres.restart(&[&settings[0], &settings[1], &settings[2], "ssl=on"]);
    let path = |name: &str| scratch.file(name, std::fs::read(old.path(name)).unwrap(), 0o644).display().to_string();
    let (cert, key, authority) = (path("server.crt"), path("server.key"), path("ca.crt"));
    let mariadb = MariaDb::start(&[&format!("--ssl-cert={cert}"), &format!("--ssl-key={key}"), &format!("--ssl-ca={authority}")]);
    mariadb.sql("CREATE USER probe REQUIRE X509");

    let identity = || Some(TlsIdentity { cert_file: volume.path("probe.crt"), key_file: volume.path("probe.key") });
    let (tls, tls_ca_file): (_, Option<PathBuf>) = (TlsMode::VerifyFull, Some(volume.path("ca.crt")));
    let kinds = [
        (
            postgres.port,
            CheckKind::Postgres(PostgresCheck {
                tls,
                tls_ca_file: tls_ca_file.clone(),
                tls_identity: identity(),
                ..role("probe", None)
            }),
        ),
        (
            mariadb.port,
            CheckKind::Mysql(MysqlCheck {
                user: "probe".into(),
                tls,
                tls_ca_file,
                tls_identity: identity(),
                ..MysqlCheck::default()
            }),
        ),
    ];
    for (port, kind) in &kinds {
        assert_eq!(outcome(*port, kind).await, Outcome::Ok);
    }
    // The servers come first, as they do where an operator of Kubernetes renews what has run out.
    give(&postgres, &new);
    postgres.sql("SELECT pg_reload_conf()");
    for name in ["server.crt", "server.key", "ca.crt"] {
        std::fs::copy(new.path(name), scratch.path(name)).unwrap();
    }
    mariadb.sql("FLUSH SSL");
    for (port, kind) in &kinds {
        crate::support::wait::until_async("the old authority is not theirs", async || {
            (outcome(*port, kind).await == Outcome::Misconfigured).then_some(())
        })
        .await;
    }
    let files = shown(&new);
    volume.swap(&files.each_ref().map(|(name, text)| (*name, text.as_str())));
    for (port, kind) in &kinds {
        assert_eq!(outcome(*port, kind).await, Outcome::Ok);
    }
}
