//! `connect_ramp`: how fast the clients that waited go to a backend that has just become active.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use mainstay::{
    app::{self, Running},
    route::Verb,
};
use serde_json::{Value, json};

use super::{Counted, active, ask, at, becomes_active, come, held, parsed, rejects, serve_and_leave, settings, until_held};
use crate::support::{
    front::end,
    random::Random,
    wait::{Watch, patience, until, within},
};

const BURST: u32 = 100;
const RATE: u32 = 500;

fn ramped(backends: &[&Counted]) -> Value {
    let backends: Vec<_> = backends.iter().map(|backend| (*backend, None)).collect();
    let mut file = settings(&backends);
    file["pools"][0]["connect_ramp"] = json!({"per_second": RATE, "burst": BURST});
    file
}

/// One that has been active, and is down now.
fn without_backend(file: &Value, backend: &Counted) -> Running {
    let running = app::start(&parsed(file)).unwrap();
    becomes_active(&running, "db-a");
    backend.down();
    until("nobody is active", || active(&running).is_none().then_some(()));
    running
}

fn crowd(running: &Running, numbers: std::ops::Range<u32>) -> Vec<TcpStream> {
    numbers.map(|number| come(at(running, number as usize % running.listeners[0].len()), number)).collect()
}

/// The time in which the ramp lets so many pass.
fn ramp(clients: usize) -> Duration {
    Duration::from_secs(1) * u32::try_from(clients).unwrap().saturating_sub(BURST) / RATE
}

/// A token is taken before the connect that it is for, so no connect may be earlier than the ramp, which began after `begin`, says.
fn assert_ramp(accepts: &[Instant], begin: Instant) {
    for (number, at) in accepts.iter().enumerate() {
        let after = *at - begin;
        assert!(after >= ramp(number + 1).saturating_sub(Duration::from_micros(10)), "number {number} came after {after:?}");
    }
}

#[test]
fn a_thousand_clients_that_waited_go_as_the_ramp_says_and_in_order() {
    for workers in [1, 2, 3] {
        let backend = Counted::new(b'a');
        let mut file = ramped(&[&backend]);
        file["workers"] = json!(workers);
        let running = without_backend(&file, &backend);
        let mut clients = crowd(&running, 0..1000);
        until_held(&running, 1000);
        let (begin, watch) = (Instant::now(), Watch::start());
        backend.up();
        within(ramp(1000) + patience(), "all are served", || (backend.accepted() == 1000).then_some(()));
        // A second for the check.
        assert!(watch.unhindered() <= ramp(1000) + Duration::from_secs(1), "the last one was served after {:?}", watch.elapsed());
        assert_ramp(&backend.book(super::Book::accepts), begin);
        for client in &mut clients {
            assert_eq!(ask(client).unwrap(), b'a');
        }
        if workers == 1 {
            let order: Vec<_> = backend.book(super::Book::numbers);
            assert_eq!(order, (0..1000).collect::<Vec<_>>());
        }
        assert_eq!((held(&running), rejects(&running)), (0, 0));
        end(running);
    }
}

#[test]
fn newcomers_go_behind_those_who_wait_and_after_the_ramp_nobody_waits() {
    let backend = Counted::new(b'a');
    let mut file = ramped(&[&backend]);
    file["workers"] = json!(1);
    let running = without_backend(&file, &backend);
    let mut clients = crowd(&running, 0..300);
    until_held(&running, 300);
    let begin = Instant::now();
    backend.up();
    until("the burst is served", || (backend.accepted() >= 100).then_some(()));
    clients.extend(crowd(&running, 300..400));
    within(ramp(400) + patience(), "all are served", || (backend.accepted() == 400).then_some(()));
    assert_ramp(&backend.book(super::Book::accepts), begin);
    for client in &mut clients {
        assert_eq!(ask(client).unwrap(), b'a');
    }
    let order: Vec<_> = backend.book(super::Book::numbers);
    assert_eq!(order, (0..400).collect::<Vec<_>>());
    // The bucket is full after this time, and the next client ends the ramp.
    let full = backend.book(|book| *book.accepts().last().unwrap()) + Duration::from_secs(1) * BURST / RATE;
    until("the bucket is full", || (Instant::now() > full).then_some(()));
    let waited = running.series[0].pool.hold_duration.get_sample_count();
    let clients = crowd(&running, 400..900);
    serve_and_leave(clients, &mut Random::seeded());
    assert_eq!(running.series[0].pool.hold_duration.get_sample_count(), waited, "somebody waited after the ramp");
    end(running);
}

#[test]
fn who_waits_only_for_the_ramp_outlasts_its_hold() {
    let backend = Counted::new(b'a');
    let mut file = ramped(&[&backend]);
    file["pools"][0]["connect_ramp"] = json!({"per_second": 100, "burst": 10});
    file["pools"][0]["hold"]["timeout"] = json!("5s");
    let running = without_backend(&file, &backend);
    let mut clients = crowd(&running, 0..810);
    until_held(&running, 810);
    let begin = Instant::now();
    backend.up();
    within(Duration::from_secs(8) + patience(), "all are served", || {
        assert_eq!(rejects(&running), 0);
        (backend.accepted() == 810).then_some(())
    });
    assert!(begin.elapsed() >= Duration::from_secs(8), "{:?}", begin.elapsed());
    for client in &mut clients {
        assert_eq!(ask(client).unwrap(), b'a');
    }
    assert_eq!(rejects(&running), 0);
    end(running);
}

#[test]
fn a_failover_in_the_middle_begins_a_new_ramp_for_those_who_still_wait() {
    let [a, b] = [b'a', b'b'].map(Counted::new);
    b.down();
    let mut file = ramped(&[&a, &b]);
    file["workers"] = json!(1);
    let running = without_backend(&file, &a);
    let clients = crowd(&running, 0..1000);
    until_held(&running, 1000);
    let begin = Instant::now();
    a.up();
    until("some are served", || (a.accepted() >= 200).then_some(()));
    let again = Instant::now();
    b.up();
    a.down();
    becomes_active(&running, "db-b");
    let first = a.accepted();
    within(ramp(1000) + patience(), "all are served", || (a.accepted() + b.accepted() >= 1000).then_some(()));
    until_held(&running, 0);
    assert_ramp(&a.book(super::Book::accepts), begin);
    assert_ramp(&b.book(super::Book::accepts), again);
    let order: Vec<_> = b.book(super::Book::numbers);
    assert!(order.is_sorted(), "{order:?}");
    assert!(first < 1000 && rejects(&running) == 0, "{first}");
    drop(clients);
    end(running);
}

#[test]
fn a_pause_in_the_middle_stops_the_ramp_and_resume_goes_on() {
    let backend = Counted::new(b'a');
    let running = without_backend(&ramped(&[&backend]), &backend);
    let order = |verb| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(running.orders[0].give(verb, ("uid 7 (ann)".into(), "".into()), false, patience())).unwrap()
    };
    let mut clients = crowd(&running, 0..1000);
    until_held(&running, 1000);
    let begin = Instant::now();
    backend.up();
    until("some are served", || (backend.accepted() >= 200).then_some(()));
    order(Verb::Pause { max: super::LONG });
    // A dial that has begun may still arrive; nobody else does.
    let paused = crate::support::wait::stands_still("accepts", Duration::from_millis(300), || backend.accepted() as u64);
    assert!(paused < 1000 && held(&running) >= 1000 - paused, "{paused} were served");
    order(Verb::Resume);
    within(ramp(1000) + patience(), "all are served", || (backend.accepted() >= 1000).then_some(()));
    assert_ramp(&backend.book(super::Book::accepts), begin);
    for client in &mut clients {
        assert_eq!(ask(client).unwrap(), b'a');
    }
    assert_eq!(rejects(&running), 0);
    end(running);
}

#[test]
fn neither_the_first_activation_nor_a_pause_begins_a_ramp() {
    let backend = Counted::new(b'a');
    backend.down();
    let mut file = ramped(&[&backend]);
    file["pools"][0]["connect_ramp"] = json!({"per_second": 1, "burst": 1});
    let running = app::start(&parsed(&file)).unwrap();
    let order = |verb| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(running.orders[0].give(verb, ("uid 7 (ann)".into(), "".into()), false, patience())).unwrap()
    };
    let clients = crowd(&running, 0..200);
    until_held(&running, 200);
    backend.up();
    serve_and_leave(clients, &mut Random::seeded());
    order(Verb::Pause { max: super::LONG });
    let clients = crowd(&running, 0..200);
    until_held(&running, 200);
    order(Verb::Resume);
    serve_and_leave(clients, &mut Random::seeded());
    assert_eq!(backend.accepted(), 400);
    end(running);
}

#[test]
fn an_activation_while_nobody_waits_begins_none_and_a_reload_ends_one() {
    let backend = Counted::new(b'a');
    let mut file = ramped(&[&backend]);
    file["pools"][0]["connect_ramp"] = json!({"per_second": 1, "burst": 1});
    let running = without_backend(&file, &backend);
    backend.up();
    becomes_active(&running, "db-a");
    serve_and_leave(crowd(&running, 0..100), &mut Random::seeded());
    backend.down();
    until("nobody is active", || active(&running).is_none().then_some(()));
    let clients = crowd(&running, 0..100);
    until_held(&running, 100);
    backend.up();
    until("the first is served", || (backend.accepted() == 101).then_some(()));
    file["pools"][0]["connect_ramp"]["per_second"] = json!("off");
    running.reloader().reload(&parsed(&file)).unwrap();
    serve_and_leave(clients, &mut Random::seeded());
    assert_eq!((backend.accepted(), rejects(&running)), (200, 0));
    end(running);
}

#[test]
fn a_ramp_and_a_limit_together() {
    let backend = Counted::new(b'a');
    let mut file = settings(&[(&backend, Some(20))]);
    file["pools"][0]["connect_ramp"] = json!({"per_second": RATE, "burst": BURST});
    let running = without_backend(&file, &backend);
    let clients = crowd(&running, 0..500);
    until_held(&running, 500);
    let begin = Instant::now();
    backend.up();
    serve_and_leave(clients, &mut Random::seeded());
    assert_ramp(&backend.book(super::Book::accepts), begin);
    let (most, accepted) = backend.book(|book| (book.most, book.sessions.len()));
    assert!(most <= 20, "{most}");
    assert_eq!((accepted, rejects(&running)), (500, 0));
    end(running);
}

#[test]
fn readers_that_fall_back_to_the_new_primary_are_on_its_ramp_too() {
    let backend = Counted::new(b'a');
    let mut file = ramped(&[&backend]);
    let mut reader = file["pools"][0]["listeners"][0].clone();
    (reader["name"], reader["route"]) = (json!("ro"), json!("replica"));
    let mut any = reader.clone();
    (any["name"], any["route"]) = (json!("any"), json!("any"));
    file["pools"][0]["listeners"].as_array_mut().unwrap().extend([reader, any]);
    let running = without_backend(&file, &backend);
    let mut clients = crowd(&running, 0..700);
    until_held(&running, 700);
    let begin = Instant::now();
    backend.up();
    within(ramp(700) + patience(), "all are served", || (backend.accepted() == 700).then_some(()));
    assert_ramp(&backend.book(super::Book::accepts), begin);
    for client in &mut clients {
        assert_eq!(ask(client).unwrap(), b'a');
    }
    end(running);
}
