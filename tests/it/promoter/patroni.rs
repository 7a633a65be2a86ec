//! Patroni: its switchover and its failover, over its API.

use std::time::Duration;

use mainstay::control::{probe::Deadline, promotion::Severity};
use serde_json::json;

use super::{FAILED, OCCASION, done, lacks, local, member, promoter, refused, wait};
use crate::support::{
    patroni::{Cluster, LONG},
    wait::within,
};

#[test]
fn patroni_switches_over_when_it_is_asked_and_says_why_not() {
    let cluster = Cluster::start();
    let promoter = promoter(&json!({"postgres": {}, "http": {"port": cluster.api}}), &json!({"how": "patroni"}));
    let node = |node: usize| member(cluster.nodes[node].name, cluster.address(node));
    let leader = cluster.leader().unwrap();
    let (from, to) = (node(leader), node(1 - leader));
    let long = || Deadline::after(LONG);

    // Patroni itself learns a moment later that the standby is synchronous.
    let listed = || String::from_utf8(cluster.control(&["list"]).stdout).unwrap();
    within(LONG, "Patroni knows it", || listed().contains("Sync Standby").then_some(()));
    let missing = wait(promoter.preflight(Some(&from), &to, long()));
    assert!(missing.iter().all(|one| one.severity == Severity::Costs), "{missing:#?}");
    lacks(&missing, Severity::Costs, "check.http has no `user`");
    lacks(&wait(promoter.preflight(Some(&to), &from, long())), Severity::Forbids, "is Patroni's leader already");

    done(wait(promoter.demote(&from, &to, &OCCASION, long())));
    let words = done(wait(promoter.promote(Some(&from), &to, &OCCASION, long())));
    assert!(words.starts_with(&format!("Patroni made {} the leader in ", to.name)), "{words}");
    within(LONG, "it takes writes", || cluster.sql(1 - leader, "CREATE TABLE IF NOT EXISTS t (i int)"));
    assert!(done(wait(promoter.promote(Some(&from), &to, &OCCASION, long()))).ends_with("is Patroni's leader already"));

    // Whom Patroni does not know.
    let stranger = local("db-x", 1);
    let unknown = mainstay::control::promotion::Member { addresses: stranger.addresses.clone(), ..to.clone() };
    let unknown = mainstay::control::promotion::Member { address: stranger.address.clone(), ..unknown };
    refused(
        wait(promoter.promote(None, &unknown, &FAILED, Deadline::after(Duration::from_secs(5)))),
        "Patroni knows no member at 127.0.0.1:1",
    );

    // While the old leader is no healthy member yet, or the leader lives, Patroni may refuse; it says so itself.
    within(LONG, "the old leader follows", || {
        (cluster.sql(1 - leader, "SELECT string_agg(sync_state, ',') FROM pg_stat_replication WHERE state = 'streaming'")?
            == "sync")
            .then_some(())
    });
    cluster.control(&["pause", "--wait"]);
    lacks(&wait(promoter.preflight(Some(&to), &from, long())), Severity::Costs, "Patroni is paused");
    cluster.control(&["resume", "--wait"]);
}
