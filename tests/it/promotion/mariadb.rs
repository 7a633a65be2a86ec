//! `MariaDB`: `STOP SLAVE`, with and without `RESET`, before and after `read_only` is turned off.

use std::time::Instant;

use mainstay::{
    config::{CheckKind, MysqlCheck},
    control::probe::{self, Finding},
    failover::Role,
};
use serde_json::json;

use super::{AT_ONCE, LATE, LATER, Promotion, SOON, pools, promote, reason, serves};
use crate::{
    mysql::pool::through,
    support::{
        mariadb::MariaDb,
        wait::{patience, until},
    },
};

#[test]
fn a_replica_is_served_however_and_whenever_it_is_promoted() {
    let mut source = MariaDb::start(&[]);
    let replicas = source.replicas(6, &["--read-only"]);
    // Without one transaction nobody has an epoch.
    source.sql("CREATE DATABASE d");
    let position = source.sql("SELECT @@gtid_binlog_pos");
    for replica in &replicas {
        until("the replica has it", || (replica.sql("SELECT @@gtid_slave_pos") == position).then_some(()));
    }
    let addresses: Vec<_> = replicas.iter().map(MariaDb::address).collect();
    let process = pools(&json!({"mysql": {"user": "root"}}), source.address(), &addresses);
    let order = |pool: usize, delay, statements: &'static str| {
        let replica = &replicas[pool];
        Promotion::new(pool, delay, move || drop(replica.sql(statements)))
    };
    // Two that take writes: the one promoted last has the higher epoch.
    promote(&process, vec![order(0, AT_ONCE, "STOP SLAVE; SET GLOBAL read_only = 0")]);

    source.signal("-KILL");
    let dead = vec![
        order(1, AT_ONCE, "STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0"),
        order(2, SOON, "SET GLOBAL read_only = 0; STOP SLAVE"),
        order(3, LATER, "STOP SLAVE; SET GLOBAL read_only = 0"),
        order(4, LATE, "STOP ALL SLAVES; RESET SLAVE; SET GLOBAL read_only = 0"),
    ];
    promote(&process, dead);
    assert_eq!(through(&process, "SELECT @@port").unwrap(), replicas[0].port.to_string());

    // It returns to whom nobody has left it, and is fenced by all others.
    source.restart();
    serves(&process, 5, "old");
    for pool in 0..5 {
        until("the old one is fenced", || reason(&process, pool, 0).starts_with("fenced").then_some(()));
        serves(&process, pool, "new");
    }
    until("the last replica follows again", || (replicas[5].status("Slave_running") == "ON").then_some(()));
    source.signal("-STOP");
    promote(&process, vec![order(5, LATER, "STOP REPLICA; RESET REPLICA ALL; SET GLOBAL read_only = 0")]);
    source.signal("-CONT");
    until("the old one is fenced", || reason(&process, 5, 0).starts_with("fenced").then_some(()));
    serves(&process, 5, "new");
}

async fn once(server: &MariaDb) -> Finding {
    let check = CheckKind::Mysql(MysqlCheck { user: "root".into(), ..MysqlCheck::default() });
    let address = server.address().to_string().parse().unwrap();
    probe::once(&address, &check, patience()).await.unwrap()
}

#[tokio::test]
async fn a_writable_replica_that_cannot_follow_is_no_primary_until_it_is_told_to_stop() {
    let source = MariaDb::start(&[]);
    let replica = source.replica(&[]);
    let becomes = async |word: &str| {
        let limit = Instant::now() + patience();
        loop {
            let finding = once(&replica).await;
            if finding.evidence.contains(word) {
                assert_eq!(finding.facts.role, Some(Role::Standby), "{}", finding.evidence);
                assert!(
                    finding.evidence.ends_with("; to make it the primary: STOP REPLICA; RESET REPLICA ALL"),
                    "{}",
                    finding.evidence
                );
                return;
            }
            assert!(Instant::now() < limit, "{word}: {}", finding.evidence);
        }
    };
    // A thread that receives and meets an error stops by itself, alone. Both stop by an order, and the error stays.
    replica.sql("STOP SLAVE");
    source.sql(&format!("SET GLOBAL server_id = {}", replica.port));
    replica.sql("START SLAVE");
    becomes("(error 1593)").await;
    replica.sql("STOP SLAVE");
    assert!(replica.sql("SHOW SLAVE STATUS").contains("\t1593\t"));
    let finding = once(&replica).await;
    assert_eq!(finding.facts.role, Some(Role::Primary), "{}", finding.evidence);
    source.sql(&format!("SET GLOBAL server_id = {}", source.port));

    // One that applies and meets an error: what it has is not whole, and nothing tells an order from two failures.
    source.sql("CREATE DATABASE d; CREATE TABLE d.t (i INT PRIMARY KEY)");
    replica.sql("START SLAVE");
    until("the replica has it", || replica.try_sql("SELECT 1 FROM d.t").ok());
    replica.sql("INSERT INTO d.t VALUES (1)");
    source.sql("INSERT INTO d.t VALUES (1)");
    becomes("(error 1062)").await;
    source.signal("-KILL");
    until("it has lost its source", || replica.sql("SHOW SLAVE STATUS").contains("\tConnecting\t").then_some(()));
    becomes("(error 1062)").await;
    replica.sql("STOP SLAVE");
    becomes("(error 1062)").await;
    replica.sql("STOP REPLICA; RESET REPLICA ALL");
    let finding = once(&replica).await;
    assert_eq!((finding.facts.role, &*finding.evidence), (Some(Role::Primary), "primary"));
}
