//! Servers that follow a script: what `MySQL` 8 asks, which is not here to be asked, and what no honest server says.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixListener,
    path::PathBuf,
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use mainstay::{
    config::{CheckKind, MysqlCheck, Secret, TlsMode},
    control::probe::{self, Finding},
    failover::{Outcome, Role},
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{local, user};
use crate::support::{
    child::Bounded,
    config::LOOPBACK,
    echo::Backend,
    scratch::Scratch,
    wait::{Watch, patience, until},
};

const DEADLINE: Duration = Duration::from_millis(600);
const NONCE: &[u8; 20] = b"abcdefghijklmnopqrst";
pub(crate) const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const END: &[u8] = &[0xfe, 0, 0, 2, 0];

pub(crate) fn frame(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&length[..3], &[sequence], payload].concat()
}

pub(crate) fn receive(stream: &mut impl Read) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let mut payload = vec![0; usize::from(head[0]) | usize::from(head[1]) << 8];
    stream.read_exact(&mut payload)?;
    Ok((head[3], payload))
}

/// The greeting of `MySQL` 8 without TLS.
fn greeting(plugin: &str) -> Vec<u8> {
    greeting_of("8.0.36", plugin)
}

/// The same of another version.
pub(crate) fn greeting_of(version: &str, plugin: &str) -> Vec<u8> {
    let mut bytes = vec![10];
    bytes.extend(version.as_bytes());
    bytes.extend(b"\0\x08\0\0\0");
    bytes.extend(&NONCE[..8]);
    bytes.extend(b"\0\xff\xf7\xff\x02\0\xff\xdf\x15");
    bytes.extend([0; 10]);
    bytes.extend(&NONCE[8..]);
    bytes.push(0);
    bytes.extend(plugin.as_bytes());
    bytes.push(0);
    frame(0, &bytes)
}

/// A table of texts, and its packets.
pub(crate) fn table(columns: &[&str], rows: &[&[&str]]) -> Vec<u8> {
    let string = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let mut packets = vec![vec![u8::try_from(columns.len()).unwrap()]];
    packets
        .extend(columns.iter().map(|name| [string("def"), vec![0, 0, 0], string(name), string(name), vec![0x0c; 13]].concat()));
    packets.push(END.to_vec());
    packets.extend(rows.iter().map(|row| row.iter().flat_map(|value| string(value)).collect()));
    packets.push(END.to_vec());
    (0..=u8::MAX).cycle().skip(1).zip(packets).flat_map(|(sequence, packet)| frame(sequence, &packet)).collect()
}

/// Answers what a check asks, as the primary of `MySQL` 8 that follows nobody.
pub(crate) fn answer_questions(stream: &mut (impl Read + Write)) -> std::io::Result<()> {
    answer_with(stream, &table(&["Source_Host"], &[]))
}

/// The same of a writable server, with what it says of its replication.
pub(crate) fn answer_with(stream: &mut (impl Read + Write), replication: &[u8]) -> std::io::Result<()> {
    loop {
        let (_, question) = receive(stream)?;
        let question = String::from_utf8_lossy(&question).into_owned();
        let answer = match question {
            q if q.contains("SHOW GLOBAL VARIABLES") => table(
                &["Variable_name", "Value"],
                &[&["read_only", "OFF"], &["super_read_only", "OFF"], &["offline_mode", "OFF"], &["server_id", "1"]],
            ),
            q if q.contains("@@global.super_read_only") => {
                table(&["read_only", "super_read_only", "offline_mode", "server_id"], &[&["0", "0", "0", "1"]])
            }
            q if q.contains("SHOW REPLICA STATUS") => replication.to_vec(),
            _ => return Ok(()),
        };
        stream.write_all(&answer)?;
    }
}

/// Asks a server that has an answer: a deadline is not needed, and a busy machine gives none of its own.
async fn ask(port: u16, check: MysqlCheck) -> Finding {
    ask_within(patience(), port, check).await
}

async fn ask_within(deadline: Duration, port: u16, check: MysqlCheck) -> Finding {
    let started = Watch::start();
    let finding = probe::once(&local(port), &CheckKind::Mysql(check), deadline).await.unwrap();
    assert!(started.unhindered() < DEADLINE + Duration::from_millis(400), "{:?}", started.elapsed());
    assert!(!finding.evidence.is_empty() && !finding.evidence.contains(char::is_control), "{}", finding.evidence);
    finding
}

pub(crate) fn start(script: impl Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Backend {
    Backend::start_first(LOOPBACK, move |mut stream| {
        let _ = stream.set_read_timeout(Some(patience()));
        let _ = script(&mut stream);
        // Closed in order, when the client has said all.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
    })
}

/// What a server does that remembers the account, and one that does not and has no TLS: it has the password sealed with its key.
#[tokio::test]
async fn caching_sha2_by_memory_and_by_the_servers_key() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("mysql-key-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let openssl = |arguments: &[&str]| {
        let output = Command::new("openssl").args(arguments).current_dir(&directory).bounded_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "private.pem"]);
    let public = openssl(&["pkey", "-in", "private.pem", "-pubout"]);

    let remembers = start(|stream| {
        stream.write_all(&greeting("caching_sha2_password"))?;
        let (sequence, _) = receive(stream)?;
        stream.write_all(&[frame(sequence + 1, &[1, 3]), frame(sequence + 2, OK)].concat())?;
        answer_questions(stream)
    });
    let finding = ask(remembers.address.port(), user("probe", Some("S3cr3t word"))).await;
    assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Primary)), "{}", finding.evidence);
    assert_eq!(finding.facts.version.as_deref(), Some("8.0.36"));

    let sealed = directory.clone();
    let forgets = start(move |stream| {
        stream.write_all(&greeting("mysql_native_password"))?;
        let (sequence, _) = receive(stream)?;
        // The account's own way is another than the server's.
        let switch = [b"\xfecaching_sha2_password\0".as_slice(), NONCE, &[0]].concat();
        stream.write_all(&frame(sequence + 1, &switch))?;
        let (sequence, proof) = receive(stream)?;
        assert_eq!(proof.len(), 32);
        stream.write_all(&frame(sequence + 1, &[1, 4]))?;
        let (sequence, asked) = receive(stream)?;
        assert_eq!(asked, [2]);
        stream.write_all(&frame(sequence + 1, &[&[1], public.as_slice()].concat()))?;
        let (sequence, secret) = receive(stream)?;
        std::fs::write(sealed.join("sealed"), secret)?;
        let options = ["pkeyutl", "-decrypt", "-inkey", "private.pem", "-in", "sealed", "-pkeyopt", "rsa_padding_mode:oaep"];
        let output = Command::new("openssl").args(options).current_dir(&sealed).bounded_output()?;
        let plain: Vec<u8> = output.stdout.iter().zip(NONCE.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        if plain == b"S3cr3t word\0" {
            stream.write_all(&frame(sequence + 1, OK))?;
            answer_questions(stream)
        } else {
            stream.write_all(&frame(sequence + 1, b"\xff\x15\x04#28000Access denied"))
        }
    });
    let shown = MysqlCheck { allow_cleartext_password: true, ..user("probe", Some("S3cr3t word")) };
    let finding = ask(forgets.address.port(), shown).await;
    assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Primary)), "{}", finding.evidence);
    let check = MysqlCheck { allow_cleartext_password: true, ..user("probe", Some("wrong")) };
    assert_eq!(ask(forgets.address.port(), check).await.outcome, Outcome::Misconfigured);
    // Anybody can show a key: where that is not allowed, none is taken.
    for tls in [TlsMode::Off, TlsMode::Prefer] {
        let finding = ask(forgets.address.port(), MysqlCheck { tls, ..user("probe", Some("S3cr3t word")) }).await;
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
        assert!(finding.evidence.contains("server_public_key_file"), "{}", finding.evidence);
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

/// One whose key was brought here is not asked for it, and only it can read what it gets.
#[tokio::test]
async fn caching_sha2_by_a_key_that_is_known() {
    let scratch = Scratch::new();
    let script = "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out private.pem && openssl pkey -in private.pem -pubout -out public.pem";
    let made = Command::new("sh").args(["-c", script]).current_dir(scratch.directory()).bounded_output().unwrap();
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    let directory = scratch.directory().to_owned();
    let server = start(move |stream| {
        stream.write_all(&greeting("caching_sha2_password"))?;
        let (sequence, _) = receive(stream)?;
        stream.write_all(&frame(sequence + 1, &[1, 4]))?;
        let (sequence, secret) = receive(stream)?;
        std::fs::write(directory.join("sealed"), secret)?;
        let options = ["pkeyutl", "-decrypt", "-inkey", "private.pem", "-in", "sealed", "-pkeyopt", "rsa_padding_mode:oaep"];
        let output = Command::new("openssl").args(options).current_dir(&directory).bounded_output()?;
        let plain: Vec<u8> = output.stdout.iter().zip(NONCE.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        if plain == b"S3cr3t word\0" {
            stream.write_all(&frame(sequence + 1, OK))?;
            return answer_questions(stream);
        }
        stream.write_all(&frame(sequence + 1, b"\xff\x15\x04#28000Access denied"))
    });
    let key = |name: &str| MysqlCheck { server_public_key_file: Some(scratch.path(name)), ..user("probe", Some("S3cr3t word")) };
    let finding = ask(server.address.port(), key("public.pem")).await;
    assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Primary)), "{}", finding.evidence);
    let finding = ask(server.address.port(), key("nowhere.pem")).await;
    assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
    assert!(finding.evidence.contains("server_public_key_file"), "{}", finding.evidence);
}

/// `MySQL` makes a certificate of its own at its first start, and wants the password over TLS after each start.
#[tokio::test]
async fn caching_sha2_over_tls_says_the_password_to_a_verified_server_only() {
    let scratch = Scratch::new();
    let script = "set -e
key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $key -days 2 -subj '/CN=test authority' -keyout ca.key -out ca.crt
openssl req -new $key -subj /CN=server -keyout server.key -out server.csr
printf 'subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n' > ext
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.crt";
    let made = Command::new("sh").args(["-c", script]).current_dir(scratch.directory()).bounded_output().unwrap();
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    let chain = CertificateDer::pem_file_iter(scratch.path("server.crt")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(scratch.path("server.key")).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let (told, heard) = std::sync::mpsc::channel();
    let server = start(move |stream| {
        let mut offers_tls = greeting("caching_sha2_password");
        // The upper byte of the capabilities' lower half, behind version, connection, nonce and a zero.
        let capabilities = 4 + 1 + b"8.0.36\0".len() + 4 + 8 + 1;
        offers_tls[capabilities + 1] |= 0x08;
        stream.write_all(&offers_tls)?;
        receive(stream)?;
        let session = ServerConnection::new(Arc::clone(&config)).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(session, stream);
        let (sequence, _) = receive(&mut stream)?;
        stream.write_all(&frame(sequence + 1, &[1, 4]))?;
        let (sequence, said) = receive(&mut stream)?;
        let _ = told.send(said);
        stream.write_all(&frame(sequence + 1, OK))?;
        answer_questions(&mut stream)
    });
    let ask = async |check: MysqlCheck| {
        let address = format!("localhost:{}", server.address.port()).parse().unwrap();
        probe::once(&address, &CheckKind::Mysql(check), patience()).await.unwrap()
    };
    for tls in [TlsMode::Prefer, TlsMode::Require] {
        let check = MysqlCheck { tls, ..user("probe", Some("S3cr3t word")) };
        let finding = ask(check.clone()).await;
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
        assert!(finding.evidence.contains("allow_cleartext_password"), "{}", finding.evidence);
        let finding = ask(MysqlCheck { allow_cleartext_password: true, ..check }).await;
        assert_eq!(finding.outcome, Outcome::Ok, "{}", finding.evidence);
    }
    let verified =
        MysqlCheck { tls: TlsMode::VerifyFull, tls_ca_file: Some(scratch.path("ca.crt")), ..user("probe", Some("S3cr3t word")) };
    let finding = ask(verified).await;
    assert_eq!(finding.outcome, Outcome::Ok, "{}", finding.evidence);
    drop(server);
    // Three had it; the others got a COM_QUIT in its place. Sessions that are given up are closed by this thread, so another waits.
    let heard = tokio::task::spawn_blocking(move || heard.iter().collect::<Vec<_>>()).await.unwrap();
    let (passwords, others): (Vec<_>, Vec<_>) = heard.into_iter().partition(|said| said == b"S3cr3t word\0");
    assert!(passwords.len() == 3 && others.iter().all(|said| said == &[1]), "{others:?}");
}

/// A second factor, and whatever a plugin wants that is not known.
#[tokio::test]
async fn what_the_check_cannot_give_is_no_fault_of_the_server() {
    for asked in [&b"\x02authentication_webauthn\0challenge"[..], b"\x01Verification code: "] {
        let server = start(move |stream| {
            stream.write_all(&greeting("mysql_native_password"))?;
            let (sequence, _) = receive(stream)?;
            stream.write_all(&frame(sequence + 1, asked))
        });
        let finding = ask(server.address.port(), user("probe", Some("S3cr3t"))).await;
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
    }
}

/// A unix socket is as good as TLS to a server: it takes the password as it is, and shows no key.
#[tokio::test]
async fn caching_sha2_by_a_unix_socket_says_the_password_itself() {
    let scratch = Scratch::new();
    let path = scratch.path("mysql");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        listener.set_nonblocking(true)?;
        let (mut stream, _) = until("the check connects", || listener.accept().ok());
        stream.write_all(&greeting("caching_sha2_password"))?;
        let (sequence, _) = receive(&mut stream)?;
        stream.write_all(&frame(sequence + 1, &[1, 4]))?;
        let (sequence, said) = receive(&mut stream)?;
        stream.write_all(&frame(sequence + 1, OK))?;
        answer_questions(&mut stream).map(|()| said)
    });
    let address = format!("unix:{}", path.display()).parse().unwrap();
    let check = CheckKind::Mysql(user("probe", Some("S3cr3t word")));
    let finding = probe::once(&address, &check, patience()).await.unwrap();
    assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Primary)), "{}", finding.evidence);
    assert_eq!(server.join().unwrap().unwrap(), b"S3cr3t word\0");
}

/// What a writable server says of its replication: a promotion by `STOP REPLICA`, after its source died; a replica whose source is gone, or
/// whose retries (ten by default) are used up; and servers that may not be asked, or do not know the question.
#[tokio::test]
async fn a_writable_server_is_a_primary_once_it_was_told_to_stop_following() {
    let columns = ["Source_Host", "Replica_IO_Running", "Replica_SQL_Running", "Last_IO_Errno", "Last_SQL_Errno"];
    let refusal = |code: u16| frame(1, &[&[0xff], code.to_le_bytes().as_slice(), b"#42000no"].concat());
    for (says, role, evidence) in [
        (table(&columns, &[&["db-a", "No", "No", "2003", "0"]]), Role::Primary, "replication from db-a is stopped"),
        (table(&columns, &[&["db-a", "Connecting", "Yes", "2003", "0"]]), Role::Standby, "STOP REPLICA; RESET REPLICA ALL"),
        (table(&columns, &[&["db-a", "No", "Yes", "2003", "0"]]), Role::Standby, "STOP REPLICA; RESET REPLICA ALL"),
        (table(&columns, &[&["db-a", "No", "No", "2003", "1062"]]), Role::Standby, "STOP REPLICA; RESET REPLICA ALL"),
        (refusal(1227), Role::Primary, "may not see whether it follows another"),
        (refusal(1064), Role::Primary, "may not see whether it follows another"),
        (refusal(1235), Role::Primary, "may not see whether it follows another"),
    ] {
        let server = start(move |stream| {
            stream.write_all(&greeting("mysql_native_password"))?;
            let (sequence, _) = receive(stream)?;
            stream.write_all(&frame(sequence + 1, OK))?;
            answer_with(stream, &says)
        });
        let finding = ask(server.address.port(), user("probe", None)).await;
        assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(role)), "{}", finding.evidence);
        assert!(finding.evidence.contains(evidence), "{}", finding.evidence);
    }
}

#[tokio::test]
async fn the_servers_own_words_decide() {
    for (code, outcome) in [
        (1040_u16, Outcome::Saturated),
        (1129, Outcome::Misconfigured),
        (1130, Outcome::Misconfigured),
        (1045, Outcome::Misconfigured),
        (1047, Outcome::Starting),
        (1053, Outcome::Starting),
        (3032, Outcome::Starting),
    ] {
        let error = [&[0xff], code.to_le_bytes().as_slice(), b"so\nit is"].concat();
        let said = frame(0, &error);
        let greets = start(move |stream| stream.write_all(&said));
        let finding = ask(greets.address.port(), user("probe", None)).await;
        assert_eq!(finding.outcome, outcome, "{code}: {}", finding.evidence);
        assert!(finding.evidence.contains("soit is") && finding.evidence.contains(&code.to_string()), "{}", finding.evidence);
        // The same after the login, with an SQLSTATE.
        let error = [&[0xff], code.to_le_bytes().as_slice(), b"#HY000so it is"].concat();
        let later = start(move |stream| {
            stream.write_all(&greeting("mysql_native_password"))?;
            let (sequence, _) = receive(stream)?;
            stream.write_all(&frame(sequence + 1, OK))?;
            receive(stream)?;
            stream.write_all(&frame(1, &error))
        });
        assert_eq!(ask(later.address.port(), user("probe", None)).await.outcome, outcome, "{code} later");
    }
}

#[tokio::test]
async fn what_is_no_mysql_or_stalls_is_told_apart_within_the_deadline() {
    let cases: [(&str, Vec<u8>, Outcome, &str); 7] = [
        ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), Outcome::ProtocolError, "does not speak MySQL"),
        ("another version", frame(0, &[9, b'3', 0]), Outcome::ProtocolError, "does not speak MySQL"),
        ("a greeting cut off", frame(0, &greeting("x")[4..20]), Outcome::ProtocolError, "cut off"),
        ("more than a greeting", [greeting("x"), vec![1]].concat(), Outcome::ProtocolError, "more than its greeting"),
        ("an error cut off", frame(0, &[0xff]), Outcome::ProtocolError, ""),
        ("half a packet", greeting("x")[..30].to_vec(), Outcome::Closed, ""),
        ("nothing", Vec::new(), Outcome::Closed, ""),
    ];
    for (name, bytes, outcome, evidence) in cases {
        let server = start(move |stream| stream.write_all(&bytes));
        let finding = ask(server.address.port(), user("probe", None)).await;
        assert_eq!(finding.outcome, outcome, "{name}: {}", finding.evidence);
        assert!(finding.evidence.contains(evidence), "{name}: {}", finding.evidence);
    }
    let silent = Backend::start_first(LOOPBACK, |mut stream| drop(stream.read(&mut [0; 64])));
    assert_eq!(ask_within(DEADLINE, silent.address.port(), user("probe", None)).await.outcome, Outcome::Timeout);
    // A byte now and then gains nothing.
    let slow = Backend::start_first(LOOPBACK, |mut stream| {
        for byte in greeting("mysql_native_password").chunks(1).cycle().take(1000) {
            if stream.write_all(byte).is_err() {
                return;
            }
            // The pace of the trickle.
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(ask_within(DEADLINE, slow.address.port(), user("probe", None)).await.outcome, Outcome::Timeout);
}

#[tokio::test]
async fn a_password_is_not_shown_to_whoever_asks_for_it() {
    for plugin in ["mysql_clear_password", "dialog", "sha256_password"] {
        let (told, heard) = std::sync::mpsc::channel();
        let server = start(move |stream| {
            stream.write_all(&greeting(plugin))?;
            let (sequence, login) = receive(stream)?;
            let _ = told.send(login);
            let switch = [b"\xfe", plugin.as_bytes(), b"\0", NONCE.as_slice(), &[0]].concat();
            stream.write_all(&frame(sequence + 1, &switch))?;
            let mut rest = Vec::new();
            // Long enough for an answer that was on its way already.
            stream.set_read_timeout(Some(Duration::from_millis(500)))?;
            let _ = stream.read_to_end(&mut rest);
            let _ = told.send(rest);
            Ok(())
        });
        let check = MysqlCheck { password: Some(Secret::new("S3cr3t".into())), ..user("probe", None) };
        let finding = ask(server.address.port(), check).await;
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
        assert!(finding.evidence.contains(plugin), "{}", finding.evidence);
        drop(server);
        for said in &heard {
            assert!(!said.windows(6).any(|bytes| bytes == b"S3cr3t"), "{plugin}: the password was sent");
        }
    }
}
