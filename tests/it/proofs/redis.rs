//! The built-in proofs of Redis.

use mainstay::control::guard::proofs::Scope;
use serde_json::json;

use super::Pool;
use crate::support::{redis::Redis, scratch::Scratch, wait::until};

const UNTOLD: &str = "probe_latency";

fn pool() -> Pool {
    Pool::new(&json!("redis"), &json!({}))
}

#[test]
fn each_proof_is_failed_by_a_server_that_lacks_something() {
    let source = Redis::primary(&[]);
    let replica = source.replica(&["enable-protected-configs yes"]);
    let prove = || pool().prove(replica.address(), Some(source.address()));
    prove().all_but(&[UNTOLD]);
    // Less memory.
    assert_eq!(replica.ask(&["CONFIG", "SET", "maxmemory", "10mb"]), "+OK");
    prove().failed("memory", "maxmemory is 10485760 bytes; the active one has no limit").all_but(&["memory", UNTOLD]);
    assert_eq!(source.ask(&["CONFIG", "SET", "maxmemory", "5mb"]), "+OK");
    prove().passed("memory");
    // Fewer clients.
    assert_eq!(replica.ask(&["CONFIG", "SET", "maxclients", "3"]), "+OK");
    let clients: Vec<_> = (0..5)
        .map(|_| std::net::TcpStream::connect_timeout(&source.address(), std::time::Duration::from_secs(5)).unwrap())
        .collect();
    until("they are there", || source.ask(&["INFO", "clients"]).contains("connected_clients:").then_some(()));
    prove().failed("max_connections", "maxclients takes 3 sessions, and the active one has ");
    drop(clients);
    assert_eq!(replica.ask(&["CONFIG", "SET", "maxclients", "100"]), "+OK");
    // A save that fails: its directory is gone.
    let scratch = Scratch::new();
    let directory = scratch.path("gone");
    std::fs::create_dir(&directory).unwrap();
    assert_eq!(replica.ask(&["CONFIG", "SET", "dir", directory.to_str().unwrap()]), "+OK");
    std::fs::remove_dir(&directory).unwrap();
    replica.ask(&["BGSAVE"]);
    until("it has failed", || replica.ask(&["INFO", "persistence"]).contains("rdb_last_bgsave_status:err").then_some(()));
    prove().failed("persistence", "its last BGSAVE failed").failed("persistence", "the active one: it has loaded");
    // Its link.
    assert_eq!(replica.ask(&["REPLICAOF", "127.0.0.1", "1"]), "+OK");
    let quick = pool().prove_in(Scope::Quick, replica.address(), Some(source.address()));
    quick.failed("replication", "whose link to its primary is down");
    assert_eq!(replica.ask(&["REPLICAOF", "NO", "ONE"]), "+OK");
    pool().prove(replica.address(), Some(source.address())).failed("replication", "it is no replica");
    pool().prove(replica.address(), None).passed("replication");
}

#[test]
fn a_user_that_may_not_ask_is_told_what_to_allow() {
    let server = Redis::primary(&["user probe on nopass ~* &* -@all +ping +auth"]);
    let scratch = Scratch::new();
    let password = scratch.file("password", "any", 0o600);
    let pool = Pool::new(&json!({"redis": {"user": "probe", "password_file": password}}), &json!({}));
    pool.prove(server.address(), None).skipped("persistence", "ACL SETUSER probe +info");
}
