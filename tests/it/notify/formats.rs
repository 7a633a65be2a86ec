//! Each kind of receiver gets what it understands, and nobody sees a secret.

use std::{fs, io::Write, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Receiver, SECRET, key};
use crate::support::{
    child::Bounded,
    echo::Backend,
    process::{Process, settings},
    scratch::Scratch,
    wait::until,
};

#[test]
fn each_kind_of_receiver_gets_its_own_form() {
    let scratch = Scratch::new();
    let (slack, pager, hook) = (Receiver::start(), Receiver::start(), Receiver::start());
    let (key, secret_file) = key(&scratch);
    let slack_url = scratch.file("slack.url", format!("http://{}/services/{SECRET}\n", slack.address()), 0o600);
    let routing_key = scratch.file("pagerduty.key", format!("{SECRET}\n"), 0o600);
    let odd = "$HOME; touch \"$DIR/evil\" `id`";
    let script = scratch
        .script("cat > $DIR/input.new; echo \"$1\" > $DIR/argument; env > $DIR/environment; mv $DIR/input.new $DIR/input.$$");
    let mut a = Backend::echo();
    let mut settings = settings(&[a.address]);
    settings["notify"] = json!([
        {"slack": {"url_file": slack_url}},
        {"pagerduty": {"routing_key_file": routing_key, "url": format!("http://{}/v2/enqueue", pager.address())}},
        {"webhook": {"url": hook.url(), "secret_file": secret_file}},
        {"exec": [script, odd.replace('$', "$$")]},
    ]);
    let process = Process::start(&settings).serving();
    a.stop();
    let text = slack.nth(1);
    assert!(text.head.starts_with(&format!("POST /services/{SECRET} HTTP/1.1\r\n")), "{}", text.head);
    let text = text.json()["text"].as_str().unwrap().to_owned();
    for part in ["*Pool orders: no database serves.*", "*Why:* db-a: down", "*Now:* Run `mainstay status`", "#databaseoutage"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let event = pager.nth(1).json();
    assert_eq!((&event["event_action"], &event["routing_key"]), (&json!("trigger"), &json!(SECRET)));
    assert_eq!((&event["dedup_key"], &event["payload"]["severity"]), (&json!("mainstay/orders/outage"), &json!("critical")));
    let signed = hook.nth(1);
    let told = format!("{}.{}.", signed.header("webhook-id"), signed.header("webhook-timestamp"));
    let mut context = ring::hmac::Context::with_key(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key));
    context.update(told.as_bytes());
    context.update(&signed.body);
    assert_eq!(signed.header("webhook-signature"), format!("v1,{}", STANDARD.encode(context.sign())));
    assert_eq!(signed.json()["id"], signed.header("webhook-id"));
    let input: Value = until("the program has its input", || {
        let files = fs::read_dir(scratch.directory()).unwrap().map(|entry| entry.unwrap().path());
        let file = files
            .into_iter()
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("input.") && path.extension().unwrap() != "new");
        serde_json::from_slice(&fs::read(file?).unwrap()).ok()
    });
    assert_eq!(input["kind"], "outage");
    assert_eq!(fs::read_to_string(scratch.path("argument")).unwrap(), format!("{odd}\n"));
    assert!(!scratch.path("evil").exists());
    // The end resolves.
    let _again = Backend::start_at(a.address, |mut stream| drop(stream.write_all(b"x")));
    let over = pager.nth(2).json();
    assert_eq!((&over["event_action"], &over["dedup_key"]), (&json!("resolve"), &event["dedup_key"]));
    assert!(slack.nth(2).json()["text"].as_str().unwrap().contains("served again, by db-a, after"));
    // Nobody sees a secret.
    let file = scratch.file("mainstay.yaml", settings.to_string(), 0o600);
    let printed =
        Command::new(env!("CARGO_BIN_EXE_mainstay")).args(["check", "--print", "-c"]).arg(file).bounded_output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap() + &String::from_utf8(printed.stderr).unwrap();
    assert!(printed.contains("slack.url") && printed.contains("routing_key_file"), "{printed}");
    let shown = ["/api/v1/config", "/api/v1/status", "/api/v1/events", "/metrics"].map(|path| process.get(path).1).join("\n");
    let environment = fs::read_to_string(scratch.path("environment")).unwrap();
    for text in [printed, shown, environment, Value::Array(process.log()).to_string()] {
        assert!(!text.contains(SECRET) && !text.contains(&STANDARD.encode(&key)), "{text}");
    }
}

#[test]
fn secrets_are_read_at_each_use() {
    let scratch = Scratch::new();
    let pager = Receiver::start();
    let routing_key = scratch.file("pagerduty.key", "first\n", 0o600);
    let mut a = Backend::echo();
    let mut settings = settings(&[a.address]);
    settings["notify"] = json!([{"pagerduty": {"routing_key_file": routing_key, "url": pager.url()}}]);
    let _process = Process::start(&settings).serving();
    a.stop();
    assert_eq!(pager.nth(1).json()["routing_key"], "first");
    scratch.file("pagerduty.key", "second\n", 0o600);
    let _again = Backend::start_at(a.address, |mut stream| drop(stream.write_all(b"x")));
    assert_eq!(pager.nth(2).json()["routing_key"], "second");
}
