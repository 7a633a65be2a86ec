//! Crowds: storms of connections that are gone again, thousands that say nothing, and the books afterwards.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::support::{
    config::LOOPBACK,
    echo::{Backend, reset},
    netns::run,
    process::{Process, settings},
    random::Random,
    wait::{patience, until, within},
};

#[test]
fn a_storm_of_connections_that_are_reset_at_once_leaves_nothing_behind() {
    let backend = Backend::echo();
    let process = Process::start(&settings(&[backend.address])).serving();
    let base = process.files();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    reset(process.connect());
                }
            });
        }
    });
    // A backend that has no processor time for its queue is not reached at first.
    let served = || {
        let mut client = process.connect();
        client.write_all(b"x").and_then(|()| client.read_exact(&mut [0; 1])).ok()
    };
    let worked = process.processor_time(|| within(3 * patience(), "a client is served", served));
    assert!(worked < Duration::from_secs(2), "so much was done before the next client had its turn: {worked:?}");
    until("all descriptors are back", || (process.files() <= base).then_some(()));
    assert_eq!(process.metric("mainstay_connections_active", &[]), 0);
    assert_eq!(process.metric("mainstay_accept_errors_total", &[("reason", "other")]), 0);
    // The kernel drops connects to a backend that has no processor time for its queue: two probes in a row may find that. Nothing else
    // counts against it.
    let probes = |outcome| process.metric("mainstay_probes_total", &[("outcome", outcome)]);
    for outcome in ["timeout", "refused", "closed", "unreachable", "protocol_error"] {
        assert_eq!(probes(outcome), 0, "{outcome}");
    }
    let downs = process.metric("mainstay_transitions_total", &[("to", "down")]);
    assert!(2 * downs <= probes("connect_timeout"), "{downs} times down");
}

/// Keeps whatever connects, with one thread for all.
struct Hoard {
    address: SocketAddr,
    kept: Arc<Mutex<Vec<TcpStream>>>,
    stop: Arc<AtomicBool>,
}

impl Hoard {
    fn start() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&LOOPBACK.into()).unwrap();
        listener.listen(4096).unwrap();
        let listener = TcpListener::from(listener);
        let address = listener.local_addr().unwrap();
        let (kept, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (keep, stopped) = (Arc::clone(&kept), Arc::clone(&stop));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                keep.lock().unwrap().push(stream);
            }
        });
        Self { address, kept, stop }
    }
}

impl Drop for Hoard {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, patience());
    }
}

#[test]
fn thousands_of_silent_clients_cost_little_and_disturb_no_check() {
    const CLIENTS: usize = 4000;
    let hoard = Hoard::start();
    let process = Process::start(&settings(&[hoard.address])).serving();
    let (base, probes) = (process.memory(), process.metric("mainstay_probes_total", &[("outcome", "ok")]));
    let clients: Vec<_> = (0..CLIENTS).map(|_| process.connect()).collect();
    until("all have their session", || (process.metric("mainstay_connections_active", &[]) == CLIENTS as u64).then_some(()));
    let each = (process.memory() - base) / CLIENTS as u64;
    assert!(each < 20 << 10, "{each} bytes a silent session");
    // For as long as is slept here.
    let spent = process.processor_time(|| thread::sleep(Duration::from_secs(1)));
    assert!(spent < Duration::from_millis(150), "{spent:?} of processor time for a second of silence");
    until("the checks go on", || (process.metric("mainstay_probes_total", &[("outcome", "ok")]) >= probes + 4).then_some(()));
    assert_eq!(process.metric("mainstay_transitions_total", &[("to", "down")]), 0);
    drop(clients);
    hoard.kept.lock().unwrap().clear();
    until("all sessions are over", || (process.metric("mainstay_connections_active", &[]) == 0).then_some(()));
}

/// Connections of mainstay to this backend, as the kernel knows them.
fn established(process: &Process, backend: SocketAddr) -> usize {
    let pid = format!("pid={},", process.pid());
    let filter = format!("dport = :{}", backend.port());
    run(&["ss", "-tnpH", "state", "established", &filter]).lines().filter(|line| line.contains(&pid)).count()
}

#[test]
fn the_books_agree_with_the_kernel_during_chaos_and_show_nothing_at_the_end() {
    let backend = Backend::start(|mut stream| {
        let mut what = [0; 1];
        while stream.read_exact(&mut what).is_ok() {
            match what[0] {
                b'r' => return reset(stream),
                b'f' => return,
                _ => drop(stream.write_all(&what)),
            }
        }
    });
    let mut settings = settings(&[backend.address]);
    // Probes are connections to the backend, too; they must not be there when the kernel is asked.
    settings["pools"][0]["check"]["interval"] = "30s".into();
    settings["pools"][0]["check"]["timeout"] = "1s".into();
    let process = Process::start(&settings).serving();
    let base = process.files();
    let mut random = Random::seeded();
    let stay: Vec<TcpStream> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..8)
            .map(|_| {
                let (process, mut random) = (&process, random.fork());
                scope.spawn(move || {
                    let mut stay = Vec::new();
                    for _ in 0..150 {
                        let mut client = process.connect();
                        let how = random.between(0, 6);
                        if how > 0 {
                            let _ = client.write_all(b"x");
                            let _ = client.read_exact(&mut [0; 1]);
                        }
                        match how {
                            0 | 1 => drop(client),
                            2 => reset(client),
                            3 => drop(client.write_all(b"r").map(|()| client.read(&mut [0; 1]))),
                            4 => drop(client.write_all(b"f").map(|()| client.read(&mut [0; 1]))),
                            _ => stay.push(client),
                        }
                    }
                    stay
                })
            })
            .collect();
        lanes.into_iter().flat_map(|lane| lane.join().unwrap()).collect()
    });
    let active = || process.metric("mainstay_connections_active", &[]);
    until("the dust settles", || (active() == stay.len() as u64).then_some(()));
    assert_eq!(established(&process, backend.address), stay.len());
    let accepted = process.metric("mainstay_connections_accepted_total", &[]);
    assert_eq!(accepted, 8 * 150);
    drop(stay);
    until("all sessions are over", || (active() == 0).then_some(()));
    until("all descriptors are back", || (process.files() <= base).then_some(()));
    assert_eq!(established(&process, backend.address), 0);
    let ended =
        process.metric("mainstay_connections_closed_total", &[]) + process.metric("mainstay_connections_rejected_total", &[]);
    assert_eq!(ended, accepted, "every client that was accepted has ended exactly once");
    assert_eq!(process.metric("mainstay_connections_held", &[]), 0);
    assert_eq!(process.metric("mainstay_connections_closed_total", &[("reason", "internal")]), 0);
    assert_eq!(process.metric("mainstay_panics_total", &[]), 0);
}
