//! A killed primary is replaced: clients write and read through mainstay all the while, and the history is checked afterwards.
//!
//! The history is that of a set: each number is written once, with the port of the server that took it. It is checked that an acknowledged number is in
//! every read that began later, and in the end; and that no write that began after the new primary had acknowledged one was acknowledged
//! by the old one.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use lab::session::{Endpoint, Session};
use serde_json::json;

use super::{Pair, Site, promotion, streams};
use crate::support::{postgres::Postgres, wait::until};

/// A write that was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Write {
    id: u64,
    port: u16,
    began: Instant,
    ended: Instant,
}

/// A read: when it began, and what it saw.
struct Read {
    began: Instant,
    ids: HashSet<u64>,
}

#[derive(Default)]
pub struct History {
    /// Between two requests of a client.
    think: Duration,
    over: AtomicBool,
    next: AtomicU64,
    writes: Mutex<Vec<Write>>,
    reads: Mutex<Vec<Read>>,
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl History {
    /// Four write and one reads through mainstay while `work` is done.
    fn of(site: &Site, work: impl FnOnce(&Self)) -> Self {
        Self::through(&|| site.endpoint(), Duration::from_millis(2), 4, work)
    }

    /// So many write, and one reads, where `endpoint` says, and each thinks for that long.
    pub fn through(endpoint: &(dyn Fn() -> Endpoint + Sync), think: Duration, writers: usize, work: impl FnOnce(&Self)) -> Self {
        let history = Self { think, ..Self::default() };
        thread::scope(|scope| {
            for number in 0..=writers {
                let history = &history;
                scope.spawn(move || history.use_it(endpoint, number == 0));
            }
            let _over = Over(&history.over);
            until("they write and read", || {
                (history.writes.lock().unwrap().len() > 50 && !history.reads.lock().unwrap().is_empty()).then_some(())
            });
            work(&history);
        });
        history
    }

    fn use_it(&self, endpoint: &(dyn Fn() -> Endpoint + Sync), reads: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            while !self.over.load(Ordering::SeqCst) {
                let Ok(mut session) = Session::connect(&endpoint(), "postgres", "postgres").await else {
                    // Who is refused does not ask at once again.
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                };
                loop {
                    let is_over = self.over.load(Ordering::SeqCst);
                    if is_over || self.once(&mut session, reads).await.is_none() {
                        break;
                    }
                }
            }
        });
    }

    /// `None`: the session has ended.
    async fn once(&self, session: &mut Session, reads: bool) -> Option<()> {
        let began = Instant::now();
        if reads {
            let rows = session.query("SELECT id FROM register").await.ok()?;
            let ids = rows.iter().map(|row| row[0].as_ref().unwrap().parse().unwrap()).collect();
            self.reads.lock().unwrap().push(Read { began, ids });
            // A client thinks between two requests.
            tokio::time::sleep(self.think * 10).await;
            return Some(());
        }
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        let rows = session.query(&format!("INSERT INTO register VALUES ({id}, inet_server_port()) RETURNING port")).await.ok()?;
        let port = rows[0][0].as_ref().unwrap().parse().unwrap();
        self.writes.lock().unwrap().push(Write { id, port, began, ended: Instant::now() });
        // A client thinks between two requests.
        tokio::time::sleep(self.think).await;
        Some(())
    }

    /// Waits until a write that begins from now on is acknowledged, by the server at one of these ports.
    #[track_caller]
    pub fn goes_on(&self, ports: &[u16]) {
        let now = Instant::now();
        until(&format!("writes are acknowledged by {ports:?}"), || {
            let writes = self.writes.lock().unwrap();
            let mut new = writes.iter().rev().take_while(|write| write.ended > now);
            new.any(|write| write.began > now && ports.contains(&write.port)).then_some(())
        });
    }

    /// The first write that another server than this one has acknowledged.
    fn first_elsewhere(&self, old: u16) -> Option<Instant> {
        self.writes.lock().unwrap().iter().filter(|write| write.port != old).map(|write| write.ended).min()
    }

    #[track_caller]
    pub fn check(&self, old: u16, stored: &str) {
        let (writes, reads) = (self.writes.lock().unwrap(), self.reads.lock().unwrap());
        let stored: HashSet<u64> = stored.lines().map(|id| id.parse().unwrap()).collect();
        let lost = |ids: &HashSet<u64>, before: Option<Instant>| {
            let missing = writes.iter().filter(|write| before.is_none_or(|at| write.ended < at) && !ids.contains(&write.id));
            missing.map(|write| write.id).collect::<Vec<_>>()
        };
        assert_eq!(lost(&stored, None), [0; 0], "acknowledged and lost");
        for read in reads.iter() {
            assert_eq!(lost(&read.ids, Some(read.began)), [0; 0], "acknowledged and not read");
        }
        let new = writes.iter().filter(|write| write.port != old).map(|write| write.ended).min();
        let both: Vec<_> = writes.iter().filter(|write| write.port == old && new.is_some_and(|new| write.began > new)).collect();
        assert!(both.is_empty(), "two writers: {both:?}");
        println!("{} writes acknowledged, {} reads", writes.len(), reads.len());
    }
}

/// A kill at another moment of the probes each time, and after another time.
#[test]
fn a_killed_primary_is_replaced_once_and_nothing_acknowledged_is_lost() {
    for (after, moment) in [("1s", 0), ("1s", 70), ("2s", 130)] {
        let pair = Pair::synchronous();
        // What is written and not sent was not acknowledged.
        let site = pair.site(&promotion(&json!({"after": after, "max_lag": "16MiB"})));
        let mut gap = None;
        let history = History::of(&site, |history| {
            // The moment between two probes is what this is about.
            thread::sleep(Duration::from_millis(moment));
            let killed = Instant::now();
            pair.kill();
            gap = Some(until("the standby takes writes", || history.first_elsewhere(pair.primary.port)) - killed);
            let so_far = || history.writes.lock().unwrap().len();
            let before = so_far();
            until("it goes on taking them", || (so_far() > before + 50).then_some(()));
        });
        println!("after {after}: the first write {gap:?} after the kill");
        history.check(pair.primary.port, &pair.standby.sql("SELECT id FROM register"));
        until("it has ended", || (site.promotions("done") == 1).then_some(()));
        assert_eq!((site.epoch(), site.refusals().len(), site.promotions("failed"), site.promotions("aborted")), (2, 0, 0, 0));
        assert!(gap >= after.trim_end_matches('s').parse().ok().map(Duration::from_secs), "earlier than `after`");
    }
}

/// The old one starts again, as its service manager has it do: nobody gets there.
#[test]
fn an_old_primary_that_returns_after_the_promotion_is_left_alone() {
    let mut pair = Pair::synchronous();
    let site = pair.site(&promotion(&json!({"max_lag": "16MiB"})));
    let old = pair.primary.port;
    let history = History::of(&site, |history| {
        pair.kill();
        until("the standby takes writes", || history.first_elsewhere(old));
        pair.primary.restart(&["synchronous_standby_names="]);
        until("the old one is known", || (site.reason(0) == "fenced").then_some(()));
        site.asks(10);
    });
    history.check(old, &pair.standby.sql("SELECT id FROM register"));
    assert_eq!((site.epoch(), site.promotions("done")), (2, 1));
}

/// Two failovers in a row, the second to a standby that followed the first new primary; and none more than the budget has.
#[test]
fn a_second_death_is_survived_unless_the_budget_is_used_up() {
    for (budget, survives) in [(3, true), (1, false)] {
        let pair = Pair::new();
        let third = pair.primary.standby(&[]);
        streams(&pair.primary, 2);
        let backends = [pair.address, super::local(&pair.standby), super::local(&third)];
        let site = Site::start(&backends, &promotion(&json!({})), |pool| {
            pool["failover_budget"] = json!({"max": budget, "within": "10m"});
        });
        site.sees(2);
        pair.kill();
        site.serves("db-b");
        follow(&third, &pair.standby);
        until("the third one follows", || (site.pool()["backends"][2]["db_epoch"] == 2).then_some(()));
        let asked = || site.0.metric("mainstay_probes_total", &[("backend", "db-b"), ("outcome", "ok")]);
        let before = asked();
        until("it was asked again", || (asked() > before + 2).then_some(()));
        pair.standby.signal_all("-KILL");
        if survives {
            site.serves("db-c");
            assert_eq!((site.epoch(), site.promotions("done")), (3, 2));
        } else {
            until("it is told", || site.refusals().last().is_some_and(|last| last == &["budget"]).then_some(()));
            assert!(super::is_standby(&third));
            assert_eq!((site.epoch(), site.promotions("done")), (2, 1));
        }
    }
}

fn follow(standby: &Postgres, primary: &Postgres) {
    standby.sql(&format!("ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port={} user=postgres'", primary.port));
    standby.sql("SELECT pg_reload_conf()");
    streams(primary, 1);
}
