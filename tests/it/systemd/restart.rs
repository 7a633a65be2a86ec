//! A restart under load: the listening sockets are systemd's, so nobody is refused.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::activation::Passing;
use crate::support::{
    echo::Backend,
    front::try_client,
    process::{Process, Signal, Stderr, settings},
    wait::{patience, until},
};

const RESTARTS: usize = 20;
const CLIENTS: usize = 8;

/// Clients that come one after the other, each with one question.
struct Load {
    served: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn on(address: SocketAddr) -> Self {
        let (served, failed, stop) =
            (Arc::<AtomicU64>::default(), Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let client = |_| {
            let (served, failed, stop) = (Arc::clone(&served), Arc::clone(&failed), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let asked = try_client(address).map_err(|error| format!("connect: {error}")).and_then(|mut stream| {
                        let mut answer = [0; 1];
                        stream
                            .write_all(b"x")
                            .and_then(|()| stream.read_exact(&mut answer))
                            .map_err(|error| format!("session: {error}"))
                    });
                    match asked {
                        Ok(()) => drop(served.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => failed.lock().unwrap().push(error),
                    }
                }
            })
        };
        let threads = (0..CLIENTS).map(client).collect();
        Self { served, failed, stop, threads }
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    fn end(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        (self.served.load(Ordering::Relaxed), self.failed.lock().unwrap().clone())
    }
}

#[test]
fn twenty_restarts_under_load_refuse_nobody_and_break_no_session() {
    let (socket, backend) = (TcpListener::bind("127.0.0.1:0").unwrap(), Backend::echo());
    let settings = settings(&[backend.address]);
    let sockets = Passing::of("orders", &[&socket]);
    let start = || Process::start_under(&sockets.prefix(), &settings, Stderr::Read).serving();
    let mut process = start();
    let load = Load::on(socket.local_addr().unwrap());
    for restart in 0..RESTARTS {
        let before = load.served();
        until("clients are served", || (load.served() > before + 20).then_some(()));
        process.signal(Signal::TERM);
        let (status, _) = process.ends_within(Duration::from_secs(10).max(patience()));
        assert!(status.success(), "restart {restart} cut sessions");
        process = start();
    }
    let before = load.served();
    until("clients are served", || (load.served() > before + 20).then_some(()));
    let (served, failed) = load.end();
    assert!(failed.is_empty(), "of {served} clients {} had an error: {:?}", failed.len(), &failed[..failed.len().min(5)]);
    println!("{served} clients over {RESTARTS} restarts, none refused");
}
