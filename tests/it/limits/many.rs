//! Many clients at once, on one worker and on several.

use std::time::Duration;

use mainstay::app;
use serde_json::json;

use super::{Counted, ask, at, becomes_active, come, held, parsed, rejects, serve_and_leave, settings, until_held};
use crate::support::{front::end, random::Random, wait::until};

const CLIENTS: u32 = 500;

fn holds(workers: u32, limit: u32) {
    let mut random = Random::seeded();
    let backend = Counted::new(b'a');
    let mut file = settings(&[(&backend, Some(limit))]);
    file["workers"] = json!(workers);
    let running = app::start(&parsed(&file)).unwrap();
    becomes_active(&running, "db-a");
    for _ in 0..2 {
        let before = backend.accepted();
        let clients: Vec<_> = (0..CLIENTS).map(|number| come(at(&running, 0), number)).collect();
        serve_and_leave(clients, &mut random);
        until("every session is over", || (running.series[0].backends[0].connections_active.get() == 0).then_some(()));
        assert_eq!((backend.accepted() - before, held(&running), rejects(&running)), (CLIENTS as usize, 0, 0));
    }
    // No place was lost.
    let mut last: Vec<_> = (0..limit).map(|number| come(at(&running, 0), number)).collect();
    for client in &mut last {
        assert_eq!(ask(client).unwrap(), b'a');
    }
    let most = backend.book(|book| book.most);
    assert_eq!(most, limit as usize, "the most sessions at once, {workers} workers");
    let one_more = come(at(&running, 0), 0);
    until_held(&running, 1);
    assert_eq!(running.series[0].pool.queued.get(), 1);
    drop((one_more, last));
    end(running);
}

#[test]
fn one_place_on_one_worker() {
    holds(1, 1);
}

#[test]
fn one_place_on_two_workers() {
    holds(2, 1);
}

#[test]
fn one_place_on_three_workers() {
    holds(3, 1);
}

#[test]
fn five_places_on_one_worker() {
    holds(1, 5);
}

#[test]
fn five_places_on_two_workers() {
    holds(2, 5);
}

#[test]
fn five_places_on_three_workers() {
    holds(3, 5);
}

#[test]
fn a_hundred_places_on_one_worker() {
    holds(1, 100);
}

#[test]
fn a_hundred_places_on_two_workers() {
    holds(2, 100);
}

#[test]
fn a_hundred_places_on_three_workers() {
    holds(3, 100);
}

#[test]
fn clients_get_the_places_in_the_order_they_came() {
    for (workers, limit) in [(1, 1), (2, 1), (1, 5)] {
        let backend = Counted::new(b'a');
        let mut file = settings(&[(&backend, Some(limit))]);
        file["workers"] = json!(workers);
        let running = app::start(&parsed(&file)).unwrap();
        becomes_active(&running, "db-a");
        let first: Vec<_> = (0..limit).map(|number| come(at(&running, 0), number)).collect();
        until("they have the places", || (backend.accepted() == limit as usize).then_some(()));
        let mut clients = Vec::new();
        for number in limit..200 {
            clients.push(come(at(&running, 0), number));
            until_held(&running, u64::from(number - limit + 1));
        }
        drop(first);
        serve_and_leave(clients, &mut Random::seeded());
        let order: Vec<u32> = backend.book(super::Book::numbers);
        assert_eq!(order[limit as usize..], (limit..200).collect::<Vec<_>>(), "{workers} workers, {limit} places");
        assert_eq!(backend.book(|book| book.most), limit as usize);
        end(running);
    }
}

#[test]
fn newcomers_never_overtake_those_who_wait() {
    let backend = Counted::new(b'a');
    let mut file = settings(&[(&backend, Some(2))]);
    file["workers"] = json!(1);
    let running = app::start(&parsed(&file)).unwrap();
    becomes_active(&running, "db-a");
    // Each comes while others wait and places become free.
    let mut clients: Vec<_> = (0..10).map(|number| come(at(&running, 0), number)).collect();
    for number in 10..300 {
        let mut first = clients.remove(0);
        assert_eq!(ask(&mut first).unwrap(), b'a', "{number}");
        drop(first);
        clients.push(come(at(&running, 0), number));
    }
    serve_and_leave(clients, &mut Random::seeded());
    let order: Vec<u32> = backend.book(super::Book::numbers);
    assert_eq!(order, (0..300).collect::<Vec<_>>());
    end(running);
}

#[test]
fn a_session_that_is_never_used_counts_and_one_that_idles_out_does_not() {
    let backend = Counted::new(b'a');
    let mut file = settings(&[(&backend, Some(1))]);
    file["pools"][0]["listeners"][0]["idle_timeout"] = json!("1s");
    let running = app::start(&parsed(&file)).unwrap();
    becomes_active(&running, "db-a");
    let silent = crate::support::front::client(at(&running, 0));
    until("it has the place", || (running.series[0].backends[0].connections_active.get() == 1).then_some(()));
    let begun = std::time::Instant::now();
    let mut next = come(at(&running, 0), 1);
    assert_eq!(ask(&mut next).unwrap(), b'a');
    assert!(begun.elapsed() > Duration::from_millis(800), "the place was free after {:?}", begun.elapsed());
    drop(silent);
    end(running);
}
