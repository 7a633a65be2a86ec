//! PROXY protocol out: `send`.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use mainstay::{
    app,
    config::{CheckKind, PostgresCheck, TlsMode},
    failover::{Election, Policy},
    net::proxy_protocol::{Header, Version, parse},
    reason::Direction,
};
use serde_json::json;

use super::{client_from, configured, connected_to, header, is_served};
use crate::{
    probe::fake::{error, facts, message, welcome},
    support::{
        child::Bounded,
        config::LOOPBACK,
        echo::{Backend, reset},
        front::{Front, end},
        wait::until,
    },
};

/// What a server that demands the header was told.
#[derive(Default)]
struct Book {
    /// Client and server of each header that named them.
    named: Mutex<Vec<(SocketAddr, SocketAddr)>>,
    /// Headers of those who speak for themselves.
    own: AtomicUsize,
    /// Connections that began with something else, or with nothing.
    without: AtomicUsize,
}

impl Book {
    fn named(&self) -> Vec<(SocketAddr, SocketAddr)> {
        self.named.lock().unwrap().clone()
    }
}

/// Reads the header and not a byte more.
fn take_header(stream: &mut TcpStream) -> io::Result<Header> {
    let mut bytes = Vec::new();
    loop {
        match parse(&bytes) {
            Ok(Some((header, _))) => return Ok(header),
            Ok(None) => {}
            Err(malformed) => return Err(io::Error::other(malformed)),
        }
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        bytes.push(byte[0]);
    }
}

/// A server that takes nobody without a header. `own` serves those who speak for themselves, `named` the others; it is told which
/// of them it is, from 0.
fn demanding_at(
    address: SocketAddr,
    own: impl Fn(TcpStream) + Send + Sync + 'static,
    named: impl Fn(TcpStream, usize) + Send + Sync + 'static,
) -> (Backend, Arc<Book>) {
    let book: Arc<Book> = Arc::default();
    let write = Arc::clone(&book);
    let backend = Backend::start_first(address, move |mut stream| match take_header(&mut stream) {
        Ok(Header::Own) => {
            write.own.fetch_add(1, Ordering::Relaxed);
            own(stream);
        }
        Ok(Header::Named { client, server }) => {
            let number = {
                let mut book = write.named.lock().unwrap();
                book.push((client, server));
                book.len() - 1
            };
            named(stream, number);
        }
        Err(_) => {
            write.without.fetch_add(1, Ordering::Relaxed);
            reset(stream);
        }
    });
    (backend, book)
}

fn echo(mut stream: TcpStream) {
    let mut reader = stream.try_clone().unwrap();
    let _ = io::copy(&mut reader, &mut stream);
}

fn demanding() -> (Backend, Arc<Book>) {
    demanding_at(LOOPBACK, drop, |stream, _| echo(stream))
}

#[test]
fn the_header_comes_first_names_the_client_and_is_none_of_its_bytes() {
    for version in ["v1", "v2"] {
        let (backend, book) = demanding();
        let front = Front::with(&configured(&json!({"proxy_protocol": {"send": version}}), &[backend.address]));
        let mut client = client_from([127, 0, 0, 5], front.address());
        assert!(is_served(&mut client), "{version}");
        assert_eq!(book.named(), [(client.local_addr().unwrap(), front.address())], "{version}");
        let bytes = |direction| front.backend().relay_bytes.get(direction).get();
        until("the answer is counted", || (bytes(Direction::Downstream) == 4).then_some(()));
        assert_eq!(bytes(Direction::Upstream), 4, "{version}");
        // Their connects have succeeded, but the server's threads read them when they come to it.
        until("the checks say who they are", || (book.own.load(Ordering::Relaxed) > 0).then_some(()));
        assert_eq!(book.without.load(Ordering::Relaxed), 0, "{version}");
    }
}

#[test]
fn a_server_that_speaks_first_hears_the_header_of_a_silent_client() {
    let (backend, book) = demanding_at(LOOPBACK, drop, |mut stream, _| {
        let _ = stream.write_all(b"greeting");
        let _ = stream.read(&mut [0; 1]);
    });
    let front = Front::with(&configured(&json!({"proxy_protocol": {"send": "v2"}}), &[backend.address]));
    let mut client = front.connect();
    let mut greeting = [0; 8];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"greeting");
    assert_eq!(book.named(), [(client.local_addr().unwrap(), front.address())]);
}

#[test]
fn what_a_proxy_in_front_says_is_passed_on() {
    let (backend, book) = demanding();
    let keys = json!({"proxy_protocol": {"accept_from": ["127.0.0.2"], "send": "v1"}});
    let front = Front::with(&configured(&keys, &[backend.address]));
    let mut expected = Vec::new();
    for client in ["192.0.2.1", "2001:db8::1"] {
        let mut stream = client_from([127, 0, 0, 2], front.address());
        stream.write_all(&header(Version::V2, client)).unwrap();
        assert!(is_served(&mut stream));
        expected.push((SocketAddr::new(client.parse().unwrap(), 4242), connected_to(client)));
    }
    let mut itself = client_from([127, 0, 0, 2], front.address());
    itself.write_all(Version::V1.own()).unwrap();
    assert!(is_served(&mut itself));
    expected.push((itself.local_addr().unwrap(), front.address()));
    assert_eq!(book.named(), expected);
}

#[test]
fn every_new_dial_of_a_client_sends_the_header_again() {
    let mut dead = Backend::echo();
    let address = dead.address;
    dead.stop();
    let running = app::start(&configured(&json!({"proxy_protocol": {"send": "v2"}}), &[address])).unwrap();
    let mut client = client_from([127, 0, 0, 5], running.listeners[0][0][0]);
    until("it is held", || (running.series[0].pool.held.get() == 1).then_some(()));
    // Dropped without a word twice: nothing is lost, so it is tried again.
    let (_backend, book) = demanding_at(address, drop, |mut stream, number| {
        if number < 2 {
            return reset(stream);
        }
        let _ = stream.write_all(b"third");
        let _ = stream.read(&mut [0; 1]);
    });
    let mut greeting = [0; 5];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"third");
    assert_eq!(book.named(), [(client.local_addr().unwrap(), running.listeners[0][0][0]); 3]);
    assert_eq!(book.without.load(Ordering::Relaxed), 0);
    end(running);
}

/// The next packet of a `PostgreSQL` session that has not begun.
fn packet(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut packet = vec![0; 4];
    stream.read_exact(&mut packet)?;
    packet.resize(u32::from_be_bytes(packet[..].try_into().unwrap()) as usize, 0);
    stream.read_exact(&mut packet[4..])?;
    Ok(packet)
}

#[test]
fn a_postgres_client_that_is_shown_to_two_servers_is_named_to_both() {
    const STARTUP: &[u8] = b"\x00\x00\x00\x12\x00\x03\x00\x00user\0app\0\0";
    let check = |mut stream: TcpStream| {
        let _: io::Result<()> = (|| {
            packet(&mut stream)?;
            stream.write_all(&welcome())?;
            while stream.read(&mut [0; 4096])? > 0 {
                stream.write_all(&facts())?;
            }
            Ok(())
        })();
    };
    let (backend, book) = demanding_at(LOOPBACK, check, |mut stream, number| {
        let _: io::Result<()> = (|| {
            assert_eq!(packet(&mut stream)?, STARTUP);
            let stopping = error("FATAL", "57P03", "the database system is shutting down");
            stream.write_all(&if number == 0 { stopping } else { message(b'R', &[0; 4]) })
        })();
    });
    let mut config = configured(&json!({"proxy_protocol": {"send": "v2"}}), &[backend.address]);
    config.pools[0].check.kind = CheckKind::Postgres(PostgresCheck { tls: TlsMode::Off, ..PostgresCheck::default() });
    config.pools[0].policy = Policy { election: Election::ByRole, ..Policy::default() };
    let front = Front::with(&config);
    let mut client = front.connect();
    client.write_all(STARTUP).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, message(b'R', &[0; 4]));
    assert_eq!(book.named(), [(client.local_addr().unwrap(), front.address()); 2]);
    assert_eq!(book.without.load(Ordering::Relaxed), 0);
    drop(client);
    until("the session is over", || (front.backend().connections_active.get() == 0).then_some(()));
    assert_eq!(front.backend().relay_bytes.get(Direction::Upstream).get(), STARTUP.len() as u64);
}

#[test]
fn a_reload_turns_the_header_on_for_new_clients_and_for_the_checks() {
    let (backend, book) = demanding();
    let config = |send: &str| configured(&json!({"proxy_protocol": {"send": send}}), &[backend.address]);
    let front = Front::with(&config("off"));
    // More than any header: the server knows at once that it is none.
    assert!(!is_served(&mut front.connect()), "served without a header");
    assert_eq!((book.named(), book.own.load(Ordering::Relaxed)), (vec![], 0));
    front.reload(&config("v2")).unwrap();
    until("new clients are named", || is_served(&mut front.connect()).then_some(()));
    until("the checks speak for themselves", || (book.own.load(Ordering::Relaxed) > 0).then_some(()));
}

#[test]
fn the_probe_and_check_commands_send_the_header_too() {
    let (backend, book) = demanding();
    let mainstay = |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_mainstay")).args(arguments).bounded_output().unwrap();
    let address = backend.address.to_string();
    let output = mainstay(&["probe", "tcp", &address, "--proxy-protocol", "v1"]);
    assert!(output.status.success(), "{output:?}");
    until("the header has come", || (book.own.load(Ordering::Relaxed) == 1).then_some(()));
    assert_eq!(mainstay(&["probe", "tcp", &address, "--proxy-protocol", "v3"]).status.code(), Some(2));
    let file = std::env::temp_dir().join(format!("mainstay-doors-{}-{}.yaml", std::process::id(), backend.address.port()));
    let settings = super::settings(&json!({"proxy_protocol": {"send": "v2"}}), &[backend.address]);
    std::fs::write(&file, settings.to_string()).unwrap();
    let output = mainstay(&["check", "-c", file.to_str().unwrap(), "--connect"]);
    std::fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "{output:?}");
    until("the header has come", || (book.own.load(Ordering::Relaxed) == 2).then_some(()));
    assert_eq!(book.without.load(Ordering::Relaxed), 0);
}
