//! One condition does not hold, and all others do: nobody is promoted, and an event says which it is.

use serde_json::json;

use super::{Pair, Way, fence, promotion, streams};
use crate::support::{netns::Network, scratch::Scratch, wait::until};

/// The standby hears the primary still: mainstay alone is cut off.
#[test]
fn witness() {
    let mut pair = Pair::new();
    let mut way = Way::to(pair.address);
    pair.address = way.reserved.address();
    let scratch = Scratch::new();
    for more in [promotion(&json!({})), fence(&scratch, "touch $DIR/fenced", &json!({}))] {
        let site = pair.site(&more);
        way.cut();
        site.refuses(&["witness"]);
        assert!(pair.is_standby_still() && !scratch.path("fenced").exists());
        assert_eq!(pair.primary.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"), "1");
        way.open();
        site.serves("db-a");
        assert_eq!(site.epoch(), 2);
    }
}

/// Its host has gone silent, and nothing makes sure that it cannot write. With a fence that does, the standby is promoted.
#[test]
fn fence_of_a_silent_host() {
    let scratch = Scratch::new();
    for (script, promotes) in [(None, false), (Some("touch $DIR/fenced"), true)] {
        let network = Network::new();
        network.inside(|| {
            let pair = Pair::with(&[], &["wal_receiver_timeout=15s"]);
            let site = pair.site(&script.map_or_else(|| promotion(&json!({})), |script| fence(&scratch, script, &json!({}))));
            site.sees(2);
            let port = pair.primary.port;
            network.firewall(&format!("tcp dport {port} drop"));
            network.firewall(&format!("tcp sport {port} drop"));
            if promotes {
                site.serves("db-b");
                assert!(scratch.path("fenced").exists() && !pair.is_standby_still());
                assert_eq!(site.promotions("done"), 1);
            } else {
                site.refuses(&["fence"]);
                assert!(pair.is_standby_still());
                // With `witness` first: the standby hears it still, until its own timeout.
                println!("{:?}", site.refusals());
            }
            network.heal();
        });
    }
}

/// The standby lacks what the primary was seen to have; it does not with a limit above that.
#[test]
fn lag() {
    for (max_lag, promotes) in [("0B", false), ("64MiB", true)] {
        let pair = Pair::new();
        let site = pair.site(&promotion(&json!({"max_lag": max_lag})));
        let sender = pair.primary.process("walsender");
        sender.freeze();
        pair.primary.sql("INSERT INTO register SELECT generate_series(1, 100000)");
        site.sees(2);
        pair.kill();
        if promotes {
            site.serves("db-b");
            assert_eq!(pair.standby.sql("SELECT count(*) < 100000 FROM register"), "t");
        } else {
            site.refuses(&["lag"]);
            assert!(pair.is_standby_still());
        }
        std::mem::forget(sender);
    }
}

/// It has received nothing for a while, so it is no witness of a death, and lacks what was written since.
#[test]
fn lag_of_a_standby_that_did_not_stream() {
    let pair = Pair::new();
    let site = pair.site(&promotion(&json!({})));
    pair.standby.sql("ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'");
    pair.standby.sql("SELECT pg_reload_conf()");
    streams(&pair.primary, 0);
    pair.primary.sql("INSERT INTO register VALUES (1, 1)");
    site.sees(2);
    pair.kill();
    site.refuses(&["lag"]);
    assert!(pair.is_standby_still());
}

/// Both die: there is nobody. The standby starts again, and is promoted then.
#[test]
fn candidate() {
    let mut pair = Pair::new();
    // An idle primary writes a little now and then.
    let site = pair.site(&promotion(&json!({"max_lag": "1MiB"})));
    pair.standby.signal_all("-KILL");
    until("it is down", || (site.reason(1) == "down").then_some(()));
    site.sees(2);
    pair.kill();
    until("it is told", || (site.refusals() == [["candidate"]]).then_some(()));
    pair.standby.restart(&[]);
    site.serves("db-b");
    assert_eq!(site.promotions("done"), 1);
}

#[test]
fn nothing_is_promoted_where_it_is_not_configured() {
    let pair = Pair::new();
    let site = pair.site(&json!({"how": "sql"}));
    pair.kill();
    until("it is down", || (site.reason(0) == "down").then_some(()));
    site.asks(60);
    assert!(pair.is_standby_still());
    assert_eq!((site.refusals().len(), site.promotions("done")), (0, 0));
}
