//! The prober: its pace, its patience, and what it notices between two probes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use mainstay::{
    config::{CheckConfig, CheckKind, TlsMode},
    control::prober::{self, ProberEvent, ProberHandle, ProberKey, ProberSettings},
    failover::{Outcome, Pace, Passive, Report},
    route::{Clock, DemandWatch},
};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{Notify, mpsc},
    time::timeout,
};

use super::{check, fake, local};
use crate::support::wait::{Watch, patience, until_async};

const MS: Duration = Duration::from_millis(1);

fn settings(port: u16, fresh_login: Duration) -> ProberSettings {
    ProberSettings {
        key: ProberKey(0),
        last_seq: 0,
        address: local(port),
        resolved: [].into(),
        demand: DemandWatch::default(),
        check: CheckConfig {
            kind: CheckKind::Postgres(check(TlsMode::Off)),
            second: None,
            interval: 1000 * MS,
            fast_interval: 50 * MS,
            timeout: 200 * MS,
            fresh_login,
            proxy_header: None,
        },
    }
}

struct Heard {
    handle: ProberHandle,
    events: mpsc::Receiver<(ProberKey, ProberEvent)>,
}

fn start(settings: ProberSettings) -> Heard {
    let (sender, events) = mpsc::channel(64);
    Heard { handle: prober::spawn(settings, sender, Clock::start()), events }
}

impl Heard {
    /// The next thing it says but `Resolved`.
    async fn next(&mut self) -> ProberEvent {
        loop {
            let (_, event) = timeout(patience(), self.events.recv()).await.expect("the prober is silent").unwrap();
            if !matches!(event, ProberEvent::Resolved(..)) {
                return event;
            }
        }
    }

    async fn report(&mut self) -> Report {
        loop {
            if let ProberEvent::Report { report, .. } = self.next().await {
                return report;
            }
        }
    }

    async fn passive(&mut self) -> Passive {
        loop {
            if let ProberEvent::Passive(what) = self.next().await {
                return what;
            }
        }
    }
}

#[tokio::test]
async fn the_first_probe_is_immediate_and_a_new_pace_takes_effect_at_once() {
    let port = fake::serve(|stream, _| fake::healthy(stream)).await;
    let mut heard = start(settings(port, Duration::from_mins(1)));
    let zero = Watch::start();
    let first = heard.report().await;
    assert_eq!((first.finding.outcome, first.fresh, first.seq), (Outcome::Ok, true, 1));
    assert!(zero.unhindered() < 500 * MS, "{:?}", zero.elapsed());
    heard.handle.pace(Pace::Urgent);
    for seq in 2..=11 {
        let report = heard.report().await;
        assert_eq!((report.finding.outcome, report.fresh, report.seq), (Outcome::Ok, false, seq));
    }
    let took = zero.elapsed();
    assert!(took >= 9 * 20 * MS && zero.unhindered() < 900 * MS, "ten urgent probes took {took:?}");
    heard.handle.pace(Pace::Normal);
    heard.report().await;
    let slow = Instant::now();
    heard.report().await;
    assert!(slow.elapsed() > 500 * MS, "{:?}", slow.elapsed());
}

#[tokio::test]
async fn requests_to_probe_now_are_one_and_make_a_new_connection() {
    let port = fake::serve(|stream, _| fake::healthy(stream)).await;
    let mut heard = start(settings(port, Duration::from_mins(1)));
    heard.report().await;
    let zero = Watch::start();
    for _ in 0..100 {
        heard.handle.probe_now();
    }
    assert!(heard.report().await.fresh);
    assert!(zero.unhindered() < 400 * MS);
    heard.handle.probe_now();
    assert!(heard.report().await.fresh);
    assert!(zero.elapsed() >= 50 * MS);
    // Nothing is left of the hundred.
    assert_eq!((heard.report().await.seq, zero.elapsed() > 500 * MS), (4, true));
}

#[tokio::test]
async fn a_lost_session_is_an_event_at_once_and_a_new_login_follows() {
    for (last_words, expected) in [
        (Vec::new(), Passive::StandingLost),
        (fake::error("FATAL", "57P01", "terminating"), Passive::StandingShutdown),
        (fake::error("FATAL", "57P02", "crash"), Passive::StandingShutdown),
        (fake::error("FATAL", "57P05", "idle"), Passive::StandingLost),
    ] {
        let kill = Arc::new(Notify::new());
        let killed = Arc::clone(&kill);
        let port = fake::serve(move |mut stream: TcpStream, number| {
            let (killed, last_words) = (Arc::clone(&killed), last_words.clone());
            async move {
                if number > 0 {
                    return fake::healthy(stream).await;
                }
                fake::read(&mut stream).await;
                stream.write_all(&fake::welcome()).await.unwrap();
                fake::read(&mut stream).await;
                stream.write_all(&fake::facts()).await.unwrap();
                killed.notified().await;
                stream.write_all(&last_words).await.unwrap();
            }
        });
        let mut heard = start(settings(port.await, Duration::from_mins(1)));
        assert_eq!(heard.report().await.finding.outcome, Outcome::Ok);
        let zero = Watch::start();
        kill.notify_one();
        assert_eq!(heard.passive().await, expected);
        let noticed = zero.unhindered();
        let report = heard.report().await;
        assert_eq!((report.finding.outcome, report.fresh), (Outcome::Ok, true));
        assert!(
            noticed < 200 * MS && zero.unhindered() < 400 * MS,
            "noticed after {noticed:?}, proved after {:?}",
            zero.elapsed()
        );
    }
}

/// The check asks every 20 ms while something is wrong: the server's last words are often the answer to its question.
#[tokio::test]
async fn a_session_that_is_ended_while_it_asks_is_told_as_one_that_is_ended_while_it_is_idle() {
    for (code, expected) in [("57P01", Passive::StandingShutdown), ("57P02", Passive::StandingShutdown)] {
        let port = fake::serve(move |mut stream: TcpStream, number| async move {
            if number > 0 {
                return fake::healthy(stream).await;
            }
            fake::read(&mut stream).await;
            stream.write_all(&fake::welcome()).await.unwrap();
            fake::read(&mut stream).await;
            stream.write_all(&fake::facts()).await.unwrap();
            fake::read(&mut stream).await;
            stream.write_all(&fake::error("FATAL", code, "terminating")).await.unwrap();
        });
        let mut heard = start(settings(port.await, Duration::from_mins(1)));
        assert_eq!(heard.report().await.finding.outcome, Outcome::Ok);
        heard.handle.pace(Pace::Fast);
        assert_eq!(heard.passive().await, expected, "{code}");
        assert_eq!(heard.report().await.finding.outcome, Outcome::Closed);
        assert_eq!(heard.report().await.finding.outcome, Outcome::Ok);
    }
}

/// A server whose postmaster hangs: sessions that exist are served, nobody new gets in.
#[tokio::test]
async fn a_login_that_hangs_keeps_failing_although_the_standing_session_answers() {
    let hung = Arc::new(AtomicBool::new(false));
    let is_hung = Arc::clone(&hung);
    let port = fake::serve(move |mut stream: TcpStream, _| {
        let hung = is_hung.load(Ordering::Relaxed);
        async move { if hung { while fake::read(&mut stream).await {} } else { fake::healthy(stream).await } }
    });
    let mut heard = start(settings(port.await, 300 * MS));
    heard.handle.pace(Pace::Fast);
    assert_eq!(heard.report().await.finding.outcome, Outcome::Ok);
    hung.store(true, Ordering::Relaxed);
    while heard.report().await.finding.outcome == Outcome::Ok {}
    for _ in 0..4 {
        let report = heard.report().await;
        assert_eq!((report.finding.outcome, report.fresh), (Outcome::Timeout, true));
    }
    hung.store(false, Ordering::Relaxed);
    while heard.report().await.finding.outcome != Outcome::Ok {}
    assert!(!heard.report().await.fresh);
}

#[tokio::test]
async fn a_session_that_breaks_while_a_login_hangs_is_not_told_late() {
    let kill = Arc::new(Notify::new());
    let killed = Arc::clone(&kill);
    let port = fake::serve(move |mut stream: TcpStream, number| {
        let killed = Arc::clone(&killed);
        async move {
            if number == 0 {
                tokio::select! { () = fake::healthy(stream) => {} () = killed.notified() => {} }
            } else {
                killed.notify_one();
                while fake::read(&mut stream).await {}
            }
        }
    });
    let mut settings = settings(port.await, 100 * MS);
    settings.check.timeout = Duration::from_secs(5);
    let mut heard = start(settings);
    assert_eq!(heard.report().await.finding.outcome, Outcome::Ok);
    let zero = Watch::start();
    assert_eq!(heard.passive().await, Passive::StandingLost);
    assert!(zero.unhindered() < Duration::from_secs(3), "{:?}", zero.elapsed());
}

#[tokio::test]
async fn a_full_server_is_not_hammered_with_logins() {
    let port = fake::serve(|stream: TcpStream, _| async move {
        fake::answer(stream, &fake::error("FATAL", "53300", "too many clients")).await;
    });
    let mut heard = start(settings(port.await, Duration::from_mins(1)));
    heard.handle.pace(Pace::Urgent);
    assert_eq!(heard.report().await.finding.outcome, Outcome::Saturated);
    let zero = Instant::now();
    heard.handle.probe_now();
    for _ in 0..2 {
        assert_eq!(heard.report().await.finding.outcome, Outcome::Saturated);
    }
    assert!(zero.elapsed() > 1800 * MS, "{:?}", zero.elapsed());
}

#[tokio::test]
async fn a_full_server_keeps_its_standing_session() {
    let port = fake::serve(|stream: TcpStream, number| async move {
        if number == 0 {
            fake::healthy(stream).await;
        } else {
            fake::answer(stream, &fake::error("FATAL", "53300", "too many clients")).await;
        }
    });
    let mut heard = start(settings(port.await, 300 * MS));
    heard.handle.pace(Pace::Fast);
    let reports = [heard.report().await, heard.report().await];
    assert!(reports.iter().all(|report| report.finding.outcome == Outcome::Ok));
    let (mut saturated, begun) = (0, Instant::now());
    for _ in 0..20 {
        let report = heard.report().await;
        assert_eq!(report.finding.outcome, if report.fresh { Outcome::Saturated } else { Outcome::Ok });
        saturated += u128::from(report.fresh);
    }
    let due = begun.elapsed().as_millis() / 300;
    assert!((2..=due + 1).contains(&saturated), "{saturated} logins in {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_standing_session_that_stalls_is_replaced_by_a_new_login_at_once() {
    let port = fake::serve(|mut stream: TcpStream, number| async move {
        if number > 0 {
            return fake::healthy(stream).await;
        }
        fake::read(&mut stream).await;
        stream.write_all(&fake::welcome()).await.unwrap();
        fake::read(&mut stream).await;
        stream.write_all(&fake::facts()).await.unwrap();
        while fake::read(&mut stream).await {}
    });
    let mut heard = start(settings(port.await, Duration::from_mins(1)));
    heard.handle.pace(Pace::Fast);
    assert_eq!(heard.report().await.finding.outcome, Outcome::Ok);
    let stalled = heard.report().await;
    assert_eq!((stalled.finding.outcome, stalled.fresh), (Outcome::Timeout, false));
    let next = heard.report().await;
    assert_eq!((next.finding.outcome, next.fresh), (Outcome::Ok, true));
}

/// The runtime is blocked over the deadline: that is no evidence against the backend.
#[tokio::test]
async fn a_starved_process_gives_no_verdict() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut heard = start(settings(listener.local_addr().unwrap().port(), Duration::from_mins(1)));
    // The probe must have begun before the process is starved.
    listener.set_nonblocking(true).unwrap();
    let _silent = until_async("a probe", async || listener.accept().ok()).await;
    // Longer than the deadline.
    std::thread::sleep(500 * MS);
    match heard.next().await {
        ProberEvent::Late { lateness, .. } => assert!(lateness > 200 * MS, "{lateness:?}"),
        other => panic!("{other:?}"),
    }
    let report = heard.report().await;
    assert_eq!((report.finding.outcome, report.seq), (Outcome::Timeout, 2));
}

#[tokio::test]
async fn a_prober_without_a_handle_ends() {
    let port = fake::serve(|stream, _| fake::healthy(stream)).await;
    let Heard { handle, mut events } = start(settings(port, Duration::from_mins(1)));
    drop(handle);
    timeout(patience(), async { while events.recv().await.is_some() {} }).await.unwrap();
}
