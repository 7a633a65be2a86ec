//! The pipes: who has one, when it goes, and what there is without.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use rustix::{
    process::{Gid, Resource, Rlimit, Uid, getrlimit, setrlimit},
    thread::set_thread_res_uid,
};

use crate::support::{
    echo::{Backend, reset},
    noise::Noise,
    process::{Process, Stderr, relay_by, settings},
    random::Random,
    wait::{stands_still, until},
};

/// Sends each client as many bytes as it asks for.
fn reply() -> Backend {
    Backend::start(|mut stream| {
        let mut len = [0; 8];
        while stream.read_exact(&mut len).is_ok() {
            if Noise::new(5).send(&stream, u64::from_le_bytes(len), &mut Random::new(6)).is_err() {
                return;
            }
        }
    })
}

fn ask(mut client: &TcpStream, len: usize) {
    client.write_all(&(len as u64).to_le_bytes()).unwrap();
}

fn receive(mut client: &TcpStream, len: usize) {
    let mut bytes = vec![0; len];
    client.read_exact(&mut bytes).unwrap();
    Noise::new(5).compare(&bytes).unwrap();
}

fn start(backend: &Backend, relay: &str) -> Process {
    let mut settings = settings(&[backend.address]);
    relay_by(&mut settings, relay);
    Process::start(&settings).serving()
}

/// Waits until nothing moves any more.
fn until_all_stand_still(process: &Process) {
    let relayed = || process.metric("mainstay_relay_bytes_total", &[("direction", "downstream")]);
    stands_still("all streams stand still", Duration::from_millis(300), relayed);
}

#[test]
fn sessions_that_are_idle_after_a_stream_have_no_pipe() {
    const SESSIONS: usize = 60;
    let backend = reply();
    let process = start(&backend, "auto");
    let before = process.pipe_ends();
    let clients: Vec<_> = (0..SESSIONS).map(|_| process.connect()).collect();
    for client in &clients {
        ask(client, 8 << 20);
        receive(client, 8 << 20);
    }
    assert!(process.metric("mainstay_relay_spliced_bytes_total", &[]) > 0);
    // One stream at a time: each of the two workers has made a pipe, and another when a reader was slow for a moment.
    let pipes = (process.pipe_ends() - before) / 2;
    assert!((1..=4).contains(&pipes), "{pipes} pipes for {SESSIONS} idle sessions");
}

#[test]
fn more_slow_readers_than_pipes_get_everything_and_the_rest_is_copied() {
    // All together less than the kernel has for TCP (`net.ipv4.tcp_mem`): beyond it throws segments away, and streams wait for ever
    // longer timers.
    const READERS: usize = 200;
    const LEN: usize = 6 << 20;
    let backend = reply();
    let process = start(&backend, "auto");
    let before = process.pipe_ends();
    let clients: Vec<_> = (0..READERS).map(|_| process.connect()).collect();
    for client in &clients {
        // A small window, so that little of it waits in the kernel's buffers and the rest behind the pipe.
        socket2::SockRef::from(client).set_recv_buffer_size(256 << 10).unwrap();
        ask(client, LEN);
    }
    until_all_stand_still(&process);
    let pipes = (process.pipe_ends() - before) / 2;
    assert!(pipes <= 128, "{pipes} pipes");
    thread::scope(|scope| {
        for clients in clients.chunks(READERS / 4) {
            scope.spawn(move || clients.iter().for_each(|client| receive(client, LEN)));
        }
    });
    assert!(process.metric("mainstay_pipe_errors_total", &[("reason", "limit")]) > 0, "there was a pipe for everybody");
    until("the pipes that nobody needs are closed", || (process.pipe_ends() - before <= 2 * 2 * 8).then_some(()));
}

#[test]
fn what_is_in_the_pipe_of_a_client_that_aborts_reaches_nobody() {
    const SESSIONS: usize = 40;
    let backend = reply();
    let process = start(&backend, "splice");
    let before = process.pipe_ends();
    for _ in 0..5 {
        let clients: Vec<_> = (0..SESSIONS).map(|_| process.connect()).collect();
        for client in &clients {
            ask(client, 64 << 20);
        }
        until_all_stand_still(&process);
        assert!(process.pipe_ends() > before, "no pipe is in use");
        clients.into_iter().for_each(reset);
        until("all sessions are gone", || (process.metric("mainstay_connections_active", &[]) == 0).then_some(()));
        let left = process.pipe_ends() - before;
        assert!(left <= 2 * 4, "{left} descriptors of pipes are left of sessions that were cut");
        // Whoever comes next has a stream of his own.
        for _ in 0..4 {
            let client = process.connect();
            ask(&client, 4 << 20);
            receive(&client, 4 << 20);
        }
    }
}

/// Without privileges, the pipes of a user that has very many already are too small to be of use.
#[test]
fn a_user_who_has_too_many_pipes_is_served_by_copies() {
    const NOBODY: u32 = 65_534;
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    // 1024 pipes of 16 pages are all that /proc/sys/fs/pipe-user-pages-soft allows.
    let pages: usize = fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").unwrap().trim().parse().unwrap();
    let hoard = thread::spawn(move || {
        let nobody = Uid::from_raw(NOBODY);
        set_thread_res_uid(nobody, nobody, nobody).unwrap();
        (0..pages / 16).map(|_| std::io::pipe().unwrap()).collect::<Vec<_>>()
    });
    let hoard = hoard.join().unwrap();
    let backend = reply();
    let mut settings = settings(&[backend.address]);
    relay_by(&mut settings, "splice");
    let (uid, gid) = (format!("--reuid={NOBODY}"), format!("--regid={}", Gid::from_raw(NOBODY).as_raw()));
    let process = Process::start_under(&["setpriv", &uid, &gid, "--clear-groups"], &settings, Stderr::Read).serving();
    let stream = || {
        let client = process.connect();
        ask(&client, 32 << 20);
        receive(&client, 32 << 20);
    };
    stream();
    assert_eq!(process.metric("mainstay_relay_spliced_bytes_total", &[]), 0, "a pipe of 8 KiB was used");
    assert!(process.metric("mainstay_pipe_errors_total", &[("reason", "too_small")]) >= 1);
    // Tried again once the pause is over, and there is room again.
    drop(hoard);
    until("a stream is spliced", || {
        let before = process.metric("mainstay_relay_spliced_bytes_total", &[]);
        stream();
        (process.metric("mainstay_relay_spliced_bytes_total", &[]) - before > 16 << 20).then_some(())
    });
}
