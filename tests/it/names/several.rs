//! A name that stands for several addresses; and how often names are asked for.

use std::time::{Duration, Instant};

use super::{nothing_failed_over, pool, probes, shown, speaker};
use crate::support::{
    dns::{Dns, NXDOMAIN, Reply},
    echo::who,
    netns::Network,
    wait::{Watch, until},
};

/// The name stands for `dead`, which is tried first and does not answer, as `rules` of the firewall make sure, and for a server.
fn is_served_by_the_second(dead: &str, rules: &[&str]) {
    let network = Network::new();
    network.inside(|| {
        let dns = Dns::start();
        let backend = speaker(b'1', "127.0.0.3", 0);
        let port = backend.address.port();
        dns.set("db-a.test", &[dead, "127.0.0.3"]);
        for rule in rules {
            network.firewall(rule);
        }
        let process = dns.start_process(&pool(&[format!("db-a.test:{port}")])).serving();
        let dead = std::net::SocketAddr::new(dead.parse().unwrap(), port).to_string();
        assert_eq!(shown(&process, 0)["resolved"], serde_json::json!([dead, backend.address.to_string()]));
        let begun = Watch::start();
        for _ in 0..3 {
            assert_eq!(who(&process.connect()).unwrap(), b'1');
        }
        // The probe knows by then which address answers; a silent one would take half of `connect_timeout` each time.
        assert!(begun.unhindered() < Duration::from_millis(700), "{:?}", begun.elapsed());
        assert_eq!(process.metric("mainstay_dial_failures_total", &[]), 0);
        assert_eq!(process.metric("mainstay_dial_retries_total", &[]), 0);
        nothing_failed_over(&process);
    });
}

#[test]
fn the_second_address_serves_when_the_first_refuses() {
    is_served_by_the_second("127.0.0.2", &[]);
}

#[test]
fn the_second_address_serves_when_the_first_is_silent() {
    is_served_by_the_second("127.0.0.2", &["ip daddr 127.0.0.2 drop"]);
}

#[test]
fn ipv4_serves_when_nobody_listens_at_ipv6() {
    is_served_by_the_second("::1", &[]);
}

#[test]
fn ipv4_serves_when_ipv6_is_silent() {
    is_served_by_the_second("::1", &["ip6 daddr ::1 drop"]);
}

#[test]
fn ipv4_serves_when_ipv6_is_not_routed() {
    Network::new().inside(|| {
        let dns = Dns::start();
        let backend = speaker(b'1', "127.0.0.2", 0);
        dns.set("db-a.test", &["2001:db8::1", "127.0.0.2"]);
        let port = backend.address.port();
        let process = dns.start_process(&pool(&[format!("db-a.test:{port}")])).serving();
        let resolved = shown(&process, 0)["resolved"].to_string();
        assert!(resolved.contains(&format!("\"[2001:db8::1]:{port}\"")) && resolved.contains("127.0.0.2"), "{resolved}");
        assert_eq!(who(&process.connect()).unwrap(), b'1');
        assert_eq!(process.metric("mainstay_dial_failures_total", &[]), 0);
        nothing_failed_over(&process);
    });
}

#[test]
fn no_more_than_sixteen_addresses_of_a_name_are_used() {
    Network::new().inside(|| {
        let dns = Dns::start();
        let backend = speaker(b'1', "127.0.0.2", 0);
        let many: Vec<_> = (2..22).map(|last| format!("127.0.0.{last}")).collect();
        dns.set("db-a.test", &many.iter().map(String::as_str).collect::<Vec<_>>());
        let process = dns.start_process(&pool(&[format!("db-a.test:{}", backend.address.port())])).serving();
        assert_eq!(shown(&process, 0)["resolved"].as_array().unwrap().len(), 16);
        assert_eq!(who(&process.connect()).unwrap(), b'1');
    });
}

#[test]
fn two_names_for_one_server_are_told() {
    Network::new().inside(|| {
        let dns = Dns::start();
        let backend = speaker(b'1', "127.0.0.2", 0);
        let port = backend.address.port();
        dns.set("db-a.test", &["127.0.0.2"]);
        dns.set("db-b.test", &["127.0.0.3", "127.0.0.2"]);
        let process = dns.start_process(&pool(&[format!("db-a.test:{port}"), format!("db-b.test:{port}")])).serving();
        let line = process.logged("two backends stand for one address");
        let mut told = [line["backend"].as_str().unwrap(), line["other"].as_str().unwrap()];
        told.sort_unstable();
        assert_eq!((told, &line["address"]), (["db-a", "db-b"], &format!("127.0.0.2:{port}").into()), "{line}");
    });
}

/// Probed every 20 ms, looked up once a second.
fn is_asked_for_in_measure(reply: Reply, outcome: &str) {
    const MEASURED: Duration = Duration::from_secs(4);
    Network::new().inside(|| {
        let dns = Dns::start();
        // A port that was just free: nobody listens there.
        let port = speaker(b'1', "127.0.0.2", 0).address.port();
        dns.reply("db-a.test", reply);
        let process = dns.start_process(&pool(&[format!("db-a.test:{port}")]));
        until("probes fail", || (probes(&process, "db-a", outcome) > 5).then_some(()));
        let (begun, lookups, probed) = (Instant::now(), dns.lookups("db-a.test"), probes(&process, "db-a", outcome));
        // The time is the subject; a busy machine needs more of it for as many probes.
        std::thread::sleep(MEASURED);
        until("it was probed often", || (probes(&process, "db-a", outcome) > probed + 60).then_some(()));
        let probed = probes(&process, "db-a", outcome) - probed;
        let (lookups, took) = (dns.lookups("db-a.test") - lookups, begun.elapsed());
        let most = usize::try_from(took.as_secs()).unwrap() + 1;
        assert!((2..=most).contains(&lookups), "{lookups} lookups in {took:?}, with {probed} probes");
    });
}

#[test]
fn a_dead_server_does_not_make_its_name_be_asked_for_at_the_pace_of_its_probes() {
    is_asked_for_in_measure(Reply::Addresses(crate::support::dns::addresses(&["127.0.0.2"])), "refused");
}

#[test]
fn a_name_that_does_not_exist_is_not_asked_for_at_the_pace_of_its_probes() {
    is_asked_for_in_measure(NXDOMAIN, "unreachable");
}
