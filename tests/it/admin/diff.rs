//! What differs between backends: over HTTP, and as the command prints it.

use std::{
    process::{Command, Output},
    sync::Arc,
};

use mainstay::{
    cli::exit,
    failover::{BackendId, Proof, Time},
    route::{GuardView, Print, PrintGroup, PrintItem, ProofView, Snapshot},
};
use serde_json::{Value, json};

use super::fixture::{Fixture, dead, failed_over, primary};
use crate::support::child::Bounded;

const DIFF: &str = "/api/v1/pools/orders/diff";

fn item(value: &str, unit: &str) -> PrintItem {
    let unit = (!unit.is_empty()).then(|| unit.to_owned());
    PrintItem { value: value.into(), unit, ..PrintItem::default() }
}

fn print(items: &[(PrintGroup, &str, PrintItem)]) -> Print {
    let mut print = Print::default();
    for (group, name, item) in items {
        print.add(*group, name, item.clone());
    }
    print
}

/// A server of this version with this much shared memory.
fn server(version: &str, shared_buffers: &str) -> Print {
    use PrintGroup::{Extension, Setting, Version};
    print(&[
        (Version, "server_version", item(version, "")),
        (Setting, "shared_buffers", PrintItem { needs_restart: true, ..item(shared_buffers, "8kB") }),
        (Setting, "work_mem", item("4096", "kB")),
        (Extension, "pg_trgm", item("1.6", "")),
    ])
}

fn view(print: Print) -> GuardView {
    let digest = Some(print.digest(&[]).into());
    GuardView { print: Some(Arc::new(print)), read_at: Some(Time::ZERO), digest, ..GuardView::default() }
}

fn show(f: &Fixture, backend: &str, view: GuardView) {
    f.guards.show(&"orders".into(), &backend.into(), view);
}

fn diff(f: &Fixture, words: &[&str]) -> Output {
    let admin = format!("unix:{}", f.socket.display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.arg("diff").args(words).args(["--admin", &admin]).bounded_output().unwrap()
}

/// What it printed, up to when the servers were read.
fn told(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| line.split(" was read ").next().unwrap().to_owned() + "\n").collect()
}

fn code(output: &Output) -> u8 {
    u8::try_from(output.status.code().unwrap()).unwrap()
}

fn three() -> Snapshot {
    let mut snapshot = failed_over();
    snapshot.backends.push(primary("db-c"));
    snapshot
}

#[test]
fn each_backend_is_compared_with_the_active_one() {
    let f = Fixture::new(three());
    show(&f, "db-b", view(server("15.17", "16384")));
    let mut changed = server("15.18", "32768");
    changed.add(PrintGroup::Setting, "build", item(&"x".repeat(60), ""));
    changed.items.remove(&PrintGroup::Extension);
    show(&f, "db-a", view(changed));
    show(&f, "db-c", view(server("15.17", "16384")));
    let answer = f.get(DIFF).json();
    assert_eq!(answer["active"], "db-b");
    let names = |key| answer["comparisons"].as_array().unwrap().iter().map(|one| one[key].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!((names("a"), names("b")), (vec!["db-b", "db-b"], vec!["db-a", "db-c"]));
    let buffers = json!({"group": "setting", "name": "shared_buffers", "a": "128MB", "b": "256MB", "needs_restart": true});
    assert_eq!(answer["comparisons"][0]["differences"][2], buffers);
    assert_eq!(answer["comparisons"][0]["compared"], json!({"version": 1, "setting": 3, "extension": 1}));
    let output = diff(&f, &["orders"]);
    let expected = "                  db-b (active)  db-a\n\
        versions\n  server_version  15.17          15.18\n\
        settings\n  build\n    db-b (active): absent\n    db-a: "
        .to_owned()
        + &"x".repeat(60)
        + "\n"
        + "  shared_buffers  128MB          256MB   a change needs a restart\n\
        installed extensions\n  pg_trgm         1.6            absent\n\
        4 differ, of 1 version, 3 settings and 1 installed extension\n\n\
        nothing differs between db-b (active) and db-c: 1 version, 2 settings and 1 installed extension\n\n\
        db-b\ndb-a\ndb-c\n";
    assert_eq!((told(&output), code(&output)), (expected, exit::DONE));
    assert!(String::from_utf8(output.stdout).unwrap().contains("db-b was read just now, at 20"));
    // Two, in either order.
    let output = diff(&f, &["orders", "db-c", "db-a"]);
    assert!(
        told(&output).starts_with("                  db-c   db-a\nversions\n  server_version  15.17  15.18\n"),
        "{}",
        told(&output)
    );
    let output = diff(&f, &["orders", "--json", "db-a", "db-c"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((answer["comparisons"][0]["a"].as_str(), code(&output)), (Some("db-a"), exit::DONE));
    assert_eq!(answer["comparisons"][0]["differences"][0]["a"], "15.18");
}

#[test]
fn what_cannot_be_compared_says_why() {
    let f = Fixture::new(failed_over());
    let output = diff(&f, &["orders"]);
    let text = "db-b cannot be compared: it was not read yet\ndb-a cannot be compared: it was not read yet\n";
    assert_eq!((told(&output).as_str(), code(&output)), (text, exit::FAILED));
    let mut reduced = view(server("15.17", "16384"));
    let mut print = Print::clone(reduced.print.as_ref().unwrap());
    print.unseen.insert(PrintGroup::Setting, "plain is not shown all settings: GRANT pg_monitor TO plain".into());
    reduced.print = Some(print.into());
    reduced.unread = Some("connect refused".into());
    show(&f, "db-b", reduced);
    show(&f, "db-a", GuardView { unread: Some("a tcp check does not log in".into()), ..GuardView::default() });
    let output = diff(&f, &["orders"]);
    assert_eq!(code(&output), exit::FAILED);
    let text = String::from_utf8(output.stdout).unwrap();
    for wanted in [
        ", and could not be read since: connect refused\n",
        "\n  plain is not shown all settings: GRANT pg_monitor TO plain\n",
        "db-a cannot be compared: a tcp check does not log in\n",
    ] {
        assert!(text.contains(wanted), "{text}");
    }
    // Without an active one, the first is in its place.
    let f = Fixture::new(dead());
    for backend in ["db-a", "db-b"] {
        show(&f, backend, view(server("15.17", "16384")));
    }
    assert!(told(&diff(&f, &["orders"])).starts_with("nothing differs between db-a and db-b: "));
    let mut alone = failed_over();
    (alone.backends, alone.active) = (vec![primary("db-b")], Some(BackendId(0)));
    let output = diff(&Fixture::new(alone), &["orders"]);
    assert!(told(&output).ends_with("pool orders has no two backends to compare\n"), "{}", told(&output));
}

#[test]
fn a_wrong_question_is_refused() {
    let f = Fixture::new(failed_over());
    for (query, status, code) in [
        ("?a=db-a", 400, "bad_query"),
        ("?b=db-a", 400, "bad_query"),
        ("?a=db-a&b=db-a", 400, "bad_query"),
        ("?a=db-a&b=db-x", 404, "unknown_backend"),
        ("?a=db-a&c=db-b", 400, "bad_query"),
        ("?a=db-a&a=db-b", 400, "bad_query"),
    ] {
        let reply = f.get(&format!("{DIFF}{query}"));
        assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (status, Some(code)), "{query}");
    }
    let unknown = f.get("/api/v1/pools/carts/diff");
    assert_eq!((unknown.status, unknown.json()["error"]["code"].as_str()), (404, Some("unknown_pool")));
    assert_eq!(f.ask("POST", DIFF, "Host: localhost\r\n").status, 405);
    let output = diff(&f, &["carts"]);
    let why = "not compared: there is no pool of this name; pools: orders\n";
    assert_eq!((String::from_utf8(output.stderr.clone()).unwrap().as_str(), code(&output)), (why, exit::FAILED));
    for words in [&["orders", "db-a"][..], &["orders", "db-a", "db-b", "db-c"], &[]] {
        assert_eq!(code(&diff(&f, words)), exit::USAGE, "{words:?}");
    }
    let nobody = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .args(["diff", "orders", "--admin", "unix:/nowhere.sock"])
        .bounded_output()
        .unwrap();
    assert_eq!(code(&nobody), exit::FAILED);
}

#[test]
fn the_proofs_of_a_backend_are_shown_beside_its_print() {
    let f = Fixture::new(failed_over());
    let proof = ProofView {
        name: "extensions".into(),
        result: "failed",
        evidence: "pg_trgm 1.6 is installed, and its files are missing".into(),
        at: Time::from_millis(1),
        took: std::time::Duration::from_millis(3),
    };
    let changed = vec!["version server_version: 15.17, then 15.18".into()];
    let guard = GuardView {
        proof: Proof::Failed,
        proven: Some("0123456789ab".into()),
        changed,
        results: vec![proof],
        ..view(server("15.18", "16384"))
    };
    show(&f, "db-a", guard);
    let answer = f.get(DIFF).json();
    let backend = &answer["backends"][1];
    assert_eq!((backend["proof"].as_str(), backend["proven"].as_str()), (Some("failed"), Some("0123456789ab")));
    assert_eq!(backend["changed"], json!(["version server_version: 15.17, then 15.18"]));
    assert_eq!((&backend["proofs"][0]["result"], &backend["proofs"][0]["took_ms"]), (&json!("failed"), &json!(3.0)));
    assert_eq!(backend["print"].as_str().unwrap().len(), 12);
}

/// Prints of two servers that have nothing to do with each other, in words that lead a terminal astray.
#[test]
fn the_answer_is_bounded_and_printable_whatever_a_print_holds() {
    let f = Fixture::new(failed_over());
    let nasty = "evil\n\u{1b}[31mFORGED\u{202e}";
    let large = |of: &str| {
        let mut print = Print::default();
        for number in 0..4000 {
            print.add(PrintGroup::Setting, &format!("{of}{nasty}{number:04}"), item(&nasty.repeat(20), nasty));
        }
        view(print)
    };
    show(&f, "db-a", large("a"));
    show(&f, "db-b", large("b"));
    let reply = f.get(DIFF);
    assert!(reply.body.len() < 2_000_000, "{}", reply.body.len());
    assert_eq!(reply.json()["comparisons"][0]["omitted"], 7500);
    for words in [&["orders"][..], &["orders", "--json"]] {
        let text = String::from_utf8(diff(&f, words).stdout).unwrap();
        assert!(
            !text.contains(['\u{1b}', '\u{202e}'])
                && !text.lines().any(|line| line.contains("[31mFORGED") && !line.contains("evil"))
        );
        assert!(text.contains("7500"), "{text}");
    }
}
