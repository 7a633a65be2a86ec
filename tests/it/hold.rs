//! Clients that wait, and clients that are turned away in words they understand.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use mainstay::{
    app::{self},
    config::{CheckKind, Config, HoldConfig, PostgresCheck},
    reason::RejectReason,
};

use crate::support::{
    config::tcp_pool,
    echo::Backend,
    front::{connect, end},
    wait::until,
};

fn closed_port() -> SocketAddr {
    let mut backend = Backend::echo();
    backend.stop();
    backend.address
}

fn postgres_pool(hold: HoldConfig) -> Config {
    let mut config = tcp_pool(&[closed_port()]);
    config.pools[0].check.kind = CheckKind::Postgres(PostgresCheck::default());
    config.pools[0].hold = hold;
    config
}

fn startup() -> Vec<u8> {
    let body = b"\x00\x03\x00\x00user\0app\0database\0orders\0\0";
    let mut packet = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
    packet.extend_from_slice(body);
    packet
}

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// The SQLSTATE of the `ErrorResponse` that the server ends the connection with.
fn sqlstate(mut client: TcpStream) -> String {
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("the refusal must end in FIN, after the whole message");
    assert_eq!(answer.first(), Some(&b'E'), "no ErrorResponse: {answer:?}");
    let text = String::from_utf8_lossy(&answer[5..]).into_owned();
    text.split('\0').find_map(|field| field.strip_prefix('C')).unwrap().to_owned()
}

#[test]
fn nobody_serves_within_the_hold_and_postgres_clients_are_told_so() {
    let running = app::start(&postgres_pool(HoldConfig { timeout: Duration::from_millis(300), max: 10 })).unwrap();
    let started = Instant::now();
    let mut client = connect(&running);
    client.write_all(&SSL_REQUEST).unwrap();
    let mut answer = [0; 1];
    client.read_exact(&mut answer).unwrap();
    assert!(started.elapsed() >= Duration::from_millis(290), "refused before the hold was over");
    assert_eq!(&answer, b"N");
    client.write_all(&startup()).unwrap();
    assert_eq!(sqlstate(client), "57P03");
    assert_eq!(running.series[0].listeners[0].rejected.get(RejectReason::HoldTimeout).get(), 1);
    assert_eq!(running.series[0].pool.held.get(), 0);
    end(running);
}

#[test]
fn one_too_many_waiting_is_refused_at_once() {
    let running = app::start(&postgres_pool(HoldConfig { timeout: Duration::from_mins(1), max: 1 })).unwrap();
    let first = connect(&running);
    until("the first is held", || (running.series[0].pool.held.get() == 1).then_some(()));
    let mut second = connect(&running);
    second.write_all(&startup()).unwrap();
    assert_eq!(sqlstate(second), "57P03");
    assert_eq!(running.series[0].listeners[0].rejected.get(RejectReason::HoldFull).get(), 1);
    drop(first);
    end(running);
}

#[test]
fn holding_can_be_turned_off() {
    let running = app::start(&postgres_pool(HoldConfig { timeout: Duration::from_mins(1), max: 0 })).unwrap();
    let mut client = connect(&running);
    client.write_all(&startup()).unwrap();
    assert_eq!(sqlstate(client), "57P03");
    end(running);
}

#[test]
fn too_many_connections_are_refused_with_the_state_poolers_know() {
    let mut config = postgres_pool(HoldConfig { timeout: Duration::from_mins(1), max: 10 });
    config.pools[0].listeners[0].max_connections = Some(1);
    let running = app::start(&config).unwrap();
    let _first = connect(&running);
    until("the first is held", || (running.series[0].pool.held.get() == 1).then_some(()));
    let mut second = connect(&running);
    second.write_all(&startup()).unwrap();
    assert_eq!(sqlstate(second), "53300");
    assert_eq!(running.series[0].listeners[0].rejected.get(RejectReason::MaxConnections).get(), 1);
    end(running);
}

#[test]
fn garbage_instead_of_a_startup_is_cut_off_without_a_word() {
    let running = app::start(&postgres_pool(HoldConfig { timeout: Duration::from_mins(1), max: 0 })).unwrap();
    let mut client = connect(&running);
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    end(running);
}

#[test]
fn a_pool_whose_protocol_is_not_known_refuses_with_a_reset() {
    let mut config = tcp_pool(&[closed_port()]);
    config.pools[0].hold = HoldConfig { timeout: Duration::from_mins(1), max: 0 };
    let running = app::start(&config).unwrap();
    let mut client = connect(&running);
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    end(running);
}

#[test]
fn clients_that_waited_are_served_in_the_order_they_came_at_a_bounded_rate() {
    const CLIENTS: u32 = 200;
    let address = closed_port();
    let running = app::start(&tcp_pool(&[address])).unwrap();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = connect(&running);
        client.write_all(&number.to_be_bytes()).unwrap();
        until("it is held", || (running.series[0].pool.held.get() == i64::from(number) + 1).then_some(()));
        clients.push(client);
    }
    let arrivals: Arc<Mutex<Vec<(Instant, u32)>>> = Arc::default();
    let book = Arc::clone(&arrivals);
    let _backend = Backend::start_at(address, move |mut stream| {
        let at = Instant::now();
        let mut number = [0; 4];
        if stream.read_exact(&mut number).is_ok() {
            book.lock().unwrap().push((at, u32::from_be_bytes(number)));
            let _ = stream.read(&mut number);
        }
    });
    until("all are served", || (arrivals.lock().unwrap().len() == CLIENTS as usize).then_some(()));
    let mut arrivals = arrivals.lock().unwrap().clone();
    arrivals.sort();
    // Two workers serve a batch of 32 at once, and the backend's threads note the time: in order but for two batches.
    let order: Vec<u32> = arrivals.iter().map(|(_, number)| *number).collect();
    let displaced = (0..).zip(&order).map(|(place, number): (u32, _)| number.abs_diff(place)).max().unwrap();
    assert!(displaced <= 64, "a client was overtaken by {displaced} others: {order:?}");
    let took = arrivals.last().unwrap().0 - arrivals.first().unwrap().0;
    assert!(took >= Duration::from_millis(50), "{CLIENTS} clients within {took:?}: the database was trampled");
    end(running);
}
