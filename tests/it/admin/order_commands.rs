//! The commands that order: what they send, what they print, how they end.

use std::process::Command;

use clap::Command as Words;
use mainstay::{
    cli::{exit, order},
    failover::Admin,
    route::{Done, Refusal, RefusalCode, Verb},
};

use super::{
    fixture::{Fixture, failed_over},
    orders::Obeying,
};
use crate::support::child::Bounded;

/// Runs a command in this process: its exit code, and what it printed.
fn run(f: &Fixture, words: &[&str]) -> (u8, String, String) {
    let admin = format!("unix:{}", f.socket.display());
    run_at(&admin, words)
}

fn run_at(admin: &str, words: &[&str]) -> (u8, String, String) {
    let words = ["mainstay"].iter().chain(words).chain(&["--admin", admin]).copied().collect::<Vec<_>>();
    let matches = Words::new("mainstay").subcommands(order::commands()).try_get_matches_from(words).unwrap();
    let (name, matches) = matches.subcommand().unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = order::run_to(&order::read(name, matches).unwrap().unwrap(), &mut out, &mut err);
    (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn control(f: &Fixture) -> Obeying {
    Obeying::start(f.orders.lock().unwrap().take().unwrap(), |order| {
        match &order.verb {
        Verb::SetAdmin { backend, to: Admin::Maint, force: false } if **backend == *"db-b" => Err(Refusal {
            code: RefusalCode::NobodyTakesOver,
            message: "db-b is the active backend, and nobody may take over (db-a is down: connect refused); --force does it all the same".into(),
        }),
        Verb::Kill { .. } => Ok(Done { lines: vec!["97 sessions were ended".into()], sessions: 97, operation: None }),
        verb => Ok(Done { lines: vec![format!("{verb:?}"), "evil\u{1b}[31m\nline".into()], sessions: 0, operation: None }),
    }
    })
}

#[test]
fn what_was_done_is_told_in_the_words_of_the_answer() {
    let f = Fixture::new(failed_over());
    let pool = control(&f);
    let cases: [(&[&str], u8, &str, &str); 9] = [
        (
            &["drain", "orders/db-a", "--reason", "new kernel"],
            exit::DONE,
            "SetAdmin { backend: \"db-a\", to: Drain, force: false }\nevil\\u{1b}[31m\\u{a}line\n",
            "",
        ),
        (
            &["maint", "orders/db-b"],
            exit::FAILED,
            "",
            "not done: db-b is the active backend, and nobody may take over (db-a is down: connect refused); --force does it all the same\n",
        ),
        (
            &["maint", "orders/db-b", "--force", "--dry-run"],
            exit::DONE,
            "nothing was changed (--dry-run)\nSetAdmin { backend: \"db-b\", to: Maint, force: true }\nevil\\u{1b}[31m\\u{a}line\n",
            "",
        ),
        (&["pause", "orders", "--max", "5m"], exit::DONE, "Pause { max: 300s }\nevil\\u{1b}[31m\\u{a}line\n", ""),
        (&["resume", "orders"], exit::DONE, "Resume\nevil\\u{1b}[31m\\u{a}line\n", ""),
        (&["kill", "orders/db-b", "--client", "192.0.2.7:40000"], exit::DONE, "97 sessions were ended\n", ""),
        (&["kill", "users"], exit::FAILED, "", "not done: there is no pool of this name; pools: orders\n"),
        (&["drain", "orders/db-z"], exit::FAILED, "", "not done: there is no backend of this name; backends: db-a, db-b\n"),
        (
            &["pause", "orders", "--max", "2h"],
            exit::FAILED,
            "",
            "not done: the body is not what this order takes: `max` is a duration from 1ms to 1h, such as \"30s\" at line 1 column 27\n",
        ),
    ];
    for (words, code, out, err) in cases {
        let told = run(&f, words);
        assert_eq!(told, (code, out.to_owned(), err.to_owned()), "{words:?}");
    }
    assert_eq!(pool.told()[0].2, "new kernel");
    let json = run(&f, &["kill", "orders", "--json"]);
    assert_eq!(json, (exit::DONE, "{\"done\":[\"97 sessions were ended\"],\"sessions\":97}\n".into(), String::new()));
    let (code, out, err) = run(&f, &["drain", "orders/db-z", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, answer["error"]["code"].as_str(), err.as_str()), (exit::FAILED, Some("unknown_backend"), ""));
}

#[test]
fn over_tcp_nothing_is_ordered_and_the_command_says_what_to_do() {
    let f = Fixture::new(failed_over());
    let (code, out, err) = run_at(&f.address.to_string(), &["reload"]);
    let message = "not done: no orders are taken over TCP; order over a unix socket of `admin.listen`, or let the configuration say \
                   `admin: {write: {token_file: PATH}}`\n";
    assert_eq!((code, out.as_str(), err.as_str()), (exit::FAILED, "", message));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (code, out, err) = run_at(&closed, &["shutdown"]);
    assert!(code == exit::FAILED && out.is_empty() && err.contains("cannot be reached"), "{err}");
}

#[test]
fn what_cannot_be_meant_is_wrong_usage() {
    let mainstay = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mainstay")).args(words).bounded_output().unwrap();
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    for words in [
        &["drain"][..],
        &["drain", "orders"],
        &["drain", "/db-a"],
        &["drain", "orders/"],
        &["maint", "orders"],
        &["pause", "orders/db-a"],
        &["pause", "orders", "--max", "30"],
        &["resume", "orders", "--max", "3s"],
        &["ready", "orders/db-a", "--force"],
        &["reload", "orders"],
        &["kill"],
        &["shutdown", "now"],
        &["drain", "orders/db-a", "--no-wait"],
        &["switchover"],
        &["switchover", "orders/db-a"],
        &["switchover", "orders", "--accept-loss"],
        &["promote", "orders", "--to"],
        &["drill", "orders", "--to", "db-b"],
        &["drill", "orders", "--force"],
        &["switchover", "orders", "--trial", "15"],
        &["rollback", "orders", "--to", "db-a"],
        &["abort"],
    ] {
        let (code, text) = mainstay(words);
        assert_eq!(code, i32::from(exit::USAGE), "{words:?}: {text}");
    }
    let (code, help) = mainstay(&["--help"]);
    assert_eq!(code, 0);
    for command in [
        "drain",
        "maint",
        "ready",
        "pause",
        "resume",
        "kill",
        "switchover",
        "rollback",
        "abort",
        "promote",
        "drill",
        "reload",
        "shutdown",
        "status",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
    let (code, help) = mainstay(&["drain", "--help"]);
    assert!(
        code == 0 && help.contains("POOL/BACKEND") && help.contains("--token-file <FILE>") && help.contains("--force"),
        "{help}"
    );
    let (code, help) = mainstay(&["promote", "--help"]);
    assert_eq!(code, 0);
    for option in ["--to <BACKEND>", "--accept-loss", "--force", "--no-wait", "--dry-run", "--json", "--reason <TEXT>"] {
        assert!(help.contains(option), "{option}: {help}");
    }
}
