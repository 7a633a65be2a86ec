//! `mainstay probe` as a command: what it says of the role's rights for a switchover and a promotion, on real servers.

use std::{net::SocketAddr, process::Command};

use lab::pairs::{Pair, mysql::MariaDbPair, postgres::PostgresPair, redis::RedisPair};
use serde_json::{Value, json};

use crate::support::{child::Bounded, mariadb::MariaDb, postgres::Postgres, redis::Redis};

const PROMOTION: &str = "Only for a promotion or a switchover by mainstay";

fn probe(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .args(["probe"])
        .args(words)
        .args(["--timeout", "10s"])
        .bounded_output()
        .unwrap();
    assert!(output.status.success(), "a right that only a change needs is no failure: {output:?}");
    let screen = String::from_utf8(output.stdout).unwrap();
    println!("{screen}");
    screen
}

/// What is lacking for a promotion, as programs read it.
fn lacks(words: &[&str]) -> Vec<String> {
    let json: Value = serde_json::from_str(&probe(&[words, &["--json"]].concat())).unwrap();
    serde_json::from_value(json["promotion_lacks"].clone()).unwrap()
}

fn nothing_is_lacking(words: &[&str]) {
    let screen = probe(words);
    assert!(!screen.contains("Only for a") && !screen.contains("Only to make"), "{screen}");
    assert_eq!(lacks(words), [""; 0]);
}

/// The role of the documentation, on the primary and on a standby.
fn the_documented_role_is_enough<P: Pair>(pair: &P, words: impl Fn(&str) -> Vec<String>) {
    for node in pair.nodes() {
        let words = words(&node.to_string());
        nothing_is_lacking(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

fn asks(kind: &str, address: SocketAddr, user: &str) -> [String; 6] {
    [kind, &address.to_string(), "--user", user, "--tls", "off"].map(str::to_owned)
}

#[test]
fn postgresql_names_what_a_promotion_needs_until_it_is_granted() {
    let server = Postgres::primary(&[]);
    server.sql("CREATE ROLE \"an other\" LOGIN; GRANT pg_monitor, pg_signal_backend TO \"an other\"");
    let address = ([127, 0, 0, 1], server.port).into();
    let words = asks("postgres", address, "an other");
    let words = words.each_ref().map(String::as_str);
    let screen = probe(&words);
    let promote = "GRANT EXECUTE ON FUNCTION pg_catalog.pg_promote(boolean, integer) TO \"an other\"";
    let checkpoint = "GRANT pg_checkpoint TO \"an other\"";
    assert!(!screen.contains("breaks no transaction"), "{screen}");
    for said in [PROMOTION, "a failover that follows a promotion by others needs none of it", promote, checkpoint] {
        assert!(screen.contains(said), "{said} in {screen}");
    }
    assert_eq!(lacks(&words).len(), 2);
    server.sql(promote);
    let left = lacks(&words);
    assert!(left.len() == 1 && left[0].contains(checkpoint), "{left:?}");
    assert!(!probe(&words).contains(PROMOTION));
    server.sql(checkpoint);
    nothing_is_lacking(&words);
    let words = asks("postgres", address, "postgres");
    nothing_is_lacking(&words.each_ref().map(String::as_str));
}

#[test]
fn postgresql_is_content_with_the_role_of_the_documentation() {
    the_documented_role_is_enough(&PostgresPair::start(), |address| {
        asks("postgres", address.parse().unwrap(), "mainstay").to_vec()
    });
}

#[test]
fn mariadb_names_what_a_promotion_needs_until_it_is_granted() {
    let server = MariaDb::start(&[]);
    server.sql(
        "CREATE USER ordinary@'%'; GRANT SLAVE MONITOR, PROCESS, CONNECTION ADMIN ON *.* TO ordinary@'%'; \
         CREATE USER great@'%'; GRANT ALL PRIVILEGES ON *.* TO great@'%'",
    );
    let words = asks("mysql", server.address(), "ordinary");
    let words = words.each_ref().map(String::as_str);
    let screen = probe(&words);
    let grant = "GRANT READ_ONLY ADMIN, REPLICATION SLAVE ADMIN, RELOAD ON *.* TO 'ordinary'@'%'";
    assert!(screen.contains(PROMOTION) && screen.contains(grant), "{screen}");
    server.sql("GRANT RELOAD ON *.* TO ordinary@'%'");
    let left = lacks(&words);
    assert!(left.len() == 1 && left[0].contains("lacks READ_ONLY ADMIN, REPLICATION SLAVE ADMIN:"), "{left:?}");
    server.sql(grant);
    nothing_is_lacking(&words);
    let words = asks("mysql", server.address(), "great");
    nothing_is_lacking(&words.each_ref().map(String::as_str));
}

#[test]
fn mariadb_is_content_with_the_role_of_the_documentation() {
    the_documented_role_is_enough(&MariaDbPair::start(), |address| asks("mysql", address.parse().unwrap(), "mainstay").to_vec());
}

#[test]
fn redis_names_what_a_promotion_needs_until_it_may() {
    let server = Redis::primary(&["user ordinary on nopass -@all +ping +info +auth"]);
    let directory = crate::support::scratch::Scratch::new();
    let password = directory.file("password", "any", 0o600);
    let mut words = asks("redis", server.address(), "ordinary").to_vec();
    words.extend(["--password-file".to_owned(), password.display().to_string()]);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let screen = probe(&words);
    let rules = ["+failover", "+replicaof", "+client|pause +client|unpause"];
    assert!(screen.contains(PROMOTION), "{screen}");
    for rule in rules {
        assert!(screen.contains(&format!("ACL SETUSER ordinary {rule} ")), "{rule} in {screen}");
    }
    for (turn, rule) in rules.into_iter().enumerate() {
        let order: Vec<_> = ["ACL", "SETUSER", "ordinary"].into_iter().chain(rule.split(' ')).collect();
        assert_eq!(server.ask(&order), "+OK");
        assert_eq!(lacks(&words).len(), rules.len() - turn - 1);
    }
    nothing_is_lacking(&words);
    let address = server.address().to_string();
    nothing_is_lacking(&["redis", &address, "--tls", "off"]);
    // To ask is not to do.
    let said = server.ask(&["INFO", "replication"]);
    assert!(said.contains("role:master") && said.contains("master_failover_state:no-failover"), "{said}");
    assert_eq!(server.ask(&["SET", "a", "1"]), "+OK");
    let json: Value = serde_json::from_str(&probe(&["redis", &address, "--tls", "off", "--json"])).unwrap();
    assert_eq!(json["switchover_lacks"], json!([]));
}

#[test]
fn redis_is_content_with_the_role_of_the_documentation() {
    let pair = RedisPair::start();
    for node in 0..2 {
        // What a promotion after a failure needs besides.
        pair.administer(node, "ACL SETUSER mainstay +replicaof");
    }
    let directory = crate::support::scratch::Scratch::new();
    let password = directory.file("password", "secret", 0o600).display().to_string();
    the_documented_role_is_enough(&pair, |address| {
        let mut words = asks("redis", address.parse().unwrap(), "mainstay").to_vec();
        words.extend(["--password-file".to_owned(), password.clone()]);
        words
    });
}
