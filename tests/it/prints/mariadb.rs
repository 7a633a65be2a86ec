use mainstay::route::PrintGroup;
use serde_json::json;

use super::{alike, becomes, changes, read, setting};
use crate::support::{mariadb::MariaDb, wait::until};

const SETTINGS: [&str; 3] =
    ["--report-password=hunter22", "--init-connect=SET @password = 'hunter22'", "--report-host=somewhere"];

#[test]
fn a_primary_and_its_replica_have_the_same_print_whatever_happens() {
    let mut source = MariaDb::start(&SETTINGS);
    source.sql("CREATE USER plain@'%'; CREATE DATABASE d; CREATE TABLE d.t (i BIGINT PRIMARY KEY)");
    let mut replica = source.replica(&[&SETTINGS[..], &["--read-only", "--report-host=elsewhere"]].concat());
    until("the replica has it", || replica.try_sql("SHOW GRANTS FOR plain@'%'").ok());
    let role = json!({"mysql": {"user": "plain"}});
    let before = read(&role, source.address());
    alike("primary and replica", &before, &read(&role, replica.address()));
    assert!(before.unseen.is_empty() && before.len() > 500, "{}", before.len());
    assert!(!format!("{before:?}").contains("hunter22"));
    assert_eq!(setting(&before, "init_connect").unwrap().value, "(set)");
    for shown in ["max_seeks_for_key", "secure_auth", "innodb_force_primary_key"] {
        assert!(setting(&before, shown).is_some(), "{shown}");
    }
    for hidden in [
        "ssl_key",
        "wsrep_sst_auth",
        "port",
        "server_id",
        "datadir",
        "read_only",
        "report_host",
        "report_password",
        "gtid_binlog_pos",
        "hostname",
    ] {
        assert!(setting(&before, hidden).is_none(), "{hidden}");
    }
    for i in 0..100 {
        source.sql(&format!("INSERT INTO d.t VALUES ({i})"));
    }
    alike("after writes", &before, &read(&role, source.address()));
    alike("another account", &before, &read(&json!({"mysql": {"user": "root"}}), source.address()));
    source.kill();
    replica.sql("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = OFF; SET GLOBAL event_scheduler = ON");
    alike("after a promotion", &before, &read(&role, replica.address()));
    source.restart();
    alike("after a restart", &before, &read(&role, source.address()));
    replica.kill();
}

#[test]
fn every_change_of_a_server_shows() {
    let mut server = MariaDb::start(&[]);
    let role = json!({"mysql": {"user": "root"}});
    let node = server.address();
    let before = read(&role, node);
    assert_eq!(before.items[&PrintGroup::Version]["version"].value, server.sql("SELECT VERSION()"));
    assert!(setting(&before, "innodb_log_buffer_size").unwrap().needs_restart);
    server.sql("SET GLOBAL innodb_buffer_pool_size = 33554432");
    let changed = becomes(&role, node, "innodb_buffer_pool_size", "33554432");
    let size = changes(&before, &changed);
    assert!(size.contains(&r#"setting innodb_buffer_pool_size: "16MB", then "32MB""#.to_owned()), "{size:?}");
    server.sql("SET GLOBAL optimizer_switch = 'index_merge=off'");
    let switched = read(&role, node);
    assert_eq!(changes(&changed, &switched), [r#"setting optimizer_switch.index_merge: "on", then "off""#]);
    server.sql("INSTALL SONAME 'metadata_lock_info'");
    let loaded = changes(&switched, &read(&role, node));
    assert!(matches!(&*loaded, [one] if one.starts_with("plugin METADATA_LOCK_INFO: absent, then")), "{loaded:?}");
    server.kill();
}

/// They take each other's addresses and positions, and a cluster sets some variables itself.
#[test]
fn nodes_of_a_galera_cluster_have_the_same_print() {
    let role = json!({"mysql": {"user": "root"}});
    let first = MariaDb::galera(None);
    let alone = read(&role, first.address());
    let second = MariaDb::galera(Some(&first));
    until("both are in the cluster", || (second.status("wsrep_cluster_size") == "2").then_some(()));
    alike("two nodes", &read(&role, first.address()), &read(&role, second.address()));
    alike("after another one has come", &alone, &read(&role, first.address()));
}
