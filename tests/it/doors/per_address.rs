//! `max_connections_per_ip`.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use mainstay::{
    app,
    config::{CheckKind, Config, HoldConfig, PostgresCheck},
    net::proxy_protocol::Version,
    reason::RejectReason,
};
use serde_json::json;

use super::{assert_denied, client_from, configured, header, is_served, rejected};
use crate::support::{
    echo::{Backend, reset},
    front::{Front, end},
    wait::until,
};

fn limited(limit: u32, backends: &[SocketAddr]) -> Config {
    configured(&json!({"max_connections_per_ip": limit}), backends)
}

/// A session of this address; waits until there is a place for it.
fn comes_in(address: [u8; 4], to: SocketAddr) -> TcpStream {
    until("there is a place", || {
        let mut client = client_from(address, to);
        is_served(&mut client).then_some(client)
    })
}

#[test]
fn one_address_has_its_limit_and_another_has_its_own() {
    let backend = Backend::echo();
    let front = Front::with(&limited(2, &[backend.address]));
    let mut sessions = [client_from([127, 0, 0, 2], front.address()), client_from([127, 0, 0, 2], front.address())];
    assert!(sessions.iter_mut().all(is_served));
    assert_denied([127, 0, 0, 2], front.address());
    assert_eq!(rejected(&front, RejectReason::MaxConnectionsPerIp), 1);
    assert!(is_served(&mut client_from([127, 0, 0, 3], front.address())));
    assert!(sessions.iter_mut().all(is_served));
    let [first, second] = sessions;
    drop(first);
    let _third = comes_in([127, 0, 0, 2], front.address());
    drop(second);
}

/// A pool of `PostgreSQL` servers of which none serves.
fn nobody_serves(keys: &serde_json::Value) -> Config {
    let mut backend = Backend::echo();
    backend.stop();
    let mut config = configured(keys, &[backend.address]);
    config.pools[0].check.kind = CheckKind::Postgres(PostgresCheck::default());
    config.pools[0].hold = HoldConfig { timeout: Duration::from_mins(1), max: 100, max_per_ip: 100 };
    config
}

/// The `ErrorResponse` that a client which starts up gets.
fn refusal(client: &mut TcpStream) -> String {
    client.write_all(b"\x00\x00\x00\x12\x00\x03\x00\x00user\0app\0\0").unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("the refusal ends in FIN, after the whole message");
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn held_clients_count_and_the_refusal_is_in_the_clients_own_protocol() {
    let running = app::start(&nobody_serves(&json!({"max_connections_per_ip": 2}))).unwrap();
    let address = running.listeners[0][0][0];
    let held = &running.series[0].pool.held;
    let waiting = [client_from([127, 0, 0, 2], address), client_from([127, 0, 0, 2], address)];
    until("both are held", || (held.get() == 2).then_some(()));
    let answer = refusal(&mut client_from([127, 0, 0, 2], address));
    assert!(answer.contains("C53300\0Mmainstay: too many connections from this address"), "{answer}");
    let other = client_from([127, 0, 0, 3], address);
    until("another address is held", || (held.get() == 3).then_some(()));
    let [gone, _stays] = waiting;
    drop(gone);
    until("it left", || (held.get() == 2).then_some(()));
    let _next = client_from([127, 0, 0, 2], address);
    until("its place is taken", || (held.get() == 3).then_some(()));
    assert_eq!(running.series[0].listeners[0].rejected.get(RejectReason::MaxConnectionsPerIp).get(), 1);
    drop(other);
    end(running);
}

#[test]
fn whoever_is_refused_for_another_reason_does_not_count() {
    let mut config = nobody_serves(&json!({"max_connections_per_ip": 2, "proxy_protocol": {"accept_from": ["127.0.0.9"]}}));
    config.pools[0].listeners[0].max_connections = Some(1);
    let running = app::start(&config).unwrap();
    let address = running.listeners[0][0][0];
    let first = client_from([127, 0, 0, 2], address);
    until("the first is held", || (running.series[0].pool.held.get() == 1).then_some(()));
    let rejected = |reason| running.series[0].listeners[0].rejected.get(reason).get();
    // They are told only once they have spoken, and are here until then.
    let mut refused = Vec::new();
    for number in 1..=4 {
        let proxied = number > 2;
        let mut client = client_from(if proxied { [127, 0, 0, 9] } else { [127, 0, 0, 2] }, address);
        if proxied {
            client.write_all(&header(Version::V1, "127.0.0.2")).unwrap();
        }
        until("it is refused", || (rejected(RejectReason::MaxConnections) == number).then_some(()));
        refused.push(client);
    }
    assert_eq!(rejected(RejectReason::MaxConnectionsPerIp), 0);
    drop((first, refused));
    end(running);
}

#[test]
fn no_place_is_lost_however_clients_come_and_go() {
    const LIMIT: usize = 8;
    let backend = Backend::echo();
    let front = Front::with(&limited(8, &[backend.address]));
    let address = front.address();
    let crowd: Vec<_> = (0..4)
        .map(|number| {
            thread::spawn(move || {
                for round in 0..100 {
                    let mut client = client_from([127, 0, 0, 2], address);
                    match (number + round) % 4 {
                        0 => drop(client),
                        1 => reset(client),
                        2 => {
                            let _ = client.write_all(b"half a query");
                            reset(client);
                        }
                        _ => drop(is_served(&mut client)),
                    }
                }
            })
        })
        .collect();
    for thread in crowd {
        thread.join().unwrap();
    }
    let _all: Vec<_> = (0..LIMIT).map(|_| comes_in([127, 0, 0, 2], address)).collect();
    let before = rejected(&front, RejectReason::MaxConnectionsPerIp);
    assert_denied([127, 0, 0, 2], address);
    assert_eq!(rejected(&front, RejectReason::MaxConnectionsPerIp), before + 1, "there are more places than there should be");
}

#[test]
fn those_who_came_before_a_reload_still_count() {
    let backend = Backend::echo();
    let front = Front::with(&limited(3, &[backend.address]));
    let mut sessions: Vec<_> = (0..2).map(|_| comes_in([127, 0, 0, 2], front.address())).collect();
    front.reload(&limited(1, &[backend.address])).unwrap();
    // A client of another address is let in by the old settings and the new: it takes its time to see which.
    until("the new limit holds", || {
        let [mut first, mut second] = [(); 2].map(|()| client_from([127, 0, 0, 3], front.address()));
        (is_served(&mut first) && !is_served(&mut second)).then_some(())
    });
    assert_denied([127, 0, 0, 2], front.address());
    sessions.truncate(1);
    until("one has left", || (front.backend().connections_active.get() <= 1).then_some(()));
    assert_denied([127, 0, 0, 2], front.address());
    assert!(is_served(&mut sessions[0]));
    sessions.clear();
    drop(comes_in([127, 0, 0, 2], front.address()));
}

#[test]
fn clients_of_a_proxy_in_front_are_counted_one_by_one() {
    let running = app::start(&nobody_serves(&json!({
        "max_connections_per_ip": 1, "proxy_protocol": {"accept_from": ["127.0.0.0/8"]},
    })))
    .unwrap();
    let address = running.listeners[0][0][0];
    let held = &running.series[0].pool.held;
    let come = |client: &str| {
        let mut stream = client_from([127, 0, 0, 2], address);
        stream.write_all(&header(Version::V2, client)).unwrap();
        stream
    };
    let first = come("192.0.2.1");
    until("the first is held", || (held.get() == 1).then_some(()));
    let _second = come("192.0.2.2");
    until("another client of the same proxy is held", || (held.get() == 2).then_some(()));
    let answer = refusal(&mut come("::ffff:192.0.2.1"));
    assert!(answer.contains("C53300\0Mmainstay: too many connections from this address"), "{answer}");
    drop(first);
    until("the first has left", || (held.get() == 1).then_some(()));
    let _again = come("192.0.2.1");
    until("it has come again", || (held.get() == 2).then_some(()));
    end(running);
}
