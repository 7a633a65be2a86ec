//! In a switchover: the old primary is stopped by a hook, and the standby promoted by SQL.

use std::fs;

use lab::transactions::postgres::Client;
use serde_json::json;

use super::Site;
use crate::{
    promotion::automatic::{Pair, streams},
    support::{postgres::Postgres, scratch::Scratch, wait::until},
};

/// Says that it has begun, waits, stops the server, says that, waits. A hook that was left behind ends with its directory.
fn demote(server: &Postgres) -> String {
    let file = server.data().join("postmaster.pid");
    format!(
        "PIDFILE='{}'
        wait_for() {{ while [ -d $DIR ] && [ ! -e $DIR/$1 ]; do sleep 0.02; done; [ -d $DIR ] || exit 1; }}
        echo begun >> $DIR/begun; wait_for stop
        kill -INT $(head -1 $PIDFILE); while [ -e $PIDFILE ]; do sleep 0.01; done
        echo stopped > $DIR/stopped; wait_for return",
        file.display()
    )
}

#[test]
fn a_switchover_is_not_carried_on_and_whoever_is_the_primary_serves() {
    let (mut pair, scratch) = (Pair::synchronous(), Scratch::new());
    let promotion = json!({"how": "sql", "demote": {"exec": [scratch.script(&demote(&pair.primary))], "timeout": "60s"}});
    let mut site = Site::new(&pair, &promotion, scratch);
    let (old, new) = (pair.primary.port, pair.standby.port);
    let file = |site: &Site, name: &str| fs::write(site.scratch.path(name), "").unwrap();
    let restart = |pair: &mut Pair| {
        until("the old one has stopped", || pair.primary.has_ended().then_some(()));
        pair.primary.restart(&["synchronous_standby_names=*"]);
        streams(&pair.primary, 1);
    };
    let history = site.history(|site, history| {
        // Nothing was done yet: the old one goes on.
        for (step, remembers) in [("gate", true), ("drain", true), ("drain", false), ("demote", true)] {
            println!("{step}");
            let open = (step == "drain").then(|| {
                let mut client = Client::open(*site.entry.lock().unwrap(), "postgres").unwrap();
                client.query("BEGIN").unwrap();
                client
            });
            site.order("switchover", "{}");
            site.begins(step);
            if step == "demote" {
                until("the hook runs", || site.scratch.written("begun"));
            }
            site.interrupt(step, remembers);
            drop(open);
            history.goes_on(&[old]);
            site.knows("standby");
        }
        // The hook of then goes on: it stops the old one, and nobody is promoted for that.
        file(site, "stop");
        site.nobody_serves();
        restart(&mut pair);
        history.goes_on(&[old]);

        // It was stopped.
        for (step, remembers) in [("demote", true), ("demote", false), ("promote", true)] {
            site.knows("standby");
            let _ = fs::remove_file(site.scratch.path("stopped"));
            let startup = (step == "promote").then(|| pair.standby.process("startup"));
            if let Some(startup) = &startup {
                startup.freeze();
                file(site, "return");
            }
            site.order("switchover", "{}");
            site.begins(step);
            until("the old one was stopped", || site.scratch.written("stopped"));
            site.interrupt(step, remembers);
            drop(startup);
            site.nobody_serves();
            assert!(pair.is_standby_still());
            restart(&mut pair);
            history.goes_on(&[old]);
        }

        site.knows("standby");
        site.order("switchover", "{}");
        site.begins("activate");
        site.interrupt("activate", true);
        history.goes_on(&[new]);
        // Its service starts the old one again: nobody gets there.
        until("the old one has stopped", || pair.primary.has_ended().then_some(()));
        pair.primary.restart(&["synchronous_standby_names="]);
        until("it is fenced", || (site.pool()["backends"][0]["reason"].as_str()?.starts_with("fenced")).then_some(()));
        history.goes_on(&[new]);
    });
    history.check(old, &pair.standby.sql("SELECT id FROM register"));
}
