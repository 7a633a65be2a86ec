//! Clients that are slow, silent, many, or speak something else.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::fixture::{Fixture, failed_over};
use crate::support::{
    echo::Backend,
    front::client,
    process::{Process, Signal, settings},
    wait::Watch,
};

/// `/livez` must answer within a Kubernetes probe's default timeout, but for the time in which a thread of this process wanted to run and
/// the machine had other work.
fn assert_live(f: &Fixture) {
    let watch = Watch::start();
    assert_eq!(f.get("/livez").status, 200);
    let took = watch.unhindered();
    assert!(took < Duration::from_secs(1), "{took:?} of {:?}", watch.elapsed());
}

/// What the endpoint says until it closes; a reset is a way to close.
fn until_closed(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("not closed: {error}"),
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn idle_connections_take_nobodys_place() {
    let f = Fixture::new(failed_over());
    let idle: Vec<TcpStream> = (0..100).map(|_| f.connect()).collect();
    assert_live(&f);
    let kept_alive: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = f.connect();
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            stream
        })
        .collect();
    assert_live(&f);
    // The first to come were the first to go.
    for mut stream in idle.into_iter().chain(kept_alive.into_iter().take(60)) {
        until_closed(&mut stream);
    }
}

#[test]
fn clients_that_do_not_read_take_nobodys_place() {
    let f = Fixture::new(failed_over());
    let ask = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    let streams: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = f.connect();
            stream.write_all(&ask).unwrap();
            stream
        })
        .collect();
    assert_live(&f);
    drop(streams);
}

#[test]
fn a_slow_header_is_cut_off_and_stops_nobody() {
    let f = Fixture::new(failed_over());
    let mut slow = f.connect();
    let mut writer = slow.try_clone().unwrap();
    let start = Watch::start();
    let dribble = std::thread::spawn(move || {
        for byte in b"GET /livez HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat_n(&b'a', 100)) {
            if writer.write_all(&[*byte]).is_err() {
                return;
            }
            // Slowness is what is tested here.
            std::thread::sleep(Duration::from_millis(200));
        }
    });
    assert_live(&f);
    until_closed(&mut slow);
    assert!(start.unhindered() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_live(&f);
    dribble.join().unwrap();
}

#[test]
fn a_huge_header_is_refused() {
    let f = Fixture::new(failed_over());
    let mut stream = f.connect();
    let _ = write!(stream, "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Huge: {}\r\n\r\n", "a".repeat(1 << 20));
    let answer = until_closed(&mut stream);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_live(&f);
    let reply = f.ask("GET", "/livez", &format!("Host: localhost\r\nX-Large: {}\r\n", "a".repeat(8 * 1024)));
    assert_eq!(reply.status, 200);
    let reply = f.ask("GET", "/livez", &format!("Host: localhost\r\nX-Large: {}\r\n", "a".repeat(17 * 1024)));
    assert_eq!(reply.status, 431);
}

#[test]
fn other_protocols_are_closed_with_an_error() {
    let f = Fixture::new(failed_over());
    let garbage: [&[u8]; 5] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"GET /livez HTTP/9.9\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\n\r\n",
    ];
    for bytes in garbage {
        let mut stream = f.connect();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = until_closed(&mut stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5"), "{bytes:?}: {answer}");
        assert_live(&f);
    }
}

#[test]
fn a_client_that_finished_sending_still_gets_its_answer() {
    let f = Fixture::new(failed_over());
    // The second request is answered a turn later than the FIN is there to be seen.
    for requests in [1, 2] {
        let mut stream = f.connect();
        stream.write_all(&b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(requests)).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answers = until_closed(&mut stream);
        assert_eq!(answers.matches("HTTP/1.1 200").count(), requests, "{answers}");
    }
}

/// All of them wait to be accepted at once. The requests came first, so that theirs would be the first places to be taken away.
#[test]
fn a_whole_request_is_answered_however_many_silent_ones_come_behind_it() {
    let backend = Backend::echo();
    let process = Process::start(&settings(&[backend.address]));
    for _ in 0..3 {
        process.freeze();
        let asking: Vec<TcpStream> = (0..20)
            .map(|_| {
                let mut stream = client(process.admin);
                stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
                stream
            })
            .collect();
        let silent: Vec<TcpStream> = (0..300).map(|_| client(process.admin)).collect();
        process.signal(Signal::CONT);
        for mut stream in asking {
            let answer = until_closed(&mut stream);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
        }
        drop(silent);
    }
}
