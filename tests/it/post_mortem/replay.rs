//! A site: two real servers or one, mainstay before them, clients that write all the while.

use std::{
    collections::HashSet,
    fs,
    time::{Duration, Instant},
};

use lab::{
    clients::{ClientOptions, Clients, READ_ROWS},
    pairs::{NAMES, Pair as _, postgres::PostgresPair},
    session::Endpoint,
};
use serde_json::{Value, json};

use super::sister::{Fault, unpack};
use crate::support::{
    scratch::Scratch,
    site::Site,
    wait::{patience, until, within},
};

/// `promotion.after`: its default, and longer than the restart of an update takes.
pub const DEFAULT: &str = "3s";
pub const LATE: &str = "1m";

/// Longer than anything here takes.
const LONG: Duration = Duration::from_mins(1);

/// What one run showed. Times are counted from the beginning of the update.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// The line of the log that tells an operator what is wrong.
    pub told: Duration,
    /// The first write on a server that is as it should be; `None`: writes never ended.
    pub first_write: Option<Duration>,
    /// Acknowledged writes that are not stored.
    pub lost: usize,
    /// Connects that ended in an error.
    pub refused: u64,
    /// Sessions of clients that the updated server had.
    pub on_it: usize,
    /// The longest time a client waited from one acknowledgement to the next.
    pub pause: Duration,
}

pub struct Replay {
    pub site: Site,
    pub pair: PostgresPair,
    clients: Clients,
    scratch: Scratch,
    began: Instant,
    /// When the server ran again with its old packages.
    mended: Instant,
}

impl Replay {
    /// So many nodes, each trusted as it is. A primary that is gone for as long as `after` is replaced.
    pub fn new(nodes: usize, (synchronous, after): (&str, &str), guard: &Value) -> Self {
        let (pair, scratch) = (PostgresPair::start(), Scratch::new());
        fs::set_permissions(scratch.directory(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        fill(&pair);
        pair.cluster.node(0).set_synchronous_standby_names(synchronous).unwrap();
        let mut pool = lab::pairs::pool(&pair, "127.0.0.1:0", &json!({"guard": {"soak": "2s", "proofs": proofs()}}));
        pool["guard"].as_object_mut().unwrap().extend(guard.as_object().unwrap().clone());
        if nodes == 1 {
            pair.cluster.node(1).stop_fast().unwrap();
            pool["backends"].as_array_mut().unwrap().truncate(1);
            pool.as_object_mut().unwrap().remove("promotion");
        } else {
            let ours = json!({"automatic": true, "single": true, "max_lag": "16MiB", "after": after});
            pool["promotion"].as_object_mut().unwrap().extend(ours.as_object().unwrap().clone());
        }
        let mut settings = json!({"log": {"level": "info", "format": "json"}, "state_dir": scratch.directory(), "pools": [pool]});
        let site = Site::start(&mut settings, &scratch.path("admin.sock"));
        until("what each is made of is known", || {
            let diff: Value = serde_json::from_str(&site.process.get("/api/v1/pools/orders/diff").1).ok()?;
            diff["backends"].as_array()?.iter().all(|backend| backend["print"].is_string()).then_some(())
        });
        until("db-b may take over", || (nodes == 1 || site.process.status()["pools"][0]["failover_ready"] == true).then_some(()));
        let clients = Clients::start(
            &Endpoint::Tcp(site.process.address),
            &ClientOptions { user: "app".into(), ..ClientOptions::default() },
        )
        .unwrap();
        until("they write", || (clients.tally().acknowledged > 100).then_some(()));
        Self { site, pair, clients, scratch, began: Instant::now(), mended: Instant::now() }
    }

    /// The packages are updated, and the server is started again, as `systemctl restart` does. Returns when it had stopped.
    pub fn update(&mut self, node: usize, fault: Fault) -> Instant {
        let programs = unpack(&self.scratch, fault);
        let server = self.pair.cluster.node(node);
        self.began = Instant::now();
        server.stop_fast().unwrap();
        let stopped = Instant::now();
        server.install(Some(programs));
        let started = server.start();
        assert_eq!(started.is_ok(), fault != Fault::NoStart, "{started:?}");
        println!("-- {} was updated ({fault:?}), and is back after {:?}", NAMES[node], self.began.elapsed());
        stopped
    }

    /// The old packages again.
    pub fn take_back(&mut self, node: usize) {
        let server = self.pair.cluster.node(node);
        server.stop_fast().unwrap();
        server.install(None);
        server.start().unwrap();
        self.mended = Instant::now();
    }

    /// How long after that a write was acknowledged.
    pub fn first_write_since_mended(&self) -> Duration {
        self.writes_since(self.mended).saturating_sub(self.mended - self.began)
    }

    /// When the log had a line with all of these words.
    pub fn told(&self, words: &[&str]) -> Duration {
        within(LONG, &format!("{words:?} in the log"), || {
            let has = |line: &Value| words.iter().all(|word| line.to_string().contains(word));
            self.site.process.log().iter().find(|line| has(line)).map(|_| self.began.elapsed())
        })
    }

    /// When a write that ended after `moment` was acknowledged.
    pub fn writes_since(&self, moment: Instant) -> Duration {
        within(LONG, "a write is acknowledged", || self.clients.first_since(moment)) - self.began
    }

    pub fn proof(&self, node: usize) -> (String, String) {
        let backend = self.site.process.status()["pools"][0]["backends"][node].clone();
        let text = |key: &str| backend[key].as_str().unwrap_or_default().to_owned();
        (text("proof"), text("proof_what"))
    }

    /// When its proof had come to this, and what was said of it.
    pub fn is(&self, node: usize, state: &str) -> (Duration, String) {
        let what = within(LONG, &format!("{} is {state}", NAMES[node]), || {
            Some(self.proof(node)).filter(|(is, _)| is == state).map(|(_, what)| what)
        });
        (self.began.elapsed(), what)
    }

    /// Clients that have logged in to a server so far, as its own log has it.
    pub fn sessions(&self, node: usize) -> usize {
        let log = fs::read_to_string(self.pair.cluster.node(node).log_path()).unwrap();
        log.matches("connection authorized: user=app").count()
    }

    pub fn refusal(&self) -> Option<String> {
        self.clients.tally().last_refusal
    }

    pub fn refused(&self) -> u64 {
        self.clients.tally().refused
    }

    pub fn lost_sessions(&self) -> u64 {
        self.clients.tally().lost_sessions
    }

    /// What was said since the beginning, for `docs/post-mortem-replayed.md`.
    pub fn tell(&self) {
        for line in self.site.process.log() {
            if ["WARN", "ERROR"].contains(&line["level"].as_str().unwrap_or_default()) {
                println!("{line}");
            }
        }
        for line in self.site.process.get("/metrics").1.lines() {
            let is_told = ["_proof{", "failover_ready", "outage_seconds", "commit_probe", "operations_total{", "proof_result{"];
            if is_told.iter().any(|name| line.contains(name)) && !line.starts_with('#') && !line.ends_with(" 0") {
                println!("{line}");
            }
        }
        self.site.run(&["status"]);
    }

    /// The clients go on for a moment, and end; then every write that was acknowledged is looked for on the server that serves.
    pub fn end(self, node: usize, mut figures: Figures) -> Figures {
        self.tell();
        let before = self.clients.tally().acknowledged;
        within(patience(), "they go on", || (self.clients.tally().acknowledged > before + 100).then_some(()));
        let acknowledged = self.clients.acknowledged();
        let rows = self.pair.cluster.node(node).query(READ_ROWS).unwrap();
        let stored: HashSet<u64> = rows.into_iter().flatten().flatten().map(|id| id.parse().unwrap()).collect();
        let tally = self.clients.stop();
        figures.lost = acknowledged.iter().filter(|id| !stored.contains(id)).count();
        (figures.refused, figures.pause) = (tally.refused, tally.longest_pause);
        println!("FIGURES {figures:?} {tally:?}");
        assert_eq!(figures.lost, 0, "acknowledged and lost");
        figures
    }
}

/// What an operator who knows the application asks of each update.
fn proofs() -> Value {
    json!([
        {"name": "search", "sql": "SELECT to_tsvector('english', title) FROM lessons WHERE id = 1", "same_as": "active"},
        {"name": "lesson", "sql": "SELECT title FROM lessons WHERE id = 99999", "slower_at_most": "2x"},
        {"name": "words", "sql": "SELECT 1 / (to_tsvector('english', 'the lesson') = '''lesson'':2')::int"},
    ])
}

fn fill(pair: &PostgresPair) {
    for node in [0, 1] {
        pair.administer(node, "ALTER SYSTEM SET log_connections = on");
        pair.administer(node, "SELECT pg_reload_conf()");
    }
    for statement in [
        "CREATE EXTENSION amcheck",
        "CREATE TABLE demo (id bigint PRIMARY KEY)",
        "GRANT SELECT, INSERT ON demo TO app",
        "CREATE TABLE lessons (id int PRIMARY KEY, title text)",
        "INSERT INTO lessons SELECT n, 'the lesson ' || n FROM generate_series(1, 100000) n",
        "ANALYZE lessons",
        "GRANT SELECT ON lessons TO mainstay",
    ] {
        pair.administer(0, statement);
    }
}
