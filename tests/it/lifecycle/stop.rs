//! SIGTERM and SIGINT: not ready at once, nobody turned away who need not be, sessions finish, then the end.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    panic::{self, AssertUnwindSafe},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use serde_json::json;
use socket2::SockRef;

use crate::support::{
    echo::Backend,
    injection::Injection,
    process::{Process, Signal, settings},
    wait::{Watch, patience, stands_still, until, within},
};

const MS: Duration = Duration::from_millis(1);

fn begin(process: &Process) -> TcpStream {
    let mut client = process.connect();
    round_trip(&mut client);
    client
}

fn round_trip(client: &mut TcpStream) {
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
}

fn readiness(process: &Process) -> u16 {
    process.get("/readyz").0
}

/// On a machine that is too slow for a delay, with a longer one.
fn drains(signal: Signal) {
    let delays = [1500, 6000, 24000].map(Duration::from_millis);
    assert!(delays.into_iter().any(|delay| drains_with(signal, delay)), "this machine is too slow for this test");
}

/// `false`: it was over before somebody came who had not heard of it.
fn drains_with(signal: Signal, delay: Duration) -> bool {
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["shutdown"] = json!({"delay": format!("{}ms", delay.as_millis()), "timeout": "60s"});
    let mut process = Process::start(&settings).serving();
    let mut sessions: Vec<_> = (0..50).map(|_| begin(&process)).collect();
    until("it is ready", || (readiness(&process) == 200).then_some(()));

    let told = Watch::start();
    process.signal(signal);
    until("it is no longer ready", || (readiness(&process) == 503).then_some(()));
    assert!(told.unhindered() < Duration::from_millis(500), "ready for another {:?}", told.elapsed());
    assert_eq!(process.get("/livez").0, 200);

    // Those who have not heard of it yet are still served, for as long as the delay says.
    let late = TcpStream::connect_timeout(&process.address, patience());
    if told.elapsed() >= delay {
        return false;
    }
    let mut late = late.unwrap();
    late.set_read_timeout(Some(patience())).unwrap();
    round_trip(&mut late);
    within(2 * delay + patience(), "nobody is accepted any more", || {
        TcpStream::connect_timeout(&process.address, patience()).is_err().then_some(())
    });
    let closed = told.elapsed();
    assert!(closed + 50 * MS >= delay && told.unhindered() < delay + 1000 * MS, "accepted for {closed:?}");

    // Whoever works finishes.
    for client in &mut sessions {
        round_trip(client);
    }
    round_trip(&mut late);
    assert!(process.is_running());
    drop((sessions, late));
    let (status, took) = process.ends_within(Duration::from_secs(5));
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_millis(500), "ended {took:?} after its last session");
    process.logged("stopped");
    true
}

#[test]
fn sigterm_lets_everybody_finish() {
    drains(Signal::TERM);
}

#[test]
fn sigint_lets_everybody_finish() {
    drains(Signal::INT);
}

#[test]
fn a_signal_that_comes_as_soon_as_it_serves_finds_somebody_who_listens() {
    let backend = Backend::echo();
    for signal in [Signal::TERM, Signal::INT].repeat(10) {
        let mut process = Process::start(&settings(&[backend.address]));
        process.signal(signal);
        assert_eq!(process.ends_within(Duration::from_secs(5)).0.code(), Some(0));
    }
}

#[test]
fn clients_that_connected_before_the_listener_closed_are_served() {
    // Without a delay the listener closes at once; whoever the kernel had connected by then must not be lost.
    let backend = Backend::echo();
    for _ in 0..5 {
        let mut process = Process::start(&settings(&[backend.address])).serving();
        // The accept loop is stopped, not asleep, while they come; all of them and the order to stop are there when it goes on.
        process.freeze();
        let clients: Vec<_> = (0..300).map(|_| process.connect()).collect();
        process.signal(Signal::TERM);
        process.signal(Signal::CONT);
        for mut client in clients {
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0; 1]).unwrap();
        }
        assert_eq!(process.ends_within(Duration::from_secs(10)).0.code(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::INT), (Signal::TERM, Signal::INT)] {
        let backend = Backend::echo();
        let mut settings = settings(&[backend.address]);
        settings["shutdown"] = json!({"delay": "60s", "timeout": "60s"});
        let mut process = Process::start(&settings).serving();
        let mut client = begin(&process);
        process.signal(first);
        process.logged("draining");
        round_trip(&mut client);
        let told = Watch::start();
        process.signal(second);
        assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let (status, _) = process.ends_within(Duration::from_secs(5));
        assert!(told.unhindered() < Duration::from_millis(500), "took {:?}", told.elapsed());
        assert_eq!(status.code(), Some(1), "sessions were cut");
    }
}

#[test]
fn a_second_signal_with_nothing_open_ends_it_at_once_and_well() {
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["shutdown"] = json!({"delay": "60s", "timeout": "60s"});
    let mut process = Process::start(&settings).serving();
    process.signal(Signal::TERM);
    process.logged("draining");
    process.signal(Signal::TERM);
    let (status, took) = process.ends_within(Duration::from_secs(5));
    assert!(took < Duration::from_millis(300), "took {took:?}");
    assert_eq!(status.code(), Some(0), "nothing was cut");
}

#[test]
fn when_the_time_to_finish_is_over_the_rest_is_cut_and_counted() {
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["shutdown"] = json!({"delay": "0s", "timeout": "700ms"});
    let mut process = Process::start(&settings).serving();
    let clients: Vec<_> = (0..7).map(|_| begin(&process)).collect();
    let told = Watch::start();
    process.signal(Signal::TERM);
    for mut client in clients {
        assert_eq!(client.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
    let (status, _) = process.ends_within(Duration::from_secs(5));
    let took = told.elapsed();
    assert!(took >= 700 * MS && told.unhindered() < 1700 * MS, "took {took:?}");
    assert_eq!(status.code(), Some(1));
    assert_eq!(process.logged("the time to finish is over")["sessions"], 7);
    // The log tells each of them from a session that was cut because its backend failed.
    let cut = || process.log().iter().filter(|line| line["message"] == "session closed" && line["reason"] == "shutdown").count();
    until("each is told of", || (cut() == 7).then_some(()));
}

#[test]
fn a_client_that_reads_nothing_does_not_stop_the_stop() {
    let backend = Backend::start(|mut stream| {
        let flood = vec![7; 1 << 20];
        while stream.write_all(&flood).is_ok() {}
    });
    let mut settings = settings(&[backend.address]);
    settings["shutdown"] = json!({"delay": "0s", "timeout": "300ms"});
    let mut process = Process::start(&settings).serving();
    let mut client = process.connect();
    client.write_all(b"x").unwrap();
    let relayed = || process.metric("mainstay_relay_bytes_total", &[("direction", "downstream")]);
    stands_still("the stream stands still", Duration::from_millis(200), relayed);
    process.signal(Signal::TERM);
    let (status, took) = process.ends_within(Duration::from_secs(5));
    assert_eq!(status.code(), Some(1));
    assert!(took < Duration::from_millis(1300), "took {took:?}");
    // What it reads now is a part of the whole, and must not look like all.
    let mut rest = Vec::new();
    assert_eq!(client.read_to_end(&mut rest).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn held_clients_are_told_when_it_stops() {
    let mut backend = Backend::echo();
    backend.stop();
    let mut settings = settings(&[backend.address]);
    settings["pools"][0]["check"]["postgres"] = json!({"tls": "off"});
    settings["pools"][0]["check"].as_object_mut().unwrap().remove("tcp");
    settings["shutdown"] = json!({"delay": "0s", "timeout": "1s"});
    let mut process = Process::start(&settings);
    // StartupMessage: length, protocol 3.0, user=x.
    let startup = b"\x00\x00\x00\x10\x00\x03\x00\x00user\x00x\x00\x00";
    let mut clients: Vec<_> = (0..5).map(|_| process.connect()).collect();
    for client in &mut clients {
        client.write_all(startup).unwrap();
    }
    until("they are held", || (process.metric("mainstay_connections_held", &[]) == 5).then_some(()));
    process.signal(Signal::TERM);
    for mut client in clients {
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(text.contains("\0C57P03\0Mmainstay is shutting down\0"), "{text:?}");
    }
    // Held clients are no sessions: nothing was cut.
    let (status, _) = process.ends_within(Duration::from_secs(5));
    assert_eq!(status.code(), Some(0));
}

/// Clients come faster than they are accepted: those who were there before the end are taken in, and no more.
#[test]
fn clients_who_never_cease_to_come_do_not_hold_up_the_end() {
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["workers"] = 1.into();
    settings["shutdown"] = json!({"delay": "0s", "timeout": "100ms"});
    let mut process = Process::start(&settings).serving();
    let _slow = Injection::into(&process, "mainstay-data-0", "accept4:delay_enter=1000");
    let (address, over) = (process.address, AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed)
                    && let Ok(client) = TcpStream::connect_timeout(&address, patience())
                {
                    // With a reset: its port is free again at once.
                    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
                }
            });
        }
        process.signal(Signal::TERM);
        let ended = panic::catch_unwind(AssertUnwindSafe(|| process.ends_within(Duration::from_secs(30))));
        over.store(true, Ordering::Relaxed);
        drop(process);
        if let Err(panic) = ended {
            panic::resume_unwind(panic);
        }
    });
}
