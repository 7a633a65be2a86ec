//! The demo as a whole, in this process or as people start it. What it is made of has its tests in `lab`.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use mainstay::cli::demo;
use serde_json::Value;

use crate::support::{
    child::{Bounded, ended},
    netns::run,
    scratch::Scratch,
    wait::Watch,
};

/// mainstay itself, two embedded nodes, the clients, one round.
#[test]
fn demo_once_keeps_every_promise() {
    let started = Watch::start();
    let code = demo::run(demo::Args { once: true, json: true, ..demo::Args::default() });
    assert_eq!(code, 0, "a promise was broken; the JSON above says which");
    assert!(started.unhindered() < Duration::from_secs(12), "one round took {:?}", started.elapsed());
}

#[test]
fn demo_once_on_a_real_primary_and_standby_keeps_every_promise() {
    let code = demo::run(demo::Args { once: true, json: true, postgres: true, ..demo::Args::default() });
    assert_eq!(code, 0, "a promise was broken; the JSON above says which");
}

fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.args(["demo", "--update"]);
    command
}

/// What `mainstay demo --update` shows in the end, and its exit code.
fn update(words: &[&str]) -> (Option<i32>, Value) {
    let output = demo().arg("--json").args(words).bounded_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), serde_json::from_str(&said).unwrap())
}

/// The updates that are bad, or good.
fn updates(said: &Value, is_bad: bool) -> Vec<&Value> {
    said["updates"].as_array().unwrap().iter().filter(|update| update["is_bad"] == is_bad).collect()
}

#[test]
fn demo_update_proves_what_is_good_and_what_is_bad_ends_at_the_standby() {
    let started = Watch::start();
    let (code, said) = update(&[]);
    assert_eq!((code, &said["sessions_on_bad_updates"], &said["refused_connects"]), (Some(0), &0.into(), &0.into()));
    assert!(started.unhindered() < Duration::from_secs(30), "it took {:?}", started.elapsed());
    let (good, bad) = (updates(&said, false), updates(&said, true));
    assert_eq!(good.iter().map(|update| &update["node"]).collect::<Vec<_>>(), ["db-b", "db-a"]);
    assert!(good[0]["switchover"] == "done" && good.iter().all(|update| update["proof"] == "proven"), "{good:?}");
    assert_eq!(bad.len(), 3);
    for (update, proof) in bad.iter().zip(["report: ", "report: ", "extensions: "]) {
        let why = |key: &str| update[key].as_str().unwrap().contains(proof);
        assert!(update["proof"] == "failed" && why("proof_what") && why("switchover"), "{update}");
    }
    let reasons = bad.iter().map(|update| update["proof_what"].as_str().unwrap()).collect::<Vec<_>>();
    for (reason, words) in reasons.iter().zip(["here (99, ", "more than 2x", "on disk is nothing"]) {
        assert!(reason.contains(words), "{words}: {reason}");
    }
}

#[test]
fn demo_update_with_enforce_keeps_its_promises_too() {
    assert_eq!(update(&["--guard", "enforce"]).0, Some(0));
}

#[test]
fn demo_update_fails_when_a_bad_update_is_served() {
    let (code, said) = update(&["--guard", "off"]);
    assert_eq!((code, &said["kept"]), (Some(1), &false.into()));
    assert!(said["sessions_on_bad_updates"].as_u64().unwrap() > 0);
    let broken = said["broken"].to_string();
    assert!(broken.contains("whose update is bad") && broken.contains("were served by db-a"), "{broken}");
}

#[test]
fn demo_update_on_a_real_primary_and_standby_keeps_every_promise() {
    let (code, said) = update(&["--postgres"]);
    assert_eq!((code, updates(&said, true).len()), (Some(0), 2));
}

/// Ctrl-C in the middle: it ends, says what it has seen, and leaves nothing behind.
#[test]
fn demo_update_that_is_interrupted_leaves_nothing() {
    let scratch = Scratch::new();
    let mut demo = demo();
    demo.env("TMPDIR", scratch.directory()).env_remove("MAINSTAY_LAB_TEMPLATES").arg("--postgres");
    fs::set_permissions(scratch.directory(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut demo = demo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("a good update comes to the standby first")));
    run(&["kill", "-INT", &demo.id().to_string()]);
    let rest: Vec<String> = lines.collect();
    assert_eq!(ended(&mut demo).code(), Some(0), "{rest:?}");
    assert!(rest.iter().any(|line| line.starts_with("acknowledged writes lost   0")), "{rest:?}");
    assert_eq!(fs::read_dir(scratch.directory()).unwrap().count(), 0);
}
