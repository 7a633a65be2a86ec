//! The promoters of `promotion.how`, each against the real servers, and the hooks. No mainstay runs here: these are the steps that it
//! makes, one by one.

mod hook;
mod mariadb;
mod mysql;
mod patroni;
mod postgres;
mod redis;

use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use mainstay::{
    config,
    control::{
        probe::Deadline,
        promotion::{Done, Member, Occasion, Promoter, Severity, Shortcoming},
    },
};
use serde_json::{Value, json};

use crate::support::wait::{patience, until};

pub(crate) const OCCASION: Occasion = Occasion { epoch: 7, cause: "switchover" };
pub(crate) const FAILED: Occasion = Occasion { epoch: 8, cause: "down" };

/// The promoter of a pool with this check and this `promotion`.
pub(crate) fn promoter(check: &Value, promotion: &Value) -> Promoter {
    let pool = json!({
        "name": "orders", "listen": "127.0.0.1:5432", "backends": ["db-a:5432", "db-b:5432"], "check": check, "promotion": promotion,
    });
    let loaded = config::parse(&json!({ "pools": [pool] }).to_string(), "mainstay.yaml", &|name| {
        (name == "TOKEN").then(|| "hunter22".to_owned())
    });
    Promoter::new(&loaded.unwrap_or_else(|errors| panic!("{errors}")).config.pools[0])
}

pub(crate) fn member(name: &str, address: SocketAddr) -> Member {
    Member { name: name.into(), address: address.to_string().parse().unwrap(), addresses: address.into() }
}

fn local(name: &str, port: u16) -> Member {
    member(name, ([127, 0, 0, 1], port).into())
}

/// Time enough.
pub(crate) fn ample() -> Deadline {
    Deadline::after(patience())
}

#[track_caller]
pub(crate) fn done(done: Done) -> String {
    let words = done.unwrap_or_else(|why| panic!("{why}")).to_string();
    println!("{words}");
    words
}

#[track_caller]
pub(crate) fn refused(done: Done, because: &str) -> String {
    let why = done.unwrap_err().to_string();
    println!("{why}");
    assert!(why.contains(because), "{why}");
    why
}

#[track_caller]
pub(crate) fn lacks(missing: &[Shortcoming], severity: Severity, words: &str) {
    let found = missing.iter().any(|one| one.severity == severity && one.words.contains(words));
    assert!(found, "{severity} {words}: {missing:#?}");
}

/// Who writes one number after the other, each once, and notes those that were acknowledged.
#[derive(Default)]
pub(crate) struct Writers {
    next: AtomicU64,
    over: AtomicBool,
    acknowledged: Mutex<Vec<u64>>,
}

/// Ends the writers, also when their test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Writers {
    /// Four of them, each with a connection of its own from `connect`, write until they can no more, or `work` has ended. What was
    /// acknowledged.
    pub(crate) fn during<C>(
        connect: impl Fn() -> C + Sync,
        write: impl Fn(&mut C, u64) -> bool + Sync,
        work: impl FnOnce(),
    ) -> Vec<u64> {
        let writers = Self::default();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut connection = connect();
                    while !writers.over.load(Ordering::SeqCst) {
                        let number = writers.next.fetch_add(1, Ordering::SeqCst);
                        if !write(&mut connection, number) {
                            return;
                        }
                        writers.acknowledged.lock().unwrap().push(number);
                    }
                });
            }
            let _over = Over(&writers.over);
            until("they write", || (writers.acknowledged.lock().unwrap().len() > 100).then_some(()));
            work();
        });
        writers.acknowledged.into_inner().unwrap()
    }
}

/// Waits for a step from a test that has threads instead of a runtime.
pub(crate) fn wait<T>(step: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let value = runtime.block_on(step);
    // What is left of it logs out.
    runtime.block_on(async {
        // A moment for the tasks that say goodbye to a server.
        tokio::time::sleep(Duration::from_millis(10)).await;
    });
    value
}

/// None of these numbers is missing there.
#[track_caller]
pub(crate) fn none_lost(acknowledged: &[u64], stored: &str) {
    let stored: std::collections::HashSet<u64> = stored.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|number| !stored.contains(number)).collect();
    println!("{} acknowledged, {} stored, {} lost", acknowledged.len(), stored.len(), lost.len());
    assert!(lost.is_empty(), "lost: {lost:?}");
}
