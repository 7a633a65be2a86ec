//! `client_login_timeout`: how long the first exchange may take.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use serde_json::json;

use super::{STARTUP, address, before, message, query, until_nobody_is_left};
use crate::{
    hold::{server, startup},
    support::{
        front::client,
        postgres::Postgres,
        process::Process,
        redis::{Redis, ask},
        wait::until,
    },
};

fn timed_out(process: &Process) -> u64 {
    process.metric("mainstay_connections_rejected_total", &[("reason", "login_timeout")])
}

/// The end of a connection, however it comes.
fn until_it_ends(mut stream: TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it did not end"),
    }
}

#[test]
fn a_client_that_does_not_start_up_gives_its_connection_to_the_server_back() {
    let server = Postgres::primary(&["authentication_timeout=10min"]);
    let process = before(&[address(&server)], json!({"postgres": {}}), &[json!({"client_login_timeout": "1s"})]);
    let strangers: Vec<TcpStream> = [&b""[..], &STARTUP[..3], &STARTUP[..20]]
        .into_iter()
        .map(|word| {
            let mut stranger = process.connect();
            stranger.write_all(word).unwrap();
            stranger
        })
        .collect();
    let mut refused = process.connect();
    refused.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    let mut no = [0; 1];
    refused.read_exact(&mut no).unwrap();
    assert_eq!(&no, b"N");
    until("all are out of time", || (timed_out(&process) == 4).then_some(()));
    until_nobody_is_left(&process, server.port);
    strangers.into_iter().chain([refused]).for_each(until_it_ends);
    let line = process.logged("client turned away");
    assert_eq!((line["reason"].as_str(), line["level"].as_str()), (Some("login_timeout"), Some("INFO")), "{line}");
    assert!(line["why"].as_str().unwrap().contains("client_login_timeout"), "{line}");
}

#[test]
fn a_session_that_has_begun_may_be_silent_for_as_long_as_it_likes() {
    let server = Postgres::primary(&[]);
    let process = before(&[address(&server)], json!({"postgres": {}}), &[json!({"client_login_timeout": "1s"})]);
    let mut session = client(process.address);
    session.write_all(&[STARTUP, &query("SELECT 42 FROM pg_sleep(2.5)")].concat()).unwrap();
    let row = loop {
        match message(&session).unwrap() {
            (b'D', row) => break row,
            (kind, body) => assert_ne!(kind, b'E', "{}", body.escape_ascii()),
        }
    };
    assert!(row.ends_with(b"42"));
    assert_eq!(timed_out(&process), 0);
}

#[test]
fn a_redis_client_may_be_silent_from_the_start() {
    let server = Redis::primary(&[]);
    let process = before(&[server.address()], json!({"redis": {}}), &[json!({"client_login_timeout": "1s"})]);
    let mut session = client(process.address);
    // What must not happen has had its time.
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(ask(&mut session, &["PING"]).unwrap(), "+PONG");
    assert_eq!(timed_out(&process), 0);
}

#[test]
fn a_server_that_does_not_answer_the_first_packet_is_waited_for_no_longer_and_the_client_is_told() {
    let silent = server(|stream, first| {
        assert_eq!(first, startup());
        // Until mainstay lets go of it.
        stream.read(&mut [0; 1]).map(drop)
    });
    let process = before(&[silent.address], json!({"postgres": {"tls": "off"}}), &[json!({"client_login_timeout": "1s"})]);
    let mut session = client(process.address);
    session.write_all(&startup()).unwrap();
    let mut answer = Vec::new();
    session.read_to_end(&mut answer).expect("the refusal must end in FIN, after the whole message");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with('E') && text.contains("C57P03\0M") && text.contains("client_login_timeout"), "{text}");
    assert_eq!(timed_out(&process), 1);
}
