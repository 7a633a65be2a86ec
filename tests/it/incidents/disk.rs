//! The disk under `state_dir` is full, or hangs: incidents are told all the same, and nobody waits.

use std::{fs, path::Path, process::Command, time::Duration};

use serde_json::{Value, json};

use super::{are_over, get, newest};
use crate::support::{
    child::Bounded,
    echo::Backend,
    injection::Injection,
    process::{Process, Signal, settings},
    scratch::Scratch,
    wait::until,
};

fn active(process: &Process, name: &str) {
    until(name, || (process.status()["pools"][0]["active"] == name).then_some(()));
}

#[test]
fn a_full_disk_costs_the_record_and_nothing_else_and_is_written_when_there_is_room() {
    let scratch = Scratch::new();
    let [mut a, b] = std::array::from_fn(|_| Backend::echo());
    let mut settings = settings(&[a.address, b.address]);
    let (process, disk) = Process::start_on_a_full_disk(&scratch, &mut settings);
    until("an earlier file was looked for", || (get(&process, "/api/v1/incidents")["kept"] == "state_dir").then_some(()));
    a.stop();
    active(&process, "db-b");
    let incident = are_over(&process, 1).remove(0);
    assert_eq!(incident["to"], "db-b");
    let told = until("liveness tells of it", || Some(process.get("/livez")).filter(|(_, body)| body.contains("incidents.json")));
    assert_eq!(told.0, 200, "{told:?}");
    let pid = process.pid().to_string();
    let room = Command::new("nsenter")
        .args(["--target", &pid, "--mount", "mount", "-o", "remount,nr_inodes=32", disk.to_str().unwrap()])
        .bounded_status();
    assert!(room.unwrap().success());
    let inside = Path::new("/proc").join(&pid).join("root").join(disk.strip_prefix("/").unwrap()).join("incidents.json");
    until("it is written", || {
        let kept: Value = serde_json::from_str(&fs::read_to_string(&inside).ok()?).ok()?;
        (kept["pool"]["incidents"][0]["to"] == "db-b").then_some(())
    });
}

#[test]
fn a_disk_that_hangs_delays_no_failover_and_no_answer() {
    let scratch = Scratch::new();
    let [mut a, mut b, c] = std::array::from_fn(|_| Backend::echo());
    let mut settings = settings(&[a.address, b.address, c.address]);
    settings["state_dir"] = json!(scratch.directory());
    let mut process = Process::start(&settings).serving();
    until("the file was read", || (get(&process, "/api/v1/incidents")["kept"] == "state_dir").then_some(()));
    // Far longer than a test waits for anything.
    let injection = Injection::into_all(&process, "fsync:delay_enter=120000000");
    a.stop();
    active(&process, "db-b");
    newest(&process, "the first is told", |incident| incident["from"] == "db-a");
    b.stop();
    active(&process, "db-c");
    let both = are_over(&process, 2);
    assert_eq!((&both[0]["to"], &both[1]["to"]), (&json!("db-c"), &json!("db-b")));
    process.signal(Signal::TERM);
    process.logged("was not written before the end");
    // The kernel ends a process only when its last system call has; strace lets go of that.
    drop(injection);
    assert_eq!(process.ends_within(Duration::from_secs(20)).0.code(), Some(0));
}
