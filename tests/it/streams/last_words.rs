//! What a backend said before it died reaches its clients; what it would say later does not.

use std::{
    io::{self, Read, Write},
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use mainstay::{
    config::RelayMode,
    data::{
        event_loop::{self, EventLoop, Socket},
        relay::{Relay, RelaySettings},
    },
    failover::{Epoch, Reason, RevokeMode, Time},
    metrics::{Metrics, PoolLabels},
    reason::{CloseReason, Direction},
    route::{Frontend, Listening, Route, RouteId, Session},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    config::{LOOPBACK, tcp_pool},
    echo::{Backend, reset},
    front::{Front, client},
    noise::Noise,
    random::Random,
    wait::{Watch, accept, patience, stands_still, until},
};

#[test]
fn a_revoked_session_still_gets_what_its_backend_had_said() {
    const LEN: u64 = 600_000;
    // Speaks, then hangs without closing anything, as a frozen machine does.
    let (hang, hanging) = mpsc::channel::<()>();
    let hanging = Mutex::new(hanging);
    let mut first = Backend::start(move |stream| {
        Noise::new(1).send(&stream, LEN, &mut Random::new(2)).unwrap();
        let _ = hanging.lock().unwrap().recv_timeout(3 * patience());
        drop(stream);
    });
    let second = Backend::echo();
    let front = Front::before(&[first.address, second.address]);
    let mut client = front.connect();
    // A small window: most of the reply waits in mainstay's kernel.
    socket2::SockRef::from(&client).set_recv_buffer_size(16 << 10).unwrap();
    client.write_all(b"x").unwrap();
    let relayed = || front.backend().relay_bytes.get(Direction::Downstream).get();
    until("the reply is handed over to the kernel", || (relayed() == LEN).then_some(()));
    first.stop();
    until("the session is revoked", || (front.backend().closed.get(CloseReason::Revoked).get() == 1).then_some(()));
    let mut noise = Noise::new(1);
    let cut = noise.receive(&client, &mut Random::new(3)).expect_err("a revoked session must not end in FIN");
    assert!(cut.contains("reset"), "{cut}");
    assert_eq!(noise.bytes, LEN, "{cut}");
    drop(hang);
}

#[test]
fn the_farewell_of_a_backend_that_goes_down_reaches_every_client() {
    const SESSIONS: usize = 100;
    const FAREWELL: &[u8] = b"FATAL: terminating connection due to administrator command";
    let (tell, told) = mpsc::channel();
    let mut first = Backend::start(move |mut stream| {
        stream.read_exact(&mut [0; 1]).unwrap();
        stream.write_all(b"!").unwrap();
        tell.send(stream).unwrap();
    });
    let second = Backend::echo();
    let front = Front::before(&[first.address, second.address]);
    let clients: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let mut client = front.connect();
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0; 1]).unwrap();
            client
        })
        .collect();
    let sessions: Vec<_> = (0..SESSIONS).map(|_| told.recv_timeout(patience()).unwrap()).collect();
    // Half of the sessions end with FIN and half not at all; then nobody listens any more. So mainstay learns of the end from
    // its sessions, or from a refused connect, whichever is sooner, and the last words may lie unread in the kernel.
    for (number, mut session) in sessions.into_iter().enumerate() {
        session.write_all(FAREWELL).unwrap();
        if number % 2 == 0 {
            std::mem::forget(session);
        }
    }
    first.stop();
    for mut client in clients {
        let mut heard = Vec::new();
        let end = client.read_to_end(&mut heard);
        assert_eq!(String::from_utf8_lossy(&heard), String::from_utf8_lossy(FAREWELL), "{end:?}");
    }
    let mut client = front.connect();
    client.write_all(b"y").unwrap();
    let mut answer = [0; 1];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"y", "the next backend serves");
}

#[test]
fn a_session_lost_before_a_byte_went_either_way_is_tried_again_and_one_lost_later_is_not() {
    // Accepts and resets at once, until it is told to serve.
    let serves = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&serves);
    let backend = Backend::start_first(LOOPBACK, move |mut stream| {
        if !told.load(Ordering::SeqCst) {
            return reset(stream);
        }
        let _ = stream.write_all(b"!");
        if let Ok(1) = stream.read(&mut [0; 1]) {
            reset(stream);
        }
    });
    let front = Front::before(&[backend.address]);
    let mut client = front.connect();
    until("the backend has reset sessions that it had accepted", || (front.pool().dial_retries.get() >= 3).then_some(()));
    serves.store(true, Ordering::SeqCst);
    let mut answer = [0; 1];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"!");
    let retries = front.pool().dial_retries.get();

    client.write_all(b"x").unwrap();
    assert_eq!(client.read(&mut answer).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    until("the session is accounted for", || (front.backend().closed.get(CloseReason::ServerReset).get() == 1).then_some(()));
    assert_eq!(front.pool().dial_retries.get(), retries, "what a client had sent must not be sent again");
}

#[test]
fn the_farewell_of_a_backend_that_no_longer_listens_reaches_a_client_that_still_sends() {
    const FAREWELL: &[u8] = b"FATAL: out of memory";
    const LANES: usize = 8;
    const ROUNDS: usize = 6;
    // Closes in the middle of what it is sent, at once or after a FIN; for all that comes later the kernel answers RST.
    let count = AtomicUsize::new(0);
    let backend = Backend::start(move |mut stream| {
        let mut some = [0; 4096];
        for _ in 0..4 {
            stream.read_exact(&mut some).unwrap();
        }
        stream.write_all(FAREWELL).unwrap();
        if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // The RST comes behind the FIN, and not with it.
            thread::sleep(Duration::from_millis(5));
        }
    });
    let front = Front::before(&[backend.address]);
    let round = || {
        let client = front.connect();
        thread::scope(|scope| {
            let sender = scope.spawn(|| while (&client).write_all(&[1; 4096]).is_ok() {});
            let mut heard = [0; FAREWELL.len()];
            (&client).read_exact(&mut heard).unwrap();
            assert_eq!(heard, FAREWELL);
            // Nobody will ever read what it sends now, and it must not be left to believe so.
            let heard = Watch::start();
            sender.join().unwrap();
            assert!(heard.unhindered() < Duration::from_secs(5), "it was let to send for {:?}", heard.elapsed());
        });
    };
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| (0..ROUNDS).for_each(|_| round()));
        }
    });
    until("every session is over", || (front.backend().connections_active.get() == 0).then_some(()));
}

#[test]
fn a_reply_that_nobody_waits_for_any_more_is_not_read_to_its_end() {
    let (tell, told) = mpsc::channel();
    let backend = Backend::start(move |mut stream| {
        let mut request = Vec::new();
        stream.read_to_end(&mut request).unwrap();
        let endless = vec![0; 64 << 10];
        while stream.write_all(&endless).is_ok() {}
        tell.send(request).unwrap();
    });
    let front = Front::before(&[backend.address]);
    // Says what it wants, finishes, and leaves without an answer.
    let mut client = front.connect();
    client.write_all(b"a request").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    drop(client);
    assert_eq!(told.recv_timeout(patience()).unwrap(), b"a request");
    until("the session is over", || (front.backend().connections_active.get() == 0).then_some(()));
    assert_eq!(front.backend().closed.get(CloseReason::ClientReset).get(), 1);
}

#[test]
fn a_stream_that_began_with_a_lost_backend_never_goes_on_without_its_first_bytes() {
    const SESSIONS: usize = 600;
    // Every other session is accepted and reset at once, before, while or after the first bytes come.
    let count = AtomicUsize::new(0);
    let (tell, told) = mpsc::channel();
    let backend = Backend::start_first(LOOPBACK, move |mut stream| {
        if count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
            return reset(stream);
        }
        let mut first = [0; 6];
        if stream.read_exact(&mut first).is_ok() {
            tell.send(first).unwrap();
            let _ = stream.write_all(&first);
        }
    });
    let front = Front::before(&[backend.address]);
    let mut served = 0;
    for session in 0..SESSIONS {
        let mut client = front.connect();
        let _ = client.write_all(b"123456");
        let mut answer = [0; 6];
        match client.read_exact(&mut answer) {
            Ok(()) => {
                served += 1;
                assert_eq!(&answer, b"123456", "session {session}");
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("session {session}: {error}"),
        }
    }
    assert!(served > 0);
    assert!(told.try_iter().all(|first| &first == b"123456"));
}

#[test]
fn a_backend_that_refuses_between_two_checks_is_left_at_once() {
    let mut first = Backend::echo();
    let second = Backend::start(|mut stream| drop(stream.write_all(b"2")));
    let mut config = tcp_pool(&[first.address, second.address]);
    config.pools[0].check.interval = Duration::from_mins(1);
    let front = Front::with(&config);
    until("the second one is known", || (front.snapshot().backends[1].reason == Reason::Eligible).then_some(()));
    let probes = || front.backend().probes.iter().map(|(_, count)| count.get()).sum::<u64>();
    stands_still("the checks rest", Duration::from_millis(300), probes);
    first.stop();
    let started = Watch::start();
    let mut client = front.connect();
    client.write_all(b"x").unwrap();
    let mut answer = [0; 1];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"2");
    assert!(started.unhindered() < Duration::from_secs(1), "served after {:?}", started.elapsed());
}

/// Relays a session whose backend says `before` it is revoked by `mode`, and `after` that; what the client hears, how many of its own
/// bytes went to the backend, and why the session ended.
fn heard(mode: RevokeMode, before: &[u8], after: &[u8]) -> (Vec<u8>, u64, CloseReason) {
    let labels = PoolLabels { name: "orders".into(), listeners: vec![], backends: vec![("db-a".into(), "db-a:5432".into())] };
    let metrics = Metrics::new().unwrap();
    let series = metrics.series(&labels).unwrap();
    let id = RouteId::Active(Epoch(1));
    let route = Route::new("db-a".into(), &series.backends[0], id, [].into(), Arc::default());
    let frontend = Arc::new(Frontend { pool: "orders".into(), listener: "rw".into() });
    let session = Session::new(LOOPBACK.into(), frontend, Arc::new(route), Time::from_millis(0));
    let talk = async {
        let ((mut client, near_client), (mut backend, near_backend)) = (pair(), pair());
        client.write_all(b"query").await.unwrap();
        backend.write_all(before).await.unwrap();
        near_client.readable().await;
        if !before.is_empty() {
            near_backend.readable().await;
        }
        let listening = Listening::begin(Arc::default()).await;
        listening.revoke(mode);
        let settings = RelaySettings {
            mode: RelayMode::Auto,
            idle: None,
            half_close: Duration::from_hours(1),
            reset: Duration::from_hours(1),
            keepalive: None,
        };
        let relays = async {
            let mut relay = Relay::new(near_client, near_backend, (0, 0), &settings, &session, &series.backends[0]);
            let reason = relay.run(&listening).await;
            (relay.end(reason).upstream_bytes, reason)
        };
        let says = async {
            // After the relay has heard of it.
            event_loop::sleep(Duration::from_millis(50)).await;
            let _ = backend.write_all(after).await;
            let _ = backend.shutdown().await;
        };
        let hears = async {
            let mut heard = Vec::new();
            let _ = client.read_to_end(&mut heard).await;
            let _ = client.shutdown().await;
            heard
        };
        let ((upstream_bytes, reason), (), answer) = tokio::join!(relays, says, hears);
        (answer, upstream_bytes, reason)
    };
    EventLoop::new().unwrap().run(None, talk).unwrap()
}

fn pair() -> (Socket, Socket) {
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    let far = client(listener.local_addr().unwrap());
    let near = accept(&listener);
    let [far, near] = [far, near].map(|stream| {
        stream.set_nonblocking(true).unwrap();
        Socket::new(stream).unwrap()
    });
    (far, near)
}

#[test]
fn nothing_goes_to_a_backend_whose_sessions_are_aborted_and_one_that_takes_nobody_in_is_talked_to_until_it_ends_them() {
    assert_eq!(heard(RevokeMode::Abort, b"was said", b", too late"), (b"was said".to_vec(), 0, CloseReason::Revoked));
    let all = (b"was said, and the last words".to_vec(), 5, CloseReason::ServerEof);
    assert_eq!(heard(RevokeMode::LastWords, b"was said", b", and the last words"), all);
    assert_eq!(heard(RevokeMode::LastWords, b"", b"the last words"), (b"the last words".to_vec(), 5, CloseReason::ServerEof));
}
