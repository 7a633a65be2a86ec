//! `mainstay notify --test`.

use std::process::Command;

use mainstay::cli::exit;
use serde_json::{Value, json};

use super::{Receiver, SECRET, webhook};
use crate::support::{child::Bounded, process::settings, scratch::Scratch};

/// Exit code, output and errors.
fn run(words: &[&str]) -> (u8, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mainstay")).arg("notify").args(words).bounded_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (u8::try_from(output.status.code().unwrap()).unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_test_is_sent_to_every_receiver_and_each_has_its_line() {
    let (scratch, hook, pager, gone) =
        (Scratch::new(), Receiver::start(), Receiver::start(), Receiver::answering("HTTP/1.1 404 No\r\n\r\n"));
    let routing_key = scratch.file("pagerduty.key", SECRET, 0o600);
    let slack = scratch.file("slack.url", format!("http://{}/{SECRET}", gone.address()), 0o600);
    let mut settings = settings(&["127.0.0.1:1".parse().unwrap()]);
    settings["notify"] = json!([
        webhook(&scratch, &hook.url()),
        {"pagerduty": {"routing_key_file": routing_key, "url": pager.url()}},
        {"exec": ["/bin/sh", "-c", "grep -q '\"kind\":\"test\"'"]},
    ]);
    let file = scratch.file("mainstay.yaml", settings.to_string(), 0o600);
    let file = file.to_str().unwrap();
    let (code, out, err) = run(&["--test", "-c", file]);
    assert_eq!((code, err.as_str()), (exit::DONE, ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    for (line, kind) in
        lines.iter().zip(["notify[0] webhook: told in ", "notify[1] pagerduty: told in ", "notify[2] exec: told in "])
    {
        assert!(line.starts_with(kind), "{out}");
    }
    assert_eq!((lines.len(), hook.nth(1).kind()), (3, "test".to_owned()));
    // No incident is left open.
    assert_eq!(
        (&pager.nth(1).json()["event_action"], &pager.nth(2).json()["event_action"]),
        (&json!("trigger"), &json!("resolve"))
    );
    settings["notify"] = json!([{"slack": {"url_file": slack}}, webhook(&scratch, &hook.url()), {"exec": ["/bin/sh", "-c", "echo no >&2; exit 3"]}]);
    std::fs::write(file, settings.to_string()).unwrap();
    let (code, out, _) = run(&["--test", "-c", file]);
    assert_eq!(code, exit::FAILED);
    assert!(out.contains("notify[0] slack: FAILED: it answered 404"), "{out}");
    assert!(out.contains("notify[1] webhook: told in "), "{out}");
    assert!(out.contains("notify[2] exec: FAILED: it failed with exit code 3; it said: no"), "{out}");
    let (code, out, err) = run(&["--test", "--json", "-c", file]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &answer["ok"], &answer["receivers"][1]["ok"]), (exit::FAILED, &json!(false), &json!(true)), "{out}");
    assert!(!format!("{out}{err}").contains(SECRET));
}

#[test]
fn without_a_receiver_or_a_good_file_nothing_is_sent() {
    let scratch = Scratch::new();
    let file = scratch.file("mainstay.yaml", settings(&["127.0.0.1:1".parse().unwrap()]).to_string(), 0o600);
    let (code, _, err) = run(&["--test", "-c", file.to_str().unwrap()]);
    assert_eq!(code, exit::FAILED);
    assert!(err.contains("has no receiver"), "{err}");
    std::fs::write(&file, "notify: [{slack: {url_file: /nowhere}}]").unwrap();
    assert_eq!(run(&["--test", "-c", file.to_str().unwrap()]).0, exit::BAD_CONFIGURATION);
    assert_eq!(run(&["-c", file.to_str().unwrap()]).0, exit::USAGE);
}
