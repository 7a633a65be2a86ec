//! Each example of `examples/` against the servers it is for. (Those of Galera, Patroni, replicas, exec and exchange stand with the
//! tests of these.)

use crate::support::{
    echo::Backend,
    example::{PASSWORD, start},
    mariadb::MariaDb,
    postgres::Postgres,
    process::Process,
    redis::{Redis, ask},
    wait::until,
};

fn is_active(process: &Process, name: &str) {
    until(&format!("{name} serves"), || (process.status()["pools"][0]["active"] == name).then_some(()));
}

/// What it is that keeps a backend from serving.
fn reason(process: &Process, backend: usize) -> String {
    process.status()["pools"][0]["backends"][backend]["reason"].as_str().unwrap().to_owned()
}

#[test]
fn two_backends() {
    let backends = [Backend::echo(), Backend::echo()];
    let process = start("two-backends.yaml", &[("127.0.0.1:6001", backends[0].address), ("127.0.0.1:6002", backends[1].address)]);
    until("somebody serves", || process.status()["pools"][0]["active"].is_string().then_some(()));
}

#[test]
fn a_postgres_primary_and_its_standby() {
    let primary = Postgres::primary(&[]);
    primary.sql(&format!("CREATE ROLE mainstay LOGIN PASSWORD '{PASSWORD}'"));
    primary.sql("GRANT pg_monitor TO mainstay");
    let standby = primary.standby(&[]);
    let local = |port: u16| ([127, 0, 0, 1], port).into();
    let addresses = [("10.0.0.1:5432", local(primary.port)), ("10.0.0.2:5432", local(standby.port))];
    let process = start("postgres-primary-standby.yaml", &addresses);
    is_active(&process, "db-a");
    until("the standby is known", || (reason(&process, 1) == "standby").then_some(()));
}

#[test]
fn a_mariadb_primary_and_its_replica() {
    let primary = MariaDb::start(&[]);
    let replica = primary.replica(&["--read-only"]);
    primary.sql(&format!("CREATE USER mainstay@'127.0.0.%' IDENTIFIED BY '{PASSWORD}'"));
    primary.sql("GRANT SLAVE MONITOR ON *.* TO mainstay@'127.0.0.%'");
    let addresses = [("10.0.0.1:3306", primary.address()), ("10.0.0.2:3306", replica.address())];
    let process = start("mariadb-replication.yaml", &addresses);
    is_active(&process, "db-a");
    until("the replica is known", || (reason(&process, 1) == "standby").then_some(()));
}

fn with_acl(server: &Redis) {
    server.ask(&["ACL", "SETUSER", "mainstay", "reset", "on", &format!(">{PASSWORD}"), "+ping", "+info"]);
}

#[test]
fn a_redis_primary_and_its_replica() {
    let primary = Redis::primary(&[]);
    let replica = primary.replica(&[]);
    [&primary, &replica].into_iter().for_each(with_acl);
    let addresses = [("10.0.0.1:6379", primary.address()), ("10.0.0.2:6379", replica.address())];
    let process = start("redis-primary-replica.yaml", &addresses);
    is_active(&process, "redis-a");
    assert_eq!(ask(&mut process.connect(), &["SET", "a", "1"]).unwrap(), "+OK");
}

#[test]
fn redis_and_its_sentinels() {
    let primary = Redis::primary(&[]);
    let replicas = [primary.replica(&[]), primary.replica(&[])];
    [&primary, &replicas[0], &replicas[1]].into_iter().for_each(with_acl);
    let sentinels = [primary.watched(), primary.watched(), primary.watched()];
    let servers = [&primary, &replicas[0], &replicas[1]];
    let names = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|host| [format!("{host}:26379"), format!("{host}:6379")]);
    let mut addresses = Vec::new();
    for ((name, sentinel), server) in names.iter().zip(&sentinels).zip(servers) {
        addresses.push((name[0].as_str(), sentinel.address()));
        addresses.push((name[1].as_str(), server.address()));
    }
    // The longer ones first: one is the beginning of the other.
    addresses.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let process = start("redis-sentinel.yaml", &addresses);
    is_active(&process, "redis-a");
    until("the replicas are known", || (reason(&process, 1) == "standby" && reason(&process, 2) == "standby").then_some(()));
    until("the Sentinels were heard", || process.status()["pools"][0]["backends"][0]["db_epoch"].is_u64().then_some(()));
}
