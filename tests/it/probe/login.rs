//! How a check logs in: to whom it gives a password, and that what our side cannot follow is no evidence against the server.

use std::{
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mainstay::{
    config::{AuthMethod, CheckKind, HttpCheck, MysqlCheck, PostgresCheck, RedisCheck, TlsIdentity, TlsMode},
    control::probe::{self, Finding},
    failover::{Outcome, Role, label::Label},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{TIMEOUT, check, fake, once, postgres::Postgres, role};
use crate::support::{child::Bounded, mariadb::MariaDb, redis::Redis, scratch::Scratch, wait::until_async};

/// What `CREATE ROLE … PASSWORD` takes for a verifier of `secret` with so many rounds; `PostgreSQL` 15 makes none but of 4096.
fn verifier(rounds: u32) -> String {
    let script = format!(
        "import hashlib, hmac, base64
salt = b'sixteen bytes ..'
key = hashlib.pbkdf2_hmac('sha256', b'secret', salt, {rounds})
sign = lambda word: hmac.new(key, word, hashlib.sha256).digest()
text = lambda data: base64.b64encode(data).decode()
print('SCRAM-SHA-256${rounds}:%s$%s:%s' % (text(salt), text(hashlib.sha256(sign(b'Client Key')).digest()), text(sign(b'Server Key'))))"
    );
    let output = Command::new("python3").args(["-c", &script]).bounded_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// `PostgreSQL`'s own `scram_iterations` goes to 2^31 - 1, and people are told to raise it.
#[tokio::test]
async fn a_scram_verifier_of_many_rounds_is_no_fault_of_the_server() {
    let server = Postgres::primary(&[]);
    server.hba("host all few all scram-sha-256\nhost all many all scram-sha-256\nhost all endless all scram-sha-256");
    for (name, rounds) in [("few", 1), ("many", 200_000)] {
        server.sql(&format!("CREATE ROLE {name} LOGIN PASSWORD '{}'", verifier(rounds)));
        let (finding, _) = once(server.port, &role(name, Some("secret")), Duration::from_mins(1)).await;
        assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Primary)), "{name}: {}", finding.evidence);
        let (finding, _) = once(server.port, &role(name, Some("wrong")), Duration::from_mins(1)).await;
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
    }
    // More than there is time for. (The server, too, would do them all in CREATE ROLE, to see that the password is not empty.)
    let endless = verifier(1).replacen("$1:", "$2000000000:", 1);
    server.sql("CREATE ROLE endless LOGIN");
    server.sql(&format!("UPDATE pg_authid SET rolpassword = '{endless}' WHERE rolname = 'endless'"));
    let (finding, _) = once(server.port, &role("endless", Some("secret")), Duration::from_secs(3)).await;
    assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
    assert!(finding.evidence.contains("2000000000 rounds"), "{}", finding.evidence);
}

/// A certificate as the manual of `PostgreSQL` makes it ("Creating Certificates": `openssl x509 -req` without extensions) is of version 1.
#[tokio::test]
async fn a_certificate_of_version_1_is_good_enough_where_nothing_is_verified() {
    let mut server = Postgres::primary(&[]);
    server.sql("CREATE ROLE with_scram LOGIN PASSWORD 'secret'");
    server.hba("hostssl all with_scram all scram-sha-256");
    let scratch = Scratch::new();
    for (name, algorithm) in [("rsa", "rsa:2048"), ("ec", "ec -pkeyopt ec_paramgen_curve:prime256v1")] {
        let script = format!(
            "set -e
openssl req -new -x509 -days 2 -nodes -newkey {algorithm} -subj /CN=root -keyout root.key -out root.crt
openssl req -new -nodes -newkey {algorithm} -subj /CN=localhost -keyout {name}.key -out {name}.csr
openssl x509 -req -in {name}.csr -days 2 -CA root.crt -CAkey root.key -CAcreateserial -out {name}.crt
openssl x509 -in {name}.crt -noout -text | grep -q 'Version: 1 '"
        );
        let output = Command::new("sh").args(["-c", &script]).current_dir(scratch.directory()).bounded_output().unwrap();
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        let give = |file: String| server.file(&file, &std::fs::read(scratch.path(&file)).unwrap()).display().to_string();
        let (crt, key) = (give(format!("{name}.crt")), give(format!("{name}.key")));
        for version in ["TLSv1.2", "TLSv1.3"] {
            server.stop_fast();
            let files = [format!("ssl_cert_file={crt}"), format!("ssl_key_file={key}")];
            let versions = [format!("ssl_min_protocol_version={version}"), format!("ssl_max_protocol_version={version}")];
            server.restart(&[&files[0], &files[1], &versions[0], &versions[1], "ssl=on"]);
            for tls in [TlsMode::Prefer, TlsMode::Require] {
                let check = PostgresCheck { tls, ..role("with_scram", Some("secret")) };
                let (finding, _) = once(server.port, &check, TIMEOUT).await;
                assert_eq!(finding.outcome, Outcome::Ok, "{name} {version} {tls}: {}", finding.evidence);
            }
        }
    }
    // Verified, it is told what is wrong with it.
    let verified = PostgresCheck { tls_ca_file: Some(scratch.path("root.crt")), ..check(TlsMode::VerifyFull) };
    let address = format!("localhost:{}", server.port).parse().unwrap();
    let finding = probe::once(&address, &CheckKind::Postgres(verified), TIMEOUT).await.unwrap();
    assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
    assert!(finding.evidence.contains("version 1"), "{}", finding.evidence);
}

/// A server that asks in clear text; what it was told. `tls` is its answer to the wish for TLS.
async fn asks_in_clear(tls: &'static [u8]) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let hear = Arc::clone(&told);
    let port = fake::serve(move |mut stream: TcpStream, _| {
        let hear = Arc::clone(&hear);
        async move {
            if !tls.is_empty() {
                assert!(fake::read(&mut stream).await);
                stream.write_all(tls).await.unwrap();
            }
            assert!(fake::read(&mut stream).await);
            stream.write_all(&fake::message(b'R', &[0, 0, 0, 3])).await.unwrap();
            let mut buffer = [0; 256];
            let mut said = fake::welcome();
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                hear.lock().unwrap().extend(&buffer[..length]);
                if stream.write_all(&std::mem::replace(&mut said, fake::facts())).await.is_err() {
                    return;
                }
            }
        }
    });
    (port.await, told)
}

#[tokio::test]
async fn nobody_gets_the_password_of_postgres_in_clear_text_who_is_not_verified() {
    for (tls, answer) in [(TlsMode::Off, &b""[..]), (TlsMode::Prefer, b"N")] {
        let (port, told) = asks_in_clear(answer).await;
        let (finding, _) = once(port, &PostgresCheck { tls, ..role("probe", Some("S3cr3t")) }, TIMEOUT).await;
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
        assert!(finding.evidence.contains("allow_cleartext_password"), "{}", finding.evidence);
        assert!(!has(&told.lock().unwrap(), b"S3cr3t"), "{tls}: the password was sent");
        let allowed = PostgresCheck { tls, allow_cleartext_password: true, ..role("probe", Some("S3cr3t")) };
        let (finding, _) = once(port, &allowed, TIMEOUT).await;
        assert_eq!((finding.outcome, finding.facts.db_epoch), (Outcome::Ok, Some(7)), "{}", finding.evidence);
        assert!(has(&told.lock().unwrap(), b"S3cr3t\0"));
        // Allowed, and not permitted.
        let strict = PostgresCheck { require_auth: Some(vec![AuthMethod::ScramSha256]), ..allowed };
        let (finding, _) = once(port, &strict, TIMEOUT).await;
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
    }
}

fn has(told: &[u8], word: &[u8]) -> bool {
    told.windows(word.len()).any(|bytes| bytes == word)
}

#[tokio::test]
async fn a_server_asks_in_a_way_that_is_permitted_or_is_told_no() {
    let server = Postgres::primary(&[]);
    server.sql("SET password_encryption = 'md5'; CREATE ROLE with_md5 LOGIN PASSWORD 'secret'");
    server.sql(
        "CREATE ROLE with_scram LOGIN PASSWORD 'secret'; CREATE ROLE in_clear LOGIN PASSWORD 'secret'; CREATE ROLE trusted LOGIN",
    );
    server.hba(
        "host all with_md5 all md5\nhost all with_scram all scram-sha-256\nhost all in_clear all password\nhost all trusted all trust",
    );
    let users = ["in_clear", "with_md5", "with_scram", "trusted"];
    for (user, own) in users.into_iter().zip(AuthMethod::ALL) {
        for method in AuthMethod::ALL {
            let check =
                PostgresCheck { allow_cleartext_password: true, require_auth: Some(vec![*method]), ..role(user, Some("secret")) };
            let (finding, _) = once(server.port, &check, TIMEOUT).await;
            let expected = if method == own { Outcome::Ok } else { Outcome::Misconfigured };
            assert_eq!(finding.outcome, expected, "{user} by {method}: {}", finding.evidence);
            assert_eq!(finding.evidence.contains("require_auth"), method != own, "{}", finding.evidence);
        }
    }
}

/// Nobody else can be behind the path of a unix socket, as nobody can who was verified.
#[tokio::test]
async fn a_unix_socket_may_ask_in_clear_text() {
    let scratch = Scratch::new();
    let listener = tokio::net::UnixListener::bind(scratch.path("pg")).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 256];
        for said in [fake::message(b'R', &[0, 0, 0, 3]), fake::welcome(), fake::facts()] {
            assert!(matches!(stream.read(&mut buffer).await, Ok(1..)));
            stream.write_all(&said).await.unwrap();
        }
        while matches!(stream.read(&mut buffer).await, Ok(1..)) {}
    });
    let address = format!("unix:{}", scratch.path("pg").display()).parse().unwrap();
    let check = CheckKind::Postgres(role("probe", Some("S3cr3t")));
    let finding = probe::once(&address, &check, TIMEOUT).await.unwrap();
    assert_eq!((finding.outcome, finding.facts.db_epoch), (Outcome::Ok, Some(7)), "{}", finding.evidence);
}

/// As a postmaster says that cannot fork, in the words of protocol 2.
#[tokio::test]
async fn a_server_without_room_for_a_process_is_alive() {
    let port = fake::serve(|mut stream: TcpStream, _| async move {
        assert!(fake::read(&mut stream).await);
        let words = b"Ecould not fork new process for connection: Cannot allocate memory\n\0";
        stream.write_all(words).await.unwrap();
    });
    let (finding, _) = once(port.await, &check(TlsMode::Off), TIMEOUT).await;
    assert_eq!(finding.outcome, Outcome::Saturated, "{}", finding.evidence);
    assert!(finding.evidence.contains("Cannot allocate memory"), "{}", finding.evidence);
}

/// A FIFO that nobody writes into holds up nothing, and is told.
#[tokio::test]
async fn a_fifo_in_place_of_a_file_of_tls_is_told_at_once() {
    let scratch = Scratch::new();
    let fifo = scratch.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).bounded_status().unwrap().success());
    let port = fake::serve(|stream, _| async move { fake::answer(stream, b"S").await }).await;
    let identity = TlsIdentity { cert_file: fifo.clone(), key_file: fifo.clone() };
    for (name, check) in [
        ("tls_ca_file", PostgresCheck { tls_ca_file: Some(fifo.clone()), ..check(TlsMode::VerifyFull) }),
        ("tls_cert_file", PostgresCheck { tls_identity: Some(identity), ..check(TlsMode::Require) }),
    ] {
        let (finding, _) = once(port, &check, TIMEOUT).await;
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
        assert!(finding.evidence.contains(name) && finding.evidence.contains("regular file"), "{}", finding.evidence);
    }
}

/// What cannot be read is told with its path before anything is said: a login that ends in its middle is a line in the server's log.
/// A server that is gone is told all the same.
#[tokio::test]
async fn without_its_files_nothing_is_said_to_a_server() {
    let scratch = Scratch::new();
    certificates(&scratch);
    let (said, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (heard, met) = (Arc::clone(&said), Arc::clone(&connections));
    let port = fake::serve(move |mut stream, _| {
        let (heard, met) = (Arc::clone(&heard), Arc::clone(&met));
        async move {
            met.fetch_add(1, Ordering::SeqCst);
            while let Ok(count @ 1..) = stream.read(&mut [0; 4096]).await {
                heard.fetch_add(count, Ordering::SeqCst);
            }
            met.fetch_add(1000, Ordering::SeqCst);
        }
    })
    .await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (path, missing, rubbish) = (|name| scratch.path(name), scratch.path("missing"), scratch.file("rubbish", "?", 0o644));
    let identity = |cert_file, key_file| Some(TlsIdentity { cert_file, key_file });
    let authority = Some(path("ca.crt"));
    let bad = [
        (Some(missing.clone()), None, &missing),
        (Some(rubbish.clone()), None, &rubbish),
        (authority.clone(), identity(missing.clone(), path("probe.key")), &missing),
        (authority, identity(path("probe.crt"), rubbish.clone()), &rubbish),
    ];
    let mut probes = 0;
    for (tls_ca_file, tls_identity, name) in bad {
        let (tls, authority, shown) = (TlsMode::VerifyFull, || tls_ca_file.clone(), || tls_identity.clone());
        let kinds = [
            CheckKind::Postgres(PostgresCheck { tls_ca_file: authority(), tls_identity: shown(), ..check(tls) }),
            CheckKind::Mysql(MysqlCheck { tls, tls_ca_file: authority(), tls_identity: shown(), ..MysqlCheck::default() }),
            CheckKind::Redis(RedisCheck { tls, tls_ca_file: authority(), tls_identity: shown(), ..RedisCheck::default() }),
            CheckKind::Http(HttpCheck { tls, tls_ca_file: authority(), tls_identity: shown(), ..HttpCheck::default() }),
        ];
        for kind in kinds {
            probes += 1;
            let finding = ask(port, kind.clone()).await;
            assert_eq!(finding.outcome, Outcome::Misconfigured, "{kind:?}: {}", finding.evidence);
            assert!(finding.evidence.contains(&name.display().to_string()), "{kind:?}: {}", finding.evidence);
            let finding = ask(gone, kind.clone()).await;
            assert_eq!(finding.outcome, Outcome::Refused, "{kind:?}: {}", finding.evidence);
        }
    }
    // Each has met the server, which has seen its end.
    until_async("every connection has ended", async || (connections.load(Ordering::SeqCst) == 1001 * probes).then_some(())).await;
    assert_eq!(said.load(Ordering::SeqCst), 0);
}

/// `PostgreSQL` writes no line for a connection that says nothing.
#[tokio::test]
async fn a_file_that_cannot_be_read_is_no_line_in_the_log_of_the_server() {
    let mut server = Postgres::primary(&[]);
    let scratch = Scratch::new();
    server.encrypt(scratch.directory());
    // The test itself connects to see whether it has started, and may leave in the middle.
    let lines = || server.log().lines().filter(|line| line.contains("SSL")).count();
    let missing = PostgresCheck { tls_ca_file: Some(scratch.path("missing")), ..check(TlsMode::VerifyFull) };
    for _ in 0..10 {
        assert_eq!(once(server.port, &missing, TIMEOUT).await.0.outcome, Outcome::Misconfigured);
    }
    // One that logs in comes after them.
    assert_eq!(server.sql("SELECT 1"), "1");
    assert!(lines() <= 1, "{}", server.log());
}

/// An authority, and what it signed: a server for `localhost`, and `probe`.
pub(super) fn certificates(scratch: &Scratch) {
    let script = "set -e
key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $key -days 2 -subj '/CN=test authority' -keyout ca.key -out ca.crt
for name in server probe; do
    openssl req -new $key -subj /CN=$name -keyout $name.key -out $name.csr
    printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n' > ext
    openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out $name.crt
done
chmod 755 . && chmod 644 *";
    let output = Command::new("sh").args(["-c", script]).current_dir(scratch.directory()).bounded_output().unwrap();
    assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
}

async fn ask(port: u16, kind: CheckKind) -> Finding {
    probe::once(&format!("localhost:{port}").parse().unwrap(), &kind, TIMEOUT).await.unwrap()
}

#[tokio::test]
async fn every_server_that_asks_for_a_certificate_gets_that_of_the_check() {
    let scratch = Scratch::new();
    certificates(&scratch);
    let path = |name: &str| scratch.path(name);
    let text = |name: &str| path(name).display().to_string();
    let tls_ca_file = Some(path("ca.crt"));
    let shown = Some(TlsIdentity { cert_file: path("probe.crt"), key_file: path("probe.key") });
    let tls = TlsMode::VerifyFull;

    let mut postgres = Postgres::primary(&[]);
    postgres.sql("CREATE ROLE probe LOGIN");
    postgres.hba("hostssl all probe all cert");
    let give = |name: &str| postgres.file(name, &std::fs::read(path(name)).unwrap()).display().to_string();
    let files = [("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key"), ("ssl_ca_file", "ca.crt")]
        .map(|(key, name)| format!("{key}={}", give(name)));
    postgres.stop_fast();
    postgres.restart(&[&files[0], &files[1], &files[2], "ssl=on"]);

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let redis = Redis::primary(&[
        &format!("tls-port {port}"),
        &format!("tls-cert-file {}", text("server.crt")),
        &format!("tls-key-file {}", text("server.key")),
        &format!("tls-ca-cert-file {}", text("ca.crt")),
    ]);
    let mariadb = MariaDb::start(&[
        &format!("--ssl-cert={}", text("server.crt")),
        &format!("--ssl-key={}", text("server.key")),
        &format!("--ssl-ca={}", text("ca.crt")),
    ]);
    mariadb.sql("CREATE USER probe REQUIRE X509");

    for (tls_identity, outcome) in [(None, Outcome::Misconfigured), (shown, Outcome::Ok)] {
        let (tls_ca_file, tls_identity) = (|| tls_ca_file.clone(), || tls_identity.clone());
        let check = PostgresCheck { tls, tls_ca_file: tls_ca_file(), tls_identity: tls_identity(), ..role("probe", None) };
        let finding = ask(postgres.port, CheckKind::Postgres(check)).await;
        assert_eq!(finding.outcome, outcome, "{}", finding.evidence);
        let check = RedisCheck { tls, tls_ca_file: tls_ca_file(), tls_identity: tls_identity(), ..RedisCheck::default() };
        let finding = ask(port, CheckKind::Redis(check)).await;
        assert_eq!(finding.outcome, outcome, "{}", finding.evidence);
        let check = MysqlCheck {
            user: "probe".into(),
            tls,
            tls_ca_file: tls_ca_file(),
            tls_identity: tls_identity(),
            ..MysqlCheck::default()
        };
        let finding = ask(mariadb.port, CheckKind::Mysql(check)).await;
        assert_eq!(finding.outcome, outcome, "{}", finding.evidence);
    }
    drop(redis);
}

#[tokio::test]
async fn what_the_check_cannot_follow_is_misconfigured_and_a_newer_protocol_is_followed() {
    let sasl = |names: &[&str]| {
        let names: Vec<u8> = names.iter().flat_map(|name| name.bytes().chain([0])).chain([0]).collect();
        fake::message(b'R', &[&[0, 0, 0, 10], names.as_slice()].concat())
    };
    let continued = |text: &str| fake::message(b'R', &[&[0, 0, 0, 11], text.as_bytes()].concat());
    for (name, said, word) in [
        ("kerberos", fake::message(b'R', &[0, 0, 0, 2]), "Kerberos"),
        ("gss", fake::message(b'R', &[0, 0, 0, 7]), "GSSAPI"),
        ("sspi", fake::message(b'R', &[0, 0, 0, 9]), "SSPI"),
        ("of the future", fake::message(b'R', &[0, 0, 0, 99]), "99"),
        ("another mechanism", sasl(&["OAUTHBEARER"]), "OAUTHBEARER"),
        ("only with channel binding", sasl(&["SCRAM-SHA-256-PLUS"]), "SCRAM-SHA-256-PLUS"),
        ("a round too many", [sasl(&["SCRAM-SHA-256"]), continued("r=x,s=AAAA,i=4096")].concat(), "SCRAM"),
    ] {
        let port = fake::serve(move |stream, _| {
            let said = said.clone();
            async move { fake::answer(stream, &said).await }
        });
        let (finding, _) = once(port.await, &role("probe", Some("secret")), TIMEOUT).await;
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{name}: {}", finding.evidence);
        assert!(finding.evidence.contains(word), "{name}: {}", finding.evidence);
    }
    // NegotiateProtocolVersion, and a notice, before anything else.
    let port = fake::serve(|mut stream: TcpStream, _| async move {
        assert!(fake::read(&mut stream).await);
        let first = [fake::message(b'v', &[0, 3, 0, 2, 0, 0, 0, 0]), fake::message(b'N', b"SNOTICE\0C00000\0Mx\0\0")].concat();
        stream.write_all(&[first, fake::welcome()].concat()).await.unwrap();
        fake::answer(stream, &fake::facts()).await;
    });
    let (finding, _) = once(port.await, &check(TlsMode::Off), TIMEOUT).await;
    assert_eq!((finding.outcome, finding.facts.db_epoch), (Outcome::Ok, Some(7)), "{}", finding.evidence);
}
