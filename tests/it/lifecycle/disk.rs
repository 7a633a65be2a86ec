//! The disk under `state_dir` hangs, is full, or holds something strange: nobody's failover waits for it.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::support::{
    child::Bounded,
    echo::Backend,
    injection::Injection,
    netns::run,
    process::{Process, Signal, settings},
    scratch::Scratch,
    wait::until,
};

/// Each fsync(2) takes so long: far longer than a test waits for anything.
const HANGS: &str = "fsync:delay_enter=120000000";

/// A pool `orders` and a pool `users`, both with a state file in `directory`.
fn two_pools(directory: &Path, orders: &[&Backend], users: &[&Backend]) -> Value {
    let pools =
        [orders, users].map(|backends| settings(&backends.iter().map(|b| b.address).collect::<Vec<_>>())["pools"][0].clone());
    let mut settings = settings(&[]);
    settings["state_dir"] = json!(directory);
    settings["pools"] = json!(pools);
    settings["pools"][1]["name"] = "users".into();
    settings
}

fn active(process: &Process, pool: usize) -> Value {
    process.status()["pools"][pool]["active"].clone()
}

fn becomes_active(process: &Process, pool: usize, name: &str) {
    until("another takes over", || (active(process, pool) == name).then_some(()));
}

/// What is on the disk as the active backend of `orders`.
fn remembered(directory: &Path) -> Option<Value> {
    let text = fs::read_to_string(directory.join("orders.state.json")).ok()?;
    Some(serde_json::from_str::<Value>(&text).ok()?["pool"]["active"].clone())
}

fn pending(process: &Process) -> u64 {
    process.metric("mainstay_state_write_pending", &[])
}

#[test]
fn a_disk_that_hangs_holds_up_no_failover_and_not_the_end() {
    let scratch = Scratch::new();
    let [mut a, b, mut c, d] = std::array::from_fn(|_| Backend::echo());
    let mut process = Process::start(&two_pools(scratch.directory(), &[&a, &b], &[&c, &d])).serving();
    becomes_active(&process, 1, "db-a");
    until("the first is remembered", || (remembered(scratch.directory())? == "db-a").then_some(()));
    let injection = Injection::into_all(&process, HANGS);
    a.stop();
    becomes_active(&process, 0, "db-b");
    c.stop();
    becomes_active(&process, 1, "db-b");
    until("the write is shown as pending", || (pending(&process) == 1).then_some(()));
    let told = until("liveness tells of it", || {
        let (code, body) = process.get("/livez");
        assert_eq!(code, 200, "a restart mends no disk: {body}");
        body.contains("state").then_some(body)
    });
    assert!(told.contains("orders.state.json"), "{told}");
    process.signal(Signal::TERM);
    let line = process.logged("was not written before the end");
    assert!(line["files"].as_str().unwrap().contains("orders.state.json"), "{line}");
    // The kernel ends a process only when its last system call has; strace lets go of that.
    drop(injection);
    let (status, _) = process.ends_within(Duration::from_secs(20));
    assert_eq!(status.code(), Some(0));
}

#[test]
fn what_is_no_file_is_passed_over_and_replaced() {
    let scratch = Scratch::new();
    let path = scratch.path("orders.state.json");
    run(&["mkfifo", path.to_str().unwrap()]);
    let backend = Backend::echo();
    let mut settings = settings(&[backend.address]);
    settings["state_dir"] = json!(scratch.directory());
    let mut process = Process::start(&settings).serving();
    let line = process.logged("the state file is passed over");
    assert!(line["error"].as_str().unwrap().contains("not a regular file"), "{line}");
    until("it is a file now", || fs::metadata(&path).is_ok_and(|file| file.is_file()).then_some(()));
    until("it is remembered", || (remembered(scratch.directory())? == "db-a").then_some(()));
    process.signal(Signal::TERM);
    assert_eq!(process.ends_within(Duration::from_secs(20)).0.code(), Some(0));
}

#[test]
fn a_full_disk_is_told_once_and_written_to_when_there_is_room() {
    let scratch = Scratch::new();
    let [mut a, b] = std::array::from_fn(|_| Backend::echo());
    let mut settings = settings(&[a.address, b.address]);
    let (process, disk) = Process::start_on_a_full_disk(&scratch, &mut settings);
    let failures = || process.metric("mainstay_state_write_failures_total", &[]);
    until("a write has failed", || (failures() > 0).then_some(()));
    assert_eq!(pending(&process), 1);
    a.stop();
    becomes_active(&process, 0, "db-b");
    until("another has failed", || (failures() > 1).then_some(()));
    assert!(process.get("/livez").1.contains("orders.state.json"));
    let told = |text: &str| process.log().iter().filter(|line| line["message"].as_str().unwrap_or("").contains(text)).count();
    assert_eq!(told("the state file cannot be written"), 1);
    let pid = process.pid().to_string();
    let room = Command::new("nsenter")
        .args(["--target", &pid, "--mount", "mount", "-o", "remount,nr_inodes=16", disk.to_str().unwrap()])
        .bounded_status();
    assert!(room.unwrap().success());
    process.logged("the state file can be written again");
    let inside = Path::new("/proc").join(&pid).join("root").join(disk.strip_prefix("/").unwrap());
    until("the last value is there", || (remembered(&inside)? == "db-b").then_some(()));
    until("nothing is pending", || (pending(&process) == 0).then_some(()));
    assert_eq!(process.get("/livez").1, "{\"reasons\":[],\"status\":\"ok\"}\n");
}
