//! mainstay as its users run it: a process of its own with a configuration file, read through its admin API.

use std::{
    fmt::{self, Write as _},
    fs::{self, File},
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use hyper::Method;
use lab::{
    cluster::Node,
    directory::{Directory, Owner},
    failure::Failure,
    pairs::{self, Pair},
    port::ReservedPort,
    process,
    stop::Stop,
    wait::wait_until,
};
use mainstay::cli::client::{self, AdminAddr, Answer, Ask};
use rustix::process::{Pid, Signal};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{scrape::Scrape, wall::Anchor};

/// Longest wait for mainstay to start or to become ready.
const READY_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest wait for the answer to an order, which may have to ask the servers first.
const ORDER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for its end.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// One pool of the configuration, in default settings but for what the case needs.
#[derive(Clone, Debug)]
pub(crate) struct PoolSpec {
    /// Its name.
    pub(crate) name: &'static str,
    /// Value of `check`, in YAML.
    pub(crate) check: String,
    /// How long clients are held; as mainstay does it by itself when it is `None`.
    pub(crate) hold: Option<Duration>,
    /// Names and addresses.
    pub(crate) backends: Vec<(String, SocketAddr)>,
}

impl PoolSpec {
    /// The pool `orders` on the nodes of a cluster; `login` is what follows `user: probe` in the check.
    pub(crate) fn of_nodes(nodes: &[Node; 2], login: &str) -> Self {
        let backends = nodes.iter().map(|node| (node.name().to_owned(), node.address())).collect();
        Self { name: "orders", check: format!("{{postgres: {{user: probe{login}}}}}"), hold: None, backends }
    }

    /// A pool with TCP checks on one address.
    pub(crate) fn of_address(name: &'static str, address: SocketAddr) -> Self {
        Self { name, check: "tcp".to_owned(), hold: None, backends: vec![("sink".to_owned(), address)] }
    }
}

/// A running mainstay. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Mainstay {
    child: Child,
    admin: AdminAddr,
    /// One a pool; reserved, so that nobody takes a port between our choice and mainstay's bind.
    listen: Vec<ReservedPort>,
    anchor: Anchor,
    config: PathBuf,
    /// Its socket for orders is in here.
    directory: Directory,
    _admin_port: ReservedPort,
}

/// `GET /api/v1/status`, as far as it is used here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) pools: Vec<PoolStatus>,
}

/// One pool of it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PoolStatus {
    pub(crate) epoch: u64,
    pub(crate) active: Option<String>,
    pub(crate) failover_ready: bool,
    pub(crate) last_failover: Option<LastFailover>,
    pub(crate) backends: Vec<BackendStatus>,
}

/// The last failover in mainstay's own view.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LastFailover {
    pub(crate) to: String,
    pub(crate) detected_ms: f64,
    pub(crate) gap_ms: f64,
}

/// One backend of a pool.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct BackendStatus {
    pub(crate) name: String,
    pub(crate) alert: Option<String>,
    pub(crate) active: bool,
    pub(crate) health: String,
}

/// One operation, as far as it is used here.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Operation {
    pub(crate) took_ms: f64,
    steps: Vec<OperationStep>,
    pub(crate) end: Option<OperationEnd>,
}

#[derive(Clone, Debug, Deserialize)]
struct OperationStep {
    step: String,
    since: Option<String>,
    took_ms: Option<f64>,
}

/// How it ended.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct OperationEnd {
    pub(crate) at: String,
    pub(crate) result: String,
    pub(crate) sentence: String,
}

impl Operation {
    /// How long a step took; nothing, when it has none of this name.
    pub(crate) fn took(&self, name: &str) -> f64 {
        self.steps.iter().find(|step| step.step == name).and_then(|step| step.took_ms).unwrap_or_default()
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} ms", self.took_ms)?;
        let steps = self.steps.iter().filter(|step| step.since.is_some());
        steps.into_iter().try_for_each(|step| write!(f, ", {} {:.1} ms", step.step, step.took_ms.unwrap_or_default()))
    }
}

#[derive(Debug, Deserialize)]
struct Events {
    newest: u64,
    events: Vec<Event>,
}

/// One state change.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) at: String,
    pub(crate) backend: Option<String>,
    pub(crate) kind: String,
    pub(crate) to: Option<String>,
    pub(crate) cause: Option<String>,
}

impl Event {
    /// It changed who serves, or what is thought of a backend's health.
    pub(crate) fn is_transition(&self) -> bool {
        matches!(self.kind.as_str(), "revoke" | "activate" | "health")
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.kind)?;
        [("of", &self.backend), ("to", &self.to), ("because", &self.cause)]
            .into_iter()
            .filter_map(|(word, value)| Some((word, value.as_deref()?)))
            .try_for_each(|(word, value)| write!(f, " {word} {value}"))
    }
}

impl Mainstay {
    /// Starts it with a configuration file beside `log`. With `files`, it may open that many files and no more.
    pub(crate) fn start(pools: &[PoolSpec], log: &Path, files: Option<u32>) -> Result<Self, Failure> {
        let listen = pools.iter().map(|_| ReservedPort::new()).collect::<Result<Vec<_>, _>>()?;
        let text = yaml(pools, &listen);
        Self::launch(&text, listen, log, files)
    }

    /// Starts it before two servers, with more keys of their pool.
    pub(crate) fn before<P: Pair>(pair: &P, more: &Value, log: &Path) -> Result<Self, Failure> {
        let listen = ReservedPort::new()?;
        let pool = pairs::pool(pair, &listen.address().to_string(), more);
        // JSON is YAML.
        Self::launch(&format!("pools: {}\n", json!([pool])), vec![listen], log, None)
    }

    fn launch(pools: &str, listen: Vec<ReservedPort>, log: &Path, files: Option<u32>) -> Result<Self, Failure> {
        let (admin_port, directory) = (ReservedPort::new()?, Directory::new(Owner::Ourselves)?);
        let config = log.with_extension("yaml");
        let addresses = json!([admin_port.address().to_string(), format!("unix:{}", socket(&directory).display())]);
        fs::write(&config, format!("admin: {{listen: {addresses}}}\nmetrics: {{detail: full}}\n{pools}"))?;
        let binary = env!("CARGO_BIN_EXE_mainstay");
        let mut command = match files {
            None => Command::new(binary),
            Some(files) => {
                // prlimit(1) becomes the program it is told to run, so the process is mainstay itself.
                let mut command = Command::new("prlimit");
                command.arg(format!("--nofile={files}:{files}")).arg("--").arg(binary);
                command
            }
        };
        command.arg("run").arg("-c").arg(&config).stdin(Stdio::null()).stdout(File::create(log)?);
        let anchor = Anchor::now();
        // Its own process group: a Ctrl-C at the terminal is for us, and we end mainstay.
        let child = command.stderr(Stdio::from(File::options().append(true).open(log)?)).process_group(0).spawn()?;
        let admin = AdminAddr::Tcp(admin_port.address().to_string());
        Ok(Self { child, admin, listen, anchor, config, directory, _admin_port: admin_port })
    }

    /// Where clients of a pool connect.
    pub(crate) fn address(&self, pool: usize) -> SocketAddr {
        self.listen[pool].address()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// One answer of the admin API.
    pub(crate) fn get(&self, path: &str) -> Result<Answer, Failure> {
        client::get(&self.admin, path, client::TIMEOUT).map_err(|error| Failure::Said(error.to_string()))
    }

    /// Gives an order; what it answers, also when it refuses.
    pub(crate) fn order(&self, path: &str, body: &str) -> Result<Value, Failure> {
        let ask = Ask { method: Method::POST, body: Some(body.to_owned()), token: None };
        let answer = client::send(&AdminAddr::Unix(socket(&self.directory)), path, &ask, ORDER_TIMEOUT);
        let answer = answer.map_err(|error| Failure::Said(error.to_string()))?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    /// An operation as it stands.
    pub(crate) fn operation(&self, id: u64) -> Result<Operation, Failure> {
        Ok(serde_json::from_slice(&self.get(&format!("/api/v1/operations/{id}"))?.body)?)
    }

    /// Its admin address, for a thread of the harness that asks by itself.
    pub(crate) const fn admin(&self) -> &AdminAddr {
        &self.admin
    }

    /// The first pool as it stands.
    pub(crate) fn pool(&self) -> Result<PoolStatus, Failure> {
        let status: Status = serde_json::from_slice(&self.get("/api/v1/status")?.body)?;
        status.pools.into_iter().next().ok_or_else(|| Failure::Said("mainstay has no pool".into()))
    }

    /// The numbers as they stand.
    pub(crate) fn scrape(&self) -> Result<Scrape, Failure> {
        Ok(Scrape::parse(&String::from_utf8_lossy(&self.get("/metrics")?.body)))
    }

    /// Id of the newest event.
    pub(crate) fn newest_event(&self) -> Result<u64, Failure> {
        let events: Events = serde_json::from_slice(&self.get("/api/v1/events")?.body)?;
        Ok(events.newest)
    }

    /// Events after this id, oldest first.
    pub(crate) fn events_since(&self, id: u64) -> Result<Vec<Event>, Failure> {
        let events: Events = serde_json::from_slice(&self.get(&format!("/api/v1/events?since={id}"))?.body)?;
        Ok(events.events)
    }

    /// When an event happened, on our clock.
    pub(crate) fn moment(&self, event: &Event) -> Option<Instant> {
        self.moment_of(&event.at)
    }

    /// A moment that it tells, on our clock.
    pub(crate) fn moment_of(&self, text: &str) -> Option<Instant> {
        self.anchor.moment(text)
    }

    /// Waits until the first pool is as wanted.
    pub(crate) fn wait_for(
        &self,
        stop: &Stop,
        what: &str,
        mut wanted: impl FnMut(&PoolStatus) -> bool,
    ) -> Result<PoolStatus, Failure> {
        stop.wait(&format!("mainstay says: {what}"), READY_TIMEOUT, || self.pool().ok().filter(|pool| wanted(pool)))
    }

    /// Waits until `node` is active and another would take over.
    pub(crate) fn wait_ready(&self, stop: &Stop, node: &str) -> Result<PoolStatus, Failure> {
        self.wait_for(stop, &format!("{node} is active and a failover would succeed"), |pool| {
            pool.active.as_deref() == Some(node) && pool.failover_ready
        })
    }

    /// Waits until the first pool has an active backend.
    pub(crate) fn wait_active(&self, stop: &Stop) -> Result<PoolStatus, Failure> {
        self.wait_for(stop, "a backend is active", |pool| pool.active.is_some())
    }
}

impl Drop for Mainstay {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()).filter(|_| self.is_alive()) {
            process::send(pid, Signal::TERM);
            // A second one ends it without waiting for sessions.
            process::send(pid, Signal::TERM);
            if !wait_until(END_TIMEOUT, || !self.is_alive()) {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        let _ = fs::remove_file(&self.config);
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("admin.sock")
}

fn yaml(pools: &[PoolSpec], listen: &[ReservedPort]) -> String {
    let mut yaml = "pools:\n".to_owned();
    for (pool, port) in pools.iter().zip(listen) {
        // Writing to a String cannot fail.
        let _ = write!(yaml, "  - name: {}\n    listen: \"{}\"\n    check: {}\n", pool.name, port.address(), pool.check);
        if let Some(hold) = pool.hold {
            let _ = writeln!(yaml, "    hold: {{timeout: {}s}}", hold.as_secs());
        }
        yaml.push_str("    backends:\n");
        for (name, address) in &pool.backends {
            let _ = writeln!(yaml, "      - {{name: {name}, address: \"{address}\"}}");
        }
    }
    yaml
}
