//! Operations of a whole mainstay on real servers: what is done, step by step, and what clients feel of it.

pub(crate) mod cut_off;
mod failing;
mod plain;
pub(crate) mod rights;
pub(crate) mod switchover;
mod told;

use std::{sync::Arc, time::Duration};

use mainstay::{
    app::{self, Running},
    config,
    failover::{OperationResult, Step},
    route::{Done, OperationView, Refusal, Verb},
};
use serde_json::{Value, json};

use crate::support::{
    front::end,
    postgres::Postgres,
    scratch::Scratch,
    wait::{patience, until},
};

/// A primary and its standby, and mainstay before them, which may switch.
struct Site {
    running: Option<Running>,
    source: Postgres,
    standby: Postgres,
    _scratch: Scratch,
}

/// Stops a server as `pg_ctl stop -m fast -w` does.
fn stop(server: &Postgres) -> String {
    let file = server.data().join("postmaster.pid");
    format!("kill -INT {}\nwhile [ -e {} ]; do sleep 0.005; done", server.pid(), file.display())
}

impl Site {
    fn new() -> Self {
        Self::with(stop, json!({}))
    }

    /// `demote` writes the script that stops the old primary; `more` are keys of the pool.
    fn with(demote: impl Fn(&Postgres) -> String, more: Value) -> Self {
        let scratch = Scratch::new();
        let source = Postgres::primary(&["max_connections=300"]);
        source.sql("CREATE TABLE t (n bigint)");
        source.hba("host replication all 127.0.0.1/32 trust");
        let standby = source.standby(&["max_connections=300"]);
        until("the standby streams", || {
            (source.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") == "1").then_some(())
        });
        let hook = json!({"exec": [scratch.script(&demote(&source))], "timeout": "20s"});
        let mut pool = json!({
            "name": "orders",
            "listen": "127.0.0.1:0",
            "check": {"postgres": {"user": "postgres"}, "timeout": "5s"},
            "promotion": {"how": "sql", "demote": hook},
            "switchover": {"drain_timeout": "10s", "timeout": "20s"},
            "backends": [
                {"name": "db-a", "address": format!("127.0.0.1:{}", source.port)},
                {"name": "db-b", "address": format!("127.0.0.1:{}", standby.port)},
            ],
        });
        if let (Value::Object(pool), Value::Object(more)) = (&mut pool, more) {
            pool.extend(more);
        }
        let running = start(&pool);
        until("db-a is active and db-b a standby", || {
            let snapshot = running.snapshots[0].get();
            let standby = snapshot.backends.get(1)?.facts.role == Some(mainstay::failover::Role::Standby);
            (snapshot.active?.index() == 0 && standby).then_some(())
        });
        Self { running: Some(running), source, standby, _scratch: scratch }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    fn address(&self) -> std::net::SocketAddr {
        self.running().listeners[0][0][0]
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            end(running);
        }
    }
}

pub(crate) fn start(pool: &Value) -> Running {
    let whole = json!({"admin": {"listen": "127.0.0.1:0"}, "pools": [pool]});
    let loaded = config::parse(&whole.to_string(), "mainstay.yaml", &|_| None).unwrap_or_else(|errors| panic!("{errors}"));
    app::start(&loaded.config).unwrap()
}

pub(crate) fn order(running: &Running, verb: Verb) -> Result<Done, Refusal> {
    give(running, verb, false)
}

pub(crate) fn give(running: &Running, verb: Verb, dry_run: bool) -> Result<Done, Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(running.orders[0].give(verb, ("uid 7 (ann)".into(), "a new kernel".into()), dry_run, patience()))
}

pub(crate) fn to(backend: &str) -> Verb {
    Verb::Switchover { to: Some(backend.into()), force: false }
}

/// Orders an operation, and its number.
#[track_caller]
pub(crate) fn begun(running: &Running, verb: Verb) -> u64 {
    let done = order(running, verb).unwrap_or_else(|refusal| panic!("{}", refusal.message));
    println!("{}", done.lines.join("\n"));
    done.operation.unwrap()
}

/// Waits for its end.
#[track_caller]
pub(crate) fn ended(running: &Running, id: u64) -> OperationView {
    let view = until("the operation is over", || running.operations.get(id).filter(|view| view.end.is_some()));
    for step in &view.steps {
        println!("{}: {:?} {:?}", step.step, step.took, step.lines);
    }
    println!("{}", view.end.as_ref().unwrap().sentence);
    view
}

pub(crate) fn result(view: &OperationView) -> OperationResult {
    view.end.as_ref().unwrap().result
}

fn took(view: &OperationView, step: Step) -> Duration {
    view.steps.iter().find(|shown| shown.step == step).and_then(|shown| shown.took).unwrap_or_default()
}

/// The name of the active backend, and the epoch.
pub(crate) fn active(running: &Running) -> (Option<Arc<str>>, u64) {
    let snapshot = running.snapshots[0].get();
    (snapshot.active.map(|id| Arc::clone(&snapshot.backends[id.index()].name)), snapshot.epoch.0)
}
