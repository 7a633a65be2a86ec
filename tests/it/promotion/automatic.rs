//! mainstay promotes by itself: when every condition holds, once, and without a lost write; and not when one of them does not hold.

mod failing;
pub(crate) mod others;
mod refused;
pub mod register;

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use lab::{port::ReservedPort, session::Endpoint};
use serde_json::{Value, json};

use crate::support::{
    echo::Backend,
    front,
    postgres::Postgres,
    process::{Process, settings},
    scratch::Scratch,
    wait::until,
};

/// A primary, a standby that streams from it, and where mainstay reaches the primary.
pub struct Pair {
    pub primary: Postgres,
    pub standby: Postgres,
    /// Everybody's address of the primary, or mainstay's own.
    address: SocketAddr,
}

impl Pair {
    fn new() -> Self {
        Self::with(&[], &[])
    }

    /// A commit is acknowledged only when the standby has it.
    pub fn synchronous() -> Self {
        Self::with(&["synchronous_standby_names=*"], &[])
    }

    fn with(primary: &[&str], standby: &[&str]) -> Self {
        let primary = Postgres::primary(primary);
        let standby = primary.standby(standby);
        streams(&primary, 1);
        primary.sql("CREATE TABLE register (id bigint, port int)");
        let address = ([127, 0, 0, 1], primary.port).into();
        Self { primary, standby, address }
    }

    /// mainstay before them.
    pub fn site(&self, promotion: &Value) -> Site {
        Site::start(&[self.address, local(&self.standby)], promotion, |_| {})
    }

    pub fn kill(&self) {
        self.primary.signal_all("-KILL");
    }

    pub fn is_standby_still(&self) -> bool {
        is_standby(&self.standby)
    }
}

pub fn local(server: &Postgres) -> SocketAddr {
    ([127, 0, 0, 1], server.port).into()
}

fn is_standby(server: &Postgres) -> bool {
    server.sql("SELECT pg_is_in_recovery()") == "t"
}

/// So many standbys stream from it.
pub fn streams(primary: &Postgres, count: usize) {
    until("the standbys stream", || {
        let streaming = primary.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'");
        (streaming == count.to_string()).then_some(())
    });
}

/// What every automatic promotion here has, and `more`.
pub fn promotion(more: &Value) -> Value {
    let mut promotion = json!({"how": "sql", "automatic": true, "single": true, "after": "1s"});
    promotion.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    promotion
}

pub(crate) fn fence(scratch: &Scratch, script: &str, more: &Value) -> Value {
    let mut hook = json!({"exec": [scratch.script(script)], "timeout": "20s"});
    hook.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    promotion(&json!({"fence": hook}))
}

pub struct Site(Process);

impl Site {
    fn start(backends: &[SocketAddr], promotion: &Value, change: impl FnOnce(&mut Value)) -> Self {
        let mut settings = settings(backends);
        let pool = &mut settings["pools"][0];
        let times = json!({"interval": "200ms", "fast_interval": "50ms", "timeout": "2s"});
        pool["check"] = json!({"postgres": {"user": "postgres"}});
        pool["check"].as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
        (pool["promotion"], pool["hold"]) = (promotion.clone(), json!({"timeout": "60s"}));
        change(pool);
        let site = Self(Process::start(&settings).serving());
        until("all are known", || (1..backends.len()).all(|number| site.reason(number) == "standby").then_some(()));
        site
    }

    pub fn pool(&self) -> Value {
        self.0.status()["pools"][0].clone()
    }

    fn reason(&self, backend: usize) -> String {
        let pool = self.pool();
        let reason = pool["backends"][backend]["reason"].as_str().unwrap_or_default();
        reason.split(':').next().unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub(crate) fn serves(&self, backend: &str) {
        until(&format!("{backend} serves"), || (self.pool()["active"] == backend).then_some(()));
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.0.metric("mainstay_pool_epoch", &[])
    }

    /// Automatic promotions that ended in this way.
    pub fn promotions(&self, result: &str) -> u64 {
        self.0.metric("mainstay_operations_total", &[("kind", "promotion"), ("result", result)])
    }

    #[track_caller]
    fn ended(&self, result: &str) -> String {
        until(&format!("a promotion has ended as {result}"), || {
            let is_end = |event: &&Value| event["kind"] == "operation" && event["to"] == result;
            self.events().iter().find(is_end).map(|event| event["evidence"].as_str().unwrap().to_owned())
        })
    }

    fn events(&self) -> Vec<Value> {
        let answer: Value = serde_json::from_str(&self.0.get("/api/v1/events").1).unwrap();
        answer.get("events").unwrap_or(&answer).as_array().unwrap().clone()
    }

    /// What each event says that told why nobody is promoted: its conditions.
    fn refusals(&self) -> Vec<Vec<String>> {
        let told = self.events().into_iter().filter(|event| event["kind"] == "promotion_refused");
        let conditions =
            |evidence: &str| evidence.split("), ").map(|one| one.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>();
        told.map(|event| conditions(event["evidence"].as_str().unwrap())).collect()
    }

    /// Waits until it says that these alone do not hold, and then that it goes on so while it asks the backends some times more.
    #[track_caller]
    pub(crate) fn refuses(&self, conditions: &[&str]) {
        until(&format!("{conditions:?} alone do not hold"), || {
            self.refusals().last().is_some_and(|last| last == conditions).then_some(())
        });
        let told = self.refusals().len();
        self.asks(30);
        assert_eq!(self.refusals().len(), told, "{:?}", self.refusals());
        let times = self.refusals().iter().filter(|one| one.iter().any(|one| one == conditions[0])).count();
        let counted = self.0.metric("mainstay_promotions_refused_total", &[("condition", conditions[0])]);
        assert_eq!(counted, u64::try_from(times).unwrap());
        assert_eq!(self.promotions("done"), 0);
        assert!(self.pool()["active"].is_null());
    }

    /// Waits until it has asked the standby so often again.
    fn asks(&self, count: u64) {
        let asked = || self.0.metric("mainstay_probes_total", &[("backend", "db-b")]);
        let before = asked();
        until("it has asked the standby again", || (asked() >= before + count).then_some(()));
    }

    /// Waits until it has asked the primary so often again, which then answered.
    pub(crate) fn sees(&self, count: u64) {
        let asked = || self.0.metric("mainstay_probes_total", &[("backend", "db-a"), ("outcome", "ok")]);
        let before = asked();
        until("it has asked the primary again", || (asked() >= before + count).then_some(()));
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.0.address)
    }
}

/// mainstay's own way to a server, which a test can cut.
struct Way {
    reserved: ReservedPort,
    target: SocketAddr,
    relay: Option<Backend>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    fn to(target: SocketAddr) -> Self {
        let mut way = Self { reserved: ReservedPort::new().unwrap(), target, relay: None, streams: Arc::default() };
        way.open();
        way
    }

    fn open(&mut self) {
        let (target, streams) = (self.target, Arc::clone(&self.streams));
        self.relay = Some(Backend::start_first(self.reserved.address(), move |client| {
            let server = front::client(target);
            streams.lock().unwrap().extend([&client, &server].map(|stream| stream.try_clone().unwrap()));
            thread::scope(|scope| {
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from, to);
                    scope.spawn(move || {
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
            });
        }));
    }

    /// From now on connects are refused, and every stream has ended.
    fn cut(&mut self) {
        self.relay = None;
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
