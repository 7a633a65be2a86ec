//! What is told agrees with what clients have measured.

use std::{path::Path, thread, time::Duration};

use lab::procfs::family;
use serde_json::{Value, json};

use super::{Pair, are_over, before, crowd::Crowd, get, incidents, local, newest};
use crate::support::{postgres::Postgres, process::Process, scratch::Scratch, site::Site, wait::until};

const CLIENTS: u64 = 8;

/// The primary is killed, and the standby promoted so much later.
#[track_caller]
fn promoted_after(delay: Duration) {
    let (scratch, pair) = (Scratch::new(), Pair::start());
    let site = Site::start(&mut pair.settings(scratch.directory()), &scratch.path("admin.sock"));
    let process = &site.process;
    let mut crowd = Crowd::before(process.address, usize::try_from(CLIENTS).unwrap());
    pair.kill_primary();
    // A delay of the story, not a wait for a condition.
    thread::sleep(delay);
    pair.standby.promote();
    crowd.comes_back();
    let incident = are_over(process, 1).remove(0);
    let figures = crowd.stop();
    println!("# {incident}");
    assert_eq!((&incident["kind"], &incident["cause"]), (&json!("failover"), &json!("down")), "{incident}");
    assert_eq!((&incident["from"], &incident["to"], &incident["epoch"]), (&json!("db-a"), &json!("db-b"), &json!(2)));
    assert_eq!((figures.lost, figures.rejected, figures.broken), (CLIENTS, 0, 0), "{figures:?}");
    assert_eq!(incident["sessions_aborted"], figures.lost, "{incident}");
    let clients = &incident["clients"];
    assert_eq!([&clients["held"], &clients["served_late"], &clients["turned_away"]], [&json!(8), &json!(8), &json!(0)]);
    crowd.agrees("felt", &incident["felt_seconds"], figures.felt());
    crowd.agrees("the longest wait", &clients["longest_wait_seconds"], figures.longest);
    in_order(&incident);
    let waited = process.get("/metrics").1;
    let waited = waited.lines().find_map(|line| line.strip_prefix("mainstay_client_wait_seconds_total{pool=\"orders\"} "));
    let waited: f64 = waited.unwrap().parse().unwrap();
    let longest = clients["longest_wait_seconds"].as_f64().unwrap();
    assert!(waited >= longest && waited <= longest * 8.01, "{waited} {longest}");
    // The document has the same figures.
    site.run(&["incidents"]).is_done("db-a → db-b");
    site.run(&["incident", "1"]).is_done("pool orders failed over from db-a to db-b");
    let document = site.run(&["incident", "1", "--markdown"]);
    let seconds = |value: &Value| match value.as_f64().unwrap() {
        long @ 10.0.. => format!("{long:.1} s"),
        short => format!("{short:.3} s"),
    };
    document.is_done(&format!("| Felt by clients | {} |", seconds(&incident["felt_seconds"])));
    document.is_done(&format!("| Longest wait | {} |", seconds(&clients["longest_wait_seconds"])));
    document.is_done(&format!("| Sessions lost | {} |", figures.lost));
    document.is_done(&format!("| Turned away | {} |", figures.rejected));
    // All that was acknowledged before had been received: nothing is unknown but what nobody has read since.
    assert!(incident["unknown_bytes"].as_u64().is_some(), "{incident}");
}

/// Its moments follow each other, and so do the lines.
fn in_order(incident: &Value) {
    let moments = ["first_sign", "detected", "revoked", "activated", "first_session"].map(|key| incident[key].as_str().unwrap());
    assert!(moments.is_sorted(), "{incident}");
    assert!(incident["began"].as_str().unwrap() <= moments[0] && incident["ended"] == moments[4], "{incident}");
    let lines: Vec<_> = incident["timeline"].as_array().unwrap().iter().map(|line| line["at"].as_str().unwrap()).collect();
    assert!(lines.is_sorted() && lines.len() >= 4, "{incident}");
}

#[test]
fn a_standby_promoted_at_once() {
    promoted_after(Duration::ZERO);
}

#[test]
fn a_standby_promoted_after_50_ms() {
    promoted_after(Duration::from_millis(50));
}

#[test]
fn a_standby_promoted_after_a_second() {
    promoted_after(Duration::from_secs(1));
}

#[test]
fn a_standby_promoted_after_ten_seconds() {
    promoted_after(Duration::from_secs(10));
}

#[test]
fn a_standby_that_is_never_promoted_and_clients_that_are_turned_away() {
    let (scratch, pair) = (Scratch::new(), Pair::start());
    let mut settings = pair.settings(scratch.directory());
    settings["pools"][0]["hold"] = json!({"timeout": "700ms"});
    let process = Process::start(&settings).serving();
    let mut crowd = Crowd::before(process.address, 4);
    pair.kill_primary();
    until("each was turned away twice", || (crowd.figures().rejected >= 8).then_some(()));
    let figures = crowd.stop();
    let told = newest(&process, "all are counted", |incident| incident["clients"]["turned_away"] == figures.rejected);
    assert_eq!(
        (&told["kind"], &told["open"], &told["ended"], &told["to"]),
        (&json!("outage"), &json!(true), &json!(null), &json!(null))
    );
    assert_eq!((&told["sessions_aborted"], &told["clients"]["served_late"]), (&json!(4), &json!(0)), "{told}");
    assert_eq!((figures.lost, figures.served, figures.broken), (4, 0, 0), "{figures:?}");
    assert_eq!(told["clients"]["held"], figures.rejected, "{told}");
    crowd.agrees("the longest wait", &told["clients"]["longest_wait_seconds"], figures.longest);
    let later = newest(&process, "it goes on", |later| later["felt_seconds"].as_f64() > told["felt_seconds"].as_f64());
    assert_eq!(later["number"], told["number"]);
    assert_eq!(incidents(&process).len(), 1);
}

#[test]
fn a_server_that_comes_back_is_an_outage() {
    let (scratch, mut server) = (Scratch::new(), Postgres::primary(&[]));
    let process = Process::start(&before(&[local(&server)], scratch.directory())).serving();
    let mut crowd = Crowd::before(process.address, 4);
    let processes = family(server.pid());
    server.signal_all("-KILL");
    // A server that starts while one of them is left refuses to.
    let are_gone = || processes[1..].iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists());
    until("every process is gone", || are_gone().then_some(()));
    until("it is told", || (incidents(&process).len() == 1).then_some(()));
    server.restart(&[]);
    crowd.comes_back();
    let incident = are_over(&process, 1).remove(0);
    let figures = crowd.stop();
    assert_eq!((&incident["kind"], &incident["from"], &incident["to"]), (&json!("outage"), &json!("db-a"), &json!("db-a")));
    assert_eq!((&incident["sessions_aborted"], &incident["unknown_bytes"]), (&json!(figures.lost), &json!(null)), "{incident}");
    crowd.agrees("felt", &incident["felt_seconds"], figures.felt());
    crowd.agrees("the longest wait", &incident["clients"]["longest_wait_seconds"], figures.longest);
    let ratio = process.get("/metrics").1;
    let ratio = ratio.lines().find_map(|line| line.strip_prefix("mainstay_availability_ratio{pool=\"orders\",window=\"30d\"} "));
    let ratio: f64 = ratio.unwrap().parse().unwrap();
    assert!(ratio > 0.0 && ratio < 1.0, "{ratio}");
}

#[test]
fn a_planned_switchover_is_one_only_if_clients_felt_it() {
    let (scratch, pair) = (Scratch::new(), Pair::start());
    let mut settings = pair.settings(scratch.directory());
    settings["pools"][0]["promotion"] = json!({"how": "sql", "demote": {"exec": [demote(&scratch, &pair)], "timeout": "20s"}});
    let site = Site::start(&mut settings, &scratch.path("admin.sock"));
    let mut crowd = Crowd::before(site.process.address, 4);
    site.run(&["switchover", "orders", "--to", "db-b", "--reason", "a test"]).is_done("");
    crowd.comes_back();
    let incident = are_over(&site.process, 1).remove(0);
    let figures = crowd.stop();
    println!("# {incident}");
    assert_eq!((&incident["kind"], &incident["cause"]), (&json!("planned"), &json!("command")), "{incident}");
    assert_eq!((&incident["sessions_aborted"], figures.rejected), (&json!(figures.lost), 0), "{figures:?} {incident}");
    crowd.agrees("felt", &incident["felt_seconds"], figures.felt());
    crowd.agrees("the longest wait", &incident["clients"]["longest_wait_seconds"], figures.longest);
}

/// A program that stops the old primary.
fn demote(scratch: &Scratch, pair: &Pair) -> std::path::PathBuf {
    let pid = pair.primary.data().join("postmaster.pid");
    let body = format!("read -r pid <'{0}'\nkill -INT \"$pid\"\nwhile [ -e '{0}' ]; do sleep 0.01; done", pid.display());
    scratch.script(&body)
}

#[test]
fn an_order_that_nobody_feels_is_no_incident() {
    let scratch = Scratch::new();
    let backends = [(); 2].map(|()| crate::support::echo::Backend::echo());
    let mut settings = crate::support::process::settings(&backends.each_ref().map(|backend| backend.address));
    let site = Site::start(&mut settings, &scratch.path("admin.sock"));
    site.run(&["switchover", "orders", "--to", "db-b", "--reason", "a test"]).is_done("");
    site.serves("db-b");
    site.run(&["maint", "orders/db-b", "--reason", "a test"]).is_done("");
    site.serves("db-a");
    let uptime = || site.process.status()["uptime_seconds"].as_u64().unwrap();
    let now = uptime();
    // Longer than the figures of an incident may still change.
    until("three seconds are over", || (uptime() >= now + 3).then_some(()));
    assert_eq!(incidents(&site.process), Vec::<Value>::new());
}

#[test]
fn two_primaries_are_a_conflict_until_one_is_gone() {
    let (scratch, pair) = (Scratch::new(), Pair::start());
    let process = Process::start(&pair.settings(scratch.directory())).serving();
    let mut crowd = Crowd::before(process.address, 4);
    pair.standby.promote();
    crowd.comes_back();
    let open = newest(&process, "it is a conflict", |incident| incident["kind"] == "conflict" && incident["to"] == "db-b");
    assert_eq!((&open["open"], &open["from"]), (&json!(true), &json!("db-a")), "{open}");
    until("both say so", || (process.metric("mainstay_primary_conflict", &[]) == 1).then_some(()));
    pair.kill_primary();
    let incident = are_over(&process, 1).remove(0);
    let figures = crowd.stop();
    println!("# {incident}");
    assert_eq!(incident["sessions_aborted"], figures.lost, "{incident}");
    crowd.agrees("felt", &incident["felt_seconds"], figures.felt());
    crowd.agrees("the longest wait", &incident["clients"]["longest_wait_seconds"], figures.longest);
    assert!(incident["timeline"].to_string().contains("one primary again"), "{incident}");
}

#[test]
fn two_pools_at_once_are_two_and_a_reload_in_the_middle_changes_nothing() {
    let (scratch, pair) = (Scratch::new(), Pair::start());
    let mut settings = pair.settings(scratch.directory());
    let mut second = settings["pools"][0].clone();
    second["name"] = "users".into();
    settings["pools"].as_array_mut().unwrap().push(second);
    let process = Process::start(&settings).serving();
    let serves = |pool: usize, name: &str| process.status()["pools"][pool]["active"] == name;
    until("both serve", || serves(1, "db-a").then_some(()));
    let mut crowd = Crowd::before(process.address, 4);
    pair.kill_primary();
    until("both are told", || (incidents(&process).len() == 2).then_some(()));
    settings["pools"][0]["connect_timeout"] = json!("1500ms");
    settings["pools"][1]["check"]["interval"] = json!("250ms");
    process.reload(&settings.to_string());
    pair.standby.promote();
    crowd.comes_back();
    let both = are_over(&process, 2);
    let figures = crowd.stop();
    let of = |pool: &str| both.iter().find(|incident| incident["pool"] == pool).unwrap();
    assert_eq!((&of("orders")["kind"], &of("users")["kind"]), (&json!("failover"), &json!("failover")));
    assert_eq!((&of("orders")["sessions_aborted"], &of("users")["sessions_aborted"]), (&json!(figures.lost), &json!(0)));
    assert_eq!(of("users")["felt_seconds"], 0.0, "it had no clients: {}", of("users"));
    crowd.agrees("felt", &of("orders")["felt_seconds"], figures.felt());
    crowd.agrees("the longest wait", &of("orders")["clients"]["longest_wait_seconds"], figures.longest);
    assert_eq!(get(&process, "/api/v1/incidents")["kept"], "state_dir");
}

#[test]
fn one_that_begins_while_another_is_just_over_is_another() {
    let [mut a, mut b, c] = std::array::from_fn(|_| crate::support::echo::Backend::echo());
    let settings = crate::support::process::settings(&[a.address, b.address, c.address]);
    let process = Process::start(&settings).serving();
    a.stop();
    let serves = |name: &str| until(name, || (process.status()["pools"][0]["active"] == name).then_some(()));
    serves("db-b");
    b.stop();
    serves("db-c");
    let both = are_over(&process, 2);
    let moves: Vec<_> = both.iter().map(|one| (one["from"].as_str().unwrap(), one["to"].as_str().unwrap())).collect();
    assert_eq!(moves, [("db-b", "db-c"), ("db-a", "db-b")]);
    assert!(both[1]["ended"].as_str().unwrap() <= both[0]["began"].as_str().unwrap(), "{both:?}");
    assert_eq!(get(&process, "/api/v1/incidents")["kept"], "memory");
}
