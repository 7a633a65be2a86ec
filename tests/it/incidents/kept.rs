//! Incidents outlive mainstay.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};

use super::{Pair, are_over, crowd::Crowd, get, incidents, newest};
use crate::support::{
    echo::Backend,
    process::{Process, Signal, settings},
    scratch::Scratch,
    wait::until,
};

fn file(directory: &Path) -> std::path::PathBuf {
    directory.join("incidents.json")
}

/// What is on the disk.
fn written(directory: &Path) -> Option<Value> {
    let value: Value = serde_json::from_str(&fs::read_to_string(file(directory)).ok()?).ok()?;
    Some(value["pool"].clone())
}

fn kept(process: &Process) -> Value {
    get(process, "/api/v1/incidents")["kept"].clone()
}

#[test]
fn a_mainstay_that_is_killed_in_the_middle_leaves_a_record_and_the_next_one_tells() {
    let (scratch, pair) = (Scratch::new(), Pair::start());
    let settings = pair.settings(scratch.directory());
    let mut process = Process::start(&settings).serving();
    let mut crowd = Crowd::before(process.address, 4);
    pair.kill_primary();
    let open = newest(&process, "it is open", |incident| incident["open"] == true);
    until("it is on the disk", || (written(scratch.directory())?["incidents"][0]["open"] == true).then_some(()));
    process.signal(Signal::KILL);
    process.ends_within(std::time::Duration::from_secs(20));
    crowd.stop();
    let mode = fs::metadata(file(scratch.directory())).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Nobody serves yet.
    let process = Process::start(&settings);
    let line = process.logged("ended in the middle of an incident");
    assert_eq!((&line["incident"], &line["pool"]), (&open["number"], &json!("orders")), "{line}");
    let found = get(&process, &format!("/api/v1/incidents/{}", open["number"]));
    assert_eq!((&found["interrupted"], &found["open"], &found["ended"]), (&json!(true), &json!(false), &json!(null)), "{found}");
    assert_eq!((&found["began"], &found["from"], &found["cause"]), (&open["began"], &json!("db-a"), &json!("down")));
    assert!(found["timeline"].to_string().contains("is not known"), "{found}");
    // What goes on is another one, at once.
    let next = newest(&process, "the outage goes on", |incident| incident["number"] != open["number"]);
    assert_eq!((&next["kind"], &next["cause"], &next["open"]), (&json!("outage"), &json!("startup"), &json!(true)), "{next}");
    pair.standby.promote();
    let both = are_over(&process, 2);
    assert_eq!((&both[0]["to"], &both[1]["interrupted"]), (&json!("db-b"), &json!(true)));
    let known =
        until("that is on the disk", || written(scratch.directory()).filter(|kept| kept["incidents"][1]["open"] == false));
    assert_eq!(known["incidents"][0]["interrupted"], true, "{known}");
}

#[test]
fn an_orderly_restart_keeps_them_and_the_numbers_and_the_availability() {
    let (scratch, mut a, b) = (Scratch::new(), Backend::echo(), Backend::echo());
    let mut settings = settings(&[a.address, b.address]);
    settings["state_dir"] = json!(scratch.directory());
    let mut process = Process::start(&settings).serving();
    a.stop();
    let before = are_over(&process, 1);
    process.signal(Signal::TERM);
    assert_eq!(process.ends_within(std::time::Duration::from_secs(20)).0.code(), Some(0));
    let days: Value = serde_json::from_str(&fs::read_to_string(scratch.path("orders.availability.json")).unwrap()).unwrap();
    assert!(days["pool"]["days"][0]["watched"].as_f64().unwrap() > 0.0, "{days}");
    // Of a bad day long ago nothing is left; yesterday counts.
    let today = days["pool"]["days"][0]["day"].as_u64().unwrap();
    let day = |day: u64, out: f64| json!({"day": day, "watched": 86_400.0, "out": out});
    let kept = json!({"version": 1, "pool": {"days": [day(today - 40, 86_400.0), day(today - 1, 8_640.0)]}});
    fs::write(scratch.path("orders.availability.json"), kept.to_string()).unwrap();
    let process = Process::start(&settings).serving();
    assert_eq!(until("they are read", || Some(are_over(&process, 1))), before);
    until("yesterday counts", || {
        let text = process.get("/metrics").1;
        let value =
            text.lines().find_map(|line| line.strip_prefix("mainstay_availability_ratio{pool=\"orders\",window=\"30d\"} "));
        value.unwrap().parse::<f64>().ok().filter(|ratio| (0.89..0.91).contains(ratio))
    });
    let mut b = b;
    b.stop();
    let next = newest(&process, "another one", |incident| incident["number"] == 2);
    assert_eq!(next["from"], "db-b");
}

#[test]
fn the_last_hundred_are_kept() {
    let (scratch, mut a) = (Scratch::new(), Backend::echo());
    let mut settings = settings(&[a.address]);
    settings["state_dir"] = json!(scratch.directory());
    let one = |number: u64| {
        json!({
            "number": number, "pool": "orders", "kind": "outage", "began": "2026-11-01T02:00:00.123Z",
            "ended": "2026-11-01T02:00:01.123Z", "open": false, "interrupted": false, "cause": "down", "evidence": "refused",
            "from": "db-a", "to": "db-a", "epoch": number, "felt_seconds": 1.0, "gap_seconds": 1.0, "sessions_aborted": 0,
            "clients": {"held": 0, "served_late": 0, "turned_away": 0, "longest_wait_seconds": 0.0},
            "first_sign": null, "detected": null, "revoked": null, "activated": null, "first_session": null,
            "unknown_bytes": null, "timeline": [],
        })
    };
    let all: Vec<_> = (1..=149).map(one).collect();
    let content = json!({"version": 1, "pool": {"last": 149, "incidents": all}});
    fs::write(file(scratch.directory()), content.to_string()).unwrap();
    let process = Process::start(&settings).serving();
    until("they are read", || (kept(&process) == "state_dir").then_some(()));
    a.stop();
    newest(&process, "the next one", |incident| incident["number"] == 150);
    let numbers: Vec<_> = incidents(&process).iter().map(|incident| incident["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (51..=150).rev().collect::<Vec<_>>());
    until("the file has as many", || {
        let kept = written(scratch.directory())?;
        let found = kept["incidents"].as_array()?;
        (found.len() == 100 && found[99]["number"] == 150).then_some(())
    });
    let (code, body) = process.get("/api/v1/incidents/50");
    assert!(code == 404 && body.contains("unknown_incident") && body.contains("51"), "{code} {body}");
    assert_eq!(process.get("/api/v1/incidents/none").0, 404);
}

#[test]
fn a_file_that_cannot_be_used_is_set_aside_and_told_once() {
    let cut = r#"{"version":1,"pool":{"last":3,"incid"#;
    let foreign = r#"{"version":2,"pool":{}}"#;
    let huge = format!("{{\"version\":1,\"pool\":{{\"last\":0,\"incidents\":[]}}}}{}", " ".repeat(2 << 20));
    for content in [cut, foreign, "\u{1b}[31mnothing", huge.as_str()] {
        let (scratch, mut a) = (Scratch::new(), Backend::echo());
        let mut settings = settings(&[a.address]);
        settings["state_dir"] = json!(scratch.directory());
        fs::write(file(scratch.directory()), content).unwrap();
        let process = Process::start(&settings).serving();
        until("it is read", || (kept(&process) == "state_dir").then_some(()));
        let aside = scratch.path("incidents.json.unreadable");
        assert_eq!(fs::read_to_string(&aside).unwrap(), content);
        a.stop();
        newest(&process, "the first one", |incident| incident["number"] == 1);
        until("it is written", || (written(scratch.directory())?["last"] == 1).then_some(()));
        let told = |text: &str| process.log().iter().filter(|line| line["message"].as_str().unwrap_or("").contains(text)).count();
        assert_eq!((told("incidents file is passed over"), told("kept under another name")), (1, 1));
    }
}
