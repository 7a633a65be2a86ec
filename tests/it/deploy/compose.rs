//! `compose.yaml` and what it mounts, as they are written. `strict::compose` plays it.

use serde_json::Value;

use super::{accepted::accepted, address_of, document, list, text, word};
use crate::support::{netns::run, repository::path, scratch::Scratch};

pub(super) const HERE: &str = "deploy/compose";

fn picture() -> Value {
    document("compose.yaml")
}

#[test]
fn mainstay_takes_its_configuration() {
    let config = text(&format!("{HERE}/mainstay/mainstay.yaml"));
    let read = accepted(&config, &[]);
    // The port is published on loopback only.
    assert!(read.warnings.iter().all(|warning| warning.contains("can be reached from other machines")), "{:?}", read.warnings);
    let picture = picture();
    for backend in list(&read.config["pools"][0]["backends"]) {
        let (host, port) = address_of(backend).split_once(':').unwrap();
        assert!(picture["services"][host].is_object(), "no service {host}");
        assert_eq!(port, "5432");
    }
}

#[test]
fn every_port_is_on_loopback_and_every_file_is_there() {
    let picture = picture();
    let mut ports = Vec::new();
    for (name, service) in picture["services"].as_object().unwrap() {
        for port in list(&service["ports"]) {
            let inner = word(port).strip_prefix("127.0.0.1:").unwrap_or_else(|| panic!("{name}: {port} is open to the network"));
            let (outer, inner) = inner.split_once(':').unwrap();
            assert_eq!(outer, inner);
            ports.push((name.clone(), inner.to_owned()));
        }
        for volume in list(&service["volumes"]) {
            let from = word(volume).split(':').next().unwrap();
            let is_there = from.strip_prefix("./").map_or(picture["volumes"][from].is_object(), |file| path(file).exists());
            assert!(is_there, "{name}: {volume}");
        }
    }
    let port = |name: &str, port: &str| (name.to_owned(), port.to_owned());
    let expected =
        [("mainstay", "5432"), ("mainstay", "8432"), ("prometheus", "9090"), ("alertmanager", "9093"), ("grafana", "3000")];
    ports.sort();
    let mut expected = expected.map(|(name, number)| port(name, number)).to_vec();
    expected.sort();
    assert_eq!(ports, expected);
    // Whoever was told to make it has it; nobody commits it.
    assert_eq!(picture["secrets"]["password"]["file"], "./deploy/compose/password");
    assert!(text(".gitignore").contains("/deploy/compose/password"));
}

#[test]
fn prometheus_asks_mainstay_by_a_name_that_it_takes_and_finds_what_it_names() {
    let prometheus = document(&format!("{HERE}/prometheus.yml"));
    let (picture, mainstay) = (picture(), document(&format!("{HERE}/mainstay/mainstay.yaml")));
    let target = word(&prometheus["scrape_configs"][0]["static_configs"][0]["targets"][0]);
    let (host, port) = target.split_once(':').unwrap();
    assert!(picture["services"][host].is_object());
    assert!(list(&mainstay["admin"]["hosts"]).iter().any(|name| name == host), "{host} would be refused (403)");
    assert!(list(&mainstay["admin"]["listen"]).iter().any(|address| word(address).ends_with(&format!(":{port}"))));
    let alertmanager = word(&prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"][0]);
    assert!(picture["services"][alertmanager.split(':').next().unwrap()].is_object());
    let source = &document(&format!("{HERE}/grafana/datasources.yaml"))["datasources"][0];
    assert_eq!((&source["type"], &source["url"]), (&"prometheus".into(), &"http://prometheus:9090".into()));
    let folder = &document(&format!("{HERE}/grafana/dashboards.yaml"))["providers"][0]["options"]["path"];
    assert!(text("compose.yaml").contains(&format!("dashboard.json:{}/mainstay.json:ro", word(folder))));
    // With the rules beside it, as in the container.
    let scratch = Scratch::new();
    scratch.file("prometheus.yml", text(&format!("{HERE}/prometheus.yml")), 0o644);
    scratch.file("rules.yaml", text("deploy/prometheus/rules.yaml"), 0o644);
    run(&["promtool", "check", "config", scratch.path("prometheus.yml").to_str().unwrap()]);
}
