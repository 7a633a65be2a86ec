//! mainstay is killed in each step of an operation, and started again. Nobody stays gated, at most one node is served, the operation
//! is told and not carried on, and clients are served as soon as a node may serve.
//!
//! Clients write and read all the while, and their history is checked: nothing acknowledged is lost, and no two servers are written
//! to. Two steps hold by themselves only for a moment, `gate` and `activate`: there mainstay is killed as soon as it has logged that
//! the step begins. The others are held: by an open transaction, by a hook that waits, by a standby whose startup process is frozen.
//!
//! A hook goes on when mainstay is killed (where nothing else ends it, as systemd does): its late work counts, too.

mod death;
mod switchover;

use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use lab::session::Endpoint;
use serde_json::{Value, json};

use crate::{
    promotion::automatic::{Pair, local, register::History},
    support::{
        front::unix_client,
        process::{Process, settings},
        random::Random,
        scratch::Scratch,
        wait::until,
    },
};

/// What every `promotion` here has.
const AFTER: &str = "1s";

/// Between the kill and the start; the last is longer than `promotion.after`.
const DELAYS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_millis(1500)];

/// mainstay, which is killed and started again.
struct Site {
    settings: Value,
    scratch: Scratch,
    process: Option<Process>,
    /// Where clients connect now.
    entry: Arc<Mutex<SocketAddr>>,
    /// Chooses the delays, in turn.
    turn: usize,
}

impl Site {
    fn new(pair: &Pair, promotion: &Value, scratch: Scratch) -> Self {
        let mut settings = settings(&[local(&pair.primary), local(&pair.standby)]);
        settings["admin"]["listen"] = json!(["127.0.0.1:0", format!("unix:{}", scratch.path("admin").display())]);
        let pool = &mut settings["pools"][0];
        pool["check"] = json!({"postgres": {"user": "postgres"}, "interval": "200ms", "fast_interval": "50ms", "timeout": "2s"});
        (pool["promotion"], pool["hold"]) = (promotion.clone(), json!({"timeout": "60s"}));
        pool["switchover"] = json!({"drain_timeout": "0s"});
        settings["state_dir"] = json!(scratch.directory());
        let (process, turn) = (Process::start(&settings).serving(), Random::seeded().between(0, DELAYS.len()));
        let site = Self { settings, scratch, entry: Arc::new(Mutex::new(process.address)), process: Some(process), turn };
        site.knows("standby");
        site
    }

    /// Clients write and read while `work` is done.
    fn history(&mut self, work: impl FnOnce(&mut Self, &History)) -> History {
        let entry = Arc::clone(&self.entry);
        let endpoint = move || Endpoint::Tcp(*entry.lock().unwrap());
        History::through(&endpoint, Duration::from_millis(10), 3, |history| work(self, history))
    }

    fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    /// Orders an operation of the pool, once it may begin.
    fn order(&self, what: &str, body: &str) {
        let (path, len) = (format!("/api/v1/pools/orders/{what}"), body.len());
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len}");
        until(&format!("{what} begins"), || {
            let mut admin = unix_client(&self.scratch.path("admin"));
            write!(admin, "{head}\r\nContent-Type: application/json\r\n\r\n{body}").unwrap();
            let mut answer = String::new();
            admin.read_to_string(&mut answer).unwrap();
            answer.starts_with("HTTP/1.1 200").then_some(())
        });
    }

    fn state(&self) -> String {
        fs::read_to_string(self.scratch.path("orders.state.json")).unwrap_or_default()
    }

    /// Waits until a step has begun; one that lasts is also remembered then. `activate` is left out when the standby is seen as the
    /// primary at once.
    fn begins(&self, step: &str) {
        until(&format!("{step} has begun"), || {
            let has =
                |line: &Value| line["step"] == step || step == "activate" && line["backend"] == "db-b" && line["epoch"] == 2;
            self.process().log().iter().any(has).then_some(())
        });
        if !["gate", "activate"].contains(&step) {
            until("the step is remembered", || self.state().contains(&format!(", step {step}")).then_some(()));
        }
    }

    /// Kills mainstay, and starts it again later, with what it remembered or without. It tells what it was killed in.
    fn interrupt(&mut self, step: &str, remembers: bool) {
        drop(self.process.take());
        let remembered = self.state().contains("operation");
        if !remembers {
            fs::remove_file(self.scratch.path("orders.state.json")).unwrap();
        }
        self.turn += 1;
        let delay = DELAYS[self.turn % DELAYS.len()];
        println!("killed in {step}; started again after {delay:?}, remembers: {remembers}");
        // The time between is what this is about.
        thread::sleep(delay);
        let process = Process::start(&self.settings);
        *self.entry.lock().unwrap() = process.address;
        self.process = Some(process);
        let told = || self.events().into_iter().find(|event| event["to"] == "interrupted");
        if remembers && remembered {
            let told = until("it is told", told)["evidence"].to_string();
            assert!(["gate", "activate"].contains(&step) || told.contains(&format!("step {step}")), "{told}");
        } else {
            assert!(told().is_none());
        }
        assert!(remembered || ["gate", "activate"].contains(&step), "{step} was not remembered");
    }

    fn events(&self) -> Vec<Value> {
        let answer: Value = serde_json::from_str(&self.process().get("/api/v1/events").1).unwrap();
        answer.get("events").unwrap_or(&answer).as_array().unwrap().clone()
    }

    fn pool(&self) -> Value {
        self.process().status()["pools"][0].clone()
    }

    /// Waits until the other backend has this reason.
    fn knows(&self, reason: &str) {
        until(&format!("db-b is {reason}"), || (self.pool()["backends"][1]["reason"] == reason).then_some(()));
    }

    /// Waits until nobody serves and clients wait, and for so many probes more: that stays so, and nothing is begun.
    fn nobody_serves(&self) {
        let waits = || self.process().metric("mainstay_connections_held", &[]) > 0;
        until("nobody serves, and clients wait", || (self.pool()["active"].is_null() && waits()).then_some(()));
        let asked = || self.process().metric("mainstay_probes_total", &[("backend", "db-b")]);
        let before = asked();
        until("it has asked the standby again", || (asked() >= before + 30).then_some(()));
        assert!(self.pool()["active"].is_null() && waits());
        assert_eq!(self.process().metric("mainstay_operations_total", &[]), 0);
        assert!(self.pool()["operation"].is_null(), "{}", self.pool()["operation"]);
    }
}
