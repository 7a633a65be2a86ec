//! A bad update that somebody promotes all the same, while the old primary lives for a while longer.

use std::{
    thread,
    time::{Duration, Instant},
};

use lab::transactions::Tally;
use serde_json::json;

use super::{
    bad::{Kind, Sign, kind},
    rolling::{Change, READ, Rolling, new_release, writers},
};
use crate::support::{
    postgres::Postgres,
    wait::{Watch, patience, until, within},
};

/// Who promotes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum By {
    PgCtl,
    Sql,
}

pub(crate) const BY: [By; 2] = [By::PgCtl, By::Sql];

impl By {
    fn promote(self, server: &Postgres) {
        match self {
            Self::PgCtl => server.promote(),
            Self::Sql => {
                server.sql("SELECT pg_promote()");
            }
        }
    }
}

/// What clients wait for at most.
const DECIDED: Duration = Duration::from_secs(2);

/// `delay`: how many milliseconds the old primary lives after the promotion.
pub(crate) fn promoted(mode: &str, last_resort: &str, delay: u64, by: By) {
    promoted_of(kind("time zones"), (mode, last_resort), delay, by);
}

/// How long it took to decide, from when the new one was promoted and the old one was dead.
pub(crate) fn promoted_of(kind: &Kind, (mode, last_resort): (&str, &str), delay: u64, by: By) -> Duration {
    let mut rolling = Rolling::new(&json!({"mode": mode, "last_resort": last_resort, "soak": "1s"}));
    let release = new_release();
    (kind.tamper)(&release);
    rolling.change(1, &release, kind.settings, Change::Announced);
    let Sign::Fails(proof, _) = kind.sign else { panic!("{} cannot be promoted", kind.name) };
    rolling.is(1, "failed");
    let writers = writers(rolling.rw());
    until("all write", || writers.tally().all_since(Instant::now().checked_sub(patience()).unwrap()));
    let before = rolling.sessions(1);
    by.promote(&rolling.nodes[1]);
    // How long both live is what this is about.
    thread::sleep(Duration::from_millis(delay));
    let early = rolling.sessions(1) - before;
    rolling.nodes[0].signal_all("-KILL");
    let (since, watch) = (Instant::now(), Watch::start());
    let serves = mode == "warn" || last_resort == "serve";
    within(READ, "it is decided", || {
        let pool = rolling.pool();
        let is = if serves { pool["active"] == "db-b" } else { pool["verdict"] == "no_proven_node" };
        is.then_some(())
    });
    let decided = [since.elapsed(), watch.unhindered()];
    assert!(decided[1] < DECIDED, "{decided:?}");
    if serves {
        until("all write", || writers.tally().all_since(since));
        assert!(rolling.site.run(&["status"]).out.contains(proof));
    } else {
        assert_eq!(rolling.sessions(1), before);
        let told = rolling.site.run(&["status"]);
        assert!(told.out.contains(&format!("db-b is failed: {proof}")), "{}", told.out);
        // Clients wait, and are let in when a person says so.
        let held = || rolling.pool()["held"].as_u64().filter(|held| *held > 0);
        until("they wait", held);
        rolling.site.run(&["approve", "orders/db-b", "--reason", "better than nobody"]).is_done("until it changes again");
        until("all write", || writers.tally().all_since(since));
    }
    assert!(mode == "warn" || early == 0, "{early} sessions");
    let tally = writers.stop();
    println!(
        "{}: {mode}, {last_resort}, {delay} ms, {by:?}: {early} sessions before, decided after {decided:.1?}, broken {:?}",
        kind.name,
        tally.broken()
    );
    // Whoever was in the middle of a transaction when its server died cannot go on; nobody was turned away.
    assert_eq!(Tally::of(&tally.refused), 0, "{tally:?}");
    decided[0]
}

/// The old primary dies and the new one is promoted while nothing is known of what it is now. Without the old one no answers can be
/// compared, but a query that fails is one that fails.
pub(crate) fn promoted_at_once() {
    let mut rolling = Rolling::new(&json!({"mode": "enforce", "last_resort": "hold", "soak": "1s"}));
    let (kind, release) = (kind("a library of another ABI"), new_release());
    (kind.tamper)(&release);
    rolling.begin_change(1, &release, kind.settings, Change::Unannounced);
    rolling.nodes[0].signal_all("-KILL");
    rolling.nodes[1].wait_ready();
    BY[0].promote(&rolling.nodes[1]);
    let what = rolling.is(1, "failed");
    assert!(what.contains("search: ") && what.contains("incompatible library"), "{what}");
    within(READ, "nobody may serve", || (rolling.pool()["verdict"] == "no_proven_node").then_some(()));
    assert_eq!(rolling.pool()["epoch"], 1);
}
