//! `reload: {watch}`: the file is loaded again by itself when its content has changed.

use std::{
    fs, thread,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{Session, Traffic};
use crate::support::{
    echo::Backend,
    process::{Process, Signal, settings},
    scratch::Scratch,
    volume::Volume,
    wait::{Watch, patience, stands_still, until, within},
};

const FILE: &str = "mainstay.yaml";
const CHANGED: &str = "the configuration file has changed: it is loaded without an order";

/// A pool before these backends whose file is looked at so often.
fn watched(backends: &[&Backend], watch: &str) -> Value {
    let mut settings = settings(&backends.iter().map(|backend| backend.address).collect::<Vec<_>>());
    settings["reload"] = json!({ "watch": watch });
    settings
}

fn swap(volume: &mut Volume, settings: &Value) {
    volume.swap(&[(FILE, &settings.to_string())]);
}

fn reloads(process: &Process, result: &str) -> u64 {
    process.metric("mainstay_config_reloads_total", &[("result", result)])
}

fn backends(process: &Process) -> usize {
    process.status()["pools"][0]["backends"].as_array().unwrap().len()
}

/// How many lines of the log hold this message.
fn told(process: &Process, message: &str) -> usize {
    process.log().iter().filter(|line| line["message"].as_str().is_some_and(|text| text.contains(message))).count()
}

#[test]
fn a_config_map_that_was_swapped_is_loaded_by_itself_and_a_broken_one_is_told_once() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let (one, two) = (watched(&[&a], "100ms"), watched(&[&a, &b], "100ms"));
    let scratch = Scratch::new();
    let mut volume = Volume::new(scratch.path("volume"), &[(FILE, &one.to_string())]);
    let process = Process::start_at(volume.path(FILE)).serving();
    let mut session = Session::open(process.address);
    let traffic = Traffic::towards(process.address);

    swap(&mut volume, &two);
    until("the new backend is there", || (backends(&process) == 2).then_some(()));
    assert_eq!(process.logged("the configuration was loaded again")["changes"], "changed: orders; backends added: orders/db-b");
    assert_eq!((told(&process, CHANGED), reloads(&process, "success")), (1, 1));

    volume.swap(&[(FILE, "pools:\n  - name: orders\n    lissen: 127.0.0.1:0\n")]);
    until("it is refused", || (reloads(&process, "failure") == 1).then_some(()));
    stands_still("it is refused once, however often it is seen", Duration::from_secs(1), || reloads(&process, "failure"));
    assert_eq!((told(&process, "lissen"), told(&process, "was not loaded again")), (1, 1));
    assert_eq!((backends(&process), process.metric("mainstay_config_last_reload_successful", &[])), (2, 0));

    // What was in use all the time is in the file again: nothing is wrong any more.
    swap(&mut volume, &two);
    until("it is loaded", || (process.metric("mainstay_config_last_reload_successful", &[]) == 1).then_some(()));
    stands_still("it is loaded once", Duration::from_secs(1), || reloads(&process, "success"));
    assert_eq!(reloads(&process, "success"), 2);
    session.works();
    assert_eq!(traffic.end(), 0);
}

#[test]
fn a_file_that_is_gone_is_told_once_and_loaded_when_it_is_back() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let scratch = Scratch::new();
    let mut volume = Volume::new(scratch.path("volume"), &[(FILE, &watched(&[&a], "100ms").to_string())]);
    let process = Process::start_at(volume.path(FILE)).serving();
    for turn in 1..=2 {
        volume.swap(&[("other.yaml", "")]);
        until("its absence is told", || (reloads(&process, "failure") == turn).then_some(()));
        stands_still("it is told once", Duration::from_millis(500), || reloads(&process, "failure"));
        swap(&mut volume, &watched(&[&a, &b], "100ms"));
        until("it is loaded", || (reloads(&process, "success") == turn).then_some(()));
    }
    assert_eq!(told(&process, "the configuration file can no longer be read"), 2);
    assert_eq!((told(&process, "the file cannot be read"), backends(&process)), (2, 2));
}

#[test]
fn a_file_that_somebody_is_writing_is_not_loaded_before_it_is_whole() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let scratch = Scratch::new();
    // A busy machine may keep whoever writes for a moment, but not for the time between two looks.
    let file = scratch.file(FILE, watched(&[&a], "2s").to_string(), 0o600);
    let process = Process::start_at(file.clone()).serving();
    let whole = watched(&[&a, &b], "2s").to_string();
    let begun = Watch::start();
    for end in (1..whole.len()).cycle() {
        fs::write(&file, &whole[..end]).unwrap();
        // The pace of whoever writes; two looks fall into that time.
        thread::sleep(Duration::from_millis(20));
        if begun.elapsed() > Duration::from_secs(5) {
            break;
        }
    }
    assert_eq!((reloads(&process, "failure"), reloads(&process, "success")), (0, 0));
    fs::write(&file, &whole).unwrap();
    until("it is loaded", || (backends(&process) == 2).then_some(()));
    assert_eq!((reloads(&process, "failure"), reloads(&process, "success")), (0, 1));
}

#[test]
fn neither_the_time_nor_the_inode_of_a_file_is_a_change() {
    let a = Backend::echo();
    let one = watched(&[&a], "100ms");
    let scratch = Scratch::new();
    let mut volume = Volume::new(scratch.path("volume"), &[(FILE, &one.to_string())]);
    let process = Process::start_at(volume.path(FILE)).serving();
    for _ in 0..5 {
        swap(&mut volume, &one);
        let file = fs::File::options().write(true).open(volume.path(FILE)).unwrap();
        file.set_modified(SystemTime::now()).unwrap();
        // Several looks fall into that time.
        thread::sleep(Duration::from_millis(300));
    }
    assert_eq!((reloads(&process, "success"), reloads(&process, "failure"), told(&process, CHANGED)), (0, 0, 0));
}

#[test]
fn a_hundred_swaps_under_load_and_a_failover_among_them_cut_nobody() {
    let (mut a, b, c) = (Backend::echo(), Backend::echo(), Backend::echo());
    let lists = [watched(&[&a, &b], "100ms"), watched(&[&a, &b, &c], "100ms")];
    let scratch = Scratch::new();
    let mut volume = Volume::new(scratch.path("volume"), &[(FILE, &lists[0].to_string())]);
    let process = Process::start_at(volume.path(FILE)).serving();
    let traffic = Traffic::towards(process.address);
    for turn in 1..=100 {
        if turn == 50 {
            a.stop();
        }
        swap(&mut volume, &lists[turn % 2]);
        traffic.goes_on();
        if turn % 10 == 0 {
            let before = reloads(&process, "success");
            swap(&mut volume, &lists[1]);
            until("it is noticed", || (reloads(&process, "success") > before).then_some(()));
            swap(&mut volume, &lists[0]);
            until("and the next", || (backends(&process) == 2).then_some(()));
        }
    }
    until("the second is active", || (process.status()["pools"][0]["active"] == "db-b").then_some(()));
    assert_eq!(process.metric("mainstay_pool_epoch", &[]), 2, "one failover, whatever was loaded meanwhile");
    assert_eq!((reloads(&process, "failure"), process.metric("mainstay_panics_total", &[])), (0, 0));
    assert!(traffic.end() <= 2, "more were cut than had a session with the backend that died");
}

#[test]
fn a_backend_that_comes_by_a_swap_takes_the_clients_that_wait() {
    let (mut a, b) = (Backend::echo(), Backend::echo());
    let scratch = Scratch::new();
    let mut volume = Volume::new(scratch.path("volume"), &[(FILE, &watched(&[&a], "100ms").to_string())]);
    let process = Process::start_at(volume.path(FILE)).serving();
    a.stop();
    until("nobody serves", || process.status()["pools"][0]["active"].is_null().then_some(()));
    let address = process.address;
    let waits = thread::spawn(move || Session::open(address));
    until("a client is held", || (process.metric("mainstay_connections_held", &[]) == 1).then_some(()));
    let mut second = watched(&[&b], "100ms");
    second["pools"][0]["backends"][0]["name"] = "db-b".into();
    swap(&mut volume, &second);
    waits.join().unwrap().works();
    until("it is active", || (process.status()["pools"][0]["active"] == "db-b").then_some(()));
}

#[test]
fn a_reload_ends_the_watch_and_begins_it() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let scratch = Scratch::new();
    let mut volume = Volume::new(scratch.path("volume"), &[(FILE, &watched(&[&a], "100ms").to_string())]);
    let process = Process::start_at(volume.path(FILE)).serving();
    swap(&mut volume, &watched(&[&a], "off"));
    assert_eq!(process.logged("the configuration was loaded again")["changes"], "keys changed: reload");
    swap(&mut volume, &watched(&[&a, &b], "off"));
    stands_still("nobody looks", Duration::from_secs(1), || reloads(&process, "success"));
    assert_eq!(backends(&process), 1);
    swap(&mut volume, &watched(&[&a, &b], "100ms"));
    process.signal(Signal::HUP);
    until("it is loaded", || (backends(&process) == 2).then_some(()));
    swap(&mut volume, &watched(&[&a], "100ms"));
    until("the watch goes on", || (backends(&process) == 1).then_some(()));
    assert_eq!(reloads(&process, "failure"), 0);
}

#[test]
fn a_file_that_names_one_which_comes_later_is_loaded_when_it_has_come() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let scratch = Scratch::new();
    let mut volume = Volume::new(scratch.path("volume"), &[(FILE, &watched(&[&a], "100ms").to_string())]);
    let process = Process::start_at(volume.path(FILE)).serving();
    let secret = scratch.path("slack-url");
    let mut settings = watched(&[&a, &b], "100ms");
    settings["notify"] = json!([{"slack": {"url_file": secret}}]);
    swap(&mut volume, &settings);
    until("it is refused", || (reloads(&process, "failure") == 1).then_some(()));
    stands_still("it is refused once", Duration::from_millis(500), || reloads(&process, "failure"));
    scratch.file("slack-url", "https://slack.test/hook", 0o600);
    until("it is loaded", || (backends(&process) == 2).then_some(()));
    assert_eq!((reloads(&process, "failure"), reloads(&process, "success")), (1, 1));
}

#[test]
fn without_a_file_there_is_nothing_to_watch_and_the_end_is_clean() {
    let a = Backend::echo();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mainstay"));
    let backend = a.address.to_string();
    command.args(["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json", "--backend", &backend]);
    let mut process = Process::start_by(command).serving();
    process.signal(Signal::HUP);
    assert_eq!(process.logged("the configuration was loaded again")["changes"], "nothing");
    process.signal(Signal::TERM);
    assert!(process.ends_within(patience()).0.success());
}

#[test]
fn who_stops_loads_nothing_more() {
    let a = Backend::echo();
    let scratch = Scratch::new();
    let mut volume = Volume::new(scratch.path("volume"), &[(FILE, &watched(&[&a], "100ms").to_string())]);
    let mut process = Process::start_at(volume.path(FILE)).serving();
    let mut session = Session::open(process.address);
    process.signal(Signal::TERM);
    process.logged("draining");
    volume.swap(&[(FILE, "broken")]);
    stands_still("nobody looks", Duration::from_secs(1), || 1 + reloads(&process, "failure"));
    session.works();
    drop(session);
    assert!(process.ends_within(patience()).0.success());
    assert_eq!(told(&process, "was not loaded again"), 0);
    within(patience(), "its log ends", || (told(&process, "stopped") == 1).then_some(()));
}
