//! In a promotion after the death of the primary, by hand or automatic: it is fenced by a hook, and the standby promoted by SQL.

use std::fs;

use serde_json::json;

use super::{AFTER, Site};
use crate::{
    promotion::automatic::{Pair, streams},
    support::{scratch::Scratch, wait::until},
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Hand,
    Itself,
}

/// In `fence`, then the primary is back and dies again; and in `last`.
fn promotion_is_interrupted(by: By, last: &str, remembers: bool) {
    let (mut pair, scratch) = (Pair::synchronous(), Scratch::new());
    // A hook that was left behind ends with its directory.
    let fence = "echo begun >> $DIR/begun
        while [ -d $DIR ] && [ ! -e $DIR/go ]; do sleep 0.02; done; [ -d $DIR ]";
    let promotion = json!({
        "how": "sql", "automatic": by == By::Itself, "single": true, "after": AFTER, "max_lag": "16MiB",
        "fence": {"exec": [scratch.script(fence)], "timeout": "60s"},
    });
    let mut site = Site::new(&pair, &promotion, scratch);
    let (old, new) = (pair.primary.port, pair.standby.port);
    let dies = |pair: &Pair, site: &Site| {
        site.knows("standby");
        pair.kill();
        if by == By::Hand {
            until("nobody is active", || site.pool()["active"].is_null().then_some(()));
            site.order("promote", "{\"accept_loss\": true}");
        }
    };
    let history = site.history(|site, history| {
        dies(&pair, site);
        site.begins("fence");
        until("the hook runs", || site.scratch.written("begun"));
        site.interrupt("fence", remembers);
        // Not carried on, not begun again; and the hook of then comes too late.
        site.nobody_serves();
        fs::write(site.scratch.path("go"), "").unwrap();
        site.nobody_serves();
        assert_eq!(site.scratch.written("begun").as_deref(), Some("begun\n"));
        assert!(pair.is_standby_still());
        if by == By::Itself {
            until("it is told why", || site.events().iter().any(|event| event["kind"] == "promotion_refused").then_some(()));
        }
        pair.primary.restart(&["synchronous_standby_names=*"]);
        streams(&pair.primary, 1);
        history.goes_on(&[old]);

        let startup = (last == "promote").then(|| pair.standby.process("startup"));
        if let Some(startup) = &startup {
            site.knows("standby");
            startup.freeze();
        }
        dies(&pair, site);
        site.begins(last);
        if last == "promote" {
            until("it was told to promote", || pair.standby.data().join("promote").exists().then_some(()));
        }
        site.interrupt(last, remembers);
        if startup.is_some() && by == By::Hand {
            // The old one is back before the standby has done what it was told to.
            pair.primary.restart(&["synchronous_standby_names=*"]);
            until("the old one is active", || (site.pool()["active"] == "db-a").then_some(()));
        } else if startup.is_some() {
            site.nobody_serves();
        }
        drop(startup);
        history.goes_on(&[new]);
        let timeline = pair.standby.sql("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)");
        assert_eq!(timeline, "00000002", "promoted once");
    });
    history.check(old, &pair.standby.sql("SELECT id FROM register"));
}

#[test]
fn a_promotion_by_hand_in_fence_and_promote() {
    promotion_is_interrupted(By::Hand, "promote", true);
}

#[test]
fn a_promotion_by_hand_in_fence_and_activate() {
    promotion_is_interrupted(By::Hand, "activate", false);
}

#[test]
fn an_automatic_promotion_in_fence_and_promote() {
    promotion_is_interrupted(By::Itself, "promote", false);
}

#[test]
fn an_automatic_promotion_in_fence_and_activate() {
    promotion_is_interrupted(By::Itself, "activate", true);
}
