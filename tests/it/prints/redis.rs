use mainstay::route::PrintGroup;
use serde_json::json;

use super::{alike, changes, read, setting};
use crate::support::redis::Redis;

const PASSWORDS: [&str; 2] = ["tls-key-file-pass hunter22", "tls-client-key-file-pass hunter22"];

#[test]
fn a_primary_and_its_replica_have_the_same_print_whatever_happens() {
    let mut source = Redis::primary(&PASSWORDS);
    let replica = source.replica(&[&PASSWORDS[..], &["replica-announce-ip 127.0.0.1", "replica-priority 7"]].concat());
    for server in [&source, &replica] {
        assert_eq!(server.ask(&["CONFIG", "SET", "masterauth", "hunter22"]), "+OK");
    }
    let before = read(&json!("redis"), source.address());
    alike("primary and replica", &before, &read(&json!("redis"), replica.address()));
    assert!(before.unseen.is_empty() && before.len() > 100, "{}", before.len());
    for hidden in ["port", "dir", "replicaof", "replica-announce-ip", "masterauth", "requirepass", "tls-key-file-pass"] {
        assert!(setting(&before, hidden).is_none(), "{hidden}");
    }
    assert_eq!(replica.ask(&["REPLICAOF", "NO", "ONE"]), "+OK");
    alike("after a promotion", &before, &read(&json!("redis"), replica.address()));
    source.kill();
    source.restart();
    alike("after a restart", &before, &read(&json!("redis"), source.address()));
    for server in [&source, &replica] {
        let print = read(&json!("redis"), server.address());
        assert!(!format!("{print:?}").contains("hunter22"), "{print:#?}");
    }
}

#[test]
fn every_change_of_a_server_shows() {
    let server = Redis::primary(&[]);
    let before = read(&json!("redis"), server.address());
    assert!(before.items[&PrintGroup::Version]["redis_version"].value.starts_with(|c: char| c.is_ascii_digit()));
    assert!(setting(&before, "databases").unwrap().needs_restart);
    for words in [&["CONFIG", "SET", "maxmemory", "100mb"], &["CONFIG", "SET", "requirepass", "hunter22"]] {
        assert_eq!(server.ask(words), "+OK");
    }
    let with_password = json!({"redis": {"password": "${SECRET}"}});
    let after = read(&with_password, server.address());
    assert_eq!(changes(&before, &after), [r#"setting maxmemory: "0", then "100MB""#]);
    assert!(!format!("{after:?}").contains("hunter22"));
}

#[test]
fn a_user_that_may_not_read_the_configuration_is_told_what_to_grant() {
    let server = Redis::primary(&[]);
    assert_eq!(server.ask(&["ACL", "SETUSER", "probe", "on", ">hunter22", "+ping", "+info"]), "+OK");
    let role = json!({"redis": {"user": "probe", "password": "${SECRET}"}});
    let reduced = read(&role, server.address());
    assert!(reduced.unseen[&PrintGroup::Setting].contains("ACL SETUSER probe +config|get"), "{:?}", reduced.unseen);
    assert_eq!(reduced.items.keys().collect::<Vec<_>>(), [&PrintGroup::Version]);
    // What it may not see is no difference.
    assert_eq!(changes(&reduced, &read(&json!("redis"), server.address())), <[String; 0]>::default());
    assert_eq!(server.ask(&["ACL", "SETUSER", "probe", "+config|get"]), "+OK");
    let whole = read(&role, server.address());
    assert!(whole.unseen.is_empty() && whole.len() > 100);
}
