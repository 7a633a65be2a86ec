//! IPv6 from end to end, beside IPv4, and addresses that mean something on one link only.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream},
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::support::{
    child::Bounded,
    echo::{Backend, who},
    netns::Network,
    process::{Process, settings, start_in_vain},
    wait::{patience, until},
};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0);

fn mainstay(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mainstay")).args(words).bounded_output().unwrap()
}

/// As [`settings`], with everything that mainstay listens on at `[::1]`.
fn settings_v6(backends: &[SocketAddr]) -> Value {
    let mut settings = settings(backends);
    settings["admin"]["listen"] = "[::1]:0".into();
    settings["log"]["level"] = "debug".into();
    settings["pools"][0]["listen"] = "[::1]:0".into();
    settings
}

#[test]
fn clients_backends_and_administration_work_by_ipv6_and_every_address_is_in_brackets() {
    let (mut first, second) = (Backend::speaker(b'1', LOOPBACK), Backend::speaker(b'2', LOOPBACK));
    let process = Process::start(&settings_v6(&[first.address, second.address])).serving();
    assert!(process.address.is_ipv6() && process.admin.is_ipv6());
    let listening = process.logged("listening");
    assert_eq!(listening["addresses"], format!("[[::1]:{}]", process.address.port()));
    let client = process.connect();
    assert_eq!(who(&client).unwrap(), b'1');

    let shown = |process: &Process| process.status()["pools"][0].clone();
    until("both are known", || (shown(&process)["backends"][1]["health"] == "up").then_some(()));
    let status = shown(&process);
    assert_eq!(status["listeners"][0]["listen"], json!([process.address.to_string()]));
    assert!(process.address.to_string().starts_with("[::1]:"));
    for (backend, view) in [&first, &second].into_iter().zip(status["backends"].as_array().unwrap()) {
        let address = format!("[::1]:{}", backend.address.port());
        assert_eq!((&view["address"], &view["resolved"]), (&json!(address), &json!([address])));
        assert_eq!(view["last_probe"]["evidence"], format!("{address} accepted a connection"));
        let (_, metrics) = process.get("/metrics");
        assert!(metrics.contains(&format!("address=\"{address}\"")), "{metrics}");
    }
    let (_, sessions) = process.get("/api/v1/pools/orders/connections");
    let own = client.local_addr().unwrap().to_string();
    assert!(own.starts_with("[::1]:") && sessions.contains(&format!("\"{own}\"")), "{own} in {sessions}");
    drop(client);
    assert_eq!(process.logged("session closed")["client"], own);

    let told = mainstay(&["status", "--admin", &process.admin.to_string()]);
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success() && text.contains(&first.address.to_string()), "{text}");
    assert!(mainstay(&["wait", "--admin", &process.admin.to_string()]).status.success());

    first.stop();
    until("the other has taken over", || (shown(&process)["active"] == "db-b").then_some(()));
    assert_eq!(who(&process.connect()).unwrap(), b'2');
    let view = &shown(&process)["backends"][0];
    assert_eq!(view["last_probe"]["evidence"], format!("{} refused the connection", first.address));
}

#[test]
fn one_port_has_a_listener_of_each_family_and_both_lead_to_backends_of_either() {
    let network = Network::new();
    network.inside(|| {
        let v4 = Backend::speaker(b'4', "127.0.0.1:0".parse().unwrap());
        let v6 = Backend::speaker(b'6', LOOPBACK);
        // In a network of its own, no port is anybody else's.
        let pairs = [["127.0.0.1:6001", "[::1]:6001"], ["0.0.0.0:6002", "[::]:6002"], ["[::]:6003", "0.0.0.0:6003"]];
        for (pair, (backend, name)) in pairs.into_iter().zip([(&v4, b'4'), (&v6, b'6'), (&v4, b'4')]) {
            let mut settings = settings(&[backend.address]);
            settings["pools"][0]["listen"] = json!(pair);
            let process = Process::start(&settings).serving();
            let port = process.address.port();
            for ip in ["127.0.0.1", "::1"] {
                let client = crate::support::front::client(SocketAddr::new(ip.parse().unwrap(), port));
                assert_eq!(who(&client).unwrap(), name, "{pair:?} by {ip}");
            }
        }
    });
}

#[test]
fn an_ipv6_listener_does_not_take_ipv4_clients() {
    let network = Network::new();
    network.inside(|| {
        let backend = Backend::speaker(b'6', LOOPBACK);
        let mut settings = settings(&[backend.address]);
        settings["pools"][0]["listen"] = "[::]:6001".into();
        let process = Process::start(&settings).serving();
        assert_eq!(who(&process.connect()).unwrap(), b'6');
        let error = TcpStream::connect_timeout(&([127, 0, 0, 1], 6001).into(), patience()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_probe_of_an_ipv6_address_tells_it_in_brackets() {
    let mut backend = Backend::speaker(b'1', LOOPBACK);
    let address = backend.address.to_string();
    let told = mainstay(&["probe", "tcp", &address]);
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(told.status.success() && text.contains(&format!("{address} accepted a connection")), "{text}");
    backend.stop();
    let told = mainstay(&["probe", "tcp", &address, "--json"]);
    let json: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((told.status.code(), &json["outcome"], &json["address"]), (Some(1), &json!("refused"), &json!(address)));
    let told = mainstay(&["probe", "tcp", "[fe80::1%eth0]:5432"]);
    let text = String::from_utf8(told.stderr).unwrap();
    assert_eq!(told.status.code(), Some(2));
    assert!(text.contains("give another address, or a name"), "{text}");
}

#[test]
fn a_link_local_listener_names_its_interface_by_number() {
    let network = Network::new();
    network.ip(&["link", "add", "near", "type", "veth", "peer", "name", "far"]);
    for link in ["near", "far"] {
        network.ip(&["link", "set", link, "up"]);
    }
    network.ip(&["addr", "add", "fe80::5:1/64", "dev", "near", "nodad"]);
    let link: Value = serde_json::from_str(&network.ip(&["-json", "link", "show", "near"])).unwrap();
    let number = u32::try_from(link[0]["ifindex"].as_u64().unwrap()).unwrap();
    network.inside(|| {
        let backend = Backend::speaker(b'1', LOOPBACK);
        let mut settings = settings(&[backend.address]);
        settings["pools"][0]["listen"] = format!("[fe80::5:1%{number}]:6001").into();
        let process = Process::start(&settings).serving();
        assert_eq!(process.address, SocketAddr::V6(SocketAddrV6::new("fe80::5:1".parse().unwrap(), 6001, 0, number)));
        assert_eq!(who(&process.connect()).unwrap(), b'1');
        let listen = &process.status()["pools"][0]["listeners"][0]["listen"];
        assert_eq!(listen, &json!([format!("[fe80::5:1%{number}]:6001")]));

        settings["pools"][0]["listen"] = "[fe80::5:1]:6001".into();
        let (code, said) = start_in_vain(&[], &settings);
        assert_eq!(code, Some(78));
        assert!(said.contains("needs its interface") && said.contains("[fe80::5:1%2]:6001"), "{said}");
    });
}
