//! The files in `deploy/systemd` and `deploy/debian`, judged by systemd's own tools and by mainstay.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    path::Path,
    process::{Command, Output},
};

use serde_json::json;

use crate::support::{
    child::Bounded,
    echo::Backend,
    process::{Process, Signal, Stderr, settings},
    scratch::Scratch,
    wait::{patience, until},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// What the design asks for, times ten.
const EXPOSURE: &str = "16";

/// Nobody listens there; the resolver has to read /etc/hosts.
const A_NAME: &str = "localhost:1";

fn unit() -> String {
    fs::read_to_string(Path::new(ROOT).join("deploy/systemd/mainstay.service")).unwrap()
}

fn analyze(arguments: &[&str]) -> Output {
    let output = Command::new("systemd-analyze").args(arguments).arg("--no-pager").env("SYSTEMD_COLORS", "0").bounded_output();
    output.unwrap_or_else(|error| panic!("systemd-analyze cannot be run ({error}); tests/install-deps installs it"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// systemd wants the program to be there, and knows the whole unit: a key that it does not know is a warning.
#[test]
fn systemd_accepts_the_units_without_a_warning() {
    let scratch = Scratch::new();
    let here = unit().replace("/usr/bin/mainstay", env!("CARGO_BIN_EXE_mainstay"));
    let service = scratch.file("mainstay.service", here, 0o644);
    let socket = fs::read_to_string(Path::new(ROOT).join("deploy/systemd/mainstay-orders.socket")).unwrap();
    let socket = scratch.file("mainstay-orders.socket", socket, 0o644);
    let verify = |service: &Path| analyze(&["verify", "--man=no", service.to_str().unwrap(), socket.to_str().unwrap()]);
    let output = verify(&service);
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
    // A mistake is found.
    let wrong = scratch.file("wrong.service", unit().replace("WatchdogSec", "WatchdocSec"), 0o644);
    assert!(said(&verify(&wrong)).contains("WatchdocSec"));
}

#[test]
fn the_service_is_exposed_as_little_as_the_design_asks() {
    let path = Path::new(ROOT).join("deploy/systemd/mainstay.service");
    let security =
        |path: &Path| analyze(&["security", "--offline=true", &format!("--threshold={EXPOSURE}"), path.to_str().unwrap()]);
    let output = security(&path);
    let overall = said(&output).lines().find(|line| line.contains("Overall exposure")).unwrap_or_default().to_owned();
    println!("{overall}");
    assert!(output.status.success(), "{overall}");
    let scratch = Scratch::new();
    let open = unit().replace("SystemCallFilter=@system-service\nSystemCallFilter=~@privileged @resources\n", "");
    assert!(!security(&scratch.file("mainstay.service", open, 0o644)).status.success(), "without its filter it is exposed more");
}

/// The calls that a line `SystemCallFilter=` of the unit allows, with all groups resolved.
fn group(name: &str) -> BTreeSet<String> {
    let output = analyze(&["syscall-filter", name]);
    assert!(output.status.success(), "{}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    words.flat_map(|word| if word.starts_with('@') { group(word) } else { BTreeSet::from([word.to_owned()]) }).collect()
}

/// Everything that it does in a life: it starts, splices, asks a program, loads its configuration again, fails over, answers, stops.
#[test]
fn the_filter_allows_every_system_call_that_it_makes() {
    let scratch = Scratch::new();
    let (mut first, second) = (Backend::echo(), Backend::echo());
    let mut settings = settings(&[first.address, second.address]);
    settings["state_dir"] = json!(scratch.path("state"));
    fs::create_dir(scratch.path("state")).unwrap();
    settings["pools"][0].as_object_mut().unwrap().remove("listen");
    settings["pools"][0]["listeners"] = json!([{"name": "rw", "listen": "127.0.0.1:0", "relay": "splice"}]);
    settings["admin"]["listen"] = json!(["127.0.0.1:0", format!("unix:{}", scratch.path("admin.sock").display())]);
    let mut other = settings["pools"][0].clone();
    other["name"] = "reports".into();
    other["check"] = json!({"exec": ["/bin/true"], "interval": "200ms", "fast_interval": "50ms", "timeout": "2s"});
    other["backends"] = json!([{"name": "db-d", "address": A_NAME}]);
    settings["pools"].as_array_mut().unwrap().push(other);
    let trace = scratch.path("trace");
    // `-D`: the process that is started is mainstay, and strace stands beside it.
    let prefix = ["strace", "-D", "-f", "-qq", "-e", "signal=none", "-o", trace.to_str().unwrap()];
    let mut process = Process::start_under(&prefix, &settings, Stderr::Read).serving();
    let mut client = process.connect();
    let sent = vec![7; 1 << 20];
    let mut own = client.try_clone().unwrap();
    let writer = std::thread::spawn(move || own.write_all(&sent));
    client.read_exact(&mut vec![0; 1 << 20]).unwrap();
    writer.join().unwrap().unwrap();
    process.reload(&settings.to_string());
    first.stop();
    until("the other one serves", || (process.status()["pools"][0]["active"] == "db-b").then_some(()));
    process.metric("mainstay_ready", &[]);
    drop(client);
    process.signal(Signal::TERM);
    process.ends_within(patience());

    let mut allowed = group("@system-service");
    for forbidden in group("@privileged").union(&group("@resources")) {
        allowed.remove(forbidden);
    }
    // systemd allows what every program needs.
    allowed.extend(group("@default"));
    let text =
        until("strace has written everything", || fs::read_to_string(&trace).ok().filter(|text| text.contains("exit_group(")));
    let call = |line: &str| {
        let call = line.split_once(' ')?.1.trim_start().split_once('(')?.0.to_owned();
        call.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then_some(call)
    };
    let made: BTreeSet<String> = text.lines().filter_map(call).collect();
    let refused: Vec<_> = made.difference(&allowed).collect();
    assert!(made.contains("splice") && made.contains("accept4") && made.len() > 30, "{made:?}");
    assert!(refused.is_empty(), "the unit would refuse: {refused:?}");
}

/// A fresh installation has a file that is valid, and listens on this machine only.
#[test]
fn the_configuration_of_the_package_is_valid_and_harmless() {
    let path = Path::new(ROOT).join("deploy/debian/mainstay.yaml");
    let output = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .args(["check", "--config", path.to_str().unwrap()])
        .bounded_output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert!(!said(&output).contains("warning"), "{}", said(&output));
    let loaded = mainstay::config::load(&path, &|_| None).unwrap().config;
    let listeners = loaded.pools.iter().flat_map(|pool| &pool.listeners).flat_map(|listener| &listener.listen);
    assert!(listeners.chain(&loaded.admin.listen).all(mainstay::net::endpoint::Endpoint::is_local));
    // The places that the unit makes for it.
    let text = fs::read_to_string(path).unwrap();
    for (key, place) in
        [("StateDirectory=mainstay", "/var/lib/mainstay"), ("RuntimeDirectory=mainstay", "/run/mainstay/admin.sock")]
    {
        assert!(unit().contains(key) && text.contains(place), "{key}");
    }
}
