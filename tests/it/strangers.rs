//! What strangers say is printed in many places, and moves no cursor, begins no line and hides nothing in any of them.

use std::{
    io::{Read, Write},
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{
    config::LOOPBACK,
    echo::Backend,
    process::{Process, settings},
    scratch::Scratch,
    wait::until,
};

/// Colours, turned writing, other ends of a line, an invisible character, C1 controls, and a name that is found again.
const NASTY: &str = "evil\x1b[31m\u{202e}\u{2066}\u{2028}\u{200f}\u{200b}\u{9b}\x7f\tFORGED";

fn assert_clean(what: &str, text: &str) {
    let bad = |c: char| (c.is_control() && c != '\n') || NASTY.chars().any(|nasty| nasty == c && !c.is_ascii_graphic());
    assert!(
        !text.contains(bad),
        "{what}: {:?}",
        text.find(bad).map(|at| text[at.saturating_sub(200)..].chars().take(400).collect::<String>())
    );
    assert!(!text.lines().any(|line| line.trim_start().starts_with("FORGED")), "{what}: {text}");
}

/// A server that answers the first words of a client with these bytes.
fn answers(bytes: impl Into<Vec<u8>>) -> Backend {
    let bytes = bytes.into();
    Backend::start(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(&bytes);
        let _ = stream.read(&mut [0; 4096]);
    })
}

/// One that speaks first.
fn greets(bytes: Vec<u8>) -> Backend {
    Backend::start_first(LOOPBACK, move |mut stream| {
        let _ = stream.write_all(&bytes);
        let _ = stream.read(&mut [0; 4096]);
    })
}

fn postgres_error() -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C28000\0M{NASTY}\nFORGED\0\0");
    let mut packet = vec![b'E'];
    packet.extend(u32::try_from(fields.len() + 4).unwrap().to_be_bytes());
    packet.extend(fields.into_bytes());
    packet
}

fn mysql_error() -> Vec<u8> {
    let mut body = vec![0xff, 0x15, 0x04];
    body.extend(format!("{NASTY}\nFORGED").into_bytes());
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&length[..3], &[0], &body].concat()
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// One pool for each source.
fn pools(scratch: &Scratch) -> (Vec<Backend>, Value) {
    let patroni = json!({"state": format!("running\n{NASTY}"), "role": NASTY, "patroni": {"version": "3"}}).to_string();
    let fields = format!("role:slave\r\nmaster_host:{NASTY}\r\nmaster_link_status:down\r\nredis_version:7{NASTY}\r\n");
    let info = format!("+PONG\r\n${}\r\n{fields}\r\n", fields.len());
    let script = scratch.script(&format!("printf '%s\\nFORGED\\n' '{NASTY}'; exit 3"));
    let roles = scratch.file("roles", format!("#!/bin/sh\nprintf '%s\\n' 'primary version={NASTY}'\n"), 0o755);
    let exchange = json!({"exchange": {"steps": [{"send": "hello\r\n"}, {"expect": "welcome"}]}});
    let sources: Vec<(Backend, Value)> = vec![
        (answers(postgres_error()), json!({"postgres": {"tls": "off"}})),
        (greets(mysql_error()), json!({"mysql": {"tls": "off"}})),
        (answers(format!("-NOAUTH {NASTY}\r\n")), json!("redis")),
        (answers(info), json!("redis")),
        (answers(http("200 OK", "", &patroni)), json!("http")),
        (answers(http("301 Moved", "Location: /evil\u{202e}FORGED\r\n", "")), json!("http")),
        (answers(NASTY), exchange),
        (Backend::echo(), json!({"exec": [script]})),
        (Backend::echo(), json!({"exec": {"command": [roles], "roles": true}})),
    ];
    let mut all = settings(&[]);
    let mut pools = Vec::new();
    let mut backends = Vec::new();
    for (index, (backend, check)) in sources.into_iter().enumerate() {
        let pool = json!({
            "name": format!("pool-{index}"), "listen": "127.0.0.1:0", "check": check,
            "backends": [{"name": "db", "address": backend.address.to_string()}],
        });
        pools.push(pool);
        backends.push(backend);
    }
    all["pools"] = json!(pools);
    (backends, all)
}

#[test]
fn what_strangers_say_is_printable_wherever_it_is_shown() {
    let scratch = Scratch::new();
    let (_backends, settings) = pools(&scratch);
    let process = Process::start(&settings);
    let probed = |pool: &Value| !pool["backends"][0]["last_probe"].is_null();
    until("all were asked", || process.status()["pools"].as_array().unwrap().iter().all(probed).then_some(()));
    let status = process.get("/api/v1/status").1;
    let evil = status.matches("evil").count();
    assert!(evil >= 8, "the strangers were heard of {evil} times: {status}");
    for path in ["/api/v1/status", "/api/v1/events", "/metrics", "/readyz"] {
        // JSON writes what it must as \u001b: what is meant counts, not how it is written.
        let text = process.get(path).1;
        let meant = serde_json::from_str::<Value>(&text).map_or(text, |value| strings(&value).join("\n"));
        assert_clean(path, &meant);
    }
    for line in process.log() {
        assert_clean("the log", &strings(&line).join("\n"));
    }
    let mainstay = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_mainstay")).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_clean("mainstay status", &mainstay(&["status", "--admin", &process.admin.to_string()]));
    let file = scratch.file("mainstay.yaml", settings.to_string(), 0o600);
    let connected = mainstay(&["check", "--connect", "-c", file.to_str().unwrap()]);
    assert!(connected.contains("evil"), "{connected}");
    assert_clean("mainstay check --connect", &connected);
}

/// Every text in it.
fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(strings).collect(),
        Value::Object(values) => values.values().flat_map(strings).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

#[test]
fn a_client_is_told_of_the_backends_unless_the_refusal_is_short() {
    for (refusal, is_told) in [("detailed", true), ("short", false)] {
        let mut settings = settings(&[]);
        settings["pools"] = json!([{
            "name": "orders", "check": "redis", "hold": {"timeout": "100ms", "max": 10},
            "listeners": [{"name": "rw", "listen": "127.0.0.1:0", "refusal": refusal}],
            // The port of the discard service, which no machine runs any more.
            "backends": [{"name": "db-secret", "address": "127.0.0.1:9"}],
        }]);
        let process = Process::start(&settings);
        until("it is down", || (process.status()["pools"][0]["backends"][0]["health"] == "down").then_some(()));
        let mut reply = String::new();
        process.connect().read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("-LOADING mainstay: no database node may serve now"), "{reply}");
        assert_eq!(reply.contains("db-secret"), is_told, "{reply}");
        assert!(!reply.contains("()"), "{reply}");
        assert!(process.logged("client turned away").to_string().contains("db-secret"), "the log has it in any case");
    }
}
