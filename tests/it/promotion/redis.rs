//! Redis: `REPLICAOF NO ONE`, `FAILOVER`, and a Sentinel.

use serde_json::json;

use super::{AT_ONCE, LATE, LATER, Promotion, SOON, pools, promote, serves};
use crate::support::{redis::Redis, wait::until};

#[test]
fn a_replica_is_served_however_and_whenever_it_is_promoted() {
    let mut source = Redis::primary(&[]);
    let replicas: Vec<_> = (0..6).map(|_| source.replica(&[])).collect();
    let addresses: Vec<_> = replicas.iter().map(Redis::address).collect();
    let process = pools(&json!("redis"), source.address(), &addresses);
    let order = |pool: usize, delay| {
        let replica = &replicas[pool];
        Promotion::new(pool, delay, move || assert_eq!(replica.ask(&["REPLICAOF", "NO", "ONE"]), "+OK"))
    };
    source.signal("-KILL");
    promote(&process, vec![order(0, AT_ONCE), order(1, SOON), order(2, LATER), order(3, LATE)]);
    assert_eq!(crate::support::redis::ask(&mut process.connect(), &["SET", "a", "1"]).unwrap(), "+OK");
    assert_eq!(replicas[0].ask(&["GET", "a"]), "1");

    // It returns to whom nobody has left it.
    source.restart();
    for (pool, replica) in replicas.iter().enumerate().skip(4) {
        serves(&process, pool, "old");
        until("it is followed again", || {
            replica.try_ask(&["INFO", "replication"]).ok().filter(|said| said.contains("master_link_status:up"))
        });
    }
    source.signal("-STOP");
    promote(&process, vec![order(4, LATER)]);
    source.signal("-CONT");

    // Redis counts no promotions: of two primaries the one in use stays, until it is demoted.
    serves(&process, 5, "old");
    let demoted = || {
        assert_eq!(replicas[5].ask(&["REPLICAOF", "NO", "ONE"]), "+OK");
        assert_eq!(source.ask(&["REPLICAOF", "127.0.0.1", &replicas[5].port.to_string()]), "+OK");
    };
    promote(&process, vec![Promotion::new(5, AT_ONCE, demoted)]);
    for pool in 0..5 {
        serves(&process, pool, "new");
    }
}

/// `FAILOVER` moves both roles by itself, one after the other.
#[test]
fn a_failover_that_the_primary_makes_itself_is_followed() {
    let source = Redis::primary(&[]);
    let replica = source.replica(&[]);
    let process = pools(&json!("redis"), source.address(), &[replica.address()]);
    promote(&process, vec![Promotion::new(0, AT_ONCE, || assert_eq!(source.ask(&["FAILOVER"]), "+OK"))]);
    until("the old one follows", || source.try_ask(&["INFO", "replication"]).ok().filter(|said| said.contains("role:slave")));
}

#[test]
fn a_sentinels_switchover_and_its_failover_are_followed() {
    let source = Redis::primary(&[]);
    let replica = source.replica(&[]);
    let sentinel = source.watched();
    let check = json!({"redis": {"sentinels": [sentinel.address().to_string()], "sentinel_name": "mymaster"}});
    let process = pools(&check, source.address(), &[replica.address()]);
    let known = |words: [&str; 2]| {
        sentinel.ask_list(&["SENTINEL", "MASTER", "mymaster"]).windows(2).any(|pair| pair == words).then_some(())
    };
    until("the Sentinel knows the replica", || known(["num-slaves", "1"]));
    let switchover = || {
        // A Sentinel that has not heard of the replica's state yet has nobody to choose.
        until("the Sentinel goes about it", || (sentinel.ask(&["SENTINEL", "FAILOVER", "mymaster"]) == "+OK").then_some(()));
    };
    promote(&process, vec![Promotion::new(0, AT_ONCE, switchover)]);
    // The Sentinel itself makes the old one a replica, and the other way round when the new one dies.
    until("the old one follows", || {
        source.try_ask(&["INFO", "replication"]).ok().filter(|said| said.contains("master_link_status:up"))
    });
    until("the Sentinel is done", || known(["flags", "master"]));
    replica.signal("-KILL");
    serves(&process, 0, "old");
}
