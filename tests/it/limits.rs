//! `max_connections` of a backend and `connect_ramp`: backends that count who is with them, and a mainstay whose checks never connect
//! to them.

mod copies;
mod many;
mod places;
mod ramp;
mod readers;

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mainstay::{
    app::Running,
    config::{self, Config},
    reason::RejectReason,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use crate::support::{
    config::{LOOPBACK, relay},
    front::client,
    random::Random,
    running::{becomes_active, held, until_held},
    wait::patience,
};

/// Longer than any client of a test waits.
const LONG: Duration = Duration::from_hours(1);

/// A backend on one thread. It counts each session when it says its number, with those that are open then.
struct Counted {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    is_up: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Book {
    /// The most sessions that were open at any time.
    most: usize,
    /// The most connections that were open at any accept, with those of checks.
    most_accepted: usize,
    /// Each session: which accept, when, and its number.
    sessions: Vec<(usize, Instant, u32)>,
}

impl Book {
    fn sorted(&self) -> Vec<(usize, Instant, u32)> {
        let mut sessions = self.sessions.clone();
        sessions.sort_unstable();
        sessions
    }

    /// In the order of the accepts.
    fn numbers(&self) -> Vec<u32> {
        self.sorted().into_iter().map(|(_, _, number)| number).collect()
    }

    fn accepts(&self) -> Vec<Instant> {
        self.sorted().into_iter().map(|(_, at, _)| at).collect()
    }
}

/// What a check says.
const CHECK: &str = "CHCK";

struct Peer {
    stream: TcpStream,
    at: Instant,
    is_session: bool,
}

impl Counted {
    fn new(name: u8) -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&LOOPBACK.into()).unwrap();
        listener.listen(4096).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from(listener);
        let address = listener.local_addr().unwrap();
        let (book, stop) = (Arc::<Mutex<Book>>::default(), Arc::<AtomicBool>::default());
        let is_up = Arc::new(AtomicBool::new(true));
        let (own, stopped, serves) = (Arc::clone(&book), Arc::clone(&stop), Arc::clone(&is_up));
        let thread = std::thread::spawn(move || {
            let mut peers = BTreeMap::new();
            let mut accepted = 0;
            while !stopped.load(Ordering::SeqCst) {
                for ready in poll_all(&listener, &peers) {
                    match ready {
                        None => {
                            // It does not block.
                            let Ok((stream, _)) = TcpListener::accept(&listener) else { continue };
                            let open = peers.values().filter(|peer: &&Peer| !has_closed(&peer.stream)).count() + 1;
                            {
                                let mut book = own.lock().unwrap();
                                book.most_accepted = book.most_accepted.max(open);
                            }
                            stream.set_nonblocking(true).unwrap();
                            peers.insert(accepted, Peer { stream, at: Instant::now(), is_session: false });
                            accepted += 1;
                        }
                        Some(index) => serve(index, &mut peers, (name, serves.load(Ordering::SeqCst)), &own),
                    }
                }
            }
        });
        Self { address, book, is_up, stop, thread: Some(thread) }
    }

    fn book<T>(&self, look: impl FnOnce(&Book) -> T) -> T {
        look(&self.book.lock().unwrap())
    }

    /// Sessions so far.
    fn accepted(&self) -> usize {
        self.book(|book| book.sessions.len())
    }

    /// Its checks fail from now on.
    fn down(&self) {
        self.is_up.store(false, Ordering::SeqCst);
    }

    fn up(&self) {
        self.is_up.store(true, Ordering::SeqCst);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Who has something to say: a client, or `None` for the listener.
fn poll_all(listener: &TcpListener, peers: &BTreeMap<usize, Peer>) -> Vec<Option<usize>> {
    let mut polled: Vec<_> = peers.values().map(|peer| PollFd::new(&peer.stream, PollFlags::IN)).collect();
    polled.push(PollFd::new(listener, PollFlags::IN));
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 })).unwrap();
    let who = peers.keys().copied().map(Some).chain([None]);
    who.zip(&polled).filter(|(_, polled)| !polled.revents().is_empty()).map(|(who, _)| who).collect()
}

/// Whether the other side has closed, or only finished; unread bytes in front of that do not matter.
fn has_closed(stream: &TcpStream) -> bool {
    let mut look = [PollFd::new(stream, PollFlags::RDHUP)];
    poll(&mut look, Some(&Timespec::default())).unwrap();
    look[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
}

/// Answers what one says, with the backend's name.
fn serve(index: usize, peers: &mut BTreeMap<usize, Peer>, (name, is_up): (u8, bool), book: &Mutex<Book>) {
    let Some(peer) = peers.get_mut(&index) else { return };
    let mut bytes = [0; 64];
    let answer = match peer.stream.read(&mut bytes) {
        Ok(read @ 1..) if bytes[..read] == *CHECK.as_bytes() => is_up.then_some(b'+'),
        Ok(read @ 1..) => {
            if let (false, Some(number)) = (peer.is_session, bytes[..read].first_chunk()) {
                peer.is_session = true;
                let entry = (index, peer.at, u32::from_be_bytes(*number));
                let open = peers.values().filter(|peer| peer.is_session && !has_closed(&peer.stream)).count();
                let mut book = book.lock().unwrap();
                book.sessions.push(entry);
                book.most = book.most.max(open);
            }
            Some(name)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
        _ => None,
    };
    let Some(answer) = answer else { return drop(peers.remove(&index)) };
    let _ = (&peers[&index].stream).write_all(&[answer]);
}

/// One pool before `db-a`, `db-b`, … with these limits; whoever waits does so for as long as the test likes.
fn settings(backends: &[(&Counted, Option<u32>)]) -> Value {
    let backend = |(letter, (backend, limit)): (char, &(&Counted, Option<u32>))| {
        let mut all = json!({"name": format!("db-{letter}"), "address": backend.address.to_string()});
        if let Some(limit) = limit {
            all["max_connections"] = json!(limit);
        }
        all
    };
    json!({
        "admin": {"listen": LOOPBACK.to_string()},
        "shutdown": {"timeout": "5s"},
        "workers": 2,
        "pools": [{
            "name": "orders",
            "check": {
                "exchange": [{"send": CHECK}, {"expect": "+"}],
                // One that waits behind a thousand others in the backend's queue is no failure; a backend that is down says so.
                "interval": "50ms", "fast_interval": "20ms", "timeout": "1m", "fall": 1, "rise": 1,
            },
            "hold": {"timeout": "1h", "max": 10_000, "max_per_ip": 10_000},
            "failover_budget": {"max": 1000},
            "listeners": [{"name": "rw", "listen": LOOPBACK.to_string(), "relay": relay()}],
            "backends": ('a'..).zip(backends).map(backend).collect::<Vec<_>>(),
        }],
    })
}

fn parsed(settings: &Value) -> Config {
    config::parse(&settings.to_string(), "the test's configuration", &|_| None).unwrap_or_else(|errors| panic!("{errors}")).config
}

fn active(running: &Running) -> Option<String> {
    let snapshot = running.snapshots[0].get();
    snapshot.active.filter(|_| !snapshot.suspended).map(|id| snapshot.backends[id.index()].name.to_string())
}

fn rejected(running: &Running, reason: RejectReason) -> u64 {
    running.series[0].listeners.iter().map(|listener| listener.rejected.get(reason).get()).sum()
}

fn rejects(running: &Running) -> u64 {
    running.series[0].listeners.iter().flat_map(|listener| listener.rejected.iter()).map(|(_, count)| count.get()).sum()
}

fn at(running: &Running, listener: usize) -> SocketAddr {
    running.listeners[0][listener][0]
}

/// A client that says its number first.
fn come(address: SocketAddr, number: u32) -> TcpStream {
    let mut client = client(address);
    client.write_all(&number.to_be_bytes()).unwrap();
    client
}

/// Who answers.
fn ask(client: &mut TcpStream) -> io::Result<u8> {
    let mut answer = [0; 1];
    client.read_exact(&mut answer)?;
    Ok(answer[0])
}

/// Waits until every client was served once, and closes each at some moment after that, by FIN or RST.
fn serve_and_leave(clients: Vec<TcpStream>, random: &mut Random) {
    let end = Instant::now() + 3 * patience();
    let mut here: Vec<(TcpStream, Option<Instant>)> = clients.into_iter().map(|client| (client, None)).collect();
    for (client, _) in &here {
        client.set_nonblocking(true).unwrap();
    }
    while !here.is_empty() {
        assert!(Instant::now() < end, "{} clients were never served", here.iter().filter(|(_, leaves)| leaves.is_none()).count());
        let mut polled: Vec<_> = here.iter().map(|(client, _)| PollFd::from_borrowed_fd(client.as_fd(), PollFlags::IN)).collect();
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 1_000_000 })).unwrap();
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        for ((client, leaves), _) in here.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
            match client.read(&mut [0; 8]) {
                Ok(1..) => *leaves = Some(Instant::now() + Duration::from_micros(random.between(0, 3000) as u64)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                over => panic!("a client was not served: {over:?}"),
            }
        }
        let (leave, stay) = here.into_iter().partition(|(_, leaves)| leaves.is_some_and(|at| at <= Instant::now()));
        here = stay;
        for (client, _) in leave {
            if random.between(0, 2) == 0 {
                crate::support::echo::reset(client);
            }
        }
    }
}
