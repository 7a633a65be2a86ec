//! What the check makes of every kind of answer, and of servers that lie, stall or hang up: the right word, and within its
//! deadline.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mainstay::{
    config::{CheckConfig, CheckKind, HttpCheck, HttpLogin, Secret},
    control::{
        probe::{self, Deadline, standing::Standing},
        prober::{self, ProberEvent, ProberKey, ProberSettings},
    },
    failover::{Outcome, Pace, Report, Role},
    route::{Clock, DemandWatch},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, mpsc},
    time::timeout,
};

use super::{DEADLINE, local, once, once_within, patroni};
use crate::probe::fake;
use crate::support::wait::{Watch, patience};

/// How much longer than its deadline a probe may take on a busy machine.
const TOLERANCE: Duration = Duration::from_millis(300);

/// A server that answers every request with these bytes, and closes.
async fn closing(bytes: impl Into<Vec<u8>>) -> u16 {
    let bytes: Arc<[u8]> = bytes.into().into();
    fake::serve(move |mut stream, _| {
        let bytes = Arc::clone(&bytes);
        async move {
            if fake::read(&mut stream).await {
                let _ = stream.write_all(&bytes).await;
                // A close with a request unread would be a reset.
                let _ = stream.shutdown().await;
                fake::read(&mut stream).await;
            }
        }
    })
    .await
}

async fn expect(bytes: impl Into<Vec<u8>>, outcome: Outcome, role: Option<Role>) -> Arc<str> {
    let port = closing(bytes).await;
    expect_at(port, outcome, role).await
}

async fn expect_at(port: u16, outcome: Outcome, role: Option<Role>) -> Arc<str> {
    let started = Watch::start();
    // What has an answer needs no deadline, and a busy machine gives none of its own.
    let deadline = if outcome == Outcome::Timeout { DEADLINE } else { patience() };
    let finding = once_within(deadline, &local(port), &HttpCheck::default()).await;
    let took = started.elapsed();
    assert_eq!((finding.outcome, finding.facts.role), (outcome, role), "{}", finding.evidence);
    assert!(started.unhindered() < DEADLINE + TOLERANCE, "took {took:?}: {}", finding.evidence);
    if outcome == Outcome::Timeout {
        assert!(took >= DEADLINE, "gave up after {took:?}");
    }
    assert!(!finding.evidence.contains(char::is_control), "{}", finding.evidence);
    finding.evidence.into()
}

#[tokio::test]
async fn patroni_3_and_4_are_understood() {
    let primary = once(&local(closing(patroni(200, "running", "master")).await), &HttpCheck::default()).await;
    assert_eq!((primary.outcome, primary.facts.role), (Outcome::Ok, Some(Role::Primary)), "{}", primary.evidence);
    let facts = primary.facts;
    assert_eq!((facts.db_epoch, facts.system_id), (Some(7), Some(7_440_000_000_000_000_001)));
    assert_eq!((facts.lag_bytes, facts.version.as_deref()), (Some(200), Some("15.18")));
    for (status, state, role, outcome, is) in [
        (200, "running", "primary", Outcome::Ok, Some(Role::Primary)),
        (503, "running", "replica", Outcome::Ok, Some(Role::Standby)),
        (503, "running", "standby_leader", Outcome::Ok, Some(Role::Standby)),
        (503, "running", "primary", Outcome::Ok, Some(Role::Unknown)),
        // 200 although PostgreSQL does not run (its issue 2756), and while it is promoted.
        (200, "start failed", "master", Outcome::Starting, None),
        (200, "running", "replica", Outcome::Ok, Some(Role::Standby)),
    ] {
        expect(patroni(status, state, role), outcome, is).await;
    }
}

#[tokio::test]
async fn a_status_alone_tells_the_role() {
    for (status, outcome, role) in [
        (200, Outcome::Ok, Some(Role::Primary)),
        (204, Outcome::Ok, Some(Role::Standby)),
        (503, Outcome::Ok, Some(Role::Standby)),
        (500, Outcome::Ok, Some(Role::Standby)),
        (401, Outcome::Misconfigured, None),
        (403, Outcome::Misconfigured, None),
        (404, Outcome::Misconfigured, None),
        (418, Outcome::Misconfigured, None),
    ] {
        let evidence = expect(format!("HTTP/1.1 {status} \r\nContent-Length: 0\r\n\r\n"), outcome, role).await;
        assert!(evidence.contains(&status.to_string()), "{evidence}");
    }
    expect("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Outcome::Ok, Some(Role::Primary)).await;
    // As Patroni answers OPTIONS, without a single header.
    expect("HTTP/1.0 200 OK\r\n\r\n", Outcome::Ok, Some(Role::Primary)).await;
    expect("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", Outcome::Ok, Some(Role::Standby)).await;
}

#[tokio::test]
async fn redirects_are_refused_and_shown_harmlessly() {
    let evidence = expect(
        "HTTP/1.1 301 Moved\r\nLocation: https://elsewhere:8008/primary\r\nContent-Length: 0\r\n\r\n",
        Outcome::Misconfigured,
        None,
    )
    .await;
    assert!(evidence.contains("redirects to \"https://elsewhere:8008/primary\""), "{evidence}");
    let odd = format!("HTTP/1.1 302 Found\r\nLocation: /\t\u{e9}{}\r\nContent-Length: 0\r\n\r\n", "x".repeat(5000));
    let evidence = expect(odd, Outcome::Misconfigured, None).await;
    assert!(evidence.len() < 400 && evidence.contains("\\t\\xc3\\xa9"), "{evidence}");
}

#[tokio::test]
async fn bodies_that_are_no_json_are_no_error_and_long_ones_are_not_read() {
    let megabyte = "x".repeat(1 << 20);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", megabyte.len());
    expect(head + &megabyte, Outcome::Ok, Some(Role::Primary)).await;
    let chunks = format!("1000\r\n{}\r\n", "y".repeat(4096)).repeat(100);
    expect(format!("HTTP/1.1 503 No\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"), Outcome::Ok, Some(Role::Standby))
        .await;
    expect(format!("HTTP/1.0 200 OK\r\n\r\n{megabyte}"), Outcome::Ok, Some(Role::Primary)).await;
    expect(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\xff\xfe\x00{".to_vec(), Outcome::Ok, Some(Role::Primary)).await;
}

#[tokio::test]
async fn what_is_no_whole_answer_is_a_failure() {
    for (bytes, outcome) in [
        ("SSH-2.0-OpenSSH_9.2p1 Debian\r\n", Outcome::ProtocolError),
        ("E\0\0\0\x40SFATAL\0C08P01\0\0", Outcome::ProtocolError),
        ("-ERR unknown command 'GET'\r\n", Outcome::ProtocolError),
        ("HTTP/2.0 200 OK\r\n\r\n", Outcome::ProtocolError),
        ("HTTP/1.1 abc OK\r\n\r\n", Outcome::ProtocolError),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Outcome::ProtocolError),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", Outcome::ProtocolError),
        ("HTTP/1.1 101 Switching\r\n\r\n", Outcome::ProtocolError),
        ("", Outcome::Closed),
        ("HTTP/1.1 200 O", Outcome::Closed),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", Outcome::Closed),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal", Outcome::Closed),
        ("HTTP/1.0 200 OK\r\n\r\n{\"state\": \"stopp", Outcome::Closed),
    ] {
        let evidence = expect(bytes, outcome, None).await;
        assert!(evidence.len() < 300, "{evidence}");
    }
    let long = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(600));
    expect(long, Outcome::ProtocolError, None).await;
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(200));
    expect(many, Outcome::ProtocolError, None).await;
    let reset = fake::serve(|stream: TcpStream, _| async move {
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    expect_at(reset.await, Outcome::Closed, None).await;
}

#[tokio::test]
async fn silence_ends_at_the_deadline_wherever_it_begins() {
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345";
    for length in [0, 1, 10, 17, 30, whole.len()] {
        let port = fake::serve(move |stream, _| async move { fake::answer(stream, &whole.as_bytes()[..length]).await });
        expect_at(port.await, Outcome::Timeout, None).await;
    }
    // A body that never ends, a little at a time; and a head that never does.
    for (head, pause) in [("HTTP/1.1 200 OK\r\n\r\n", 20), ("HTTP/1.1 200 OK\r\n", 20)] {
        let port = fake::serve(move |mut stream: TcpStream, _| async move {
            fake::read(&mut stream).await;
            let _ = stream.write_all(head.as_bytes()).await;
            fake::forever(stream, b"a", Duration::from_millis(pause)).await;
        });
        expect_at(port.await, Outcome::Timeout, None).await;
    }
    // A body that never ends, as fast as it can: what counts was in its first line.
    let flood = fake::serve(move |mut stream: TcpStream, _| async move {
        fake::read(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        fake::forever(stream, &[b'x'; 4096], Duration::ZERO).await;
    });
    expect_at(flood.await, Outcome::Ok, Some(Role::Primary)).await;
}

#[tokio::test]
async fn the_request_is_what_was_configured() {
    let port = fake::serve(|mut stream: TcpStream, _| async move {
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.unwrap();
        let text = String::from_utf8_lossy(&request[..length]).to_lowercase();
        let right = text.starts_with("get /replica?lag=16mb http/1.1\r\n")
            && text.contains("\r\nhost: db.example:")
            && text.contains("\r\nauthorization: basic bwfpbnn0yxk6czpzy3izda==\r\n")
            && text.contains("\r\nuser-agent: mainstay/");
        let status = if right { 200 } else { 401 };
        let _ = stream.write_all(format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").as_bytes()).await;
    });
    let port = port.await;
    let right = HttpCheck {
        // The backend's own port is another one.
        port: Some(port),
        path: "/replica?lag=16MB".into(),
        host: Some("db.example".into()),
        login: Some(HttpLogin { user: "mainstay".into(), password: Secret::new("s:scr3t".into()) }),
        ..HttpCheck::default()
    };
    let finding = once(&local(1), &right).await;
    assert_eq!(finding.facts.role, Some(Role::Primary), "{}", finding.evidence);
    let finding = once(&local(1), &HttpCheck { login: None, ..right }).await;
    assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
    assert!(!finding.evidence.contains("s:scr3t"));
}

async fn open(port: u16) -> Box<dyn Standing> {
    let login = probe::login(&local(port), &CheckKind::Http(HttpCheck::default())).unwrap();
    let (standing, finding) =
        login.open(&std::net::SocketAddr::from(([127, 0, 0, 1], port)).into(), Deadline::after(patience())).await.unwrap();
    assert_eq!(finding.facts.role, Some(Role::Primary));
    standing
}

const KEPT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A server that answers `limit` requests of each connection and ends it when the next one comes; counts connections.
async fn keeping(limit: usize) -> (u16, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let port = fake::serve(move |mut stream: TcpStream, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        async move {
            for _ in 0..limit {
                if !fake::read(&mut stream).await || stream.write_all(KEPT).await.is_err() {
                    return;
                }
            }
            fake::read(&mut stream).await;
        }
    });
    (port.await, count)
}

#[tokio::test]
async fn a_connection_that_is_kept_is_used_again() {
    let (port, connections) = keeping(100).await;
    let mut standing = open(port).await;
    for _ in 0..10 {
        assert!(standing.lasts());
        assert_eq!(standing.query(Deadline::after(patience())).await.facts.role, Some(Role::Primary));
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_kept_connection_that_ends_just_then_says_so_and_is_made_anew() {
    let (port, connections) = keeping(2).await;
    let mut standing = open(port).await;
    assert_eq!(standing.query(Deadline::after(patience())).await.outcome, Outcome::Ok);
    assert!(!standing.is_stale());
    let finding = standing.query(Deadline::after(patience())).await;
    assert!(standing.is_stale() && !standing.lasts() && standing.ended().is_none(), "{}", finding.evidence);
    let before = connections.load(Ordering::Relaxed);
    reports(port, 20, None).await;
    assert!(connections.load(Ordering::Relaxed) >= before + 10);
}

#[tokio::test]
async fn a_connection_that_is_closed_after_the_answer_does_not_last() {
    for bytes in [patroni(200, "running", "master"), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".into()] {
        let mut standing = open(closing(bytes).await).await;
        assert!(!standing.lasts());
        assert!(timeout(Duration::from_millis(50), standing.broken()).await.is_err(), "an end in order is no loss");
        assert_eq!(standing.ended(), None);
    }
}

#[tokio::test]
async fn an_idle_connection_may_be_closed_but_not_reset() {
    for reset in [false, true] {
        let opened = Arc::new(Notify::new());
        let is_open = Arc::clone(&opened);
        let port = fake::serve(move |mut stream: TcpStream, _| {
            let is_open = Arc::clone(&is_open);
            async move {
                fake::read(&mut stream).await;
                stream.write_all(KEPT).await.unwrap();
                is_open.notified().await;
                if reset {
                    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                }
            }
        });
        let mut standing = open(port.await).await;
        assert!(standing.lasts());
        opened.notify_one();
        // What must not happen has its time.
        let limit = if reset { patience() } else { Duration::from_millis(500) };
        let broken = timeout(limit, standing.broken()).await;
        assert_eq!(broken.is_ok(), reset, "{broken:?}");
        assert!(!standing.lasts());
    }
}

/// Nothing but reports of a primary, `fresh` or not where that is said, and never a doubt.
async fn reports(port: u16, count: u32, fresh: Option<bool>) {
    let (sender, mut events) = mpsc::channel(64);
    let settings = ProberSettings {
        resolved: [].into(),
        demand: DemandWatch::default(),
        key: ProberKey(0),
        last_seq: 0,
        address: local(port),
        check: CheckConfig {
            proxy_header: None,
            kind: CheckKind::Http(HttpCheck::default()),
            second: None,
            interval: Duration::from_secs(1),
            fast_interval: Duration::from_millis(50),
            timeout: patience(),
            fresh_login: Duration::from_secs(5),
        },
    };
    let handle = prober::spawn(settings, sender, Clock::start());
    handle.pace(Pace::Urgent);
    let mut seen = 0;
    while seen < count {
        match timeout(patience(), events.recv()).await.unwrap().unwrap().1 {
            ProberEvent::Report { report: Report { finding, fresh: is_fresh, .. }, .. } => {
                assert_eq!(finding.facts.role, Some(Role::Primary), "{}", finding.evidence);
                assert!(fresh.is_none_or(|fresh| fresh == is_fresh));
                seen += 1;
            }
            ProberEvent::Resolved(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_prober_of_patroni_sees_no_session_break() {
    let port = closing(patroni(200, "running", "master")).await;
    reports(port, 20, Some(true)).await;
}
