//! Lists of sessions, and `mainstay top`.

use std::{
    net::SocketAddr,
    process::Command,
    sync::{Arc, atomic::Ordering},
};

use mainstay::{
    failover::{Epoch, Time},
    route::{Frontend, Route, RouteId, Session, SessionEntry},
};
use serde_json::{Value, json};

use super::fixture::{Fixture, failed_over};
use crate::support::{child::Bounded, tmux::Terminal, wait::until};

/// Sessions of a fixture, to which bytes are added.
struct Sessions<'a> {
    fixture: &'a Fixture,
    route: Arc<Route>,
    open: Vec<(Arc<Session>, SessionEntry)>,
}

impl<'a> Sessions<'a> {
    fn new(fixture: &'a Fixture) -> Self {
        let id = RouteId::Active(Epoch(3));
        let route = Arc::new(Route::new("db-b".into(), &fixture.series.backends[1], id, [].into(), Arc::default()));
        Self { fixture, route, open: Vec::new() }
    }

    fn open(&mut self, pool: &str, since: u64, client: [u8; 4], bytes: (u64, u64)) {
        let frontend = Arc::new(Frontend { pool: pool.into(), listener: "rw".into() });
        let client = SocketAddr::from((client, 40000)).into();
        let session = Arc::new(Session::new(client, frontend, Arc::clone(&self.route), Time::from_millis(since)));
        session.upstream_bytes.store(bytes.0, Ordering::Relaxed);
        session.downstream_bytes.store(bytes.1, Ordering::Relaxed);
        let id = self.open.len() as u64 + 1;
        self.open.push((Arc::clone(&session), self.fixture.sessions.enter(id, session)));
    }

    fn relay(&self, index: usize, bytes: u64) {
        self.open[index].0.downstream_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[test]
fn sessions_are_listed_oldest_first_and_at_most_as_many_as_asked_for() {
    let f = Fixture::new(failed_over());
    let mut sessions = Sessions::new(&f);
    for (pool, since) in [("orders", 500), ("orders", 400), ("users", 300)] {
        sessions.open(pool, since, [192, 0, 2, 7], (10, 20));
    }
    let list = |query: &str| f.get(&format!("/api/v1/pools/orders/connections{query}")).json();
    let shape = |list: &Value| (list["total"].clone(), list["truncated"].clone(), list["connections"].as_array().unwrap().len());
    let orders = list("");
    assert_eq!(
        (shape(&orders), &orders["pool"], &orders["limit"]),
        ((json!(2), json!(false), 2), &json!("orders"), &json!(1000))
    );
    let mut first = orders["connections"][0].clone();
    for moment in [&first["since"], &orders["now"]] {
        assert!(moment.as_str().unwrap().ends_with('Z') && moment.as_str().unwrap().len() == 24, "{moment}");
    }
    first["since"] = json!("moment");
    let expected = json!({"worker": 0, "id": 2, "client": "192.0.2.7:40000", "listener": "rw", "backend": "db-b", "epoch": 3,
        "since": "moment", "upstream_bytes": 10, "downstream_bytes": 20});
    assert_eq!(first, expected);
    let all = f.get("/api/v1/connections").json();
    assert_eq!((shape(&all), &all["connections"][0]["pool"]), ((json!(3), json!(false), 3), &json!("users")));
    for since in 10..1508 {
        sessions.open("orders", since, [192, 0, 2, 7], (0, 0));
    }
    assert_eq!([shape(&list("")), shape(&list("?limit=3"))], [(json!(1500), json!(true), 1000), (json!(1500), json!(true), 3)]);
    assert_eq!(shape(&list("?limit=1500")), (json!(1500), json!(false), 1500));
    assert_eq!(list("?limit=1")["connections"][0]["id"], 4);
    for wrong in ["0", "10001", "x", "-1", ""] {
        let reply = f.get(&format!("/api/v1/pools/orders/connections?limit={wrong}"));
        assert_eq!((reply.status, reply.json()["error"]["code"].as_str()), (400, Some("bad_query")), "{wrong}");
    }
    assert_eq!(f.get("/api/v1/pools/other/connections").status, 404);
}

fn top(f: &Fixture, words: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    let output = command.args(["top", "--admin", &f.address.to_string()]).args(words).bounded_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn top_is_plain_when_it_is_piped_and_bounded_for_ten_thousand_sessions() {
    let f = Fixture::new(failed_over());
    let mut sessions = Sessions::new(&f);
    for number in 0..10_050_u16 {
        let [high, low] = number.to_be_bytes();
        sessions.open("orders", 100 + u64::from(number), [10, 0, high, low], (1, 2));
    }
    sessions.open("users", 1, [192, 0, 2, 9], (5, 1 << 20));
    let (code, text, _) = top(&f, &["--once", "--pool", "orders"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(code, Some(0));
    assert!(lines[0].starts_with("10050 sessions (the oldest 10000 are looked at), 0 B/s up, 0 B/s down"), "{text}");
    assert!(lines[1].contains("BYTES/S") && lines[2].contains("orders") && !text.contains('\x1b'), "{text}");
    assert_eq!((lines.len(), lines[22]), (23, "  and 9980 more"));
    let (_, text, _) = top(&f, &["--once", "--by", "age"]);
    assert!(text.lines().nth(2).unwrap().contains("192.0.2.9:40000"), "{text}");
    let (_, json, _) = top(&f, &["--once", "--json", "--by", "client"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["total"], &json["truncated"], json["clients"].as_array().unwrap().len()),
        (&json!(10_051), &json!(true), 1000)
    );
    let (code, text, error) = top(&f, &["--once", "--pool", "other"]);
    assert_eq!((code, &*text), (Some(1), ""));
    assert!(error.contains("there is no pool of this name; pools: orders"), "{error}");
}

#[test]
fn top_shows_who_moves_bytes_now_and_keys_choose_the_order() {
    let f = Fixture::new(failed_over());
    let mut sessions = Sessions::new(&f);
    sessions.open("orders", 1, [10, 0, 0, 1], (0, 1 << 40));
    sessions.open("orders", 2, [10, 0, 0, 2], (0, 0));
    sessions.open("orders", 3, [10, 0, 0, 2], (0, 0));
    let terminal = Terminal::start(100, 12);
    terminal.run(&format!("mainstay top --admin {}", f.address));
    let row = |screen: &str, number: usize| screen.lines().nth(number + 2).unwrap_or_default().to_owned();
    // What was moved long ago is no rate.
    terminal.until("the one that relays is first", |screen| {
        sessions.relay(1, 1 << 20);
        row(screen, 1).contains("10.0.0.2:40000") && row(screen, 1).contains("MiB")
    });
    terminal.keys(&["a"]);
    terminal.until("the oldest is first", |screen| row(screen, 1).contains("10.0.0.1:40000"));
    terminal.keys(&["c"]);
    terminal.until("addresses with their sessions", |screen| screen.lines().any(|line| line.ends_with("  10.0.0.2")));
    drop(sessions);
    terminal.until("nobody is there", |screen| screen.starts_with("0 sessions"));
    terminal.keys(&["q"]);
    until("the screen is as it was", || (terminal.knows("#{alternate_on}") == "0").then_some(()));
}
