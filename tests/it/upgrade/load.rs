//! Clients that connect all the time, and sessions that are used all the time.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::support::{front::client, wait::patience};

/// What went wrong, and how much went right.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    pub connects: usize,
    pub failed: Vec<String>,
    pub asked: usize,
    pub broken: Vec<String>,
    /// The longest that a new client waited for its first answer.
    pub longest: Duration,
}

pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    counted: Arc<Mutex<Counted>>,
    /// Sessions that go on.
    alive: Arc<AtomicUsize>,
}

impl Load {
    /// So many sessions, each asked in turn, and so many connects in a second, each answered once.
    pub fn start(address: SocketAddr, sessions: usize, per_second: u32) -> Self {
        let (stop, counted) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Counted::default())));
        let alive = Arc::new(AtomicUsize::new(sessions));
        let open: Vec<_> = (0..sessions).map(|_| client(address)).collect();
        let (halt, count, left) = (Arc::clone(&stop), Arc::clone(&counted), Arc::clone(&alive));
        let asks = thread::spawn(move || ask(open, &halt, &count, &left));
        let (halt, count) = (Arc::clone(&stop), Arc::clone(&counted));
        let connects = thread::spawn(move || connect(address, Duration::from_secs(1) / per_second, &halt, &count));
        Self { stop, threads: vec![asks, connects], counted, alive }
    }

    pub fn so_far(&self) -> Counted {
        self.counted.lock().unwrap().clone()
    }

    pub fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }

    pub fn end(&mut self) -> Counted {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        self.so_far()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn ask(mut open: Vec<TcpStream>, stop: &AtomicBool, counted: &Mutex<Counted>, alive: &AtomicUsize) {
    while !stop.load(Ordering::SeqCst) && !open.is_empty() {
        open.retain_mut(|session| {
            let answered = answer(session);
            let mut counted = counted.lock().unwrap();
            counted.asked += 1;
            match answered {
                Ok(()) => true,
                Err(error) => {
                    counted.broken.push(error.to_string());
                    false
                }
            }
        });
        alive.store(open.len(), Ordering::SeqCst);
    }
}

fn connect(address: SocketAddr, pace: Duration, stop: &AtomicBool, counted: &Mutex<Counted>) {
    let mut due = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        let began = Instant::now();
        let served = TcpStream::connect_timeout(&address, patience()).and_then(|mut session| {
            session.set_read_timeout(Some(patience()))?;
            answer(&mut session)
        });
        let mut counted = counted.lock().unwrap();
        counted.connects += 1;
        counted.longest = counted.longest.max(began.elapsed());
        if let Err(error) = served {
            counted.failed.push(error.to_string());
        }
        drop(counted);
        // A pace of the story. What a busy machine delays is not made up for all at once.
        due = (due + pace).max(Instant::now());
        thread::sleep(due - Instant::now());
    }
}

fn answer(session: &mut TcpStream) -> std::io::Result<()> {
    let mut byte = [0; 1];
    session.write_all(b"?")?;
    session.read_exact(&mut byte)
}
