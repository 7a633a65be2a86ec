//! A name that stands for another address than before.

use std::{
    io::{self, Read, Write},
    thread,
    time::Duration,
};

use serde_json::json;

use super::{FOLLOWED, nothing_failed_over, pool, shown, speaker, stands_for};
use crate::support::{
    dns::Dns,
    echo::{Backend, who},
    netns::Network,
    wait::{Watch, patience, until},
};

#[test]
fn a_name_whose_server_died_is_followed_at_once() {
    Network::new().inside(|| {
        let dns = Dns::start();
        let mut old = speaker(b'1', "127.0.0.2", 0);
        let port = old.address.port();
        let _new = speaker(b'2', "127.0.0.3", port);
        dns.set("db-a.test", &["127.0.0.2"]);
        let process = dns.start_process(&pool(&[format!("db-a.test:{port}")])).serving();
        assert_eq!(who(&process.connect()).unwrap(), b'1');
        dns.set("db-a.test", &["127.0.0.3"]);
        old.stop();
        let died = Watch::start();
        // It waits until there is somebody.
        assert_eq!(who(&process.connect()).unwrap(), b'2');
        assert!(died.unhindered() < FOLLOWED, "served again after {:?}", died.elapsed());
        stands_for(&process, &[format!("127.0.0.3:{port}")]);
        let line = process.logged("stands for other addresses");
        assert_eq!(line["is"], format!("[127.0.0.3:{port}]"), "{line}");
    });
}

#[test]
fn sessions_at_an_address_that_fell_silent_end_when_the_name_leaves_it() {
    let network = Network::new();
    network.inside(|| {
        let dns = Dns::start();
        let old = speaker(b'1', "127.0.0.2", 0);
        let port = old.address.port();
        let _new = speaker(b'2', "127.0.0.3", port);
        dns.set("db-a.test", &["127.0.0.2"]);
        let mut settings = pool(&[format!("db-a.test:{port}")]);
        // The name moves before the backend is down: it never is.
        settings["pools"][0]["check"]["fall"] = 50.into();
        let process = dns.start_process(&settings).serving();
        let (mut asking, mut idle) = (process.connect(), process.connect());
        assert_eq!((who(&asking).unwrap(), who(&idle).unwrap()), (b'1', b'1'));
        dns.set("db-a.test", &["127.0.0.3"]);
        network.firewall("ip daddr 127.0.0.2 drop");
        network.firewall("ip saddr 127.0.0.2 drop");
        let silent = Watch::start();
        asking.write_all(b"?").unwrap();
        for session in [&mut asking, &mut idle] {
            let error = session.read(&mut [0; 1]).expect_err("a session that was cut must not end in FIN");
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        assert!(silent.unhindered() < FOLLOWED + Duration::from_secs(1), "the sessions ended after {:?}", silent.elapsed());
        assert_eq!(who(&process.connect()).unwrap(), b'2');
        nothing_failed_over(&process);
        assert_eq!(process.metric("mainstay_sessions_revoked_total", &[("backend", "db-a"), ("cause", "down")]), 2);
        let line = process.logged("did not answer: the sessions there end");
        assert_eq!((&line["backend"], &line["sessions"]), (&json!("db-a"), &json!(2)), "{line}");
    });
}

/// Both wait half a minute for the next lookup: side by side, each in a network of its own.
#[test]
fn a_name_that_leaves_a_server_that_lives_takes_only_new_clients_along_and_only_to_a_server_that_was_asked() {
    thread::scope(|scope| {
        scope.spawn(new_clients_are_taken_along_and_sessions_are_left);
        scope.spawn(nobody_is_led_to_the_new_address_before_the_server_there_was_asked);
    });
}

fn new_clients_are_taken_along_and_sessions_are_left() {
    Network::new().inside(|| {
        let dns = Dns::start();
        let old = speaker(b'1', "127.0.0.2", 0);
        let port = old.address.port();
        let _new = speaker(b'2', "127.0.0.3", port);
        dns.set("db-a.test", &["127.0.0.2"]);
        let process = dns.start_process(&pool(&[format!("db-a.test:{port}")])).serving();
        let session = process.connect();
        assert_eq!(who(&session).unwrap(), b'1');
        dns.set("db-a.test", &["127.0.0.3"]);
        let moved = Watch::start();
        // Nothing is wrong, so it is looked up only as often as a name that works.
        let took = loop {
            match who(&process.connect()).unwrap() {
                b'1' => assert!(moved.elapsed() < 3 * patience(), "never followed"),
                _ => break moved.elapsed(),
            }
            // A pace for those who ask: nothing is waited for.
            thread::sleep(Duration::from_millis(50));
        };
        assert!(took > Duration::from_secs(20), "looked up after {took:?} although nothing was wrong");
        assert!(dns.lookups("db-a.test") <= 3, "{} lookups", dns.lookups("db-a.test"));
        assert_eq!(who(&session).unwrap(), b'1');
        nothing_failed_over(&process);
        assert_eq!(process.metric("mainstay_dial_failures_total", &[]), 0);
    });
}

/// As much of a Redis server as a check asks for, and `name` for whoever asks `?`.
fn redis(role: &'static str, name: u8, ip: &str, port: u16) -> Backend {
    Backend::start_at((ip.parse::<std::net::IpAddr>().unwrap(), port).into(), move |mut stream| {
        let mut bytes = [0; 256];
        while let Ok(read @ 1..) = stream.read(&mut bytes) {
            let asked = String::from_utf8_lossy(&bytes[..read]).into_owned();
            let info = |text: &str| format!("${}\r\n{text}\r\n", text.len()).into_bytes();
            let answer = match () {
                () if asked.contains("PING") => b"+PONG\r\n".to_vec(),
                () if asked.contains("server") => info("redis_version:7.0.0"),
                () if asked.contains("replication") => info(&format!("role:{role}")),
                () => vec![name],
            };
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    })
}

fn nobody_is_led_to_the_new_address_before_the_server_there_was_asked() {
    Network::new().inside(|| {
        let dns = Dns::start();
        let old = redis("master", b'1', "127.0.0.2", 0);
        let port = old.address.port();
        let _replica = redis("slave", b'2', "127.0.0.3", port);
        dns.set("db-a.test", &["127.0.0.2"]);
        let mut settings = pool(&[format!("db-a.test:{port}")]);
        // The session that the check keeps at the old address goes on saying "master" meanwhile.
        settings["pools"][0]["check"] = json!({"redis": {}, "interval": "200ms", "fresh_login": "1h"});
        settings["pools"][0]["hold"] = json!({"timeout": "100ms"});
        let process = dns.start_process(&settings).serving();
        assert_eq!(who(&process.connect()).unwrap(), b'1');
        dns.set("db-a.test", &["127.0.0.3"]);
        let moved = Watch::start();
        loop {
            // Once nobody may serve, it is turned away instead.
            if let Ok(name) = who(&process.connect()) {
                assert_ne!(name, b'2', "a client was led to a replica after {:?}", moved.elapsed());
            }
            if shown(&process, 0)["role"] == "standby" {
                break;
            }
            assert!(moved.elapsed() < 3 * patience(), "never followed: {}", shown(&process, 0));
            // A pace for those who ask: nothing is waited for.
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(shown(&process, 0)["resolved"], json!([format!("127.0.0.3:{port}")]));
        assert_eq!(process.status()["pools"][0]["active"], json!(null));
    });
}

#[test]
fn a_name_that_a_reload_brings_is_resolved() {
    Network::new().inside(|| {
        let dns = Dns::start();
        let (first, second) = (speaker(b'1', "127.0.0.2", 0), speaker(b'2', "127.0.0.3", 0));
        dns.set("db-a.test", &["127.0.0.2"]);
        dns.set("db-b.test", &["127.0.0.3"]);
        let names =
            [("db-a.test", &first), ("db-b.test", &second)].map(|(name, backend)| format!("{name}:{}", backend.address.port()));
        let process = dns.start_process(&pool(&names[..1])).serving();
        assert_eq!(who(&process.connect()).unwrap(), b'1');
        assert_eq!(dns.lookups("db-b.test"), 0);
        let reload = |names: &[String]| {
            process.reload(&pool(names).to_string());
        };
        reload(&names);
        until("the new one is known", || (shown(&process, 1)["health"] == "up").then_some(()));
        assert_eq!(shown(&process, 1)["resolved"], json!([second.address.to_string()]));
        reload(&names[1..]);
        until("the new one serves", || (who(&process.connect()).ok()? == b'2').then_some(()));
        assert_eq!(dns.lookups("db-a.test"), 1, "looked up again although it stayed");
    });
}
