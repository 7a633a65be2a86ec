//! Backends that come back: once, for good, or again and again.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use mainstay::failover::{BackendId, Health, Reason};

use crate::support::{
    config::tcp_pool,
    echo::Backend,
    front::{Front, is_over},
    wait::{Watch, until},
};

fn works(session: &mut TcpStream) {
    session.write_all(b"ping").unwrap();
    session.read_exact(&mut [0; 4]).unwrap();
}

fn echo_at(address: std::net::SocketAddr) -> Backend {
    Backend::start_at(address, |mut stream| {
        let mut reader = stream.try_clone().unwrap();
        let _ = std::io::copy(&mut reader, &mut stream);
    })
}

#[test]
fn a_flapping_backend_moves_nobody_and_is_quiet_after_a_few_times() {
    const PHASE: Duration = Duration::from_millis(300);
    let (mut first, second) = (Backend::echo(), Backend::echo());
    let front = Front::before(&[first.address, second.address]);
    until("both are known", || front.snapshot().backends.iter().all(|b| b.health == Health::Up).then_some(()));
    let transitions =
        || front.backend().transitions.iter().flat_map(|(_, by_cause)| by_cause.iter()).map(|(_, n)| n.get()).sum::<u64>();
    let before = transitions();
    first.stop();
    until("the other has taken over", || (front.snapshot().active == Some(BackendId(1))).then_some(()));
    let mut session = front.connect();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(12) {
        let up = echo_at(first.address);
        // The pace of its flapping is the subject.
        thread::sleep(PHASE);
        drop(up);
        // As above.
        thread::sleep(PHASE);
        works(&mut session);
    }
    assert_eq!((front.snapshot().epoch.0, front.snapshot().active), (2, Some(BackendId(1))), "one failover");
    // In 300 ms there is time for a probe and three more at the fast pace. The first Up takes two successes, the second four, the
    // third eight: Down, Up, Down, Up, Down and no more.
    let changes = transitions() - before;
    assert!(changes <= 5, "its health changed {changes} times");
    // Once it is well it comes back, later than the first time, and moves nobody.
    let _well = echo_at(first.address);
    until("it is well", || (front.snapshot().backends[0].reason == Reason::Eligible).then_some(()));
    assert_eq!(front.snapshot().epoch.0, 2);
    works(&mut session);
}

#[test]
fn nobody_goes_back_unless_told_to_and_then_after_the_time_that_was_set() {
    for after in [None, Some(Duration::from_secs(1))] {
        let (mut first, second) = (Backend::echo(), Backend::echo());
        let mut config = tcp_pool(&[first.address, second.address]);
        config.pools[0].check.interval = Duration::from_millis(100);
        config.pools[0].policy.failback_after = after;
        let front = Front::with(&config);
        until("both are known", || front.snapshot().backends.iter().all(|b| b.health == Health::Up).then_some(()));
        first.stop();
        until("the other has taken over", || (front.snapshot().active == Some(BackendId(1))).then_some(()));
        let mut session = front.connect();
        works(&mut session);
        let _again = echo_at(first.address);
        until("it is well", || (front.snapshot().backends[0].reason == Reason::Eligible).then_some(()));
        let well = Watch::start();
        match after {
            None => {
                // What must not happen has had its time.
                thread::sleep(Duration::from_secs(2));
                assert_eq!(front.snapshot().epoch.0, 2);
                works(&mut session);
            }
            Some(after) => {
                until("it is active again", || (front.snapshot().active == Some(BackendId(0))).then_some(()));
                let took = well.elapsed();
                assert!(took > after * 8 / 10 && well.unhindered() < after * 2, "{took:?}");
                assert!(is_over(&session), "its session stays with the other");
            }
        }
    }
}
