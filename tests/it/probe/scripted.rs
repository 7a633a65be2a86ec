//! What a check makes of servers that lie, stall, or speak something else: the right word, and within its deadline.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mainstay::{
    config::{CheckKind, MysqlCheck, PostgresCheck, TcpCheck, TlsMode},
    control::probe::{self, Deadline},
    failover::{Outcome, Role},
    net::{addresses::Addresses, endpoint::Endpoint},
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use super::{check, fake, local, login::certificates, once, sockets};
use crate::support::{
    config::LOOPBACK,
    echo::Backend,
    scratch::Scratch,
    wait::{Watch, patience},
};

const DEADLINE: Duration = Duration::from_millis(400);
/// How much longer than its deadline a probe may take on a busy machine.
const TOLERANCE: Duration = Duration::from_millis(300);

async fn expect(name: &str, tls: TlsMode, outcome: Outcome, port: u16) -> Arc<str> {
    let watch = Watch::start();
    // What has an answer needs no deadline, and a busy machine gives none of its own.
    let deadline = if outcome == Outcome::Timeout { DEADLINE } else { patience() };
    let (finding, took) = once(port, &check(tls), deadline).await;
    assert!(watch.unhindered() < DEADLINE + TOLERANCE, "{name}: took {took:?}");
    assert_eq!(finding.outcome, outcome, "{name}: {}", finding.evidence);
    if outcome == Outcome::Timeout {
        assert!(took >= DEADLINE, "{name}: gave up after {took:?}");
    }
    assert!(!finding.evidence.is_empty() && !finding.evidence.contains(char::is_control), "{name}: {}", finding.evidence);
    finding.evidence.into()
}

async fn expect_answer(tls: TlsMode, bytes: impl Into<Vec<u8>>, outcome: Outcome) -> Arc<str> {
    let bytes: Vec<u8> = bytes.into();
    let name = bytes[..bytes.len().min(40)].escape_ascii().to_string();
    let port = fake::serve(move |stream, _| {
        let bytes = bytes.clone();
        async move { fake::answer(stream, &bytes).await }
    });
    expect(&name, tls, outcome, port.await).await
}

#[tokio::test]
async fn another_protocol_is_named_at_once() {
    for tls in [TlsMode::Off, TlsMode::Prefer, TlsMode::Require] {
        let evidence = expect_answer(tls, "HTTP/1.1 400 Bad Request\r\n\r\n", Outcome::ProtocolError).await;
        assert!(evidence.contains("\"H"), "{evidence}");
    }
    expect_answer(TlsMode::Off, b"R\xff\xff\xff\xff".to_vec(), Outcome::ProtocolError).await;
    expect_answer(TlsMode::Off, b"R\x00\x00\x00\x01".to_vec(), Outcome::ProtocolError).await;
    expect_answer(TlsMode::Prefer, "S\x15this is not TLS at all, whatever it says", Outcome::ProtocolError).await;
}

#[tokio::test]
async fn the_servers_own_words_decide() {
    for (code, outcome) in [
        ("57P03", Outcome::Starting),
        ("53300", Outcome::Saturated),
        ("28P01", Outcome::Misconfigured),
        ("28000", Outcome::Misconfigured),
        ("3D000", Outcome::Misconfigured),
        ("42501", Outcome::Misconfigured),
        ("57P01", Outcome::Closed),
    ] {
        let evidence = expect_answer(TlsMode::Off, fake::error("FATAL", code, "so\nit is"), outcome).await;
        assert!(evidence.contains("soit is") && evidence.contains(code), "{evidence}");
        // The same, in the middle of the session.
        let bytes = [fake::welcome(), fake::error("FATAL", code, "so it is")].concat();
        expect_answer(TlsMode::Off, bytes, outcome).await;
    }
}

/// A timeline above all that others can have would fence every honest server for ever.
#[tokio::test]
async fn a_timeline_that_no_server_can_have_names_no_role_and_no_epoch() {
    let lies = ["4294967296", "9223372036854775807", "9223372036854775808", "-1", "1e3", ""];
    let honest = [(Some("4294967295"), Some(4_294_967_295)), (Some("1"), Some(1)), (None, None)];
    let lies = lies.map(|timeline| (Some(timeline), Role::Unknown, None));
    for (timeline, role, epoch) in honest.map(|(timeline, epoch)| (timeline, Role::Primary, epoch)).into_iter().chain(lies) {
        let port = fake::serve(move |mut stream: TcpStream, _| async move {
            assert!(fake::read(&mut stream).await);
            stream.write_all(&fake::welcome()).await.unwrap();
            fake::answer(stream, &fake::row(timeline, Some("42"))).await;
        });
        let (finding, _) = once(port.await, &check(TlsMode::Off), patience()).await;
        let said = (finding.outcome, finding.facts.role, finding.facts.db_epoch);
        assert_eq!(said, (Outcome::Ok, Some(role), epoch), "{timeline:?}: {}", finding.evidence);
        assert_eq!(finding.evidence.contains("which no PostgreSQL can have"), role == Role::Unknown, "{}", finding.evidence);
    }
}

#[tokio::test]
async fn an_error_after_a_refused_tls_request_is_still_read() {
    let port = fake::serve(|mut stream: TcpStream, _| async move {
        assert!(fake::read(&mut stream).await);
        stream.write_all(b"N").await.unwrap();
        fake::answer(stream, &fake::error("FATAL", "57P03", "starting")).await;
    });
    expect("prefer", TlsMode::Prefer, Outcome::Starting, port.await).await;
}

#[tokio::test]
async fn tls_is_never_silently_given_up() {
    let evidence = expect_answer(TlsMode::Require, "N", Outcome::Misconfigured).await;
    assert!(evidence.contains("offers no TLS"), "{evidence}");
    let scratch = Scratch::new();
    certificates(&scratch);
    let verified = PostgresCheck { tls_ca_file: Some(scratch.path("ca.crt")), ..check(TlsMode::VerifyFull) };
    let (finding, _) = once(fake::serve(|stream, _| fake::answer(stream, b"N")).await, &verified, patience()).await;
    assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
    assert!(finding.evidence.contains("offers no TLS"), "{}", finding.evidence);
    // After an S, clear text is not understood any more.
    let bytes = [b"S".to_vec(), fake::welcome()].concat();
    for tls in [TlsMode::Prefer, TlsMode::Require] {
        expect_answer(tls, bytes.clone(), Outcome::ProtocolError).await;
    }
}

#[tokio::test]
async fn silence_ends_at_the_deadline_wherever_it_begins() {
    let welcome = fake::welcome();
    for length in [0, 1, 4, 5, 9, 10, welcome.len() - 1, welcome.len()] {
        expect_answer(TlsMode::Off, welcome[..length].to_vec(), Outcome::Timeout).await;
    }
    for length in [1, 5, 50, fake::facts().len() - 1] {
        let port = fake::serve(move |mut stream: TcpStream, _| async move {
            assert!(fake::read(&mut stream).await);
            stream.write_all(&fake::welcome()).await.unwrap();
            fake::answer(stream, &fake::facts()[..length]).await;
        });
        expect("half an answer", TlsMode::Off, Outcome::Timeout, port.await).await;
    }
    expect_answer(TlsMode::Prefer, "S", Outcome::Timeout).await;
}

#[tokio::test]
async fn a_trickle_does_not_stretch_the_deadline() {
    let port = fake::serve(|mut stream: TcpStream, _| async move {
        for byte in fake::welcome().iter().cycle() {
            // The pace of the trickle.
            tokio::time::sleep(Duration::from_millis(50)).await;
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    });
    expect("trickle", TlsMode::Off, Outcome::Timeout, port.await).await;
}

#[tokio::test]
async fn floods_are_cut_off() {
    let floods = [
        ("notices", fake::message(b'N', b"SNOTICE\0C00000\0Mx\0\0").repeat(100)),
        ("parameters", fake::message(b'S', b"name\0value\0").repeat(100)),
        ("zeroes", vec![0; 1000]),
        ("an endless error", vec![b'x'; 1000]),
    ];
    for (name, flood) in floods {
        let start = match name {
            "an endless error" => [&b"E\x00\x00\x70\x00"[..], b"SFATAL\0M"].concat(),
            _ => fake::message(b'R', &[0; 4]),
        };
        let port = fake::serve(move |mut stream: TcpStream, _| {
            let (start, flood) = (start.clone(), flood.clone());
            async move {
                assert!(fake::read(&mut stream).await);
                stream.write_all(&start).await.unwrap();
                fake::forever(stream, &flood, Duration::ZERO).await;
            }
        });
        expect(name, TlsMode::Off, Outcome::ProtocolError, port.await).await;
    }
    // A message that claims to be 2 GiB long, in the middle of a session.
    let huge = [fake::welcome(), b"D\x7f\xff\xff\xff".to_vec()].concat();
    expect_answer(TlsMode::Off, huge, Outcome::Timeout).await;
}

#[tokio::test]
async fn whoever_hangs_up_is_closed() {
    let fin = fake::serve(|mut stream: TcpStream, _| async move {
        fake::read(&mut stream).await;
    });
    expect("fin", TlsMode::Off, Outcome::Closed, fin.await).await;
    let rst = fake::serve(|stream: TcpStream, _| async move {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    })
    .await;
    for tls in [TlsMode::Off, TlsMode::Prefer] {
        expect("rst", tls, Outcome::Closed, rst).await;
    }
}

#[tokio::test]
async fn a_healthy_answer_is_read() {
    let port = fake::serve(|stream, _| fake::healthy(stream)).await;
    let (finding, _) = once(port, &check(TlsMode::Off), patience()).await;
    assert_eq!(finding.outcome, Outcome::Ok, "{}", finding.evidence);
    let facts = finding.facts;
    assert_eq!((facts.role, facts.db_epoch, facts.system_id), (Some(Role::Primary), Some(7), Some(42)));
    assert_eq!((facts.lag_bytes, facts.read_only, facts.version.as_deref()), (None, false, Some("15.1")));
}

#[tokio::test]
async fn a_connect_is_refused_or_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tcp = async || probe::once(&local(port), &CheckKind::Tcp(TcpCheck), patience()).await.unwrap().outcome;
    assert_eq!(tcp().await, Outcome::Ok);
    drop(listener);
    assert_eq!(tcp().await, Outcome::Refused);
    expect("postgres", TlsMode::Prefer, Outcome::Refused, port).await;
}

#[tokio::test]
async fn the_next_address_is_tried_within_the_one_deadline() {
    // The silent one has half of it, and the other one what is left.
    const WHOLE: Duration = Duration::from_secs(4);
    let port = fake::serve(|stream, _| fake::healthy(stream)).await;
    // A listener whose queue is full does not answer a connect.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _fill: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50))).collect();
    let deadline = Deadline::after(WHOLE);
    let silent = Endpoint::from(address);
    let addresses = Addresses::from([silent.clone(), sockets(port)[0].clone()]);
    let (_, address) = probe::tcp::connect(&addresses, deadline).await.unwrap();
    assert_eq!(address, addresses[1]);
    // The next one does not wait for the silent address again, which would take half of its time.
    let begun = Watch::start();
    let (_, address) = probe::tcp::connect(&addresses, Deadline::after(WHOLE)).await.unwrap();
    assert_eq!(address, addresses[1]);
    assert!(begun.unhindered() < WHOLE / 40, "{:?}", begun.elapsed());
    let finding = probe::tcp::probe(&[silent].into(), Deadline::after(DEADLINE)).await.unwrap();
    assert_eq!(finding.outcome, Outcome::ConnectTimeout);
}

/// Each login is abandoned at its deadline. A few at a time may end in order; more would take the descriptors of everybody.
#[tokio::test]
async fn logins_that_are_abandoned_do_not_pile_up() {
    let postgres = CheckKind::Postgres(check(TlsMode::Off));
    let mysql = CheckKind::Mysql(MysqlCheck::default());
    for kind in [postgres, mysql] {
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (now, peak) = (Arc::clone(&open), Arc::clone(&most));
        let silent = Backend::start_first(LOOPBACK, move |mut stream| {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
            now.fetch_sub(1, Ordering::SeqCst);
        });
        let port = silent.address.port();
        let login = probe::login(&local(port), &kind).unwrap();
        for _ in 0..60 {
            login.open(&sockets(port), Deadline::after(Duration::from_millis(20))).await.expect_err("it answers");
        }
        let most = most.load(Ordering::SeqCst);
        assert!(most <= 20, "{kind:?}: {most} connections at a time");
    }
}
