//! Addresses of this machine: a listener that is there before its address, and a port that nobody listens on.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use mainstay::{
    app,
    config::{self, HoldConfig},
    control::probe::{Deadline, tcp},
    failover::Outcome,
    net::addresses::Addresses,
    reason::DialError,
};
use serde_json::json;

use crate::support::{
    config::LOOPBACK,
    echo::{Backend, who},
    front::{client, end, try_client_from},
    netns::Network,
    process::{Process, settings, start_in_vain},
    wait::{patience, until},
};

#[test]
fn a_listener_is_there_before_its_address() {
    const VIPS: [&str; 2] = ["192.0.2.1:5432", "[2001:db8::1]:5432"];
    let network = Network::new();
    network.inside(|| {
        let backend = Backend::speaker(b'1', LOOPBACK);
        let with = |listen: &[&str], freebind: bool| {
            let mut settings = settings(&[backend.address]);
            settings["pools"][0].as_object_mut().unwrap().remove("listen");
            settings["pools"][0]["listeners"] = json!([{"name": "vip", "listen": listen, "freebind": freebind}]);
            settings
        };
        for vip in VIPS {
            let (code, text) = start_in_vain(&[], &with(&[vip], false));
            assert!(code != Some(0) && text.contains("write `freebind: true`"), "{vip}: {code:?} {text}");
        }
        let process = Process::start(&with(&VIPS, true)).serving();
        let vips = VIPS.map(|vip| vip.parse::<SocketAddr>().unwrap());
        for vip in vips {
            assert!(TcpStream::connect_timeout(&vip, patience()).is_err(), "{vip} is not there yet");
        }
        network.ip(&["address", "add", "192.0.2.1/32", "dev", "lo"]);
        network.ip(&["address", "add", "2001:db8::1/128", "dev", "lo", "nodad"]);
        for vip in vips {
            let stream = until("the address is there", || TcpStream::connect_timeout(&vip, patience()).ok());
            stream.set_read_timeout(Some(patience())).unwrap();
            assert_eq!(who(&stream).unwrap(), b'1', "{vip}");
        }
        network.ip(&["address", "del", "192.0.2.1/32", "dev", "lo"]);
        network.ip(&["address", "add", "192.0.2.1/32", "dev", "lo"]);
        assert_eq!(who(&client(vips[0])).unwrap(), b'1', "it was gone for a while");
        drop(process);
    });
}

/// connect(2) may choose the port it connects to as the one it comes from: here, every other time.
#[test]
fn a_port_that_nobody_listens_on_refuses_also_when_a_connect_meets_itself() {
    let network = Network::new();
    network.inside(|| {
        let ports = |range: &str| network.run(&["sysctl", "-q", &format!("net.ipv4.ip_local_port_range={range}")]);
        let nobody = SocketAddr::from(([127, 0, 0, 1], 40000));
        ports("50000 50999");
        let mut config = config::parse(
            &json!({
                "admin": {"listen": LOOPBACK.to_string()},
                "workers": 2,
                "pools": [{
                    "name": "orders",
                    "listen": LOOPBACK.to_string(),
                    "check": {"exec": {"command": ["/bin/true"]}},
                    "backends": [nobody.to_string()],
                }],
            })
            .to_string(),
            "the test's configuration",
            &|_| None,
        )
        .unwrap()
        .config;
        config.pools[0].hold = HoldConfig { timeout: Duration::from_millis(300), max: 100, max_per_ip: 100 };
        let running = app::start(&config).unwrap();
        until("the backend serves", || running.snapshots[0].get().active);
        ports("40000 40001");

        let front = running.listeners[0][0][0];
        let clients: Vec<TcpStream> = (2..52)
            .map(|number| {
                // Each from an address of its own, so that each has both ports to choose from.
                let mut stream = try_client_from([127, 0, 0, number], front).unwrap();
                stream.write_all(b"is anybody there?").unwrap();
                stream
            })
            .collect();
        for mut client in clients {
            client.read(&mut [0; 1]).expect_err("its own words came back");
        }
        let series = &running.series[0];
        assert_eq!(series.listeners[0].rejected.iter().map(|(_, count)| count.get()).sum::<u64>(), 50);
        assert!(series.backends[0].dial_failures.get(DialError::Refused).get() > 0);

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let addresses = Addresses::from(nobody);
        for number in 0..100 {
            let finding = runtime.block_on(tcp::probe(&addresses, Deadline::after(patience()))).unwrap();
            assert_eq!(finding.outcome, Outcome::Refused, "probe {number}: {}", finding.evidence);
        }
        ports("50000 50999");
        end(running);
    });
}
