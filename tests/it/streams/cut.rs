//! An abort stays an abort, after everything that had reached mainstay was delivered.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::mpsc,
    thread,
    time::Duration,
};

use mainstay::{net::socket::unsent_bytes, reason::CloseReason};

use crate::support::{
    echo::{Backend, reset},
    front::Front,
    noise::Noise,
    random::Random,
    wait::{patience, until},
};

/// Cut points of each direction.
const CUTS: u64 = 100;

/// Sessions at the same time.
const LANES: u64 = 10;

/// How much of a stream was sent before its reset: at least `acknowledged`, at most `written`.
#[derive(Clone, Copy, Debug)]
struct Cut {
    acknowledged: u64,
    written: u64,
}

/// Sends a random amount, or less if the other side is slow, then resets.
fn send_and_reset(stream: TcpStream, seed: u64) -> Cut {
    let mut random = Random::new(seed);
    let len = u64::try_from(random.between(1, 3_000_000)).unwrap();
    let mut noise = Noise::new(seed);
    stream.set_nonblocking(true).unwrap();
    let mut written = 0;
    let mut patience = 20;
    while written < len && patience > 0 {
        let size = random.size(usize::try_from(len - written).unwrap());
        let mut ahead = noise.clone();
        match (&stream).write(ahead.next(size)) {
            Ok(taken) => {
                noise.next(taken);
                written += taken as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                patience -= 1;
                // A pace: whoever is too slow gets less.
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    }
    let unacknowledged = unsent_bytes(&stream).unwrap() as u64;
    reset(stream);
    Cut { acknowledged: written - unacknowledged, written }
}

/// Reads slowly, through a small window, and compares until the stream ends; it must end in a reset.
fn read_to_reset(mut stream: &TcpStream, seed: u64) -> Result<u64, String> {
    socket2::SockRef::from(stream).set_recv_buffer_size(16 << 10).unwrap();
    let mut noise = Noise::new(seed);
    let mut piece = [0; 8 << 10];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return Err(format!("a cut stream ended in FIN after {} bytes", noise.bytes)),
            Ok(got) => noise.compare(&piece[..got])?,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(noise.bytes),
            Err(error) => return Err(error.to_string()),
        }
        if noise.bytes.is_multiple_of(2) {
            // The pace of a slow reader.
            thread::sleep(Duration::from_micros(500));
        }
    }
}

fn judge(seed: u64, cut: Cut, got: Result<u64, String>) {
    let got = got.unwrap_or_else(|what| panic!("cut {seed}: {cut:?}: {what}"));
    assert!((cut.acknowledged..=cut.written).contains(&got), "cut {seed}: {cut:?}, but {got} bytes were delivered");
}

fn seeds(lane: u64, base: u64) -> impl Iterator<Item = u64> {
    (lane..CUTS).step_by(usize::try_from(LANES).unwrap()).map(move |n| base.wrapping_add(n))
}

#[test]
fn a_backends_reset_at_any_point_is_a_reset_for_the_client_and_cuts_nothing_that_had_arrived() {
    let base = Random::seeded().next() >> 8;
    let (tell, told) = mpsc::channel::<(u64, Cut)>();
    let backend = Backend::start(move |mut stream| {
        let mut seed = [0; 8];
        stream.read_exact(&mut seed).unwrap();
        let seed = u64::from_le_bytes(seed);
        tell.send((seed, send_and_reset(stream, seed))).unwrap();
    });
    let front = Front::before(&[backend.address]);
    let mut got: std::collections::HashMap<u64, Result<u64, String>> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                let front = &front;
                scope.spawn(move || {
                    let one = |seed: u64| {
                        let mut client = front.connect();
                        client.write_all(&seed.to_le_bytes()).unwrap();
                        (seed, read_to_reset(&client, seed))
                    };
                    seeds(lane, base).map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    for _ in 0..CUTS {
        let (seed, cut) = told.recv_timeout(patience()).unwrap();
        judge(seed, cut, got.remove(&seed).unwrap());
    }
    assert_eq!(front.backend().closed.get(CloseReason::ServerReset).get(), CUTS);
}

#[test]
fn a_clients_reset_at_any_point_is_a_reset_for_the_backend_and_cuts_nothing_that_had_arrived() {
    let base = Random::seeded().next() >> 8;
    let (tell, told) = mpsc::channel::<(u64, Result<u64, String>)>();
    let backend = Backend::start_first(crate::support::config::LOOPBACK, move |mut stream| {
        let mut seed = [0; 8];
        // A check leaves without a word.
        if stream.read_exact(&mut seed).is_ok() {
            let seed = u64::from_le_bytes(seed);
            stream.write_all(b"!").unwrap();
            tell.send((seed, read_to_reset(&stream, seed))).unwrap();
        }
    });
    let front = Front::before(&[backend.address]);
    let mut cuts: std::collections::HashMap<u64, Cut> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                let front = &front;
                scope.spawn(move || {
                    let one = |seed: u64| {
                        let mut client = front.connect();
                        client.write_all(&seed.to_le_bytes()).unwrap();
                        client.read_exact(&mut [0; 1]).unwrap();
                        (seed, send_and_reset(client, seed))
                    };
                    seeds(lane, base).map(one).collect::<Vec<_>>()
                })
            })
            .collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    for _ in 0..CUTS {
        let (seed, got) = told.recv_timeout(patience()).unwrap();
        judge(seed, cuts.remove(&seed).unwrap(), got);
    }
    until("every session is over", || (front.backend().connections_active.get() == 0).then_some(()));
    assert_eq!(front.backend().closed.get(CloseReason::ClientReset).get(), CUTS);
}
