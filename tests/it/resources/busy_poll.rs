//! `busy_poll`: a worker stays awake for a moment after its sessions moved bytes, and no longer.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use crate::support::{
    echo::Backend,
    process::{Process, Stderr, settings},
};

/// Queries one after the other, with a pause that is shorter than the moment.
fn ask(client: &mut TcpStream) {
    for _ in 0..500 {
        client.write_all(b"query").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        // The pause.
        thread::sleep(Duration::from_micros(500));
    }
}

fn start(prefix: &[&str], busy_poll: &str) -> (Backend, Process) {
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["busy_poll"] = busy_poll.into();
    let process = Process::start_under(prefix, &settings, Stderr::Read).serving();
    (backend, process)
}

#[test]
fn a_worker_stays_awake_while_queries_come_and_sleeps_when_they_cease() {
    let worked = |busy_poll| {
        let (_backend, process) = start(&["env"], busy_poll);
        let mut client = process.connect();
        ask(&mut client);
        let busy = process.processor_time(|| ask(&mut client));
        // Within the time that is slept here.
        let idle = process.processor_time(|| thread::sleep(Duration::from_secs(1)));
        assert!(idle < Duration::from_millis(100), "{busy_poll}: {idle:?} of processor time in an idle second");
        busy
    };
    let (sleeps, looks) = (worked("off"), worked("1ms"));
    // 250 ms of pauses at least, of which it sleeps through none.
    assert!(looks > sleeps + Duration::from_millis(125), "{looks:?} beside {sleeps:?}");
}

#[test]
fn more_workers_than_cores_do_not_look() {
    let (_backend, process) = start(&["taskset", "-c", "0"], "1ms");
    process.logged("busy_poll is off");
    let mut client = process.connect();
    ask(&mut client);
    let busy = process.processor_time(|| ask(&mut client));
    assert!(busy < Duration::from_millis(200), "{busy:?}");
}
