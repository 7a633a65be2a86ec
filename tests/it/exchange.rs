//! The check by texts sent and expected: against scripted servers, and against a real one.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::mpsc,
    time::Duration,
};

use mainstay::{
    config::{
        self, CheckKind, ExchangeCheck, SecretSource, TlsMode,
        exchange::{Form, Message, RoleTexts, Step},
    },
    control::probe::{self, Finding},
    failover::{Outcome, Role},
};
use serde_json::{Value, json};

use crate::support::{
    config::LOOPBACK,
    echo::{Backend, reset},
    process::Process,
    redis::{Redis, ask},
    wait::{Watch, patience, until},
};

fn text(text: &str) -> Message {
    Message::new(text.as_bytes().to_vec(), Form::Text)
}

fn send(what: &str) -> Step {
    Step::Send(text(what))
}

fn expect(what: &str) -> Step {
    Step::Expect(text(what))
}

fn steps(steps: Vec<Step>) -> ExchangeCheck {
    ExchangeCheck { steps, roles: None, tls: TlsMode::Off, tls_ca_file: None, tls_identity: None }
}

fn ping() -> ExchangeCheck {
    steps(vec![send("PING\r\n"), expect("+PONG")])
}

async fn once(address: SocketAddr, check: &ExchangeCheck, timeout: Duration) -> Finding {
    probe::once(&address.to_string().parse().unwrap(), &CheckKind::Exchange(check.clone()), timeout).await.unwrap()
}

async fn patiently(address: SocketAddr, check: &ExchangeCheck) -> Finding {
    once(address, check, patience()).await
}

const SHORT: Duration = Duration::from_millis(300);

/// Reads until `what` has come.
fn hear(stream: &mut TcpStream, what: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    let mut byte = [0];
    while !heard.ends_with(what) && matches!(stream.read(&mut byte), Ok(1)) {
        heard.push(byte[0]);
    }
    heard
}

#[tokio::test]
async fn a_talk_is_gone_through_step_by_step_in_whatever_pieces_it_comes() {
    let server = Backend::start_first(LOOPBACK, |mut stream| {
        stream.set_nodelay(true).unwrap();
        for byte in b"220 ready\r\n" {
            stream.write_all(&[*byte]).unwrap();
        }
        hear(&mut stream, b"HELLO\n\0");
        // The answers to two steps at once.
        stream.write_all(b"250 first\r\n\xff\xfe250 second\r\n").unwrap();
        hear(&mut stream, b"QUIT");
    });
    let hex = |bytes: &[u8]| Message::new(bytes.to_vec(), Form::Hex);
    let check = steps(vec![
        expect("220 "),
        send("HELLO\n"),
        Step::Send(hex(&[0])),
        expect("250 first"),
        Step::Expect(hex(&[0xff, 0xfe])),
        expect("250 second"),
    ]);
    let finding = patiently(server.address, &check).await;
    assert_eq!((finding.outcome, &*finding.evidence), (Outcome::Ok, "all 4 expected texts came"));
    assert_eq!(finding.facts.role, None);
}

/// A server that waits for its client to speak is spoken to, and sees an orderly end.
#[tokio::test]
async fn the_connection_ends_in_order_although_the_server_said_more() {
    let (sender, seen) = mpsc::channel();
    let server = Backend::start_first(LOOPBACK, move |mut stream| {
        hear(&mut stream, b"PING\r\n");
        stream.write_all(&[b"+PONG\r\n".as_slice(), &[b'x'; 3000]].concat()).unwrap();
        let mut rest = Vec::new();
        sender.send(stream.read_to_end(&mut rest).map(|_| rest).map_err(|error| error.kind())).unwrap();
    });
    assert_eq!(patiently(server.address, &ping()).await.outcome, Outcome::Ok);
    assert_eq!(seen.recv_timeout(patience()).unwrap(), Ok(Vec::new()), "a FIN, no RST");
}

#[tokio::test]
async fn what_came_instead_is_told() {
    type Script = fn(TcpStream);
    let cases: [(Script, Outcome, &str); 6] = [
        (
            |mut s| drop((s.write_all(b"-NOAUTH who are you?\r\n"), hear(&mut s, b"never"))),
            Outcome::Timeout,
            "\"-NOAUTH who are you?\\r\\n\" came",
        ),
        (|mut s| drop(hear(&mut s, b"never")), Outcome::Timeout, "nothing came"),
        (|mut s| drop((hear(&mut s, b"\n"), s.write_all(b"+PON"))), Outcome::Closed, "\"+PON\" came"),
        (|mut s| drop((hear(&mut s, b"\n"), s.shutdown(std::net::Shutdown::Both))), Outcome::Closed, "nothing came"),
        (|mut s| drop((hear(&mut s, b"\n"), reset(s))), Outcome::Closed, "reset"),
        (|mut s| while s.write_all(&[b'z'; 4096]).is_ok() {}, Outcome::ProtocolError, "than any answer needs"),
    ];
    for (script, outcome, part) in cases {
        let server = Backend::start_first(LOOPBACK, script);
        let start = Watch::start();
        let deadline = if outcome == Outcome::Timeout { SHORT } else { patience() };
        let finding = once(server.address, &ping(), deadline).await;
        assert_eq!(finding.outcome, outcome, "{}", finding.evidence);
        assert!(finding.evidence.contains(part), "{part} in {}", finding.evidence);
        assert!(finding.evidence.starts_with("step 2 of 2 expected \"+PONG\", but "), "{}", finding.evidence);
        assert!(finding.evidence.len() < 400 && start.unhindered() < SHORT * 20, "{:?}", start.elapsed());
    }
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(patiently(refused, &ping()).await.outcome, Outcome::Refused);
}

#[tokio::test]
async fn a_server_that_repeats_what_it_is_sent_gives_no_secret_away() {
    let server = Backend::echo();
    let secret = |text: &str| Message::secret(text.as_bytes().to_vec(), Form::Text, SecretSource::Program);
    let check = steps(vec![send("AUTH "), Step::Send(secret("hunter2")), send("\r\n"), Step::Expect(secret("+Welcome hunter2"))]);
    let finding = once(server.address, &check, SHORT).await;
    assert_eq!(finding.outcome, Outcome::Timeout);
    for part in ["hunter", "unter2", "Welcome"] {
        assert!(!finding.evidence.contains(part), "{}", finding.evidence);
    }
    assert!(finding.evidence.contains("***"), "{}", finding.evidence);
}

#[tokio::test]
async fn tls_is_demanded_when_it_is_and_the_handshake_has_the_same_deadline() {
    let check = ExchangeCheck { tls: TlsMode::Require, ..ping() };
    let plain = Backend::start_first(LOOPBACK, |mut stream| {
        let _ = stream.write_all(b"+PONG\r\n");
        hear(&mut stream, b"never");
    });
    assert_ne!(once(plain.address, &check, SHORT).await.outcome, Outcome::Ok);
    let silent = Backend::start_first(LOOPBACK, |mut stream| drop(hear(&mut stream, b"never")));
    let start = Watch::start();
    let finding = once(silent.address, &check, SHORT).await;
    assert_eq!(finding.outcome, Outcome::Timeout, "{}", finding.evidence);
    assert!(finding.evidence.contains("TLS") && start.unhindered() < SHORT * 20, "{} {:?}", finding.evidence, start.elapsed());
}

fn redis_roles() -> ExchangeCheck {
    ExchangeCheck {
        roles: Some(RoleTexts { primary: text("role:master"), standby: text("role:slave") }),
        ..steps(vec![send("PING\r\n"), expect("+PONG"), send("INFO replication\r\n")])
    }
}

#[tokio::test]
async fn a_real_server_tells_its_role_and_keeps_no_connection() {
    let primary = Redis::primary(&[]);
    let replica = primary.replica(&[]);
    for (server, role) in [(&primary, Role::Primary), (&replica, Role::Standby)] {
        let finding = patiently(server.address(), &redis_roles()).await;
        assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(role)), "{}", finding.evidence);
    }
    let log = primary.log();
    for _ in 0..200 {
        assert_eq!(patiently(primary.address(), &ping()).await.outcome, Outcome::Ok);
    }
    // The replica's link is no client of this kind.
    until("all are gone", || primary.ask(&["INFO", "clients"]).contains("connected_clients:1\r").then_some(()));
    assert_eq!(primary.log(), log);
    primary.signal("-STOP");
    let finding = once(primary.address(), &ping(), SHORT).await;
    primary.signal("-CONT");
    assert_eq!(finding.outcome, Outcome::Timeout, "{}", finding.evidence);
    primary.ask(&["CONFIG", "SET", "requirepass", "root"]);
    let finding = once(primary.address(), &redis_roles(), SHORT).await;
    assert_eq!(finding.outcome, Outcome::Timeout);
    assert!(finding.evidence.contains("-NOAUTH"), "{}", finding.evidence);
}

/// The example as it stands, but for addresses.
#[test]
fn the_example_follows_a_real_promotion() {
    let primary = Redis::primary(&[]);
    let replica = primary.replica(&[]);
    let loaded = config::load(Path::new("examples/exchange.yaml"), &|_| None).unwrap();
    assert_eq!(loaded.warnings, []);
    let mut settings = loaded.config.to_json();
    settings["admin"]["listen"] = json!("127.0.0.1:0");
    settings["log"] = json!({"level": "info", "format": "json"});
    let pool = &mut settings["pools"][0];
    pool["listeners"][0]["listen"] = json!("127.0.0.1:0");
    for (backend, server) in pool["backends"].as_array_mut().unwrap().iter_mut().zip([&primary, &replica]) {
        backend["address"] = json!(server.address().to_string());
    }
    let names: Vec<Value> = pool["backends"].as_array().unwrap().iter().map(|backend| backend["name"].clone()).collect();
    let process = Process::start(&settings).serving();
    let active = || process.status()["pools"][0]["active"].clone();
    assert_eq!(active(), names[0]);
    assert_eq!(ask(&mut process.connect(), &["SET", "a", "1"]).unwrap(), "+OK");
    primary.signal("-KILL");
    until("nobody is active", || active().is_null().then_some(()));
    replica.ask(&["REPLICAOF", "NO", "ONE"]);
    until("the replica serves", || (active() == names[1]).then_some(()));
    assert_eq!(ask(&mut process.connect(), &["SET", "a", "2"]).unwrap(), "+OK");
    let text = fs::read_to_string("examples/exchange.yaml").unwrap();
    assert!(text.contains("docs/exchange.md") && Path::new("docs/exchange.md").exists());
}
