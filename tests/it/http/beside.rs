//! A second opinion by HTTP beside a check of the database: both must say that it is the primary, and a hung endpoint takes nothing
//! away and holds nothing up.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use mainstay::{
    config::{CheckConfig, CheckKind, HttpCheck, PostgresCheck, TcpCheck, TlsMode},
    control::{
        probe::{Finding, agreement::Agreement},
        prober::{self, ProberEvent, ProberHandle, ProberKey, ProberSettings},
    },
    failover::{Outcome, Pace, Passive, Report, Role},
    route::{Clock, DemandWatch},
};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    sync::{Notify, mpsc},
    time::timeout,
};

use super::{local, patroni};
use crate::{
    probe::fake,
    support::wait::{Watch, patience},
};

const MS: Duration = Duration::from_millis(1);
const TIMEOUT: Duration = Duration::from_secs(1);

/// What the endpoint does with a request.
#[derive(Clone, Debug)]
enum Deed {
    Say(String),
    SayAfter(Duration, String),
    Hang,
    HangUp,
}

/// An endpoint whose deed may change; what is in `once` comes first.
#[derive(Clone)]
struct Endpoint {
    always: Arc<Mutex<Deed>>,
    once: Arc<Mutex<Vec<Deed>>>,
    port: u16,
}

impl Endpoint {
    async fn start(deed: Deed) -> Self {
        let (always, once) = (Arc::new(Mutex::new(deed)), Arc::new(Mutex::new(Vec::new())));
        let (deeds, first): (Arc<Mutex<Deed>>, Arc<Mutex<Vec<Deed>>>) = (Arc::clone(&always), Arc::clone(&once));
        let port = fake::serve(move |mut stream: TcpStream, _| {
            let (deeds, first) = (Arc::clone(&deeds), Arc::clone(&first));
            async move {
                fake::read(&mut stream).await;
                let next = first.lock().unwrap().pop();
                let deed = next.unwrap_or_else(|| deeds.lock().unwrap().clone());
                let (pause, text) = match deed {
                    Deed::Say(text) => (Duration::ZERO, text),
                    Deed::SayAfter(pause, text) => (pause, text),
                    Deed::Hang => return while fake::read(&mut stream).await {},
                    Deed::HangUp => return,
                };
                // The slowness of an endpoint.
                tokio::time::sleep(pause).await;
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        Self { always, once, port: port.await }
    }

    fn does(&self, deed: Deed) {
        *self.always.lock().unwrap() = deed;
    }

    fn once(&self, deed: Deed) {
        self.once.lock().unwrap().push(deed);
    }
}

fn leader() -> Deed {
    Deed::Say(patroni(200, "running", "master"))
}

fn follower() -> Deed {
    Deed::Say(patroni(503, "running", "replica"))
}

struct Heard {
    handle: ProberHandle,
    events: mpsc::Receiver<(ProberKey, ProberEvent)>,
    agreements: Vec<Agreement>,
    passive: Vec<Passive>,
    /// How long the probe of the last report took.
    by_the_clock: Duration,
}

/// Probes `database` with `kind` and `endpoint` beside it, at the fast pace.
fn start(kind: CheckKind, database: u16, endpoint: &Endpoint) -> Heard {
    let (sender, events) = mpsc::channel(64);
    let settings = ProberSettings {
        resolved: [].into(),
        demand: DemandWatch::default(),
        key: ProberKey(0),
        last_seq: 0,
        address: local(database),
        check: CheckConfig {
            proxy_header: None,
            kind,
            second: Some(HttpCheck { port: Some(endpoint.port), ..HttpCheck::default() }),
            interval: 1000 * MS,
            fast_interval: 50 * MS,
            timeout: TIMEOUT,
            fresh_login: Duration::from_mins(1),
        },
    };
    let handle = prober::spawn(settings, sender, Clock::start());
    handle.pace(Pace::Fast);
    Heard { handle, events, agreements: Vec::new(), passive: Vec::new(), by_the_clock: Duration::ZERO }
}

fn postgres() -> CheckKind {
    CheckKind::Postgres(PostgresCheck { tls: TlsMode::Off, ..PostgresCheck::default() })
}

/// A database that says it is the primary, on timeline 7.
async fn primary() -> u16 {
    fake::serve(|stream, _| fake::healthy(stream)).await
}

impl Heard {
    /// The next report, and how long its probe took, but for what the machine did for others meanwhile.
    async fn report(&mut self) -> (Finding, Duration) {
        let watch = Watch::start();
        loop {
            match timeout(patience(), self.events.recv()).await.expect("the prober is silent").unwrap().1 {
                ProberEvent::Report { report: Report { finding, .. }, took, .. } => {
                    self.by_the_clock = took;
                    return (finding, watch.without_the_machine(took));
                }
                ProberEvent::SecondOpinion { agreement, .. } => self.agreements.push(agreement),
                ProberEvent::Passive(what) => self.passive.push(what),
                ProberEvent::Resolved(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn role(&mut self) -> Role {
        let (finding, _) = self.report().await;
        assert_eq!(finding.outcome, Outcome::Ok, "{}", finding.evidence);
        finding.facts.role.unwrap()
    }

    /// Waits for a report of this role; what was found.
    async fn until(&mut self, role: Role) -> Finding {
        let limit = Instant::now() + patience();
        loop {
            let (finding, _) = self.report().await;
            if finding.facts.role == Some(role) {
                return finding;
            }
            assert!(Instant::now() < limit, "{role} was not reported, but {}", finding.evidence);
        }
    }
}

#[tokio::test]
async fn both_must_say_that_it_is_the_primary() {
    let endpoint = Endpoint::start(follower()).await;
    let mut heard = start(postgres(), primary().await, &endpoint);
    let (finding, _) = heard.report().await;
    assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Unknown)));
    assert_eq!(finding.facts.db_epoch, Some(7));
    assert!(finding.evidence.contains("primary, timeline 7") && finding.evidence.contains("said 503"), "{}", finding.evidence);
    endpoint.does(leader());
    heard.until(Role::Primary).await;
    // One denial is not enough once both have agreed: a restarted Patroni denies its own leader for a moment.
    endpoint.once(follower());
    for _ in 0..5 {
        assert_eq!(heard.role().await, Role::Primary);
    }
    // But PostgreSQL that does not run, or is no leader, for longer, is.
    for deed in [follower(), Deed::Say(patroni(200, "start failed", "master")), Deed::Say(patroni(503, "running", "master"))] {
        endpoint.does(deed);
        heard.until(Role::Unknown).await;
        endpoint.does(leader());
        heard.until(Role::Primary).await;
    }
    assert_eq!(heard.agreements.first(), Some(&Agreement::Contradicts), "{:?}", heard.agreements);
}

#[tokio::test]
async fn an_endpoint_that_was_never_heard_leaves_the_word_to_the_database() {
    for deed in [Deed::Hang, Deed::HangUp, Deed::Say("HTTP/1.1 404 No\r\n\r\n".into()), Deed::Say("SSH-2.0".into())] {
        let endpoint = Endpoint::start(deed.clone()).await;
        let mut heard = start(postgres(), primary().await, &endpoint);
        let (finding, took) = heard.report().await;
        assert_eq!(finding.facts.role, Some(Role::Primary), "{deed:?}: {}", finding.evidence);
        assert!(finding.evidence.contains("the HTTP check says nothing"), "{deed:?}: {}", finding.evidence);
        assert!(took < TIMEOUT / 2 + 300 * MS, "{deed:?}: {took:?}");
        if matches!(deed, Deed::Hang) {
            assert!(heard.by_the_clock >= TIMEOUT / 2, "{:?}", heard.by_the_clock);
        }
    }
}

/// P19: Patroni's API is stopped, the database is well.
#[tokio::test]
async fn a_hung_endpoint_is_waited_for_once_and_told_of() {
    let endpoint = Endpoint::start(leader()).await;
    let mut heard = start(postgres(), primary().await, &endpoint);
    for _ in 0..3 {
        assert_eq!(heard.role().await, Role::Primary);
    }
    endpoint.does(Deed::Hang);
    let (mut slow, began) = (0, Watch::start());
    while !heard.agreements.contains(&Agreement::Silent) {
        let (finding, took) = heard.report().await;
        assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Primary)), "{}", finding.evidence);
        slow += u32::from(took > 100 * MS);
        assert!(began.elapsed() < patience());
    }
    for _ in 0..30 {
        let (finding, took) = heard.report().await;
        assert_eq!(finding.facts.role, Some(Role::Primary));
        slow += u32::from(took > 100 * MS);
    }
    assert!(slow <= 3, "{slow} probes were held up");
    endpoint.does(leader());
    while heard.agreements.last() != Some(&Agreement::Agrees) {
        assert_eq!(heard.role().await, Role::Primary);
        assert!(began.elapsed() < 2 * patience());
    }
    assert_eq!(heard.agreements, [Agreement::Silent, Agreement::Agrees]);
    assert_eq!(heard.passive, []);
}

#[tokio::test]
async fn a_denial_outlives_the_silence_after_it_for_a_while() {
    let endpoint = Endpoint::start(follower()).await;
    let mut heard = start(postgres(), primary().await, &endpoint);
    assert_eq!(heard.role().await, Role::Unknown);
    endpoint.does(Deed::HangUp);
    for _ in 0..5 {
        assert_eq!(heard.role().await, Role::Unknown);
    }
    let began = Watch::start();
    let finding = heard.until(Role::Primary).await;
    assert!(finding.evidence.contains("says nothing"), "{}", finding.evidence);
    let took = began.elapsed();
    assert!(took > Duration::from_secs(7) && began.unhindered() < Duration::from_secs(13), "{took:?}");
}

/// A standby that is promoted, by the word of the database first, then of the endpoint.
#[tokio::test]
async fn a_slow_endpoint_costs_a_promotion_no_more_than_its_own_time() {
    let pause = 30 * MS;
    let endpoint = Endpoint::start(Deed::SayAfter(pause, patroni(503, "running", "replica"))).await;
    let promoted = Arc::new(Mutex::new(false));
    let is_promoted = Arc::clone(&promoted);
    let port = fake::serve(move |mut stream: TcpStream, _| {
        let promoted = Arc::clone(&is_promoted);
        async move {
            fake::read(&mut stream).await;
            stream.write_all(&fake::welcome()).await.unwrap();
            while fake::read(&mut stream).await {
                let mut facts = fake::facts();
                if !*promoted.lock().unwrap() {
                    // `in_recovery` is the row's first column: f becomes t.
                    let at = facts.windows(6).position(|bytes| bytes == b"\0\0\0\x01f\0").unwrap() + 4;
                    facts[at] = b't';
                }
                if stream.write_all(&facts).await.is_err() {
                    return;
                }
            }
        }
    });
    let mut heard = start(postgres(), port.await, &endpoint);
    heard.handle.pace(Pace::Urgent);
    for _ in 0..20 {
        let (finding, took) = heard.report().await;
        assert_eq!(finding.facts.role, Some(Role::Standby), "{}", finding.evidence);
        assert!(took < pause, "a standby waits for nobody: {took:?}");
    }
    endpoint.does(Deed::SayAfter(pause, patroni(200, "running", "master")));
    *promoted.lock().unwrap() = true;
    let began = Watch::start();
    heard.until(Role::Primary).await;
    assert!(began.unhindered() < 250 * MS, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_death_is_told_at_once_although_the_endpoint_hangs() {
    let endpoint = Endpoint::start(Deed::Hang).await;
    let kill = Arc::new(Notify::new());
    let killed = Arc::clone(&kill);
    let port = fake::serve(move |stream: TcpStream, number| {
        let killed = Arc::clone(&killed);
        async move {
            if number == 0 {
                tokio::select! { () = fake::healthy(stream) => {} () = killed.notified() => {} }
            }
        }
    });
    let mut heard = start(postgres(), port.await, &endpoint);
    // While its first answer is held up for the endpoint, which is for half of its time.
    tokio::time::sleep(200 * MS).await;
    let began = Watch::start();
    kill.notify_one();
    let (finding, _) = heard.report().await;
    assert_eq!(finding.outcome, Outcome::Closed, "{}", finding.evidence);
    assert_eq!(heard.passive, [Passive::StandingLost]);
    assert!(began.unhindered() < 200 * MS, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_check_without_roles_has_them_from_the_endpoint_and_keeps_the_last() {
    let endpoint = Endpoint::start(leader()).await;
    let mut heard = start(CheckKind::Tcp(TcpCheck), primary().await, &endpoint);
    let (finding, _) = heard.report().await;
    assert_eq!((finding.facts.role, finding.facts.db_epoch), (Some(Role::Primary), Some(7)), "{}", finding.evidence);
    assert!(finding.evidence.contains("accepted a connection"), "{}", finding.evidence);
    endpoint.does(Deed::Hang);
    while !heard.agreements.contains(&Agreement::Silent) {
        assert_eq!(heard.role().await, Role::Primary);
    }
    for _ in 0..20 {
        let (finding, took) = heard.report().await;
        assert_eq!((finding.facts.role, finding.facts.db_epoch), (Some(Role::Primary), Some(7)), "{}", finding.evidence);
        assert!(finding.evidence.contains("nothing since"), "{}", finding.evidence);
        assert!(took < TIMEOUT / 2, "{took:?}");
    }
    endpoint.does(follower());
    assert_eq!(heard.until(Role::Standby).await.facts.lag_bytes, Some(200));

    let silent = Endpoint::start(Deed::HangUp).await;
    let mut heard = start(CheckKind::Tcp(TcpCheck), primary().await, &silent);
    for _ in 0..3 {
        assert_eq!(heard.role().await, Role::Unknown);
    }
}
