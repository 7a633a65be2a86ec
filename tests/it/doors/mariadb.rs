//! A real server that takes the header: `MariaDB` (`proxy_protocol_networks`).

use std::{
    io,
    net::{SocketAddr, TcpListener},
    thread,
};

use mainstay::net::proxy_protocol::Version;
use serde_json::json;

use super::{client_from, configured, header};
use crate::support::{
    front::Front,
    mariadb::{MariaDb, mariadb},
    wait::until,
};

/// A client that logs in as `app` and asks.
fn ask_at(address: SocketAddr, sql: &str) -> Result<String, String> {
    let (host, port) = (format!("--host={}", address.ip()), format!("--port={}", address.port()));
    mariadb(&[&host, &port, "--protocol=tcp", "--user=app"], sql)
}

/// A proxy in front of `to` that says of every client that it is `client`.
fn proxy_naming(client: &'static str, to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for near in listener.incoming().map_while(Result::ok) {
            let far = client_from([127, 0, 0, 2], to);
            io::Write::write_all(&mut &far, &header(Version::V1, client)).unwrap();
            for (from, to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                thread::spawn(move || {
                    let _ = io::copy(&mut &from, &mut &to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    address
}

#[test]
fn mariadb_sees_the_client_behind_mainstay_and_behind_the_proxy_in_front() {
    const WHO: &str = "SELECT USER(), HOST FROM information_schema.PROCESSLIST WHERE ID = CONNECTION_ID()";
    let server = MariaDb::start(&["--proxy-protocol-networks=127.0.0.0/8"]);
    server.sql("CREATE USER 'app'@'192.0.2.77'; CREATE USER 'app'@'127.0.0.1'");
    for send in ["v1", "v2"] {
        let keys = json!({"proxy_protocol": {"accept_from": ["127.0.0.2"], "send": send}});
        let front = Front::with(&configured(&keys, &[server.address()]));
        // A client that has connected and said nothing yet.
        let stream = front.connect();
        let waiting = || server.sql("SELECT HOST FROM information_schema.PROCESSLIST WHERE USER = 'unauthenticated user'");
        let own = stream.local_addr().unwrap().to_string();
        until("it is listed under its own address and port", || waiting().lines().any(|host| host == own).then_some(()));
        drop(stream);

        let answer = ask_at(proxy_naming("192.0.2.77", front.address()), WHO);
        assert_eq!(answer.as_deref(), Ok("app@192.0.2.77\t192.0.2.77:4242"), "{send}");
        // The server judges by it.
        let error = ask_at(proxy_naming("192.0.2.78", front.address()), WHO).unwrap_err();
        assert!(error.contains("'192.0.2.78'"), "{send}: {error}");
    }
    let front = Front::with(&configured(&json!({"proxy_protocol": {"send": "off"}}), &[server.address()]));
    let answer = ask_at(front.address(), WHO).unwrap();
    assert!(answer.starts_with("app@127.0.0.1\t"), "{answer}");
}
