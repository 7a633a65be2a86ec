//! The built-in proofs of `MariaDB`.

use serde_json::json;

use super::Pool;
use crate::support::{mariadb::MariaDb, wait::until};

const UNTOLD: &str = "probe_latency";

fn pool() -> Pool {
    Pool::new(&json!({"mysql": {"user": "app"}}), &json!({}))
}

fn pair(arguments: &[&str]) -> (MariaDb, MariaDb) {
    let source = MariaDb::start(&[]);
    source.sql("CREATE USER app@'%'; GRANT SLAVE MONITOR ON *.* TO app@'%'");
    let replica = source.replica(&[&["--read-only"], arguments].concat());
    until("the replica has it", || replica.try_sql("SHOW GRANTS FOR app@'%'").ok().filter(|grants| grants.contains("MONITOR")));
    (source, replica)
}

#[test]
fn each_proof_is_failed_by_a_server_that_lacks_something() {
    let (source, replica) = pair(&["--max-connections=10"]);
    let prove = || pool().prove(replica.address(), Some(source.address()));
    prove().all_but(&[UNTOLD]);
    // What whoever promotes sets.
    replica.sql("SET GLOBAL read_only = 1; SET GLOBAL event_scheduler = ON");
    replica.sql("SET GLOBAL rpl_semi_sync_master_enabled = ON; SET GLOBAL rpl_semi_sync_slave_enabled = OFF");
    prove().all_but(&[UNTOLD]);
    // A variable that the next restart takes back.
    replica.sql("SET GLOBAL sync_binlog = 7");
    prove()
        .failed("pending_restart", "is in no file: sync_binlog; the active one: no variable was set")
        .all_but(&["pending_restart", UNTOLD]);
    source.sql("SET GLOBAL sync_binlog = 7");
    prove().inconclusive("pending_restart", "sync_binlog");
    let ignoring = Pool::new(&json!({"mysql": {"user": "app"}}), &json!({"ignore": ["sync_binlog"]}));
    ignoring.prove(replica.address(), Some(source.address())).all_but(&[UNTOLD]);
    // It does not apply, then it does not receive.
    replica.sql("STOP REPLICA SQL_THREAD");
    let quick = pool().prove_in(mainstay::control::guard::proofs::Scope::Quick, replica.address(), Some(source.address()));
    quick.failed("replication", "receiving: Yes, applying: No");
    replica.sql("STOP REPLICA");
    let quick = pool().prove_in(mainstay::control::guard::proofs::Scope::Quick, replica.address(), Some(source.address()));
    quick.failed("replication", "receiving: No, applying: No");
    replica.sql("START REPLICA");
    prove().passed("replication");
    // Sessions.
    let sleepers: Vec<_> = (0..10)
        .map(|_| std::net::TcpStream::connect_timeout(&source.address(), std::time::Duration::from_secs(5)).unwrap())
        .collect();
    until("they are there", || {
        let count = source.sql("SHOW GLOBAL STATUS LIKE 'Threads_connected'");
        count.split_whitespace().last().and_then(|count| count.parse::<u32>().ok()).filter(|count| *count > 11)
    });
    prove().failed("max_connections", "max_connections takes 10 sessions, and the active one has 1");
    drop(sleepers);
    // One that follows nobody, beside one that serves.
    let other = MariaDb::start(&[]);
    other.sql("CREATE USER app@'%'; GRANT SLAVE MONITOR ON *.* TO app@'%'");
    pool().prove(other.address(), Some(source.address())).failed("replication", "it follows nobody");
    other.sql("REVOKE ALL, GRANT OPTION FROM app@'%'");
    pool().prove(other.address(), None).skipped("replication", "GRANT REPLICA MONITOR (SLAVE MONITOR) ON *.* TO app@%");
}
