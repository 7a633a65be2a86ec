//! PROXY protocol in: `accept_from`.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::Duration,
};

use mainstay::{app, net::proxy_protocol::Version, reason::RejectReason};
use serde_json::{Value, json};

use super::{assert_reset, client_from, configured, header, is_served, rejected, settings};
use crate::support::{
    config::LOOPBACK,
    echo::Backend,
    front::{Front, end},
    process::Process,
    wait::{Watch, until},
};

/// Proxies are at 127.0.0.2.
const TRUSTING: &str = r#"{"proxy_protocol": {"accept_from": ["127.0.0.2/32"]}}"#;

fn trusting() -> Value {
    serde_json::from_str(TRUSTING).unwrap()
}

fn from_proxy(front: &Front) -> TcpStream {
    client_from([127, 0, 0, 2], front.address())
}

#[test]
fn the_client_that_the_header_names_is_the_client_everywhere() {
    let backend = Backend::echo();
    let process = Process::start(&settings(&trusting(), &[backend.address])).serving();
    for (version, client, shown) in [
        (Version::V1, "192.0.2.1", "192.0.2.1:4242"),
        (Version::V2, "192.0.2.3", "192.0.2.3:4242"),
        (Version::V2, "2001:db8::1", "[2001:db8::1]:4242"),
    ] {
        let mut stream = client_from([127, 0, 0, 2], process.address);
        stream.write_all(&header(version, client)).unwrap();
        assert!(is_served(&mut stream));
        let sessions: Value = serde_json::from_str(&process.get("/api/v1/pools/orders/connections").1).unwrap();
        let clients: Vec<_> =
            sessions["connections"].as_array().unwrap().iter().map(|session| session["client"].clone()).collect();
        assert_eq!(clients, [json!(shown)]);
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        until("the session is over", || {
            (process.metric("mainstay_connections_active", &[("pool", "orders")]) == 0).then_some(())
        });
    }
}

#[test]
fn not_a_byte_behind_the_header_is_lost_wherever_it_is_cut() {
    let backend = Backend::echo();
    let front = Front::with(&configured(&trusting(), &[backend.address]));
    let extended = {
        // An extension that is passed over: type, length, value.
        let mut header = header(Version::V2, "192.0.2.1");
        header.extend(b"\x05\x00\x04\r\n\r\n");
        header[15] += 7;
        header
    };
    for header in [header(Version::V1, "192.0.2.1"), header(Version::V2, "2001:db8::1"), extended, b"PROXY UNKNOWN\r\n".to_vec()]
    {
        let payload = b"\r\n\r\n\0\r\nQUIT\nPROXY \r\n";
        let all = [&header[..], payload].concat();
        for cut in 0..=all.len() {
            let mut client = from_proxy(&front);
            client.write_all(&all[..cut]).unwrap();
            if cut < all.len() && cut > 0 {
                // Two segments, which may still be read as one.
                std::thread::yield_now();
            }
            client.write_all(&all[cut..]).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).unwrap();
            assert!(answer == payload, "cut at {cut}: {}", answer.escape_ascii());
        }
    }
    assert_eq!(rejected(&front, RejectReason::BadProxyHeader), 0);
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let backend = Backend::echo();
    let front = Front::with(&configured(&trusting(), &[backend.address]));
    for version in [Version::V1, Version::V2] {
        let mut client = from_proxy(&front);
        for byte in header(version, "192.0.2.1") {
            client.write_all(&[byte]).unwrap();
            // Time to be read alone.
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(is_served(&mut client), "{version:?}");
    }
}

#[test]
fn from_everybody_else_a_header_is_data() {
    let backend = Backend::echo();
    let front = Front::with(&configured(&trusting(), &[backend.address]));
    for version in [Version::V1, Version::V2] {
        let mut client = client_from([127, 0, 0, 3], front.address());
        let header = header(version, "192.0.2.1");
        client.write_all(&header).unwrap();
        let mut answer = vec![0; header.len()];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, header);
    }
}

#[test]
fn what_is_no_header_is_reset_counted_and_quoted_in_a_few_bytes() {
    let backend = Backend::echo();
    let process = Process::start(&settings(&trusting(), &[backend.address])).serving();
    let mut v2_of_unknown_version = header(Version::V2, "192.0.2.1");
    v2_of_unknown_version[12] = 0x31;
    let bad: [&[u8]; 6] = [
        b"\x00\x00\x00\x08\x04\xd2\x16\x2f and then something that nobody should read in a log",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 4242 70000\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.7 4242 5432\n",
        b"GET / HTTP/1.1\r\n\r\n",
        &[b'P', b'R', b'O', b'X', b'Y', b' '].into_iter().chain([b'1'; 200]).collect::<Vec<_>>(),
        &v2_of_unknown_version,
    ];
    for bytes in bad {
        let mut client = client_from([127, 0, 0, 2], process.address);
        client.write_all(bytes).unwrap();
        assert_reset(&mut client);
    }
    let count = process.metric("mainstay_connections_rejected_total", &[("reason", "bad_proxy_header")]);
    assert_eq!(count, bad.len() as u64);
    let line = process.logged("client turned away");
    assert_eq!(line["reason"], "bad_proxy_header");
    let why = line["why"].as_str().unwrap();
    assert!(why.contains(r"\x00\x00\x00\x08\x04\xd2\x16/ and t"), "{why}");
    assert!(!why.contains("then") && !line.to_string().contains("nobody should read"), "{line}");
    assert_eq!(process.metric("mainstay_connections_active", &[("pool", "orders")]), 0);
}

#[test]
fn a_header_that_does_not_come_is_not_waited_for_for_ever() {
    let backend = Backend::echo();
    let front = Front::with(&configured(&trusting(), &[backend.address]));
    let started = Watch::start();
    let mut slow = [from_proxy(&front), from_proxy(&front)];
    slow[1].write_all(b"PROXY TCP4 192.0").unwrap();
    for client in &mut slow {
        assert_reset(client);
    }
    assert!(started.elapsed() >= Duration::from_secs(3), "the specification asks for three seconds at least");
    assert!(started.unhindered() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(rejected(&front, RejectReason::BadProxyHeader), 2);
}

#[test]
fn a_proxy_that_only_looks_whether_the_port_answers_is_no_error_and_half_a_header_is() {
    let backend = Backend::echo();
    let front = Front::with(&configured(&trusting(), &[backend.address]));
    drop(from_proxy(&front));
    until("it left", || (rejected(&front, RejectReason::ClientGone) == 1).then_some(()));
    let mut half = from_proxy(&front);
    half.write_all(b"PROXY TCP4 192.0").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    assert_reset(&mut half);
    assert_eq!(rejected(&front, RejectReason::BadProxyHeader), 1);
    assert_eq!(front.backend().dial_duration.get_sample_count(), 0);
    until("nobody is left", || (front.series().listeners[0].active.get() == 0).then_some(()));
}

#[test]
fn networks_are_those_of_the_client_and_not_of_the_proxy() {
    let backend = Backend::echo();
    let mut keys = trusting();
    keys["allow"] = json!(["10.0.0.0/8", "2001:db8::/32", "127.0.0.3"]);
    keys["deny"] = json!(["10.9.0.0/16"]);
    let front = Front::with(&configured(&keys, &[backend.address]));
    for (client, expected) in [
        ("10.1.1.1", true),
        ("::ffff:10.1.1.1", true),
        ("2001:db8::9", true),
        ("10.9.1.1", false),
        ("::ffff:10.9.1.1", false),
        ("192.0.2.1", false),
        ("127.0.0.2", false),
    ] {
        for version in [Version::V1, Version::V2] {
            let mut stream = from_proxy(&front);
            stream.write_all(&header(version, client)).unwrap();
            if expected {
                assert!(is_served(&mut stream), "{client}");
            } else {
                assert_reset(&mut stream);
            }
        }
    }
    assert_eq!(rejected(&front, RejectReason::Denied), 8);
    // Who speaks for itself is judged by its own address.
    let mut own = from_proxy(&front);
    own.write_all(Version::V2.own()).unwrap();
    assert_reset(&mut own);
    assert!(is_served(&mut client_from([127, 0, 0, 3], front.address())));
}

#[test]
fn a_proxy_may_speak_for_itself() {
    let backend = Backend::echo();
    let front = Front::with(&configured(&trusting(), &[backend.address]));
    for version in [Version::V1, Version::V2] {
        let mut client = from_proxy(&front);
        client.write_all(version.own()).unwrap();
        assert!(is_served(&mut client), "{version:?}");
    }
}

#[test]
fn a_named_client_waits_as_any_other_and_has_its_bytes_kept() {
    let mut backend = Backend::echo();
    let address = backend.address;
    backend.stop();
    let running = app::start(&configured(&trusting(), &[address])).unwrap();
    let mut client = client_from([127, 0, 0, 2], running.listeners[0][0][0]);
    client.write_all(&[&header(Version::V1, "192.0.2.1")[..], b"ping"].concat()).unwrap();
    until("it is held", || (running.series[0].pool.held.get() == 1).then_some(()));
    let _backend = Backend::start_at(address, |mut stream| {
        let mut bytes = [0; 4];
        if stream.read_exact(&mut bytes).is_ok() {
            let _ = stream.write_all(&bytes);
        }
    });
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
    end(running);
}

#[test]
fn one_too_many_is_told_so_once_it_has_said_who_it_is() {
    let backend = Backend::start_first(LOOPBACK, |mut stream| while let Ok(1..) = stream.read(&mut [0; 16]) {});
    let mut config = configured(&trusting(), &[backend.address]);
    config.pools[0].listeners[0].max_connections = Some(1);
    let front = Front::with(&config);
    let mut first = from_proxy(&front);
    first.write_all(&header(Version::V2, "192.0.2.1")).unwrap();
    until("the first is served", || (front.backend().connections_active.get() == 1).then_some(()));
    let mut second = from_proxy(&front);
    second.write_all(&header(Version::V2, "192.0.2.2")).unwrap();
    assert_reset(&mut second);
    assert_eq!(rejected(&front, RejectReason::MaxConnections), 1);
    assert_eq!(rejected(&front, RejectReason::BadProxyHeader), 0);
}

#[test]
fn a_pool_that_goes_does_not_wait_for_a_header() {
    let backend = Backend::echo();
    let config = configured(&trusting(), &[backend.address]);
    let front = Front::with(&config);
    let mut silent = from_proxy(&front);
    until("it is in", || (front.series().listeners[0].active.get() == 1).then_some(()));
    let mut other = config;
    other.pools[0].name = "others".into();
    let started = Watch::start();
    front.reload(&other).unwrap();
    assert_reset(&mut silent);
    assert!(started.unhindered() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(rejected(&front, RejectReason::Shutdown), 1);
}
