//! A Galera cluster: every node may write, mainstay keeps one writer.

use mainstay::failover::{MultiPrimary, Outcome, Role};

use super::{
    once,
    pool::{before, through},
    root,
};
use crate::support::{
    example::{PASSWORD, start},
    mariadb::MariaDb,
    process::Process,
    wait::until,
};

#[test]
fn one_node_writes_another_takes_over_and_without_a_quorum_nobody() {
    let first = MariaDb::galera(None);
    let mut second = MariaDb::galera(Some(&first));
    let third = MariaDb::galera(Some(&first));
    until("all are there", || (first.status("wsrep_cluster_size") == "3").then_some(()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ids = [&first, &second, &third].map(|node| {
        let finding = runtime.block_on(once(node.port, &root()));
        assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Primary)), "{}", finding.evidence);
        assert_eq!(finding.facts.multi_primary, MultiPrimary::Synced, "{}", finding.evidence);
        finding.facts.system_id
    });
    assert!(ids[0].is_some() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");

    first.sql(&format!("CREATE USER mainstay@'127.0.0.%' IDENTIFIED BY '{PASSWORD}'"));
    let addresses = [("10.0.0.1:3306", second.address()), ("10.0.0.2:3306", third.address()), ("10.0.0.3:3306", first.address())];
    let example = start("galera.yaml", &addresses);
    until("the example serves", || (example.status()["pools"][0]["active"] == "node-a").then_some(()));
    drop(example);

    let process = Process::start(&before(&[&second, &third, &first])).serving();
    let serving = || process.status()["pools"][0]["active"].clone();
    assert_eq!(serving(), "db-a");
    assert_eq!(process.metric("mainstay_primary_conflict", &[]), 0);
    through(&process, "CREATE DATABASE d; CREATE TABLE d.t (i INT PRIMARY KEY); INSERT INTO d.t VALUES (1)").unwrap();
    second.signal("-KILL");
    until("the next one serves", || (serving() == "db-b").then_some(()));
    until("it takes writes", || through(&process, "REPLACE INTO d.t VALUES (2)").ok());
    // One that is desynced by hand serves still, and stays: leaving it would end every session for nothing.
    third.sql("SET GLOBAL wsrep_desync = ON");
    until("it says so", || {
        let finding = runtime.block_on(once(third.port, &root()));
        (finding.facts.multi_primary == MultiPrimary::Behind).then_some(())
    });
    assert_eq!(serving(), "db-b");
    third.sql("SET GLOBAL wsrep_desync = OFF");
    // The one that comes back changes nothing.
    second.restart();
    until("it is a member again", || (process.status()["pools"][0]["backends"][0]["reason"] == "eligible").then_some(()));
    assert_eq!((serving(), process.metric("mainstay_primary_conflict", &[])), ("db-b".into(), 0));
    // Two of three die at once: the third has no quorum, refuses, and is given nobody.
    second.signal("-KILL");
    third.signal("-KILL");
    until("nobody serves", || serving().is_null().then_some(()));
    until("it says why", || (process.status()["pools"][0]["backends"][2]["last_probe"]["outcome"] == "starting").then_some(()));
    let evidence = runtime.block_on(once(first.port, &root())).evidence;
    assert!(evidence.contains("no quorum"), "{evidence}");
}
