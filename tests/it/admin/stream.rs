//! Events, as a list and as a stream.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
};

use mainstay::lifecycle::Phase;
use serde_json::Value;

use super::fixture::{Fixture, event, failed_over};
use crate::support::wait::until;

/// Opens a stream and reads past its head.
fn open(f: &Fixture, path: &str, headers: &str) -> BufReader<TcpStream> {
    let mut stream = f.connect();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    reader
}

/// The next event's id and data.
fn next(reader: &mut BufReader<TcpStream>) -> (u64, Value) {
    let mut id = None;
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the stream ended");
        if let Some(text) = line.strip_prefix("id: ") {
            id = Some(text.trim().parse().unwrap());
        }
        if let Some(data) = line.strip_prefix("data: ") {
            return (id.unwrap(), serde_json::from_str(data).unwrap());
        }
    }
}

#[test]
fn the_list_starts_after_the_id_asked_for() {
    let f = Fixture::new(failed_over());
    assert_eq!(f.get("/api/v1/events").json(), serde_json::json!({"newest": 0, "events": []}));
    (0..3).for_each(|n| f.events.push(event(&format!("event {n}"))));
    let list = f.get("/api/v1/events?since=1").json();
    assert_eq!(list["newest"], 3);
    let ids: Vec<u64> = list["events"].as_array().unwrap().iter().map(|event| event["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [2, 3]);
    let mut newest = list["events"][1].clone();
    assert!(newest["at"].as_str().unwrap().ends_with('Z'));
    newest["at"] = Value::Null;
    let expected = serde_json::json!({"id": 3, "at": null, "pool": "orders", "backend": "db-a", "kind": "health", "from": "up",
        "to": "down", "epoch": 3, "cause": "probe", "evidence": "event 2"});
    assert_eq!(newest, expected);
    assert_eq!(f.get("/api/v1/events?since=99").json()["events"].as_array().unwrap().len(), 3, "ids start over with the process");
}

#[test]
fn a_stream_delivers_what_happens_from_now_on() {
    let f = Fixture::new(failed_over());
    f.events.push(event("before"));
    let mut reader = open(&f, "/api/v1/events/stream", "");
    f.events.push(event("line\nbreak\r\n\ndata: {\"forged\":1}"));
    let (id, data) = next(&mut reader);
    let evidence = r#"line\u{a}break\u{d}\u{a}\u{a}data: {"forged":1}"#;
    assert_eq!((id, data["id"].as_u64(), data["evidence"].as_str()), (2, Some(2), Some(evidence)));
    f.events.push(event("after"));
    assert_eq!(next(&mut reader).1["evidence"], "after");
}

#[test]
fn a_stream_goes_on_where_it_broke() {
    let f = Fixture::new(failed_over());
    (0..4).for_each(|n| f.events.push(event(&format!("event {n}"))));
    let mut reader = open(&f, "/api/v1/events/stream", "Last-Event-ID: 2\r\n");
    assert_eq!([next(&mut reader).0, next(&mut reader).0], [3, 4]);
    let mut reader = open(&f, "/api/v1/events/stream?since=3", "");
    assert_eq!(next(&mut reader).0, 4);
}

#[test]
fn a_stream_ends_when_mainstay_stops() {
    let f = Fixture::new(failed_over());
    let mut reader = open(&f, "/api/v1/events/stream", "");
    f.advance(Phase::Stopped);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "a whole chunked body: {rest:?}");
}

#[test]
fn streams_are_few_and_survive_a_crowd() {
    let f = Fixture::new(failed_over());
    let mut streams: Vec<_> = (0..8).map(|_| open(&f, "/api/v1/events/stream", "")).collect();
    assert_eq!(f.get("/api/v1/events/stream").status, 503);
    let crowd: Vec<TcpStream> = (0..100).map(|_| f.connect()).collect();
    assert_eq!(f.get("/livez").status, 200);
    f.events.push(event("still there"));
    for stream in &mut streams {
        assert_eq!(next(stream).1["evidence"], "still there");
    }
    drop(crowd);
    // A place is free again once its client has left.
    drop(streams);
    until("the places of streams that ended are free", || {
        (f.ask("HEAD", "/api/v1/events/stream", "Host: localhost\r\n").status == 200).then_some(())
    });
}
