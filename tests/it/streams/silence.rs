//! Sessions that fall silent: they stay unless a limit says otherwise, and the limit counts silence, not age.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use mainstay::{config::Config, reason::CloseReason};

use crate::support::{config::tcp_pool, echo::Backend, front::Front, wait::Watch, wait::until};

const LIMIT: Duration = Duration::from_secs(1);

/// How much later than its limit a session may end on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

fn limited(backend: &Backend, set: impl Fn(&mut mainstay::config::ListenerConfig)) -> Config {
    let mut config = tcp_pool(&[backend.address]);
    set(&mut config.pools[0].listeners[0]);
    config
}

/// Waits for the end of the stream, which must be a reset, neither sooner nor later than that.
fn is_reset_within(client: &mut TcpStream, least: Duration, most: Duration) {
    let since = Watch::start();
    let error = client.read(&mut [0; 1]).expect_err("what mainstay ends for silence was cut and must look so");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    let took = since.elapsed();
    assert!(took > least && since.unhindered() < most, "ended after {took:?}");
}

fn round_trip(client: &mut TcpStream) {
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
}

#[test]
fn a_session_without_traffic_ends_after_its_idle_timeout_and_not_before() {
    let backend = Backend::echo();
    let front = Front::with(&limited(&backend, |listener| listener.idle_timeout = Some(LIMIT)));
    let mut client = front.connect();
    // Older than its limit, but never silent for as long.
    let started = Instant::now();
    while started.elapsed() < 3 * LIMIT {
        round_trip(&mut client);
        // The pace of one that is never silent for as long as the limit.
        std::thread::sleep(LIMIT / 16);
    }
    round_trip(&mut client);
    is_reset_within(&mut client, LIMIT / 2, 2 * LIMIT + SLACK);
    assert_eq!(front.backend().closed.get(CloseReason::IdleTimeout).get(), 1);
}

#[test]
fn a_session_without_an_idle_timeout_stays_however_silent_it_is() {
    let backend = Backend::echo();
    let front = Front::with(&limited(&backend, |listener| listener.half_close_timeout = LIMIT));
    let mut client = front.connect();
    round_trip(&mut client);
    // Its silence is the subject.
    std::thread::sleep(3 * LIMIT);
    round_trip(&mut client);
}

#[test]
fn a_half_closed_session_ends_after_its_timeout_and_frees_its_sockets() {
    // Takes the client's FIN and says nothing, for ever.
    let backend = Backend::start(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
        until("it is reset", || stream.take_error().unwrap());
    });
    let front = Front::with(&limited(&backend, |listener| listener.half_close_timeout = LIMIT));
    let mut client = front.connect();
    client.write_all(b"x").unwrap();
    until("the session is relayed", || (front.backend().connections_active.get() == 1).then_some(()));
    client.shutdown(Shutdown::Write).unwrap();
    is_reset_within(&mut client, LIMIT.mul_f64(0.9), LIMIT + SLACK);
    assert_eq!(front.backend().closed.get(CloseReason::HalfCloseTimeout).get(), 1);
    until("its place is free", || (front.series().listeners[0].active.get() == 0).then_some(()));
}

#[test]
fn a_half_closed_session_that_still_moves_bytes_stays() {
    let backend = Backend::start(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
        for _ in 0..48 {
            // The pace of one that is never silent for as long as the limit.
            std::thread::sleep(LIMIT / 16);
            stream.write_all(b"row").unwrap();
        }
    });
    let front = Front::with(&limited(&backend, |listener| listener.half_close_timeout = LIMIT));
    let mut client = front.connect();
    client.write_all(b"x").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut rows = Vec::new();
    client.read_to_end(&mut rows).unwrap();
    assert_eq!(rows.len(), 48 * 3);
}

#[test]
fn both_finished_frees_both_sockets_at_once() {
    let backend = Backend::echo();
    let front = Front::before(&[backend.address]);
    let mut client = front.connect();
    round_trip(&mut client);
    client.shutdown(Shutdown::Write).unwrap();
    let started = Watch::start();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    until("the session is over", || (front.backend().connections_active.get() == 0).then_some(()));
    assert!(started.unhindered() < Duration::from_millis(500), "{:?}", started.elapsed());
    assert_eq!(front.backend().closed.get(CloseReason::ClientEof).get(), 1);
}
