//! No time is lost on the way: no sniffing before a greeting, no waiting for more bytes to come.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::support::{
    config::LOOPBACK,
    echo::Backend,
    front::{Front, client},
};

/// The value below which `share` of them are.
fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort_unstable();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index of the list")]
    let index = ((times.len() - 1) as f64 * share) as usize;
    times[index]
}

/// How long a silent client waits for the greeting.
fn greeted_after(address: SocketAddr) -> Duration {
    let started = Instant::now();
    let mut client = client(address);
    let mut greeting = [0; 8];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"greeting");
    started.elapsed()
}

#[test]
fn a_server_that_speaks_first_is_heard_by_a_silent_client_at_once() {
    let backend = Backend::start_first(LOOPBACK, |mut stream| {
        let _ = stream.write_all(b"greeting");
        let _ = stream.read(&mut [0; 1]);
    });
    let front = Front::before(&[backend.address]);
    // In turns, so that whatever else the machine does delays both.
    let times = (0..200).map(|_| (greeted_after(backend.address), greeted_after(front.address())));
    let (mut direct, mut through): (Vec<_>, Vec<_>) = times.unzip();
    // Whoever waits for a client's first bytes waits each time, and other work on the machine delays most of them.
    let (direct, through) = (quantile(&mut direct, 0.1), quantile(&mut through, 0.1));
    assert!(through < direct + Duration::from_millis(5), "direct {direct:?}, through mainstay {through:?}");
}

/// As long as a delayed acknowledgement takes, which is 40 ms at least (`TCP_DELACK_MIN` in Linux).
const DELAYED: Duration = Duration::from_millis(35);

/// A request of two small writes, the pattern that Nagle's algorithm and delayed acknowledgements stretch.
fn round_trip(client: &mut TcpStream) -> Duration {
    let mut answer = [0; 16];
    let started = Instant::now();
    client.write_all(b"request").unwrap();
    client.write_all(b"and more\n").unwrap();
    client.read_exact(&mut answer).unwrap();
    started.elapsed()
}

#[test]
fn small_requests_and_answers_never_wait_for_an_acknowledgement() {
    const COUNT: usize = 20_000;
    // Answers a whole request with two small writes.
    let backend = Backend::start(|mut stream| {
        stream.set_nodelay(true).unwrap();
        let mut request = [0; 16];
        while stream.read_exact(&mut request).is_ok() {
            if stream.write_all(&request[..4]).and_then(|()| stream.write_all(&request[4..])).is_err() {
                return;
            }
        }
    });
    let front = Front::before(&[backend.address]);
    let [mut near, mut far] = [backend.address, front.address()].map(client);
    let (mut direct, mut through) = (Vec::new(), Vec::new());
    let (mut stretched, mut without) = (0, 0);
    // In turns, so that whatever else the machine does delays both; not to the end when the answer is known.
    while through.len() < COUNT {
        for _ in 0..4 {
            through.push(round_trip(&mut far));
            stretched += usize::from(through.last() > Some(&DELAYED));
        }
        direct.push(round_trip(&mut near));
        without += usize::from(direct.last() > Some(&DELAYED));
        // Four of the ones for each of the others.
        assert!(
            stretched < COUNT / 200 + 8 * without,
            "{stretched} of {} round trips took as long as a delayed acknowledgement, without mainstay {without} of {}",
            through.len(),
            direct.len()
        );
    }
    let (direct, through) = (quantile(&mut direct, 0.99), quantile(&mut through, 0.99));
    assert!(through < 4 * direct + Duration::from_millis(10), "p99: direct {direct:?}, through mainstay {through:?}");
}
