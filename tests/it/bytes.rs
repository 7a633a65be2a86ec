//! Bytes are sacred: what arrives, how streams end.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr},
    sync::mpsc,
    time::Duration,
};

use mainstay::{
    app::{self, Running},
    config::RelayMode,
    reason::{CloseReason, Direction},
};
use socket2::SockRef;

use crate::support::{
    config::{LOOPBACK, tcp_pool},
    echo::{Backend, reset},
    front::{Front, connect, end},
    wait::{Watch, patience, stands_still, until},
};

/// Mainstay before backends that serve.
fn front(backends: &[SocketAddr]) -> Running {
    let running = held_front(backends);
    until("a backend is active", || running.snapshots[0].get().active);
    running
}

/// Mainstay before backends that do not, yet.
fn held_front(backends: &[SocketAddr]) -> Running {
    app::start(&tcp_pool(backends)).unwrap()
}

/// Pseudo-random bytes that both ends can make.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn what_is_sent_comes_back() {
    let backend = Backend::echo();
    let running = front(&[backend.address]);
    let mut client = connect(&running);
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    end(running);
}

#[test]
fn a_client_that_finishes_sending_still_gets_the_whole_answer() {
    let backend = Backend::start(|mut stream| {
        let mut request = Vec::new();
        stream.read_to_end(&mut request).unwrap();
        assert_eq!(request, b"query");
        stream.write_all(&noise(7, 1_000_000)).unwrap();
    });
    let running = front(&[backend.address]);
    let mut client = connect(&running);
    client.write_all(b"query").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(answer == noise(7, 1_000_000), "got {} bytes", answer.len());
    end(running);
}

#[test]
fn a_backend_that_finishes_sending_still_gets_what_the_client_sends() {
    let (tell, told) = mpsc::channel();
    let backend = Backend::start_first(LOOPBACK, move |mut stream| {
        stream.write_all(b"greeting").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut all = Vec::new();
        if stream.read_to_end(&mut all).is_ok() && !all.is_empty() {
            tell.send(all).unwrap();
        }
    });
    let running = front(&[backend.address]);
    let mut client = connect(&running);
    let mut greeting = Vec::new();
    client.read_to_end(&mut greeting).unwrap();
    assert_eq!(greeting, b"greeting");
    client.write_all(&noise(9, 100_000)).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(told.recv_timeout(patience()).unwrap() == noise(9, 100_000));
    end(running);
}

#[test]
fn a_backends_reset_reaches_the_client_as_reset_after_everything_that_was_read() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let backend = Backend::start(move |mut stream| {
        stream.write_all(&noise(3, 200_000)).unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
        // The reset follows once the proxy has read it all: RST throws away what the kernel still holds.
        gone.lock().unwrap().recv_timeout(patience()).unwrap();
        reset(stream);
    });
    let running = front(&[backend.address]);
    let mut client = connect(&running);
    client.write_all(b"x").unwrap();
    let mut got = vec![0; 200_000];
    client.read_exact(&mut got).unwrap();
    go.send(()).unwrap();
    let error = client.read(&mut [0; 16]).expect_err("a truncated stream must not end in FIN");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(got == noise(3, 200_000));
    end(running);
}

#[test]
fn a_slow_client_gets_everything_that_was_read_before_a_reset() {
    // More than the client's kernel takes while nobody reads: what is left waits in ours.
    const LEN: usize = 1_000_000;
    let (go, gone) = mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let backend = Backend::start(move |mut stream| {
        stream.write_all(&noise(3, LEN)).unwrap();
        stream.read_exact(&mut [0; 1]).unwrap();
        gone.lock().unwrap().recv_timeout(patience()).unwrap();
        reset(stream);
    });
    let running = front(&[backend.address]);
    let mut client = connect(&running);
    client.write_all(b"x").unwrap();
    let metrics = &running.series[0].backends[0];
    until("all is read", || (metrics.relay_bytes.get(Direction::Downstream).get() == LEN as u64).then_some(()));
    go.send(()).unwrap();
    until("the session is over", || (metrics.closed.get(CloseReason::ServerReset).get() == 1).then_some(()));
    let mut got = Vec::new();
    let mut piece = [0; 1000];
    let error = loop {
        match client.read(&mut piece) {
            Ok(0) => panic!("a truncated stream ended in FIN after {} bytes", got.len()),
            Ok(n) => got.extend_from_slice(&piece[..n]),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(got == noise(3, LEN), "got {} bytes of {LEN}", got.len());
    end(running);
}

#[test]
fn a_backend_that_resets_in_its_answer_to_a_client_that_finished_is_told_from_one_that_took_leave() {
    for (said, reason) in [(0, CloseReason::ClientEof), (24, CloseReason::ClientEof), (5000, CloseReason::ServerReset)] {
        let (go, gone) = mpsc::channel::<()>();
        let gone = std::sync::Mutex::new(gone);
        let backend = Backend::start(move |mut stream| {
            stream.read_to_end(&mut Vec::new()).unwrap();
            stream.write_all(&noise(5, said)).unwrap();
            gone.lock().unwrap().recv_timeout(patience()).unwrap();
            reset(stream);
        });
        let running = front(&[backend.address]);
        let mut client = connect(&running);
        client.write_all(b"query").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut got = vec![0; said];
        client.read_exact(&mut got).unwrap();
        go.send(()).unwrap();
        let error = client.read(&mut [0; 16]).expect_err("a truncated stream must not end in FIN");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        until("it is over", || (running.series[0].backends[0].closed.get(reason).get() == 1).then_some(()));
        end(running);
    }
}

#[test]
fn a_clients_reset_reaches_the_backend_as_reset() {
    let (tell, told) = mpsc::channel();
    let backend = Backend::start(move |mut stream| {
        let mut bytes = Vec::new();
        tell.send(stream.read_to_end(&mut bytes).map_err(|error| error.kind())).unwrap();
    });
    let running = front(&[backend.address]);
    let mut client = connect(&running);
    client.write_all(b"half a query").unwrap();
    until("the session is relayed", || (running.series[0].backends[0].connections_active.get() == 1).then_some(()));
    reset(client);
    assert_eq!(told.recv_timeout(patience()).unwrap(), Err(io::ErrorKind::ConnectionReset));
    end(running);
}

#[test]
fn both_directions_at_once_do_not_deadlock() {
    const LEN: usize = 64 << 20;
    let backend = Backend::echo();
    let running = front(&[backend.address]);
    let client = connect(&running);
    let mut writer = client.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for chunk in 0..(LEN >> 20) {
            writer.write_all(&noise(chunk as u64 + 1, 1 << 20)).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    // Nobody reads the answers until the client cannot send any more: every buffer on the way is full, both ways.
    let counted = &running.series[0].backends[0].relay_bytes;
    stands_still("nothing moves", Duration::from_millis(100), || counted.get(Direction::Upstream).get());
    let mut reader = client;
    let mut piece = vec![0; 1 << 20];
    for chunk in 0..(LEN >> 20) {
        reader.read_exact(&mut piece).unwrap();
        assert!(piece == noise(chunk as u64 + 1, 1 << 20), "chunk {chunk} differs");
    }
    assert_eq!(reader.read(&mut piece).unwrap(), 0);
    sender.join().unwrap();
    end(running);
}

#[test]
fn gauges_return_to_zero_and_every_session_is_counted() {
    let backend = Backend::echo();
    let running = front(&[backend.address]);
    for _ in 0..50 {
        let mut client = connect(&running);
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
    }
    let pool = &running.series[0];
    until("no session is left", || {
        (pool.backends[0].connections_active.get() == 0 && pool.listeners[0].active.get() == 0).then_some(())
    });
    assert_eq!(pool.listeners[0].accepted.get(), 50);
    let closed: u64 = pool.backends[0].closed.iter().map(|(_, count)| count.get()).sum();
    assert_eq!(closed, 50);
    end(running);
}

#[test]
fn clients_wait_while_nobody_serves_and_are_served_when_somebody_does() {
    let mut backend = Backend::echo();
    let address = backend.address;
    backend.stop();
    let running = held_front(&[address]);
    let mut client = connect(&running);
    client.write_all(b"early").unwrap();
    until("the client is held", || (running.series[0].pool.held.get() == 1).then_some(()));
    let _backend = Backend::start_at(address, |stream| {
        let (mut reader, mut writer) = (stream.try_clone().unwrap(), stream);
        let _ = io::copy(&mut reader, &mut writer);
    });
    let started = Watch::start();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"early");
    assert!(started.unhindered() < Duration::from_secs(2));
    end(running);
}

#[test]
fn a_held_client_that_leaves_frees_its_place() {
    let mut backend = Backend::echo();
    backend.stop();
    let running = held_front(&[backend.address]);
    let mut client = connect(&running);
    client.write_all(b"startup").unwrap();
    let held = &running.series[0].pool.held;
    until("the client is held", || (held.get() == 1).then_some(()));
    drop(client);
    until("its place is free", || (held.get() == 0).then_some(()));
    end(running);
}

#[test]
fn sessions_of_a_dead_backend_move_to_the_next_one() {
    let mut first = Backend::start_first(LOOPBACK, |mut stream| {
        let _ = stream.write_all(b"1");
        let _ = stream.read(&mut [0; 1]);
        reset(stream);
    });
    let second = Backend::start_first(LOOPBACK, |mut stream| {
        let _ = stream.write_all(b"2");
        let _ = stream.read(&mut [0; 1]);
    });
    let running = front(&[first.address, second.address]);
    let mut client = connect(&running);
    let mut who = [0; 1];
    client.read_exact(&mut who).unwrap();
    assert_eq!(&who, b"1");
    first.stop();
    client.write_all(b"x").unwrap();
    assert_eq!(client.read(&mut who).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let mut next = connect(&running);
    next.read_exact(&mut who).unwrap();
    assert_eq!(&who, b"2");
    // Clients go there before the status says so.
    until("it is shown", || (running.snapshots[0].get().epoch.0 == 2).then_some(()));
    end(running);
}

/// An urgent byte (`MSG_OOB`) arrives in its place (RFC 6093), and what follows it does not wait until the sender sends more.
#[test]
fn an_urgent_byte_arrives_in_its_place_and_nothing_behind_it_waits() {
    let bytes = noise(7, 200_000);
    let (sender, receiver) = mpsc::channel();
    let backend = Backend::start(move |stream| sender.send(stream).unwrap());
    for relay in [RelayMode::Auto, RelayMode::Copy, RelayMode::Splice] {
        let mut config = tcp_pool(&[backend.address]);
        config.pools[0].listeners[0].relay = relay;
        let front = Front::with(&config);
        let client = front.connect();
        (&client).write_all(b"?").unwrap();
        let server = receiver.recv_timeout(patience()).unwrap();
        server.set_read_timeout(Some(patience())).unwrap();
        server.set_nodelay(true).unwrap();
        assert_eq!((&server).read(&mut [0; 1]).unwrap(), 1);
        for (way, from, to) in [("upstream", &client, &server), ("downstream", &server, &client)] {
            let sizes = [(0, 1), (1, 0), (1, 1), (5, 100), (70_000, 1), (1, 200_000), (70_000, 200_000), (0, 1), (3, 0)];
            for (before, after) in sizes {
                let (before, after) = (&bytes[..before], &bytes[..after]);
                let sent = [before, &b"!"[..], after].concat();
                let mut got = vec![0; sent.len()];
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        let mut from = from;
                        from.write_all(before).unwrap();
                        assert_eq!(SockRef::from(from).send_out_of_band(b"!").unwrap(), 1);
                        from.write_all(after).unwrap();
                    });
                    let mut to = to;
                    let what = (relay, way, before.len(), after.len());
                    to.read_exact(&mut got).unwrap_or_else(|error| panic!("{what:?}: {error}"));
                    assert!(got == sent, "{what:?}: other bytes");
                });
            }
        }
    }
}
