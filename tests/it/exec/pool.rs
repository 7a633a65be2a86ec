//! A whole mainstay whose pool is checked by a command.

use std::{fs, path::Path, time::Duration};

use mainstay::config;
use serde_json::{Value, json};

use super::{Scratch, is_alive};
use crate::support::{
    echo::Backend,
    process::{Process, Signal, Stderr, settings},
    redis::{Redis, ask},
    wait::{Watch, patience, until},
};

/// Says what a file of the backend's port says.
const SAYS: &str = "read role code < $DIR/$MAINSTAY_BACKEND_PORT; echo $role; exit ${code:-0}";

fn with_roles(scratch: &Scratch, backends: &[&Backend]) -> Value {
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let mut settings = settings(&addresses);
    settings["pools"][0]["check"] =
        json!({"exec": {"command": [scratch.script(SAYS)], "roles": true}, "interval": "200ms", "fast_interval": "100ms"});
    settings
}

fn say(scratch: &Scratch, backend: &Backend, what: &str) {
    let (new, path) = (scratch.path("new"), scratch.path(&backend.address.port().to_string()));
    fs::write(&new, format!("{what}\n")).unwrap();
    fs::rename(new, path).unwrap();
}

fn active(process: &Process) -> Value {
    process.status()["pools"][0]["active"].clone()
}

#[test]
fn a_pool_follows_the_roles_that_a_command_tells() {
    let scratch = Scratch::new();
    let (a, b) = (Backend::echo(), Backend::echo());
    say(&scratch, &a, "primary");
    say(&scratch, &b, "standby");
    let process = Process::start(&with_roles(&scratch, &[&a, &b])).serving();
    assert_eq!(active(&process), "db-a");
    say(&scratch, &a, "standby");
    until("nobody is active", || active(&process).is_null().then_some(()));
    say(&scratch, &b, "primary");
    until("the promoted one serves", || (active(&process) == "db-b").then_some(()));
    // Neither what the check gets wrong nor what is starting moves a client.
    say(&scratch, &a, "primary-no-more 0");
    until("that is told", || (process.metric("mainstay_probes_total", &[("outcome", "misconfigured")]) > 0).then_some(()));
    assert_eq!(active(&process), "db-b");
    // A failure does, after `fall` of them.
    say(&scratch, &b, "broken 1");
    until("it is down", || (process.status()["pools"][0]["backends"][1]["health"] == "down").then_some(()));
    until("nobody is active", || active(&process).is_null().then_some(()));
}

/// Closes what the test was started with, so that all that is open is the process's own.
const WITH_NOTHING_OPEN: &str =
    "for fd in /proc/$$/fd/*; do fd=${fd##*/}; [ $fd -gt 2 ] && eval \"exec $fd>&-\"; done; exec \"$@\"";

#[test]
fn a_command_finds_no_descriptor_of_a_busy_process() {
    let scratch = Scratch::new();
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["state_dir"] = json!(scratch.directory());
    let script = scratch.script("ls -l /proc/self/fd > $DIR/new && mv $DIR/new $DIR/descriptors");
    settings["pools"][0]["check"] = json!({"exec": [script], "interval": "100ms", "fast_interval": "100ms"});
    let prefix = ["bash", "-c", WITH_NOTHING_OPEN, "bash"];
    let process = Process::start_under(&prefix, &settings, Stderr::Read).serving();
    let clients: Vec<_> = (0..20).map(|_| process.connect()).collect();
    until("they are relayed", || (process.metric("mainstay_connections_active", &[]) == 20).then_some(()));
    fs::remove_file(scratch.path("descriptors")).unwrap();
    let listed = until("the script lists its descriptors", || scratch.written("descriptors"));
    let number = |line: &str| line.split(" -> ").next().and_then(|left| left.split_whitespace().next_back()).map(str::to_owned);
    let numbers: Vec<String> = listed.lines().skip(1).filter_map(number).collect();
    assert_eq!(numbers, ["0", "1", "2", "3"], "input, output, error, and the directory that is listed:\n{listed}");
    assert!(process.files() > 40, "it was busy");
    drop(clients);
}

#[test]
fn a_process_that_is_told_to_stop_ends_its_checks() {
    let scratch = Scratch::new();
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    let script = scratch.script("echo $$ > $DIR/leader; sleep 60 & echo $! > $DIR/child; wait");
    settings["pools"][0]["check"] = json!({"exec": [script], "timeout": "1m", "interval": "1m"});
    let mut process = Process::start(&settings);
    until("the check runs", || scratch.written("leader").zip(scratch.written("child")));
    let (leader, child) = (scratch.written("leader").unwrap(), scratch.written("child").unwrap());
    process.signal(Signal::TERM);
    process.ends_within(patience());
    until("both are gone", || (!is_alive(&leader) && !is_alive(&child)).then_some(()));
}

#[test]
fn another_command_takes_the_place_of_one_that_hangs() {
    let scratch = Scratch::new();
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    let hangs = scratch.script("echo $$ > $DIR/leader; while :; do sleep 60; done");
    settings["pools"][0]["check"] = json!({"exec": [hangs], "timeout": "1m", "interval": "1m"});
    let process = Process::start(&settings);
    let leader = until("the check runs", || scratch.written("leader"));
    let reloaded = Watch::start();
    settings["pools"][0]["check"] = json!({"exec": ["/bin/true"], "timeout": "1m", "interval": "1m"});
    process.reload(&settings.to_string());
    let process = process.serving();
    until("the old one is gone", || (!is_alive(&leader)).then_some(()));
    assert!(reloaded.unhindered() < Duration::from_secs(10), "{:?}", reloaded.elapsed());
    // What makes roles known makes another kind of pool of it.
    settings["pools"][0]["check"] = json!({"exec": {"command": ["/bin/true"], "roles": true}, "timeout": "1m", "interval": "1m"});
    process.reload(&settings.to_string());
    process.logged("the configuration was not loaded again");
    assert_eq!(active(&process), "db-a");
}

/// The example as it stands, but for addresses and the place of its script.
#[test]
fn the_example_follows_a_real_promotion() {
    let primary = Redis::primary(&[]);
    let replica = primary.replica(&[]);
    let loaded = config::load(Path::new("examples/exec.yaml"), &|_| None).unwrap();
    let mut settings = loaded.config.to_json();
    settings["admin"]["listen"] = json!("127.0.0.1:0");
    settings["log"] = json!({"level": "info", "format": "json"});
    let pool = &mut settings["pools"][0];
    pool["listeners"][0]["listen"] = json!("127.0.0.1:0");
    for (backend, server) in pool["backends"].as_array_mut().unwrap().iter_mut().zip([&primary, &replica]) {
        backend["address"] = json!(server.address().to_string());
    }
    let script = fs::canonicalize("examples/exec-role.sh").unwrap();
    pool["check"]["exec"]["command"][0] = json!(script);
    let names: Vec<Value> = pool["backends"].as_array().unwrap().iter().map(|backend| backend["name"].clone()).collect();
    let process = Process::start(&settings).serving();
    assert_eq!(active(&process), names[0]);
    assert_eq!(ask(&mut process.connect(), &["SET", "a", "1"]).unwrap(), "+OK");
    primary.signal("-KILL");
    until("nobody is active", || active(&process).is_null().then_some(()));
    replica.ask(&["REPLICAOF", "NO", "ONE"]);
    until("the replica serves", || (active(&process) == names[1]).then_some(()));
    assert_eq!(ask(&mut process.connect(), &["SET", "a", "2"]).unwrap(), "+OK");
}
