//! The same for Redis and `MariaDB`: a killed primary is replaced; one that is only silent is not while its replica hears it, nor one
//! whose replica lacks something.

use serde_json::{Value, json};

use super::{Site, fence, promotion};
use crate::support::{mariadb::MariaDb, redis::Redis, scratch::Scratch, wait::until};

pub(crate) fn site(backends: &[std::net::SocketAddr], check: &Value, promotion: &Value) -> Site {
    Site::start(backends, promotion, |pool| {
        pool["check"].as_object_mut().unwrap().remove("postgres");
        pool["check"].as_object_mut().unwrap().extend(check.as_object().unwrap().clone());
    })
}

#[test]
fn redis() {
    let scratch = Scratch::new();
    let mut source = Redis::primary(&[]);
    let replica = source.replica(&[]);
    let backends = [source.address(), replica.address()];
    let site_with = |promotion: &Value| site(&backends, &json!({"redis": {}}), promotion);
    {
        let site = site_with(&fence(&scratch, "touch $DIR/fenced", &json!({})));
        source.signal("-STOP");
        site.refuses(&["witness"]);
        source.signal("-CONT");
        site.serves("db-a");
        assert!(!scratch.path("fenced").exists());
    }
    {
        let site = site_with(&promotion(&json!({})));
        replica.ask(&["REPLICAOF", "127.0.0.1", "1"]);
        assert_eq!(source.ask(&["SET", "missing", "1"]), "+OK");
        site.sees(2);
        source.kill();
        site.refuses(&["lag"]);
        source.restart();
        site.serves("db-a");
    }
    replica.ask(&["REPLICAOF", "127.0.0.1", &source.port.to_string()]);
    until("it follows", || replica.ask(&["INFO", "replication"]).contains("master_link_status:up").then_some(()));
    let site = site_with(&promotion(&json!({})));
    assert_eq!(source.ask(&["SET", "k", "v"]), "+OK");
    until("the replica has it", || (replica.ask(&["GET", "k"]) == "v").then_some(()));
    site.sees(2);
    source.kill();
    site.serves("db-b");
    assert_eq!(replica.ask(&["SET", "k", "w"]), "+OK");
    assert_eq!((site.epoch(), site.promotions("done")), (2, 1));
}

#[test]
fn mariadb() {
    let scratch = Scratch::new();
    let mut source = MariaDb::start(&[]);
    let replica = source.replica(&["--read-only"]);
    source.sql("CREATE DATABASE d");
    let has_all = |source: &MariaDb| {
        let position = source.sql("SELECT @@gtid_binlog_pos");
        until("the replica has it", || (replica.sql("SELECT @@gtid_slave_pos") == position).then_some(()));
    };
    has_all(&source);
    let backends = [source.address(), replica.address()];
    let site_with = |promotion: &Value| site(&backends, &json!({"mysql": {"user": "root"}}), promotion);
    {
        let site = site_with(&fence(&scratch, "touch $DIR/fenced", &json!({})));
        source.signal("-STOP");
        site.refuses(&["witness"]);
        source.signal("-CONT");
        site.serves("db-a");
        assert!(!scratch.path("fenced").exists());
    }
    {
        let site = site_with(&promotion(&json!({})));
        replica.sql("STOP SLAVE IO_THREAD");
        source.sql("CREATE DATABASE missing");
        site.sees(2);
        source.kill();
        site.refuses(&["lag"]);
        source.restart();
        site.serves("db-a");
    }
    replica.sql("START SLAVE");
    has_all(&source);
    let site = site_with(&promotion(&json!({})));
    source.sql("CREATE DATABASE e");
    has_all(&source);
    site.sees(2);
    source.kill();
    site.serves("db-b");
    replica.sql("CREATE DATABASE f");
    assert_eq!((site.epoch(), site.promotions("done")), (2, 1));
}
