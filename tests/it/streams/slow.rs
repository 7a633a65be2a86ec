//! A reader that is slow, or stops for minutes: it gets everything, and costs no more than one buffer.

use std::{
    io::{Read, Write},
    net::Shutdown,
    time::{Duration, Instant},
};

use crate::support::{
    echo::Backend,
    front::Front,
    noise::Noise,
    process::{Process, settings},
    random::Random,
    wait::{patience, stands_still, until, within},
};

/// How long the reader stops; `MAINSTAY_TEST_STALL=300` is a cursor over which somebody went for coffee.
fn stall() -> Duration {
    let seconds = std::env::var("MAINSTAY_TEST_STALL").ok().map(|text| text.parse().unwrap());
    Duration::from_secs(seconds.unwrap_or(5))
}

/// Sends each client a stream of the length it asks for.
fn reply() -> Backend {
    Backend::start(|mut stream| {
        let mut len = [0; 8];
        stream.read_exact(&mut len).unwrap();
        let _ = Noise::new(5).send(&stream, u64::from_le_bytes(len), &mut Random::new(6));
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read(&mut [0; 1]);
    })
}

#[test]
fn a_reader_that_stops_for_long_and_goes_on_gets_everything() {
    const LEN: u64 = 24 << 20;
    let backend = reply();
    let front = Front::before(&[backend.address]);
    let mut client = front.connect();
    client.write_all(&LEN.to_le_bytes()).unwrap();
    let relayed = || front.backend().relay_bytes.get(mainstay::reason::Direction::Downstream).get();
    // The stream stands still once every buffer on the way is full. How long it takes the machine to fill them is unknown.
    let mut stood = (relayed(), Instant::now());
    within(patience() + stall(), "the stream stands still", || {
        let now = relayed();
        if now != stood.0 {
            stood = (now, Instant::now());
        }
        (now > 0 && stood.1.elapsed() >= stall()).then_some(())
    });
    let stood = stood.0;
    assert!(stood < LEN, "the stream fitted into the buffers: {stood} bytes; make it longer");
    let mut noise = Noise::new(5);
    noise.receive(&client, &mut Random::new(7)).unwrap();
    assert_eq!(noise.bytes, LEN);
}

#[test]
fn two_hundred_slow_readers_cost_one_buffer_each() {
    const READERS: usize = 200;
    const LEN: u64 = 64 << 20;
    /// One read buffer, and what a task, two sockets and their registrations take in this process.
    const COST: u64 = (64 + 24) << 10;
    let backend = reply();
    let process = Process::start(&settings(&[backend.address])).serving();
    let clients: Vec<_> = (0..READERS).map(|_| process.connect()).collect();
    until("all are connected", || (process.metric("mainstay_connections_active", &[]) == READERS as u64).then_some(()));
    let base = process.memory();
    for mut client in &clients {
        client.write_all(&LEN.to_le_bytes()).unwrap();
    }
    let relayed = || process.metric("mainstay_relay_bytes_total", &[("direction", "downstream")]);
    stands_still("all streams stand still", Duration::from_millis(300), relayed);
    let bound = base + READERS as u64 * COST;
    // What was given back a moment ago is still resident for a moment.
    let settles =
        || until(&format!("{READERS} slow readers cost no more than {bound} bytes"), || (process.memory() < bound).then_some(()));
    settles();
    // They read on, slowly: memory stays where it is.
    let mut piece = vec![0; 256 << 10];
    for _ in 0..8 {
        for mut client in &clients {
            let got = client.read(&mut piece).unwrap();
            assert!(got > 0);
        }
        settles();
    }
    drop(clients);
    until("all are gone", || (process.metric("mainstay_connections_active", &[]) == 0).then_some(()));
}
