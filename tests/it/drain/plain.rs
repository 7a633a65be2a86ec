//! Where nothing on the server outlives a request: a session is ended at its boundary by mainstay itself.

use std::{
    io::{Read, Write},
    time::Duration,
};

use super::{LONG, Scene, drained, draining};
use crate::support::{config::tcp_pool, echo::Backend, front::is_over, wait::until};

#[test]
fn sessions_end_at_their_boundary() {
    // It answers each byte, but for a question.
    let backend = Backend::start(|mut stream| {
        let mut byte = [0; 1];
        while let Ok(1) = stream.read(&mut byte) {
            if byte != *b"?" && stream.write_all(&byte).is_err() {
                return;
            }
        }
    });
    let scene = Scene::new(tcp_pool(&[backend.address]), backend.address);
    let open = || {
        let mut client = crate::support::front::client(scene.address());
        client.write_all(b"a").unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
        client
    };
    let (idle, mut busy) = (open(), open());
    busy.write_all(b"?").unwrap();
    until("it is passed on", || {
        let moved = |session: &mainstay::route::Session| session.upstream_bytes.load(std::sync::atomic::Ordering::SeqCst);
        scene.sessions().iter().any(|session| moved(session) == 2).then_some(())
    });
    let route = scene.gate();
    let drain = draining(scene.drain(&route, LONG));
    assert!(is_over(&idle));
    assert!(!drain.is_finished());
    busy.write_all(b"b").unwrap();
    busy.read_exact(&mut [0; 1]).unwrap();
    let result = drain.join().unwrap();
    assert_eq!((result.ended, result.broken, result.left), (2, 0, 0));
    scene.give_up(&route);

    let mut busy = open();
    busy.write_all(b"?").unwrap();
    until("it is passed on", || {
        let moved = |session: &mainstay::route::Session| session.upstream_bytes.load(std::sync::atomic::Ordering::SeqCst);
        scene.sessions().iter().any(|session| moved(session) == 2).then_some(())
    });
    let route = scene.gate();
    let result = drained(scene.drain(&route, Duration::from_millis(300)));
    assert_eq!((result.ended, result.broken, result.left), (0, 1, 0));
    assert!(is_over(&busy));
}
