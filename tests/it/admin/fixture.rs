//! A running admin plane whose pools the test publishes.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use mainstay::{
    admin::{
        self, AdminListener, AdminPool, AdminSettings, AdminState, Authority, HealthProblems, ProcessOrderReceiver, View,
        process_orders,
    },
    config::{AdminConfig, ListenerConfig, ListenerRoute},
    failover::{
        Admin, BackendId, Cause, Epoch, Facts, FailoverReady, Health, OperationEnd, OperationKind, OperationResult, Outcome,
        Proof, ReadEligibility, Reason, Role, Step, Time, Verdict,
    },
    lifecycle::{self, Phase, PhaseSender},
    metrics::{Metrics, PoolLabels, PoolSeries},
    net::{
        endpoint::Endpoint,
        listener::BoundListener,
        socket::{Freebind, LegOptions},
    },
    route::{
        self, BackendView, Clock, EndView, EventLog, GuardLog, LastFailover, LastProbe, OlderLog, OperationLog, OperationView,
        OrderReceiver, Publisher, RouteWatch, SessionTable, Snapshot, StateEvent, StepView,
    },
};
use serde_json::Value;
use tokio::sync::watch;

use crate::support::{config, front::unix_client};

/// Longer than anything here takes; a test that waits for it fails.
pub(super) const LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Fixture {
    pub(super) address: SocketAddr,
    pub(super) socket: PathBuf,
    pub(super) publisher: Publisher,
    pub(super) events: Arc<EventLog>,
    pub(super) sessions: Arc<SessionTable>,
    pub(super) operations: Arc<OperationLog>,
    pub(super) guards: Arc<GuardLog>,
    pub(super) ailments: Arc<Mutex<HealthProblems>>,
    /// What is ordered of the pool, and of the process, until a test takes it.
    pub(super) orders: Mutex<Option<OrderReceiver>>,
    pub(super) process_orders: Mutex<Option<ProcessOrderReceiver>>,
    phase: PhaseSender,
    thread: Option<JoinHandle<()>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) series: PoolSeries,
    _routes: RouteWatch,
    _view: watch::Sender<Arc<View>>,
}

impl Fixture {
    /// One pool, as `first` says.
    pub(super) fn new(first: Snapshot) -> Self {
        Self::leading(ListenerRoute::Primary, first)
    }

    /// As [`Fixture::new`], with a listener that leads elsewhere.
    pub(super) fn leading(route: ListenerRoute, first: Snapshot) -> Self {
        Self::at("127.0.0.1:0", route, first, &no_orders())
    }

    /// As [`Fixture::new`], with this token file.
    pub(super) fn writable(token_file: PathBuf) -> Self {
        let admin = AdminConfig { write: Some(token_file), ..no_orders() };
        Self::at("127.0.0.1:0", ListenerRoute::Primary, failed_over(), &admin)
    }

    /// As [`Fixture::new`], bound to all addresses.
    pub(super) fn everywhere(first: Snapshot) -> Self {
        Self::at("0.0.0.0:0", ListenerRoute::Primary, first, &no_orders())
    }

    fn at(address: &str, route: ListenerRoute, first: Snapshot, admin: &AdminConfig) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
        let socket = std::env::temp_dir().join(format!("mainstay-admin-{}-{}.sock", std::process::id(), address.port()));
        let unix =
            BoundListener::bind(&Endpoint::Unix(socket.as_path().into()), &LegOptions::default(), Freebind::Off, 0o600).unwrap();
        let labels = PoolLabels {
            name: Arc::clone(&first.pool),
            listeners: vec!["rw".into()],
            backends: first.backends.iter().map(|b| (Arc::clone(&b.name), Arc::clone(&b.address))).collect(),
        };
        let metrics = Metrics::new().unwrap();
        let series = metrics.series(&labels).unwrap();
        let clock = Clock::start();
        let names: Vec<_> = first.backends.iter().map(|backend| Arc::clone(&backend.name)).collect();
        let route::Seam { publisher, routes, snapshots, .. } = route::seam(clock, Duration::from_mins(1), first);
        let (phase, lifecycle::Lifeline { phase: watch, .. }) = lifecycle::begin();
        let (events, sessions) = (Arc::new(EventLog::default()), Arc::new(SessionTable::default()));
        let (operations, guards) = (Arc::new(OperationLog::default()), Arc::new(GuardLog::default()));
        let ailments = Arc::new(Mutex::new(HealthProblems::default()));
        let health = Arc::clone(&ailments);
        let ((give, orders), (process, process_orders)) = (route::orders(), process_orders());
        let pool = AdminPool {
            snapshot: snapshots,
            orders: give,
            metrics: Arc::clone(&series.pool),
            listeners: vec![AdminListener {
                config: ListenerConfig { route, ..config::listener("rw") },
                bound: vec![SocketAddr::from(([192, 0, 2, 1], 5432)).into()],
                limit: Some(9000),
                metrics: Arc::clone(&series.listeners[0]),
            }],
            backends: names.into_iter().zip(series.backends.iter().cloned()).collect(),
        };
        let config_json = serde_json::json!({"admin": {"listen": ["127.0.0.1:0"]}, "password": "***"});
        let (view, views) = watch::channel(Arc::new(View { pools: vec![pool], config_json }));
        let state = AdminState {
            version: "1.2.3",
            authority: Authority::new(admin, process),
            clock,
            phase: watch,
            answering: watch::channel(true).1,
            older: Arc::new(OlderLog::new().0),
            view: views,
            sessions: vec![Arc::clone(&sessions)],
            events: Arc::clone(&events),
            operations: Arc::clone(&operations),
            guards: Arc::clone(&guards),
            incidents: Arc::default(),
            history: admin::history::History::default(),
            metrics: Arc::clone(&metrics),
            health: Arc::new(move || health.lock().unwrap().clone()),
        };
        let listen = vec![BoundListener::Tcp(listener), unix];
        let thread = Some(
            admin::spawn(AdminSettings {
                listen,
                twins: Vec::new(),
                max_connections: 32,
                vital: lifecycle::Vital::default(),
                beside: Box::pin(async {}),
                state,
            })
            .unwrap(),
        );
        let (orders, process_orders) = (Mutex::new(Some(orders)), Mutex::new(Some(process_orders)));
        Self {
            address,
            socket,
            publisher,
            events,
            sessions,
            operations,
            guards,
            ailments,
            orders,
            process_orders,
            phase,
            thread,
            metrics,
            series,
            _routes: routes,
            _view: view,
        }
    }

    pub(super) fn advance(&self, phase: Phase) {
        self.phase.advance(phase);
    }

    pub(super) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// `GET path` over TCP.
    pub(super) fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "Host: localhost\r\n")
    }

    /// A request without a body.
    pub(super) fn ask(&self, method: &str, path: &str, headers: &str) -> Reply {
        Reply::read(exchange(self.connect(), method, path, headers))
    }

    /// `GET path` over the unix socket.
    pub(super) fn get_unix(&self, path: &str, headers: &str) -> Reply {
        Reply::read(exchange(unix_client(&self.socket), "GET", path, headers))
    }
}

/// As the configuration is without a word about orders.
fn no_orders() -> AdminConfig {
    AdminConfig { hosts: vec!["mainstay.example".into()], ..config::tcp_pool(&[([127, 0, 0, 1], 1).into()]).admin }
}

impl Drop for Fixture {
    /// The thread ends when the process stops, or the test hangs here.
    fn drop(&mut self) {
        self.phase.advance(Phase::Stopped);
        let ended = self.thread.take().unwrap().join();
        let _ = std::fs::remove_file(&self.socket);
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, LIMIT).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str, headers: &str) -> Vec<u8> {
    // In one piece: whoever refuses it may close before a second one.
    let request = format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
    /// Those of a body without a length.
    pub(super) chunks: usize,
}

impl Reply {
    pub(super) fn read(bytes: Vec<u8>) -> Self {
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let head = head.to_ascii_lowercase();
        let is_in_pieces = head.contains("\r\ntransfer-encoding: chunked");
        let (body, chunks) = if is_in_pieces { joined(body) } else { (body.to_owned(), 0) };
        Self { status: head[9..12].parse().unwrap(), head, body, chunks }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// What the chunks of a body hold, and how many they are. RFC 9112, 7.1: each has its length before it, in hexadecimal digits.
fn joined(mut body: &str) -> (String, usize) {
    let (mut whole, mut chunks) = (String::new(), 0);
    // The answer to HEAD has none.
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        chunks += usize::from(size > 0);
        body = rest[size..].strip_prefix("\r\n").unwrap();
    }
    (whole, chunks)
}

pub(super) fn primary(name: &str) -> BackendView {
    BackendView {
        name: name.into(),
        address: format!("{name}:5432").into(),
        resolved: SocketAddr::from(([10, 0, 0, 1], 5432)).into(),
        health: Health::Up,
        pending: false,
        admin: Admin::Ready,
        reason: Reason::Eligible,
        read_eligibility: ReadEligibility::Active,
        proof: Proof::Proven,
        proof_what: "".into(),
        facts: Facts {
            role: Some(Role::Primary),
            db_epoch: Some(2),
            lag_bytes: Some(0),
            version: Some("15.20".into()),
            ..Facts::default()
        },
        alert: None,
        alert_evidence: "".into(),
        since: Time::from_millis(5),
        last_probe: Some(probe(Outcome::Ok, "answered as primary")),
        silent_since: None,
    }
}

pub(super) fn down(name: &str) -> BackendView {
    BackendView {
        health: Health::Down,
        reason: Reason::Down,
        read_eligibility: ReadEligibility::Down,
        facts: Facts::default(),
        last_probe: Some(probe(Outcome::Refused, "connect refused")),
        ..primary(name)
    }
}

fn probe(outcome: Outcome, evidence: &str) -> LastProbe {
    LastProbe { outcome, evidence: evidence.into(), at: Time::from_millis(9), took: Duration::from_micros(234) }
}

/// `db-a` is down, `db-b` has taken over.
pub(super) fn failed_over() -> Snapshot {
    Snapshot {
        pool: "orders".into(),
        epoch: Epoch(3),
        active: Some(BackendId(1)),
        verdict: Verdict::Keep,
        failover_ready: FailoverReady::NoCandidate,
        last_failover: Some(LastFailover {
            at: Time::from_millis(1500),
            from: "db-a".into(),
            to: "db-b".into(),
            cause: Cause::Down,
            evidence: "standing session closed; connect refused".into(),
            detected: Duration::from_millis(4),
            gap: Duration::from_millis(51),
            sessions_closed: 97,
        }),
        backends: vec![down("db-a"), primary("db-b")],
        ..Snapshot::default()
    }
}

/// Nobody may serve.
pub(super) fn dead() -> Snapshot {
    Snapshot {
        pool: "orders".into(),
        epoch: Epoch(3),
        verdict: Verdict::NoEligible,
        backends: vec![down("db-a"), down("db-b")],
        ..Snapshot::default()
    }
}

/// A switchover from `db-a` to `db-b`, of which no step has begun.
pub(super) fn switchover(id: u64) -> OperationView {
    let step = |step: &Step| StepView { step: *step, since: None, took: None, lines: Vec::new() };
    OperationView {
        id,
        pool: "orders".into(),
        kind: OperationKind::Switchover,
        from: Some("db-a".into()),
        to: "db-b".into(),
        by: "uid 0 (root)".into(),
        reason: "kernel".into(),
        at: Time::from_millis(1000),
        steps: [Step::Gate, Step::Drain, Step::Demote, Step::Promote, Step::Activate].iter().map(step).collect(),
        can_abort: true,
        end: None,
        trial: None,
    }
}

/// Its first steps are over, as is the one before `step`, which begins at `at` (milliseconds).
pub(super) fn begin(operation: &mut OperationView, step: Step, at: u64) {
    let at = Time::from_millis(at);
    end_step(operation, at);
    operation.can_abort = !step.is_past_no_return();
    operation.steps.iter_mut().find(|shown| shown.step == step).unwrap().since = Some(at);
}

/// It ends in this way.
pub(super) fn end(operation: &mut OperationView, at: u64, (result, why): (OperationResult, OperationEnd), sentence: &str) {
    let at = Time::from_millis(at);
    end_step(operation, at);
    operation.can_abort = false;
    operation.end = Some(EndView { at, result, why, sentence: sentence.into() });
}

fn end_step(operation: &mut OperationView, at: Time) {
    for step in &mut operation.steps {
        step.took = step.took.or(step.since.map(|since| at.since(since)));
    }
}

pub(super) fn event(evidence: &str) -> StateEvent {
    StateEvent {
        id: 0,
        at: Time::from_millis(7),
        pool: "orders".into(),
        backend: Some("db-a".into()),
        kind: "health",
        from: Some("up"),
        to: Some("down"),
        epoch: Epoch(3),
        cause: Some("probe"),
        evidence: evidence.into(),
        ..StateEvent::default()
    }
}
