//! Before a maintenance the sessions of the backend end where they are in no transaction, by the server's own word.

use std::time::Duration;

use lab::transactions::postgres::Client;
use mainstay::{
    app::{self, Running},
    config::{CheckKind, Config, ListenerRoute, PostgresCheck},
    failover::{Admin, Election, Policy, RevokeMode},
    route::Verb,
};

use super::{add_reader, at, becomes_active, by_force, order, set};
use crate::support::{config::tcp_pool, front::end, postgres::Postgres, wait::until};

fn config(servers: &[&Postgres], drain_timeout: Duration) -> Config {
    let addresses: Vec<_> = servers.iter().map(|server| ([127, 0, 0, 1], server.port).into()).collect();
    let mut config = tcp_pool(&addresses);
    let pool = &mut config.pools[0];
    pool.check.kind = CheckKind::Postgres(PostgresCheck { user: "postgres".into(), ..PostgresCheck::default() });
    pool.check.timeout = Duration::from_secs(10);
    pool.policy = Policy { election: Election::ByRole, on_down: RevokeMode::Abort, ..Policy::default() };
    pool.switchover.drain_timeout = drain_timeout;
    config
}

fn admin(running: &Running, backend: usize) -> Admin {
    running.snapshots[0].get().backends[backend].admin
}

fn becomes(running: &Running, backend: usize, wanted: Admin) {
    until(&format!("it is {wanted}"), || (admin(running, backend) == wanted).then_some(()));
}

fn open(running: &Running, listener: usize) -> Client {
    Client::open(at(running, listener), "postgres").unwrap()
}

#[test]
fn a_transaction_is_brought_to_its_end_and_nothing_is_broken() {
    let server = Postgres::primary(&[]);
    server.sql("CREATE TABLE t (n bigint)");
    let running = app::start(&config(&[&server], Duration::ZERO)).unwrap();
    becomes_active(&running, "db-a");
    let [idle, mut busy] = [(); 2].map(|()| open(&running, 0));
    busy.query("BEGIN").unwrap();
    let done = order(&running, by_force("db-a", Admin::Maint)).unwrap();
    assert_eq!(
        done.lines[..2],
        ["db-a: ready -> drain, and maint when its sessions have ended", "2 sessions end at the end of a transaction"]
    );
    idle.was_ended();
    for _ in 0..20 {
        busy.query("INSERT INTO t VALUES (1)").unwrap();
    }
    assert_eq!(admin(&running, 0), Admin::Drain);
    busy.query("COMMIT").unwrap();
    busy.was_ended();
    becomes(&running, 0, Admin::Maint);
    assert_eq!(server.sql("SELECT count(*) FROM t"), "20");
    order(&running, set("db-a", Admin::Ready)).unwrap();
    becomes_active(&running, "db-a");
    open(&running, 0).query("INSERT INTO t VALUES (1)").unwrap();
    end(running);
}

#[test]
fn after_its_time_the_rest_ends_and_another_order_calls_it_off() {
    let server = Postgres::primary(&[]);
    let running = app::start(&config(&[&server], Duration::from_millis(300))).unwrap();
    becomes_active(&running, "db-a");
    let mut busy = open(&running, 0);
    busy.query("BEGIN").unwrap();
    order(&running, by_force("db-a", Admin::Maint)).unwrap();
    busy.was_ended();
    becomes(&running, 0, Admin::Maint);
    order(&running, set("db-a", Admin::Ready)).unwrap();
    becomes_active(&running, "db-a");
    end(running);

    let running = app::start(&config(&[&server], Duration::ZERO)).unwrap();
    becomes_active(&running, "db-a");
    let mut busy = open(&running, 0);
    busy.query("BEGIN").unwrap();
    order(&running, by_force("db-a", Admin::Maint)).unwrap();
    order(&running, by_force("db-a", Admin::Drain)).unwrap();
    busy.query("COMMIT").unwrap();
    for _ in 0..20 {
        busy.query("SELECT 1").unwrap();
    }
    assert_eq!(admin(&running, 0), Admin::Drain);
    // And without a transaction once more.
    order(&running, Verb::SetAdmin { backend: "db-a".into(), to: Admin::Maint, force: true }).unwrap();
    busy.was_ended();
    becomes(&running, 0, Admin::Maint);
    end(running);
}

#[test]
fn the_sessions_of_a_reader_end_so_as_well() {
    let primary = Postgres::primary(&[]);
    let standby = primary.standby(&[]);
    let mut config = config(&[&primary, &standby], Duration::ZERO);
    add_reader(&mut config, ListenerRoute::Replica);
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    until("the standby is read", || (running.snapshots[0].get().backends[1].reason.to_string() == "standby").then_some(()));
    let ([idle, mut busy], mut writer) = ([(); 2].map(|()| open(&running, 1)), open(&running, 0));
    busy.query("BEGIN").unwrap();
    order(&running, set("db-b", Admin::Maint)).unwrap();
    idle.was_ended();
    busy.query("SELECT 1").unwrap();
    busy.query("COMMIT").unwrap();
    busy.was_ended();
    becomes(&running, 1, Admin::Maint);
    writer.query("SELECT 1").unwrap();
    order(&running, set("db-b", Admin::Ready)).unwrap();
    until("it is read again", || Client::open(at(&running, 1), "postgres").ok()?.query("SELECT 1").ok());
    end(running);
}
