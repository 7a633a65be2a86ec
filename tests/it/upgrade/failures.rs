//! A newer mainstay that does not get ready changes nothing.

use std::{fs, io::Write};

use serde_json::json;

use super::{Succession, load::Load};
use crate::support::{
    echo::{Backend, who},
    process::settings,
    scratch::Scratch,
    site::Said,
    wait::until,
};

#[test]
fn whatever_the_program_does_instead_nobody_notices() {
    let backend = Backend::speaker(b'a', crate::support::config::LOOPBACK);
    let succession = Succession::start(&mut settings(&[backend.address]));
    let first = succession.answers();
    let mut load = Load::start(succession.process().address, 20, 200);
    let refused = |words: &str| {
        let said = succession.site.run(&["upgrade", "--reason", "a test"]);
        said.is_refused(words);
        assert!(said.err.contains("this one goes on"), "{}", said.err);
    };
    succession.replace_by_script("exit 7");
    refused("exit status: 7");
    succession.replace_by_script("kill -9 $$");
    refused("signal: 9");
    succession.replace_by_script("sleep 60");
    refused("did not answer in time");
    succession.replace_by_script("echo 'something else' >&0; sleep 60");
    refused("did not get ready");
    succession.replace_by_script(&format!("exec '{}' --no-such-flag", env!("CARGO_BIN_EXE_mainstay")));
    refused("exit status: 2");
    fs::remove_file(&succession.program).unwrap();
    let said = succession.site.run(&["upgrade", "--reason", "a test"]);
    said.is_refused("cannot be started: No such file or directory");
    assert_eq!(succession.answers(), first);
    succession.replace_by_mainstay();
    succession.upgrade();
    let counted = load.end();
    assert_eq!((counted.failed, counted.broken), (vec![], vec![]));
    assert_eq!(succession.site.metric("config_reloads_total"), 0);
}

#[test]
fn a_configuration_that_is_not_valid_is_told_and_costs_nothing() {
    let backend = Backend::speaker(b'a', crate::support::config::LOOPBACK);
    let mut configured = settings(&[backend.address]);
    let succession = Succession::start(&mut configured);
    let session = succession.process().connect();
    assert_eq!(who(&session).unwrap(), b'a');
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut other = configured.clone();
    other["pools"][0]["chekc"] = json!("tcp");
    succession.process().replace(&other.to_string());
    let said = succession.site.run(&["upgrade", "--dry-run"]);
    assert!(said.code != 0 && said.err.contains("chekc"), "{}", said.err);
    let said = succession.site.run(&["upgrade", "--reason", "a test"]);
    said.is_refused("its configuration is not valid");
    assert!(said.err.contains("chekc"), "{}", said.err);
    // Valid, but an address is taken.
    let mut other = configured.clone();
    let mut second = other["pools"][0].clone();
    second["name"] = json!("users");
    second.as_object_mut().unwrap().remove("listeners");
    second["listen"] = json!(taken.local_addr().unwrap().to_string());
    other["pools"].as_array_mut().unwrap().push(second);
    succession.process().replace(&other.to_string());
    succession.site.run(&["upgrade", "--reason", "a test"]).is_refused("Address already in use");
    drop(taken);
    let old = succession.answers();
    succession.site.run(&["upgrade", "--dry-run"]).is_done("would take over");
    assert_eq!(succession.answers(), old);
    succession.upgrade();
    assert_eq!(succession.process().status()["pools"].as_array().unwrap().len(), 2);
    assert_eq!((who(&session).unwrap(), who(&succession.process().connect()).unwrap()), (b'a', b'a'));
}

#[test]
fn what_a_newer_one_would_not_know_of_is_waited_for() {
    let backends = [b'a', b'b'].map(|name| Backend::speaker(name, crate::support::config::LOOPBACK));
    let succession = Succession::start(&mut settings(&backends.each_ref().map(|backend| backend.address)));
    let site = &succession.site;
    site.run(&["pause", "orders", "--max", "30s"]).is_done("");
    site.run(&["upgrade", "--reason", "a test"]).is_refused("pool orders is paused");
    site.run(&["upgrade", "--dry-run"]).is_refused("pool orders is paused");
    site.run(&["resume", "orders"]).is_done("");
    site.run(&["switchover", "orders", "--to", "db-b", "--trial", "10m", "--reason", "a test"]).is_done("");
    site.run(&["upgrade", "--reason", "a test"]).is_refused("a trial of pool orders is under way");
    site.run(&["abort", "orders"]).is_done("");
    let upgraded = until("the trial is over", || {
        let said = site.run(&["upgrade", "--reason", "a test"]);
        (said.code == 0).then_some(said)
    });
    succession.took_over(&upgraded);
}

#[test]
fn two_at_once_are_one_after_the_other_or_refused() {
    let backend = Backend::speaker(b'a', crate::support::config::LOOPBACK);
    let succession = Succession::start(&mut settings(&[backend.address]));
    let session = succession.process().connect();
    assert_eq!(who(&session).unwrap(), b'a');
    let both = [succession.began(), succession.began()].map(|child| Said::of(&["upgrade"], child));
    let done: Vec<_> = both.iter().filter(|said| said.code == 0).map(|said| succession.took_over(said)).collect();
    assert!(!done.is_empty(), "one takes over");
    assert!(done.contains(&succession.answers()));
    assert_eq!(who(&session).unwrap(), b'a');
    assert_eq!(who(&succession.process().connect()).unwrap(), b'a');
}

#[test]
fn nobody_takes_over_from_nobody() {
    let scratch = Scratch::new();
    let file = scratch.path("mainstay.yaml");
    fs::File::create(&file).unwrap().write_all(b"pools: []").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.args(["-c", file.to_str().unwrap()]).env("MAINSTAY_UPGRADE", "1").stdin(std::process::Stdio::null());
    command.stderr(std::process::Stdio::piped());
    let said = crate::support::child::output(command.spawn().unwrap());
    let err = String::from_utf8(said.stderr).unwrap();
    assert!(said.status.code() == Some(1) && err.contains("its standard input is no socket"), "{err}");
}
