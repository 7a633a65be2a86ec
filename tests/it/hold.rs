//! Clients that wait, and clients that are turned away in words they understand.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use mainstay::{
    app::{self},
    config::{CheckKind, Config, HoldConfig, PostgresCheck, TlsMode},
    failover::{Election, Policy},
    reason::{Direction, RejectReason},
};

use crate::{
    probe::fake::{error, facts, message, welcome},
    support::{
        config::tcp_pool,
        echo::Backend,
        front::{Front, connect, end},
        wait::{Watch, until},
    },
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

pub(crate) fn startup() -> Vec<u8> {
    let body = b"\x00\x03\x00\x00user\0app\0database\0orders\0\0";
    let mut packet = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
    packet.extend_from_slice(body);
    packet
}

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

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
    let running =
        app::start(&postgres_pool(HoldConfig { timeout: Duration::from_millis(300), max: 10, max_per_ip: 10 })).unwrap();
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
    let running = app::start(&postgres_pool(HoldConfig { timeout: Duration::from_mins(1), max: 1, max_per_ip: 1 })).unwrap();
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
    let running = app::start(&postgres_pool(HoldConfig { timeout: Duration::from_mins(1), max: 0, max_per_ip: 0 })).unwrap();
    let mut client = connect(&running);
    client.write_all(&startup()).unwrap();
    assert_eq!(sqlstate(client), "57P03");
    end(running);
}

#[test]
fn too_many_connections_are_refused_with_the_state_poolers_know() {
    let mut config = postgres_pool(HoldConfig { timeout: Duration::from_mins(1), max: 10, max_per_ip: 10 });
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
    let running = app::start(&postgres_pool(HoldConfig { timeout: Duration::from_mins(1), max: 0, max_per_ip: 0 })).unwrap();
    let mut client = connect(&running);
    let started = Watch::start();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert!(started.unhindered() < Duration::from_secs(1), "the rest of it was waited for: {:?}", started.elapsed());
    end(running);
}

#[test]
fn a_pool_whose_protocol_is_not_known_refuses_with_a_reset() {
    let mut config = tcp_pool(&[closed_port()]);
    config.pools[0].hold = HoldConfig { timeout: Duration::from_mins(1), max: 0, max_per_ip: 0 };
    let running = app::start(&config).unwrap();
    let mut client = connect(&running);
    assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    end(running);
}

#[test]
fn clients_that_waited_are_served_in_the_order_they_came_at_a_bounded_rate() {
    const CLIENTS: u32 = 400;
    let address = closed_port();
    let mut config = tcp_pool(&[address]);
    // One worker dials in the order of its clients; two may be a batch or more apart on a busy machine.
    config.workers = Some(1);
    let running = app::start(&config).unwrap();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let mut client = connect(&running);
        client.write_all(&number.to_be_bytes()).unwrap();
        until("it is held", || (running.series[0].pool.held.get() == u64::from(number) + 1).then_some(()));
        clients.push(client);
    }
    let arrivals: Arc<Mutex<Vec<(Instant, u32)>>> = Arc::default();
    let book = Arc::clone(&arrivals);
    let _backend = Backend::start_noting(address, move |mut stream, at| {
        let mut number = [0; 4];
        if stream.read_exact(&mut number).is_ok() {
            book.lock().unwrap().push((at, u32::from_be_bytes(number)));
            let _ = stream.read(&mut number);
        }
    });
    until("all are served", || (arrivals.lock().unwrap().len() == CLIENTS as usize).then_some(()));
    let mut arrivals = arrivals.lock().unwrap().clone();
    arrivals.sort();
    let order: Vec<u32> = arrivals.iter().map(|(_, number)| *number).collect();
    let displaced = (0..).zip(&order).map(|(place, number): (u32, _)| number.abs_diff(place)).max().unwrap();
    assert_eq!(displaced, 0, "a client was overtaken: {order:?}");
    let took = arrivals.last().unwrap().0 - arrivals.first().unwrap().0;
    // Twelve pauses of 10 ms; on a busy machine those that came first are accepted late, and seem nearer to the last.
    assert!(took >= Duration::from_millis(60), "{CLIENTS} clients within {took:?}: the database was trampled");
    end(running);
}

#[test]
fn a_newcomer_comes_after_those_who_wait() {
    const CLIENTS: u32 = 200;
    const NEWCOMERS: u32 = 5;
    let address = closed_port();
    let mut config = tcp_pool(&[address]);
    // One worker dials in the order of its clients; two may be a batch or more apart on a busy machine.
    config.workers = Some(1);
    let running = app::start(&config).unwrap();
    let come = |number: u32| {
        let mut client = connect(&running);
        client.write_all(&number.to_be_bytes()).unwrap();
        client
    };
    let mut clients: Vec<_> = (0..CLIENTS).map(come).collect();
    until("all are held", || (running.series[0].pool.held.get() == u64::from(CLIENTS)).then_some(()));
    let arrivals: Arc<Mutex<Vec<(Instant, u32)>>> = Arc::default();
    let book = Arc::clone(&arrivals);
    let _backend = Backend::start_noting(address, move |mut stream, at| {
        let mut number = [0; 4];
        if stream.read_exact(&mut number).is_ok() {
            book.lock().unwrap().push((at, u32::from_be_bytes(number)));
            let _ = stream.read(&mut number);
        }
    });
    until("the first are served", || (!arrivals.lock().unwrap().is_empty()).then_some(()));
    clients.extend((CLIENTS..CLIENTS + NEWCOMERS).map(come));
    until("all are served", || (arrivals.lock().unwrap().len() == clients.len()).then_some(()));
    let mut arrivals = arrivals.lock().unwrap().clone();
    arrivals.sort();
    let order: Vec<u32> = arrivals.iter().map(|(_, number)| *number).collect();
    let displaced = (0..).zip(&order).map(|(place, number): (u32, _)| number.abs_diff(place)).max().unwrap();
    assert!(displaced <= 32, "a client was overtaken by {displaced} others: {order:?}");
    end(running);
}

/// The next packet of a session that has not begun: its length, and what that covers.
fn packet(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; 4];
    stream.read_exact(&mut packet)?;
    packet.resize(u32::from_be_bytes(packet[..].try_into().unwrap()) as usize, 0);
    stream.read_exact(&mut packet[4..])?;
    Ok(packet)
}

/// A server without TLS that is a healthy primary to its check. `client` gets the first packet of everybody else.
pub(crate) fn server(client: impl Fn(&mut TcpStream, Vec<u8>) -> io::Result<()> + Send + Sync + 'static) -> Backend {
    Backend::start(move |mut stream| {
        let _: io::Result<()> = (|| {
            let first = packet(&mut stream)?;
            if !first.windows(14).any(|field| field == b"user\0postgres\0") {
                return client(&mut stream, first);
            }
            stream.write_all(&welcome())?;
            while stream.read(&mut [0; 4096])? > 0 {
                stream.write_all(&facts())?;
            }
            Ok(())
        })();
    })
}

fn before(server: &Backend, timeout: Duration) -> Front {
    let mut config = tcp_pool(&[server.address]);
    let check = PostgresCheck { tls: TlsMode::Off, ..PostgresCheck::default() };
    config.pools[0].check.kind = CheckKind::Postgres(check);
    config.pools[0].policy = Policy { election: Election::ByRole, ..Policy::default() };
    config.pools[0].hold.timeout = timeout;
    Front::with(&config)
}

/// A client as libpq is by default: it asks for GSS encryption and for TLS, is refused both, and starts up in clear text.
fn started(front: &Front) -> TcpStream {
    let mut client = front.connect();
    for request in [GSSENC_REQUEST, SSL_REQUEST] {
        client.write_all(&request).unwrap();
        let mut answer = [0; 1];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"N");
    }
    client.write_all(&startup()).unwrap();
    client
}

#[test]
fn a_server_that_stops_after_it_refused_to_encrypt_costs_the_client_nothing() {
    let firsts: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let book = Arc::clone(&firsts);
    let server = server(move |stream, mut first| {
        let asked = first.clone();
        let is_first = {
            let mut book = book.lock().unwrap();
            book.push(asked);
            book.len() == 1
        };
        while first.len() == 8 {
            stream.write_all(b"N")?;
            first = packet(stream)?;
        }
        assert_eq!(first, startup());
        let stopping = error("FATAL", "57P03", "the database system is shutting down");
        stream.write_all(&if is_first { stopping } else { message(b'R', &[0; 4]) })
    });
    let front = before(&server, Duration::from_secs(15));
    let mut client = started(&front);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, message(b'R', &[0; 4]), "it heard of the stop, or not only once of the start");
    assert_eq!(*firsts.lock().unwrap(), [GSSENC_REQUEST.to_vec(), startup()], "the next one is asked to start only");
    drop(client);
    until("the session is over", || (front.backend().connections_active.get() == 0).then_some(()));
    let bytes = |direction| front.backend().relay_bytes.get(direction).get();
    assert_eq!((bytes(Direction::Upstream), bytes(Direction::Downstream)), (16 + startup().len() as u64, 2 + 9));
}

#[test]
fn a_client_that_was_refused_encryption_and_then_nobody_serves_is_told_so() {
    let server = server(|stream, mut first| {
        while first.len() == 8 {
            stream.write_all(b"N")?;
            first = packet(stream)?;
        }
        stream.write_all(&error("FATAL", "57P03", "the database system is shutting down"))
    });
    let front = before(&server, Duration::from_millis(300));
    let mut client = started(&front);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("the refusal must end in FIN, after the whole message");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with('E') && text.contains("C57P03\0Mmainstay: "), "{text}");
    assert_eq!(front.series().listeners[0].rejected.get(RejectReason::DialFailed).get(), 1);
}
