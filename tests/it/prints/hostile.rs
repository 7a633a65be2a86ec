//! Servers that lie: more than anybody would read, and texts that lead a terminal astray.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use mainstay::failover::is_printable;
use serde_json::{Value, json};

use super::ask_within;
use crate::{
    mysql::scripted::{self, OK, frame, greeting_of, receive, table},
    probe::fake::{message, welcome},
    support::{echo::Backend, wait::patience},
};

const NASTY: &str = "evil\n\x1b[31mFORGED\u{202e}\u{9b}";

fn outcome(check: &Value, server: &Backend) -> Result<String, String> {
    let read = ask_within(patience(), check, server.address);
    let shown = read.map(|print| serde_json::to_string(&print.unwrap()).unwrap()).map_err(|why| why.to_string());
    let (Ok(text) | Err(text)) = &shown;
    assert!(text.chars().all(is_printable), "{text:?}");
    assert!(text.len() < 2_000_000, "{}", text.len());
    shown
}

/// One row for each of these, of six columns, after a row of rights.
fn postgres(rows: &[[String; 6]]) -> Backend {
    let row = |values: &[&str]| {
        let mut names = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        let mut body = names.clone();
        for value in values {
            names.extend([b'c', 0].into_iter().chain([0; 18]));
            body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
            body.extend(value.bytes());
        }
        (message(b'T', &names), message(b'D', &body))
    };
    let end = [message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat();
    let rights = row(&["t", "f", NASTY]);
    let heads = row(&[""; 6]).0;
    let body: Vec<u8> = rows.iter().flat_map(|cells| row(&cells.each_ref().map(String::as_str)).1).collect();
    let words = [welcome(), [rights.0, rights.1, end.clone()].concat(), [heads, body, end].concat()];
    Backend::start(move |mut stream| {
        let mut said = words.iter();
        while matches!(stream.read(&mut [0; 16_384]), Ok(1..)) {
            let Some(next) = said.next() else { return };
            if stream.write_all(next).is_err() {
                return;
            }
        }
    })
}

fn redis(info: &str, config: Vec<u8>) -> Backend {
    let info = format!("${}\r\n{info}\r\n", info.len()).into_bytes();
    Backend::start(move |mut stream: TcpStream| {
        let mut question = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut question) {
            let is_config = question[..length].windows(6).any(|word| word == b"CONFIG");
            if stream.write_all(if is_config { &config } else { &info }).is_err() {
                return;
            }
        }
    })
}

fn mysql(rows: usize) -> Backend {
    scripted::start(move |stream| {
        stream.write_all(&greeting_of("8.0.36", "mysql_native_password"))?;
        let (sequence, _) = receive(stream)?;
        stream.write_all(&frame(sequence + 1, OK))?;
        // What the login asks, then the variables, then the plugins.
        receive(stream)?;
        stream.write_all(&table(&["Variable_name", "Value"], &[&["read_only", "OFF"]]))?;
        receive(stream)?;
        let many: Vec<[String; 2]> = (0..rows).map(|number| [format!("{NASTY}{number}"), NASTY.repeat(9)]).collect();
        let many: Vec<Vec<&str>> = many.iter().map(|row| row.iter().map(String::as_str).collect()).collect();
        let many: Vec<&[&str]> = many.iter().map(Vec::as_slice).collect();
        stream.write_all(&table(&["Variable_name", "Value"], &many))?;
        receive(stream)?;
        stream.write_all(&table(&["a", "b", "c"], &[&[NASTY, NASTY, NASTY]]))
    })
}

#[test]
fn nothing_that_a_server_says_is_printed_as_it_is() {
    let row =
        |number: usize| ["setting".into(), format!("{NASTY}{number}"), NASTY.repeat(100), NASTY.into(), "t".into(), "f".into()];
    let check = json!({"postgres": {"tls": "off"}});
    let text = outcome(&check, &postgres(&(0..20).map(row).collect::<Vec<_>>())).unwrap();
    assert!(text.contains("evil") && text.contains("fingerprint"), "{text}");
    let unknown = ["thing".into(), NASTY.into(), NASTY.into(), String::new(), String::new(), String::new()];
    assert!(outcome(&check, &postgres(&[unknown])).is_err());

    let info = format!("redis_version:{}\r\nmodule:name={0},ver={0}\r\n", NASTY.replace('\n', ""));
    let word = format!("${}\r\n{NASTY}\r\n", NASTY.len());
    let text = outcome(&json!("redis"), &redis(&info, format!("*2\r\n{word}{word}").into_bytes())).unwrap();
    assert!(text.contains("evil"), "{text}");

    let text = outcome(&json!({"mysql": {"tls": "off"}}), &mysql(10)).unwrap();
    assert!(text.contains("evil"), "{text}");
}

#[test]
fn no_server_is_listened_to_for_more_than_a_print_may_have() {
    let row = |number: usize| ["setting".into(), format!("name{number}"), "v".repeat(400), String::new(), "f".into(), "f".into()];
    let check = json!({"postgres": {"tls": "off"}});
    let why = outcome(&check, &postgres(&(0..20_000).map(row).collect::<Vec<_>>())).unwrap_err();
    assert!(why.contains("more"), "{why}");
    // In as few bytes as can be.
    let row = |number: usize| ["setting".into(), format!("{number}"), String::new(), String::new(), String::new(), String::new()];
    let why = outcome(&check, &postgres(&(0..5_000).map(row).collect::<Vec<_>>())).unwrap_err();
    assert!(why.contains("more"), "{why}");
    let word = format!("$400\r\n{}\r\n", "v".repeat(400));
    let config = format!("*4000\r\n{}", word.repeat(4000)).into_bytes();
    let why = outcome(&json!("redis"), &redis("redis_version:7\r\n", config)).unwrap_err();
    assert!(why.contains("more"), "{why}");
    let why = outcome(&json!({"mysql": {"tls": "off"}}), &mysql(5_000)).unwrap_err();
    assert!(why.contains("more") || why.contains("too many"), "{why}");
}
