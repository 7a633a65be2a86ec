//! Limits hold in a burst: whoever is too many is so before it reaches a backend, whenever its task has its turn.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use mainstay::{net::proxy_protocol::Version, reason::RejectReason};
use serde_json::{Value, json};

use super::{client_from, configured, header, is_served, rejected, settings};
use crate::support::{
    echo::Backend,
    front::Front,
    process::{Process, Signal},
    wait::until,
};

/// Clients that come while mainstay is frozen, so that all of them wait to be accepted when it thaws.
const BURST: u8 = 60;

/// An echo, and how many sessions have reached it.
fn counting() -> (Backend, Arc<AtomicUsize>) {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&reached);
    let backend = Backend::start(move |stream| {
        count.fetch_add(1, Ordering::SeqCst);
        let _ = std::io::copy(&mut &stream, &mut &stream);
    });
    (backend, reached)
}

/// How many of a burst are served. All stay until the last has been served or turned away.
fn served(process: &Process, come: impl Fn(u8) -> TcpStream) -> usize {
    process.freeze();
    let mut clients: Vec<_> = (0..BURST)
        .map(|number| {
            let mut client = come(number);
            client.write_all(b"?").unwrap();
            client
        })
        .collect();
    process.signal(Signal::CONT);
    clients.iter_mut().map(|client| client.read(&mut [0; 1])).filter(|read| matches!(read, Ok(1))).count()
}

/// Serves until a burst met this listener's limit.
#[track_caller]
fn assert_limit(keys: &Value, limit: usize, come: impl Fn(u8, SocketAddr) -> TcpStream) {
    let (backend, reached) = counting();
    let process = Process::start(&settings(keys, &[backend.address])).serving();
    for round in 1..=3 {
        let before = reached.load(Ordering::SeqCst);
        let served = served(&process, |number| come(number, process.address));
        let reached = reached.load(Ordering::SeqCst) - before;
        assert_eq!((served, reached), (limit, limit), "round {round}: served, and at the backend");
        until("all have left", || (process.metric("mainstay_connections_active", &[]) == 0).then_some(()));
    }
}

#[test]
fn max_connections_holds_in_a_burst() {
    assert_limit(&json!({"max_connections": 10}), 10, |_, address| client_from([127, 0, 0, 2], address));
}

#[test]
fn max_connections_per_ip_holds_in_a_burst() {
    assert_limit(&json!({"max_connections_per_ip": 10}), 20, |number, address| client_from([127, 0, 0, 2 + number % 2], address));
}

/// They are judged once a proxy in front has named them, each by its own task.
#[test]
fn limits_hold_in_a_burst_of_clients_of_a_proxy_in_front() {
    let come = |number: u8, address| {
        let mut client = client_from([127, 0, 0, 2], address);
        client.write_all(&header(Version::V2, &format!("192.0.2.{}", number % 2))).unwrap();
        client
    };
    let proxied = |mut keys: Value| {
        keys["proxy_protocol"] = json!({"accept_from": ["127.0.0.0/8"]});
        keys
    };
    assert_limit(&proxied(json!({"max_connections_per_ip": 10})), 20, come);
    assert_limit(&proxied(json!({"max_connections": 10})), 10, come);
}

#[test]
fn those_who_came_before_a_reload_count_among_max_connections() {
    let (backend, reached) = counting();
    let limited = |limit: u32| configured(&json!({"max_connections": limit}), &[backend.address]);
    let front = Front::with(&configured(&json!({}), &[backend.address]));
    let mut sessions: Vec<_> = (0..4).map(|_| front.connect()).collect();
    assert!(sessions.iter_mut().all(is_served));
    front.reload(&limited(3)).unwrap();
    let count = || rejected(&front, RejectReason::MaxConnections);
    until("the new limit holds", || (!is_served(&mut front.connect())).then_some(()));
    sessions.truncate(3);
    until("one has left", || (front.series().listeners[0].active.get() == 3).then_some(()));
    let (turned_away, before) = (count(), reached.load(Ordering::SeqCst));
    assert!(!is_served(&mut front.connect()), "there are three already");
    assert_eq!((count(), reached.load(Ordering::SeqCst)), (turned_away + 1, before));
    sessions.truncate(2);
    until("there is a place", || is_served(&mut front.connect()).then_some(()));
    front.reload(&configured(&json!({}), &[backend.address])).unwrap();
    until("there is no limit any more", || {
        let mut more: Vec<_> = (0..4).map(|_| front.connect()).collect();
        more.iter_mut().all(is_served).then_some(())
    });
    assert!(sessions.iter_mut().all(is_served));
}

/// Of a pool that nobody serves: how many of a burst are held, and how many are turned away for this reason.
fn held(hold: &Value, reason: &str, come: impl Fn(u8, SocketAddr) -> TcpStream) -> (u64, u64) {
    let mut backend = Backend::echo();
    backend.stop();
    let keys = json!({"proxy_protocol": {"accept_from": ["127.0.0.9"]}});
    let mut settings = settings(&keys, &[backend.address]);
    settings["pools"][0]["hold"] = hold.clone();
    let process = Process::start(&settings);
    process.freeze();
    let clients: Vec<_> = (0..BURST).map(|number| come(number, process.address)).collect();
    process.signal(Signal::CONT);
    let count = || {
        let turned_away = process.metric("mainstay_connections_rejected_total", &[("reason", reason)]);
        (process.metric("mainstay_connections_held", &[]), turned_away)
    };
    let all = until("each is held or turned away", || Some(count()).filter(|(held, not)| held + not == u64::from(BURST)));
    drop(clients);
    until("all have left", || (count().0 == 0).then_some(()));
    all
}

#[test]
fn the_places_of_the_hold_are_bounded_in_a_burst() {
    let come = |number: u8, address| client_from([127, 0, 1, number], address);
    assert_eq!(held(&json!({"timeout": "1m", "max": 10}), "hold_full", come), (10, 50));
}

#[test]
fn one_address_does_not_fill_the_hold() {
    let hold = |max_per_ip: u32| json!({"timeout": "1m", "max": 24, "max_per_ip": max_per_ip});
    let one = |_, address| client_from([127, 0, 0, 2], address);
    assert_eq!(held(&hold(7), "hold_full_per_ip", one), (12, 48), "half of the places are there for the others");
    assert_eq!(held(&hold(15), "hold_full_per_ip", one), (15, 45), "so many may be one address's");
    assert_eq!(held(&json!({"timeout": "1m", "max": 40}), "hold_full_per_ip", one), (20, 40), "a tenth, if nothing is said");
    assert_eq!(held(&json!({"timeout": "1m", "max": 200}), "hold_full_per_ip", one), (60, 0), "half of the places are free");
    // For whom a proxy in front speaks counts by himself.
    let come = |number: u8, address| {
        let mut client = client_from([127, 0, 0, 9], address);
        client.write_all(&header(Version::V2, &format!("192.0.2.{number}"))).unwrap();
        client
    };
    assert_eq!(held(&hold(1), "hold_full", come), (24, 36));
}
