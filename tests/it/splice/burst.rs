//! Which way bytes are moved follows the traffic.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use mainstay::{config::RelayMode, reason::Direction};

use crate::support::{config::tcp_pool, echo::Backend, front::Front, noise::Noise, random::Random, wait::stands_still};

/// Sends as many bytes as it is asked for, again and again.
fn reply() -> Backend {
    Backend::start(|mut stream| {
        // As databases do: the end of an answer does not wait for an acknowledgement.
        stream.set_nodelay(true).unwrap();
        let mut len = [0; 8];
        let mut noise = Noise::new(5);
        while stream.read_exact(&mut len).is_ok() {
            if noise.send(&stream, u64::from_le_bytes(len), &mut Random::new(6)).is_err() {
                return;
            }
        }
    })
}

fn ask(mut client: &TcpStream, noise: &mut Noise, len: usize) {
    client.write_all(&(len as u64).to_le_bytes()).unwrap();
    let mut bytes = vec![0; len];
    client.read_exact(&mut bytes).unwrap();
    noise.compare(&bytes).unwrap();
}

fn front(backend: &Backend, relay: RelayMode) -> Front {
    let mut config = tcp_pool(&[backend.address]);
    config.pools[0].listeners[0].relay = relay;
    Front::with(&config)
}

#[test]
fn small_answers_are_copied_a_stream_is_spliced_and_small_answers_after_it_are_copied_again() {
    const STREAM: usize = 64 << 20;
    let backend = reply();
    let front = front(&backend, RelayMode::Auto);
    let client = front.connect();
    let mut noise = Noise::new(5);
    let spliced = |direction| front.backend().relay_spliced_bytes.get(direction).get();
    for _ in 0..100 {
        ask(&client, &mut noise, 8 << 10);
    }
    assert_eq!(spliced(Direction::Downstream), 0, "answers of 8 KiB are no stream");
    ask(&client, &mut noise, STREAM);
    let in_stream = spliced(Direction::Downstream);
    assert!(in_stream > STREAM as u64 / 2, "only {in_stream} of {STREAM} bytes were spliced");
    for _ in 0..100 {
        ask(&client, &mut noise, 8 << 10);
    }
    let after = spliced(Direction::Downstream) - in_stream;
    assert!(after <= 64 << 10, "{after} bytes of small answers were spliced");
    assert_eq!(spliced(Direction::Upstream), 0, "requests are no stream");
}

#[test]
fn who_wants_copies_gets_copies_and_who_wants_splices_gets_splices() {
    const LEN: u64 = 16 << 20;
    let backend = reply();
    for (relay, least, most) in [(RelayMode::Copy, 0, 0), (RelayMode::Splice, LEN / 2, LEN)] {
        let front = front(&backend, relay);
        ask(&front.connect(), &mut Noise::new(5), 16 << 20);
        let spliced = front.backend().relay_spliced_bytes.get(Direction::Downstream).get();
        assert!((least..=most).contains(&spliced), "{relay:?}: {spliced} bytes were spliced");
    }
}

#[test]
fn a_stream_that_ends_with_bytes_still_in_the_pipe_is_delivered_whole_before_its_end() {
    const LEN: u64 = 24 << 20;
    // It sends all and finishes long before the client reads.
    let backend = Backend::start(|mut stream| {
        Noise::new(5).send(&stream, LEN, &mut Random::new(6)).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read(&mut [0; 64]);
    });
    let front = front(&backend, RelayMode::Splice);
    let mut client = front.connect();
    socket2::SockRef::from(&client).set_recv_buffer_size(32 << 10).unwrap();
    client.write_all(b"x").unwrap();
    let relayed = || front.backend().relay_bytes.get(Direction::Downstream).get();
    stands_still("it has sent what there is room for", Duration::from_millis(300), relayed);
    let mut noise = Noise::new(5);
    noise.receive(&client, &mut Random::new(7)).unwrap();
    assert_eq!(noise.bytes, LEN);
}
