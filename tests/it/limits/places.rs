//! A client without a place at the backend: what it gets, and when.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Stdio,
    time::{Duration, Instant},
};

use mainstay::{
    app,
    config::{CheckKind, PostgresCheck},
    reason::RejectReason,
};
use serde_json::json;

use super::{
    Counted, LONG, active, ask, at, becomes_active, come, held, parsed, rejected, rejects, serve_and_leave, settings, until_held,
};
use crate::{
    hold::startup,
    support::{
        child::{ended, output},
        front::{client, end, is_over},
        postgres::{Postgres, binaries},
        process::Process,
        random::Random,
        wait::until,
    },
};

#[test]
fn who_leaves_while_it_waits_leaves_the_queue() {
    let backend = Counted::new(b'a');
    let mut file = settings(&[(&backend, Some(1))]);
    file["pools"][0]["hold"]["max"] = json!(2);
    let running = app::start(&parsed(&file)).unwrap();
    becomes_active(&running, "db-a");
    let mut first = come(at(&running, 0), 0);
    assert_eq!(ask(&mut first).unwrap(), b'a');
    let leaves = come(at(&running, 0), 1);
    until_held(&running, 1);
    let resets = come(at(&running, 0), 2);
    until_held(&running, 2);
    let refused = client(at(&running, 0));
    assert!(is_over(&refused));
    assert_eq!((rejected(&running, RejectReason::QueueFull), rejected(&running, RejectReason::HoldFull)), (1, 0));
    drop(leaves);
    until_held(&running, 1);
    crate::support::echo::reset(resets);
    until_held(&running, 0);
    let mut last = come(at(&running, 0), 4);
    until_held(&running, 1);
    drop(first);
    assert_eq!(ask(&mut last).unwrap(), b'a');
    assert_eq!(backend.book(|book| (book.numbers(), book.most)), (vec![0, 4], 1));
    assert_eq!(rejected(&running, RejectReason::ClientGone), 2);
    end(running);
}

#[test]
fn places_go_round_while_clients_come_and_leave_at_any_moment() {
    let mut random = Random::seeded();
    let backend = Counted::new(b'a');
    let running = app::start(&parsed(&settings(&[(&backend, Some(3))]))).unwrap();
    becomes_active(&running, "db-a");
    let mut clients = Vec::new();
    for number in 0..2000 {
        clients.push(come(at(&running, 0), number));
        if clients.len() > 40 {
            let leaves = clients.swap_remove(random.between(0, clients.len()));
            if random.between(0, 2) == 0 {
                crate::support::echo::reset(leaves);
            }
        }
    }
    serve_and_leave(clients, &mut random);
    until("every session is over", || (running.series[0].backends[0].connections_active.get() == 0).then_some(()));
    assert_eq!((held(&running), rejects(&running)), (0, rejected(&running, RejectReason::ClientGone)));
    let mut last: Vec<_> = (0..3).map(|number| come(at(&running, 0), number)).collect();
    for client in &mut last {
        assert_eq!(ask(client).unwrap(), b'a', "a place was lost");
    }
    assert_eq!(backend.book(|book| book.most), 3);
    end(running);
}

#[test]
fn when_the_backend_dies_those_who_wait_go_to_the_next_under_its_own_limit() {
    let [a, b] = [b'a', b'b'].map(Counted::new);
    let running = app::start(&parsed(&settings(&[(&a, Some(2)), (&b, Some(7))]))).unwrap();
    becomes_active(&running, "db-a");
    let mut sessions: Vec<_> = (0..2).map(|number| come(at(&running, 0), number)).collect();
    for client in &mut sessions {
        assert_eq!(ask(client).unwrap(), b'a');
    }
    let clients: Vec<_> = (2..102).map(|number| come(at(&running, 0), number)).collect();
    until_held(&running, 100);
    a.down();
    becomes_active(&running, "db-b");
    for client in &sessions {
        assert!(is_over(client));
    }
    serve_and_leave(clients, &mut Random::seeded());
    assert_eq!(a.book(|book| book.most), 2);
    assert!(b.book(|book| book.most) <= 7);
    assert_eq!((a.accepted(), b.accepted(), rejects(&running)), (2, 100, 0));
    // The first one is back, and no place there was lost.
    a.up();
    b.down();
    becomes_active(&running, "db-a");
    let clients: Vec<_> = (0..20).map(|number| come(at(&running, 0), number)).collect();
    serve_and_leave(clients, &mut Random::seeded());
    assert_eq!((a.book(|book| book.most), a.accepted(), rejects(&running)), (2, 22, 0));
    end(running);
}

#[test]
fn a_reload_changes_the_limit_at_once_and_closes_nothing() {
    let backend = Counted::new(b'a');
    let running = app::start(&parsed(&settings(&[(&backend, None)]))).unwrap();
    becomes_active(&running, "db-a");
    let mut sessions: Vec<_> = (0..4).map(|number| come(at(&running, 0), number)).collect();
    for client in &mut sessions {
        assert_eq!(ask(client).unwrap(), b'a');
    }
    let limit = |limit: Option<u32>| {
        let changes = running.reloader().reload(&parsed(&settings(&[(&backend, limit)]))).unwrap();
        assert_eq!((changes.backends_added, changes.backends_removed), (vec![], vec![]), "it is the same backend");
        let limit = i64::from(limit.unwrap_or(0));
        until("control has it", || (running.series[0].backends[0].connections_limit.get() == limit).then_some(()));
    };
    // Those that came while there was no limit count.
    limit(Some(3));
    let mut waits = come(at(&running, 0), 4);
    until_held(&running, 1);
    drop(sessions.pop());
    until("three are left", || (running.series[0].backends[0].connections_active.get() == 3).then_some(()));
    assert_eq!((held(&running), backend.accepted()), (1, 4), "there were four, and there may be three");
    limit(Some(4));
    assert_eq!(ask(&mut waits).unwrap(), b'a', "the limit was raised");
    sessions.push(waits);
    let more: Vec<_> = (5..50).map(|number| come(at(&running, 0), number)).collect();
    until_held(&running, 45);
    limit(Some(1));
    sessions.drain(..3);
    until("one is left", || (running.series[0].backends[0].connections_active.get() == 1).then_some(()));
    assert_eq!((held(&running), backend.accepted()), (45, 5));
    limit(None);
    serve_and_leave(more, &mut Random::seeded());
    sessions[0].write_all(b"?").unwrap();
    assert_eq!(ask(&mut sessions[0]).unwrap(), b'a', "a reload closes no session");
    assert_eq!((rejects(&running), active(&running).as_deref()), (0, Some("db-a")));
    end(running);
}

#[test]
fn a_client_waits_for_a_place_no_longer_than_its_hold() {
    let backend = Counted::new(b'a');
    let mut file = settings(&[(&backend, Some(1))]);
    file["pools"][0]["hold"]["timeout"] = json!("400ms");
    let running = app::start(&parsed(&file)).unwrap();
    becomes_active(&running, "db-a");
    let mut first = come(at(&running, 0), 0);
    assert_eq!(ask(&mut first).unwrap(), b'a');
    let begun = Instant::now();
    let waits = client(at(&running, 0));
    assert!(is_over(&waits));
    assert!(begun.elapsed() >= Duration::from_millis(390), "refused after {:?}", begun.elapsed());
    assert_eq!((rejected(&running, RejectReason::QueueTimeout), rejects(&running), held(&running)), (1, 1, 0));
    // Without any backend it is the hold again.
    backend.down();
    until("nobody is active", || active(&running).is_none().then_some(()));
    assert!(is_over(&client(at(&running, 0))));
    assert_eq!(rejected(&running, RejectReason::HoldTimeout), 1);
    end(running);
}

/// What a server says to a client that it refuses.
fn refusal(mut client: TcpStream) -> String {
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).replace('\0', " ")
}

#[test]
fn a_postgres_client_without_a_place_is_told_in_the_servers_words_and_a_request_to_cancel_needs_none() {
    let server = Postgres::primary(&[]);
    for max in [0, 10] {
        let mut file = crate::support::process::settings(&[([127, 0, 0, 1], server.port).into()]);
        file["pools"][0]["check"] = json!({"postgres": {}, "interval": "200ms", "fast_interval": "50ms"});
        file["pools"][0]["hold"] = json!({"timeout": "1h", "max": max});
        file["pools"][0]["backends"] =
            json!([{"name": "db-a", "address": format!("127.0.0.1:{}", server.port), "max_connections": 1}]);
        let process = Process::start(&file).serving();
        let at = process.address;
        let text = format!("host=127.0.0.1 port={} user=postgres dbname=postgres sslmode=disable", at.port());
        let mut sleeper = binaries()
            .command("psql")
            .args(["-XAtw", "-c", "SELECT pg_sleep(600)", &text])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql is part of the PostgreSQL client");
        let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        until("it sleeps", || (server.sql(sleeping) == "1").then_some(()));
        let waits = (max > 0).then(|| {
            let mut waits = client(at);
            waits.write_all(&startup()).unwrap();
            until("it waits", || (process.metric("mainstay_connections_queued", &[]) == 1).then_some(()));
            waits
        });
        if max == 0 {
            let mut refused = client(at);
            refused.write_all(&startup()).unwrap();
            let said = refusal(refused);
            assert!(said.contains("C53300 Mmainstay: too many connections (db-a is at its max_connections, 1)"), "{said}");
            assert_eq!(process.metric("mainstay_connections_rejected_total", &[("reason", "queue_full")]), 1);
        }
        assert_eq!(process.status()["pools"][0]["backends"][0]["limit"], 1);
        rustix::process::kill_process(rustix::process::Pid::from_child(&sleeper), rustix::process::Signal::INT).unwrap();
        ended(&mut sleeper);
        let said = String::from_utf8_lossy(&output(sleeper).stderr).into_owned();
        assert!(said.contains("canceling statement due to user request"), "hold.max {max}: {said}");
        if let Some(mut waits) = waits {
            assert!(matches!(waits.read(&mut [0; 1]), Ok(1)), "it gets the place that is free now");
        }
    }
}

#[test]
fn a_limit_that_no_client_reaches_changes_nothing() {
    let backend = Counted::new(b'a');
    let mut config = parsed(&settings(&[(&backend, Some(50))]));
    config.pools[0].hold.max = 0;
    let running = app::start(&config).unwrap();
    becomes_active(&running, "db-a");
    let clients: Vec<_> = (0..50).map(|number| come(at(&running, 0), number)).collect();
    serve_and_leave(clients, &mut Random::seeded());
    assert_eq!((rejects(&running), backend.accepted()), (0, 50));
    assert!(
        config.pools[0].hold.timeout == LONG && !matches!(config.pools[0].check.kind, CheckKind::Postgres(PostgresCheck { .. }))
    );
    end(running);
}
