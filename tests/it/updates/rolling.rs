//! A primary and its standby of one release of `PostgreSQL`, each of which may run another one, and mainstay before them.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use lab::{
    servers::release::Release,
    transactions::{Client as _, Failed, Writers, postgres::Client},
};
use serde_json::{Value, json};

use crate::support::{
    postgres::Postgres,
    scratch::Scratch,
    site::Site,
    wait::{until, within},
};

pub(crate) const OLD: &str = "15.17";
pub(crate) const NEW: &str = "15.18";

/// A print is read every ten seconds, and some proofs take three seconds before they fail.
pub(crate) const READ: Duration = Duration::from_mins(2);

/// The server's own log tells who logs in.
const SETTINGS: [&str; 2] = ["max_connections=60", "log_connections=on"];
const SESSION: &str = "connection authorized: user=app ";

/// How an update begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// `maint` before, `ready` afterwards.
    Announced,
    /// The server is away for a moment.
    Unannounced,
}

pub(crate) struct Rolling {
    pub(crate) site: Site,
    pub(crate) nodes: [Postgres; 2],
    /// What each of them runs.
    releases: [Arc<Release>; 2],
    _scratch: Scratch,
}

/// What a site asks of a changed node: what it sells, in which order, when, and how fast.
fn proofs() -> Value {
    json!([
        {"name": "time", "sql": "SELECT (timestamptz '2026-07-01 12:00Z' AT TIME ZONE 'Europe/Berlin')::text", "same_as": "active"},
        {"name": "goods", "sql": "SELECT id, name, since FROM goods WHERE id < 100 ORDER BY id", "same_as": "active", "order": "list"},
        {"name": "search", "sql": "SELECT id, similarity(name, '900150983cd24fb0') FROM goods WHERE id < 50", "same_as": "active"},
        {"name": "lookup", "sql": "SELECT name FROM goods WHERE id = 4711", "slower_at_most": "5x"},
    ])
}

/// The grants of docs/proofs.md and docs/promotion.md.
const SCHEMA: [&str; 10] = [
    "CREATE TABLE t (n bigint)",
    "CREATE EXTENSION pg_trgm",
    "CREATE TABLE goods (id int PRIMARY KEY, name text, since date)",
    "INSERT INTO goods SELECT n, md5(n::text), date '2026-01-01' + n % 1000 FROM generate_series(1, 50000) n",
    "CREATE ROLE app LOGIN; GRANT INSERT ON t TO app; GRANT SELECT ON goods TO app",
    "CREATE ROLE mainstay LOGIN; GRANT SELECT ON goods TO mainstay",
    "GRANT pg_monitor, pg_checkpoint, pg_signal_backend TO mainstay",
    "GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO mainstay",
    "GRANT SELECT ON pg_file_settings TO mainstay; GRANT EXECUTE ON FUNCTION pg_show_all_file_settings() TO mainstay",
    "GRANT SELECT ON pg_hba_file_rules TO mainstay; GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO mainstay",
];

impl Rolling {
    pub(crate) fn new(guard: &Value) -> Self {
        Self::with(guard, &json!({}))
    }

    /// Both of the old release, and known. `more` are keys of the pool.
    pub(crate) fn with(guard: &Value, more: &Value) -> Self {
        let old = Arc::new(Release::postgres(OLD));
        let primary = Postgres::primary_by(&old.binaries(), &SETTINGS);
        for statement in SCHEMA {
            primary.sql(statement);
        }
        let standby = primary.standby_by(&old.binaries(), &SETTINGS);
        let (nodes, scratch) = ([primary, standby], Scratch::new());
        let stop = nodes.each_ref().map(|node| format!("'{}'", node.data().display()));
        let demote = scratch.script(&format!(
            "case $MAINSTAY_BACKEND in db-a) data={} ;; db-b) data={} ;; esac\nread -r pid <\"$data/postmaster.pid\"\nkill -INT \"$pid\"\n\
             while [ -e \"$data/postmaster.pid\" ]; do sleep 0.005; done",
            stop[0], stop[1]
        ));
        let mut rules = json!({"proofs": proofs(), "canary": "off"});
        rules.as_object_mut().unwrap().extend(guard.as_object().unwrap().clone());
        let backends: Vec<_> = ["db-a", "db-b"]
            .iter()
            .zip(&nodes)
            .map(|(name, node)| json!({"name": name, "address": format!("127.0.0.1:{}", node.port)}))
            .collect();
        let mut pool = json!({
            "name": "orders",
            "listeners": [
                {"name": "rw", "listen": "127.0.0.1:0"},
                {"name": "ro", "listen": "127.0.0.1:0", "route": "replica"},
            ],
            "check": {"postgres": {"user": "mainstay"}, "interval": "200ms", "timeout": "2s"},
            "hold": {"timeout": "2m"},
            "promotion": {"how": "sql", "demote": {"exec": [demote], "timeout": "20s"}},
            "switchover": {"drain_timeout": "20s", "timeout": "20s"},
            "guard": rules,
            "backends": backends,
        });
        pool.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut settings = json!({"log": {"level": "info", "format": "json"}, "state_dir": scratch.directory(), "pools": [pool]});
        let site = Site::start(&mut settings, &scratch.path("admin.sock"));
        let rolling = Self { site, nodes, releases: [Arc::clone(&old), old], _scratch: scratch };
        rolling.is_known();
        rolling
    }

    /// What both are made of has been read.
    fn is_known(&self) {
        within(READ, "both prints", || {
            let diff: Value = serde_json::from_str(&self.site.process.get("/api/v1/pools/orders/diff").1).ok()?;
            diff["backends"].as_array()?.iter().all(|backend| backend["print"].is_string()).then_some(())
        });
        until("db-b may take over", || (self.pool()["failover_ready"] == true).then_some(()));
    }

    pub(crate) fn rw(&self) -> SocketAddr {
        self.site.process.address
    }

    /// Where readers connect.
    pub(crate) fn ro(&self) -> SocketAddr {
        let is_it = |line: &Value| line["message"] == "listening" && line["listener"] == "ro";
        let line = self.site.process.log().into_iter().find(is_it).expect("no listener ro");
        line["addresses"].as_str().unwrap().trim_matches(['[', ']']).parse().unwrap()
    }

    pub(crate) fn pool(&self) -> Value {
        self.site.process.status()["pools"][0].clone()
    }

    /// The state of a backend's proof, and what is said of it.
    pub(crate) fn proof(&self, node: usize) -> (String, String) {
        let backend = self.pool()["backends"][node].clone();
        let text = |key: &str| backend[key].as_str().unwrap_or_default().to_owned();
        (text("proof"), text("proof_what"))
    }

    /// Waits until its proof is in this state; what is said of it.
    #[track_caller]
    pub(crate) fn is(&self, node: usize, state: &str) -> String {
        self.is_after(0, node, state)
    }

    /// The same, once that many states of it were told: with `warn` it is what it was until it has been looked at.
    #[track_caller]
    pub(crate) fn is_after(&self, told: usize, node: usize, state: &str) -> String {
        let mut last = (String::new(), String::new());
        let is = lab::wait::wait_until(READ, || {
            last = self.proof(node);
            last.0 == state && self.told(node).len() >= told
        });
        assert!(is, "backend {node} is {last:?}, and not {state}; {}", self.nodes[node].log());
        last.1
    }

    /// States of a backend's proof, in the order in which they were told.
    pub(crate) fn told(&self, node: usize) -> Vec<String> {
        let list: Value = serde_json::from_str(&self.site.process.get("/api/v1/events").1).unwrap();
        let name = ["db-a", "db-b"][node];
        let events = list["events"].as_array().unwrap().iter();
        let of = events.filter(|event| event["kind"] == "proof" && event["backend"] == name);
        of.map(|event| event["to"].as_str().unwrap().to_owned()).collect()
    }

    /// Stops a node, and has it run other programs on the same files. Returns before it is up; how many sessions it had until then.
    pub(crate) fn begin_change(&mut self, node: usize, release: &Arc<Release>, settings: &[&str], change: Change) -> usize {
        if change == Change::Announced {
            self.site.run(&["maint", &format!("orders/{}", ["db-a", "db-b"][node]), "--reason", "update"]).is_done("");
            let gone = || self.pool()["backends"][node]["connections"].as_u64().unwrap_or_default() == 0;
            until("nobody is there", || gone().then_some(()));
        }
        if !self.nodes[node].has_ended() {
            self.nodes[node].stop_fast();
        }
        let (sessions, settings) = (self.sessions(node), SETTINGS.iter().chain(settings).copied().collect::<Vec<_>>());
        self.nodes[node].update(&release.binaries(), &settings);
        self.releases[node] = Arc::clone(release);
        sessions
    }

    pub(crate) fn ready(&self, node: usize, change: Change) {
        if change == Change::Announced {
            self.site.run(&["ready", &format!("orders/{}", ["db-a", "db-b"][node])]).is_done("");
        }
    }

    pub(crate) fn change(&mut self, node: usize, release: &Arc<Release>, settings: &[&str], change: Change) {
        self.begin_change(node, release, settings, change);
        self.nodes[node].wait_ready();
        self.ready(node, change);
    }

    /// The standby runs what it ran at first, configured as it was.
    pub(crate) fn revert(&mut self, old: &Arc<Release>) {
        fs::copy(self.nodes[0].data().join("pg_hba.conf"), self.nodes[1].data().join("pg_hba.conf")).unwrap();
        let conf = self.nodes[1].data().join("postgresql.auto.conf");
        let kept = fs::read_to_string(&conf)
            .unwrap()
            .lines()
            .filter(|line| !line.starts_with("shared_buffers"))
            .collect::<Vec<_>>()
            .join("\n");
        fs::write(conf, kept + "\n").unwrap();
        self.change(1, old, &[], Change::Announced);
        self.is(1, "proven");
    }

    /// What a switchover has stopped follows the other one from its next start on.
    pub(crate) fn rejoin(&mut self, old: usize, new: usize) {
        until("the old one has stopped", || self.nodes[old].has_ended().then_some(()));
        self.nodes[old].follow(&self.nodes[new]);
    }

    pub(crate) fn start(&mut self, node: usize) {
        self.nodes[node].restart(&SETTINGS);
    }

    pub(crate) fn version(&self, node: usize) -> String {
        self.nodes[node].sql("SHOW server_version")
    }

    /// How many sessions of clients the server itself has counted so far.
    pub(crate) fn sessions(&self, node: usize) -> usize {
        self.nodes[node].log().matches(SESSION).count()
    }
}

/// The new release, which nobody runs yet.
pub(crate) fn new_release() -> Arc<Release> {
    Arc::new(Release::postgres(NEW))
}

pub(crate) fn writers(address: SocketAddr) -> Writers {
    Writers::several::<Client, _>(4, address, || || Duration::from_millis(20))
}

/// Clients that log in, read and leave.
pub(crate) struct Readers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Reads>>,
}

/// How that went.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    pub(crate) done: usize,
    /// The server said goodbye before anything was asked of it.
    pub(crate) ended: usize,
    pub(crate) failed: Vec<String>,
}

impl Readers {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let read = |_| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let mut reads = Reads::default();
                while !stop.load(Ordering::SeqCst) {
                    let read = Client::login(address).and_then(|mut client| client.query("SELECT name FROM goods WHERE id = 1"));
                    match read {
                        Ok(_) => reads.done += 1,
                        Err(Failed::Told(code)) if Client::FAREWELLS.contains(&&*code) => reads.ended += 1,
                        Err(why) => reads.failed.push(format!("{why:?}")),
                    }
                    // Each login costs the processor as much as ten reads, so they are enough to notice a moment, and no more.
                    thread::sleep(Duration::from_millis(50));
                }
                reads
            })
        };
        let threads = (0..2).map(read).collect();
        Self { stop, threads }
    }

    pub(crate) fn stop(mut self) -> Reads {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Reads::default();
        for thread in self.threads.drain(..) {
            let reads = thread.join().unwrap();
            all.done += reads.done;
            all.ended += reads.ended;
            all.failed.extend(reads.failed);
        }
        all
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
