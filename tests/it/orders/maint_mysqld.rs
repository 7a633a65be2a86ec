//! Before a maintenance of `MariaDB` (and, in `versions`, of `MySQL`) the sessions end where they are in no transaction, with writers at work.

use std::{thread, time::Duration};

use lab::{
    pairs::{self, Pair as _, mysql::MysqldPair},
    servers::{mariadb::Maria, mysqld::Flavour},
    transactions::{Failed, Tally, Writers, mysql::Client},
};
use mainstay::{app::Running, failover::Admin};
use serde_json::json;

use super::{at, becomes_active, by_force, order, set};
use crate::{
    operations::start,
    support::{front::end, random::Random, wait::until},
};

const INSERT: &str = "INSERT INTO d.t (n) VALUES (2)";

/// Nobody takes over meanwhile, so new clients wait.
fn before<F: Flavour>(pair: &MysqldPair<F>, drain_timeout: &str) -> Running {
    let more = json!({
        "check": {"mysql": {}, "timeout": "10s"},
        "hold": {"timeout": "90s"},
        "switchover": {"drain_timeout": drain_timeout},
    });
    let running = start(&pairs::pool(pair, "127.0.0.1:0", &more));
    becomes_active(&running, "db-a");
    running
}

fn becomes(running: &Running, wanted: Admin) {
    until(&format!("it is {wanted}"), || (running.snapshots[0].get().backends[0].admin == wanted).then_some(()));
}

fn open(running: &Running) -> Client {
    let mut client = Client::open(at(running, 0), "app").unwrap();
    client.query("BEGIN").unwrap();
    client.query(INSERT).unwrap();
    client
}

/// Nothing is under way there, and the next statement finds no session.
fn was_ended(mut client: Client) {
    let answer = client.query("SELECT 1");
    assert!(matches!(answer, Err(Failed::Broke(_))), "{answer:?}");
}

/// `thinks` is how long clients think within a transaction.
pub(crate) fn sessions_end_at_their_boundary<F: Flavour>(thinks: &[Duration]) {
    let pair = MysqldPair::<F>::start();
    let running = before(&pair, "0s");
    let mut random = Random::seeded();
    let writers = Writers::start::<Client, _>(at(&running, 0), || random.fork().pauses(2_000));
    until("they write", || (writers.committed() > 50).then_some(()));
    let idle = Client::open(at(&running, 0), "app").unwrap();
    let clients: Vec<_> = thinks.iter().map(|think| (*think, open(&running))).collect();
    let done = order(&running, by_force("db-a", Admin::Maint)).unwrap();
    assert_eq!(done.lines[0], "db-a: ready -> drain, and maint when its sessions have ended");
    let think = |(time, mut client): (Duration, Client)| {
        thread::spawn(move || {
            for statement in [INSERT, "COMMIT"] {
                // A client that thinks is what this is about.
                thread::sleep(time);
                client.query(statement).unwrap();
            }
            client
        })
    };
    let clients: Vec<_> = clients.into_iter().map(think).collect();
    let clients: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    becomes(&running, Admin::Maint);
    clients.into_iter().for_each(was_ended);
    was_ended(idle);
    let own = 2 * thinks.len() as u64;
    let committed = until("nothing is lost", || {
        let committed = writers.committed();
        (pair.written(0) == committed + own).then_some(committed)
    });
    order(&running, set("db-a", Admin::Ready)).unwrap();
    until("they write again", || (writers.committed() > committed + 50).then_some(()));
    let tally = writers.stop();
    assert_eq!(tally.broken(), [0; 3], "aborted, ambiguous, refused: {:?}", tally.why);
    assert_eq!(pair.written(0), Tally::of(&tally.committed) + own);
    end(running);
}

pub(crate) fn the_rest_is_rolled_back<F: Flavour>() {
    let pair = MysqldPair::<F>::start();
    let running = before(&pair, "300ms");
    let busy = open(&running);
    order(&running, by_force("db-a", Admin::Maint)).unwrap();
    becomes(&running, Admin::Maint);
    was_ended(busy);
    assert_eq!(pair.written(0), 0);
    end(running);
}

#[test]
fn sessions_end_at_their_boundary_however_long_a_client_thinks() {
    sessions_end_at_their_boundary::<Maria>(&[0, 50, 1_000].map(Duration::from_millis));
}

#[test]
fn what_outlives_the_time_of_a_maintenance_ends_and_is_rolled_back() {
    the_rest_is_rolled_back::<Maria>();
}
