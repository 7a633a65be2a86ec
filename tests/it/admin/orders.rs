//! Orders over HTTP: who may give them, what is refused, and what reaches a pool.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::Shutdown,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use mainstay::{
    admin::{Denial, ProcessRefusal, ProcessVerb},
    failover::{Admin, label::Label},
    net::endpoint::Peer,
    route::{Done, Order, OrderReceiver, Refusal, RefusalCode, Verb},
};
use serde_json::{Value, json};

use super::fixture::{Fixture, LIMIT, Reply, failed_over};
use crate::support::{
    front::unix_client,
    scratch::Scratch,
    wait::{patience, until},
};

pub(super) const TOKEN: &str = "S3cr3t-0123456789abcdef-S3cr3t";
pub(super) const JSON: &str = "Content-Type: application/json\r\n";
const STATE: &str = "/api/v1/pools/orders/backends/db-a/state";
const RESUME: &str = "/api/v1/pools/orders/resume";

/// What a pool has been told: the order, by whom, why, and whether it was only tried.
type Told = (Verb, String, String, bool);

/// Obeys in the place of control.
pub(super) struct Obeying {
    told: Arc<Mutex<Vec<Told>>>,
}

impl Obeying {
    pub(super) fn start(receiver: OrderReceiver, answer: impl Fn(&Order) -> Result<Done, Refusal> + Send + 'static) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&told);
        let mut receiver = receiver;
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async move {
                loop {
                    let order = receiver.next().await;
                    let who = (order.by.to_string(), order.reason.to_string());
                    noted.lock().unwrap().push((order.verb.clone(), who.0, who.1, order.dry_run));
                    let answer = answer(&order);
                    order.answer(answer);
                }
            });
        });
        Self { told }
    }

    pub(super) fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }
}

pub(super) fn obedient(f: &Fixture) -> Obeying {
    Obeying::start(f.orders.lock().unwrap().take().unwrap(), |_| Ok(done()))
}

fn done() -> Done {
    Done { lines: vec!["db-a gets no new sessions".into()], sessions: 3, operation: None }
}

pub(super) fn send(mut stream: impl Read + Write, method: &str, path: &str, headers: &str, body: &str) -> Reply {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    Reply::read(bytes)
}

/// An order of root over the unix socket.
pub(super) fn order(f: &Fixture, method: &str, path: &str, body: &str) -> Reply {
    send(unix_client(&f.socket), method, path, JSON, body)
}

fn with_token(f: &Fixture, token: &str) -> Reply {
    send(f.connect(), "POST", RESUME, &format!("{JSON}Authorization: Bearer {token}\r\n"), "{}")
}

pub(super) fn code(reply: &Reply) -> (u16, String) {
    (reply.status, reply.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

/// A bucket of a second may be full by then; what is asked is not how full.
pub(super) fn patiently(ask: impl Fn() -> Reply) -> Reply {
    until("an answer that is not about too much", || Some(ask()).filter(|reply| reply.status != 429))
}

pub(super) fn token_file(scratch: &Scratch) -> std::path::PathBuf {
    scratch.file("token", format!("{TOKEN}\n"), 0o600)
}

#[test]
fn every_order_reaches_its_pool_as_it_was_given() {
    let f = Fixture::new(failed_over());
    let pool = obedient(&f);
    let cases: [(&str, &str, Value, Verb); 8] = [
        ("PUT", STATE, json!({"state": "drain"}), Verb::SetAdmin { backend: "db-a".into(), to: Admin::Drain, force: false }),
        (
            "PUT",
            "/api/v1/pools/orders/backends/db%2Db/state",
            json!({"state": "maint", "force": true}),
            Verb::SetAdmin { backend: "db-b".into(), to: Admin::Maint, force: true },
        ),
        ("PUT", STATE, json!({"state": "ready"}), Verb::SetAdmin { backend: "db-a".into(), to: Admin::Ready, force: false }),
        ("POST", "/api/v1/pools/orders/pause", json!({}), Verb::Pause { max: Duration::from_secs(30) }),
        ("POST", "/api/v1/pools/%6Frders/pause", json!({"max": "100ms"}), Verb::Pause { max: Duration::from_millis(100) }),
        ("POST", RESUME, json!({"dry_run": true, "reason": "kernel\u{202e} \u{1b}[31m"}), Verb::Resume),
        ("POST", "/api/v1/pools/orders/kill", json!({}), Verb::Kill { backend: None, client: None }),
        (
            "POST",
            "/api/v1/pools/orders/kill",
            json!({"backend": "db-b", "client": "192.0.2.7:40000"}),
            Verb::Kill { backend: Some("db-b".into()), client: Some(Peer::Tcp("192.0.2.7:40000".parse().unwrap())) },
        ),
    ];
    let by = format!("uid 0 (root) over unix:{}", f.socket.display());
    for (number, (method, path, body, verb)) in cases.into_iter().enumerate() {
        let reply = order(&f, method, path, &body.to_string());
        assert_eq!((reply.status, reply.json()), (200, json!({"done": ["db-a gets no new sessions"], "sessions": 3})), "{body}");
        let is_tried = body["dry_run"] == true;
        let why = if is_tried { r"kernel\u{202e} \u{1b}[31m" } else { "" };
        assert_eq!(pool.told()[number], (verb, by.clone(), why.to_owned(), is_tried));
    }
    let long = json!({ "reason": "z".repeat(60_000) }).to_string();
    assert_eq!(order(&f, "POST", RESUME, &long).status, 200);
    assert!(pool.told().last().unwrap().2.len() < 700, "a reason is bounded");
}

#[test]
fn what_does_not_exist_is_told_with_what_does() {
    let f = Fixture::new(failed_over());
    let pool = obedient(&f);
    let missing = |path: &str, method: &str, body: &str| {
        let reply = order(&f, method, path, body);
        (code(&reply), reply.json()["error"]["pools"].clone(), reply.json()["error"]["backends"].clone())
    };
    let unknown_pool = ((404, "unknown_pool".to_owned()), json!(["orders"]), Value::Null);
    let unknown_backend = ((404, "unknown_backend".to_owned()), Value::Null, json!(["db-a", "db-b"]));
    assert_eq!(missing("/api/v1/pools/users/resume", "POST", "{}"), unknown_pool);
    assert_eq!(missing("/api/v1/pools/users/backends/db-a/state", "PUT", r#"{"state": "drain"}"#), unknown_pool);
    assert_eq!(missing("/api/v1/pools/orders/backends/db-z/state", "PUT", r#"{"state": "drain"}"#), unknown_backend);
    assert_eq!(missing("/api/v1/pools/orders/kill", "POST", r#"{"backend": "db-z"}"#), unknown_backend);
    assert_eq!(pool.told(), []);
}

#[test]
fn a_refusal_of_the_pool_is_told_as_it_is() {
    let f = Fixture::new(failed_over());
    let receiver = f.orders.lock().unwrap().take().unwrap();
    let _pool = Obeying::start(receiver, |order| match &order.verb {
        Verb::SetAdmin { .. } => Err(Refusal {
            code: RefusalCode::NobodyTakesOver,
            message: "db-a is the active one, and nobody may take over".into(),
        }),
        _ => Err(Refusal { code: RefusalCode::UnknownBackend, message: String::new() }),
    });
    let reply = order(&f, "PUT", STATE, r#"{"state": "drain"}"#);
    assert_eq!(code(&reply), (409, "nobody_takes_over".into()));
    assert_eq!(reply.json()["error"]["message"], "db-a is the active one, and nobody may take over");
    let reply = order(&f, "POST", "/api/v1/pools/orders/kill", r#"{"backend": "db-a"}"#);
    assert_eq!(code(&reply), (404, "unknown_backend".into()), "it has gone since: {reply:?}");
    let f = Fixture::new(failed_over());
    drop(f.orders.lock().unwrap().take());
    assert_eq!(code(&order(&f, "POST", RESUME, "{}")), (409, "gone".into()));
    drop(f.process_orders.lock().unwrap().take());
    assert_eq!(code(&order(&f, "POST", "/api/v1/reload", "{}")), (409, "gone".into()));
}

#[test]
fn every_refusal_of_the_table_comes_before_the_pool_hears_anything() {
    let scratch = Scratch::new();
    let (f, closed) = (Fixture::writable(token_file(&scratch)), Fixture::new(failed_over()));
    let lost = Fixture::writable(scratch.path("none"));
    let pools = [obedient(&f), obedient(&closed), obedient(&lost)];
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let tcp = |f: &Fixture, headers: &str, body: &str| patiently(|| send(f.connect(), "POST", RESUME, headers, body));
    let mut seen = BTreeSet::new();
    let mut refused = |reply: &Reply, status: u16, denial: Denial| {
        assert_eq!(code(reply), (status, denial.to_string()), "{reply:?}");
        seen.insert(denial);
    };
    refused(&tcp(&closed, &format!("{JSON}{bearer}"), "{}"), 403, Denial::WriteDisabled);
    let reply = tcp(&f, JSON, "{}");
    refused(&reply, 401, Denial::TokenMissing);
    assert_eq!(reply.header("www-authenticate"), Some("bearer"), "the fixture makes it lower case");
    refused(&tcp(&f, &format!("{JSON}Authorization: Basic {TOKEN}\r\n"), "{}"), 401, Denial::TokenMissing);
    refused(&tcp(&f, &format!("{JSON}{bearer}{bearer}"), "{}"), 401, Denial::TokenMissing);
    refused(&tcp(&f, &format!("{JSON}Authorization: Bearer {TOKEN}x\r\n"), "{}"), 403, Denial::TokenWrong);
    refused(&tcp(&lost, &format!("{JSON}{bearer}"), "{}"), 503, Denial::TokenUnreadable);
    let barred = one_too_many(|| with_token(&f, "wrong"));
    refused(&barred, 429, Denial::TooManyWrongTokens);
    assert_eq!(barred.header("retry-after"), Some("1"));
    refused(&tcp(&f, &format!("{JSON}{bearer}Origin: http://evil.example\r\n"), "{}"), 403, Denial::ForeignOrigin);
    refused(&tcp(&f, &bearer, "{}"), 415, Denial::NotJson);
    refused(&tcp(&f, &format!("{JSON}{bearer}"), "{\"reasons\": 1}"), 422, Denial::BadBody);
    refused(&tcp(&f, &format!("{JSON}{bearer}"), &" ".repeat(70_000)), 413, Denial::BodyTooLarge);
    let mut short = unix_client(&f.socket);
    write!(short, "POST {RESUME} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{JSON}Content-Length: 9\r\n\r\n{{").unwrap();
    short.shutdown(Shutdown::Write).unwrap();
    let mut bytes = Vec::new();
    short.read_to_end(&mut bytes).unwrap();
    refused(&Reply::read(bytes), 400, Denial::BodyBroken);
    let mut slow = unix_client(&f.socket);
    write!(slow, "POST {RESUME} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{JSON}Content-Length: 9\r\n\r\n{{").unwrap();
    let mut bytes = Vec::new();
    slow.read_to_end(&mut bytes).unwrap();
    refused(&Reply::read(bytes), 408, Denial::BodyTooSlow);
    for pool in &pools {
        assert_eq!(pool.told(), [], "nothing of this was an order");
    }
    refused(&one_too_many(|| order(&f, "POST", RESUME, "{}")), 429, Denial::TooManyOrders);
    // The other end of a test's connection is its own user; see `operators`.
    seen.insert(Denial::NotAnOperator);
    assert_eq!(seen, Denial::ALL.iter().copied().collect());
}

/// The answer to the first one that is too many in its second. One after the other, a slow machine may never get there.
fn one_too_many(ask: impl Fn() -> Reply + Sync) -> Reply {
    let end = Instant::now() + patience();
    let orders = || std::iter::repeat_with(&ask).take_while(|_| Instant::now() < end).find(|reply| reply.status == 429);
    let first = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(orders)).collect();
        threads.into_iter().find_map(|thread| thread.join().unwrap())
    });
    first.expect("too many orders at once")
}

#[test]
fn a_bad_body_is_told_with_its_place() {
    let f = Fixture::new(failed_over());
    let reply = order(&f, "PUT", STATE, "{\n  \"state\": \"drain\",\n  \"forse\": true\n}");
    let error = reply.json()["error"].clone();
    assert_eq!((reply.status, &error["line"], &error["column"]), (422, &json!(3), &json!(9)), "{error}");
    assert!(error["message"].as_str().unwrap().contains("unknown field `forse`, expected one of `state`, `force`"), "{error}");
    let nasty = order(&f, "PUT", STATE, &json!({"state": format!("\u{1b}[31m\u{202e}{}", "z".repeat(10_000))}).to_string());
    let message = nasty.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.len() < 1000 && !message.contains(['\u{1b}', '\u{202e}']), "{message}");
}

#[test]
fn a_web_page_of_another_site_orders_nothing() {
    let scratch = Scratch::new();
    let f = Fixture::writable(token_file(&scratch));
    let pool = obedient(&f);
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    // What a browser sends without asking first: three types of forms, and none at all; with and without the token.
    let types =
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain;charset=UTF-8"];
    let types = types.map(|kind| format!("Content-Type: {kind}\r\n"));
    let neighbour = format!("Origin: http://localhost:{}\r\n", f.address.port());
    for kind in types.iter().map(String::as_str).chain([""]) {
        for origin in ["", "Origin: http://evil.example\r\n", "Origin: null\r\n", &neighbour] {
            for proof in ["", &bearer] {
                let headers = format!("{kind}{origin}{proof}");
                for stream in [true, false] {
                    let reply = if stream {
                        send(f.connect(), "POST", RESUME, &headers, r#"{"reason":"="}"#)
                    } else {
                        send(unix_client(&f.socket), "POST", RESUME, &headers, r#"{"reason":"="}"#)
                    };
                    assert!([403, 415].contains(&reply.status), "{headers}: {reply:?}");
                }
            }
        }
    }
    // What it asks before it sends JSON.
    let asks =
        "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n";
    let reply = send(f.connect(), "OPTIONS", RESUME, asks, "");
    assert_eq!((reply.status, reply.head.contains("access-control")), (405, false));
    // And where the name was turned to this address.
    let rebound = format!(
        "POST {RESUME} HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\nConnection: close\r\n{JSON}{bearer}Content-Length: 2\r\n\r\n{{}}"
    );
    let mut stream = f.connect();
    stream.write_all(rebound.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    assert_eq!(code(&Reply::read(bytes)), (403, "foreign_host".into()));
    assert_eq!(pool.told(), []);
    let own = format!("{JSON}{bearer}Origin: http://localhost\r\n");
    assert_eq!(patiently(|| send(f.connect(), "POST", RESUME, &own, "{}")).status, 200, "its own page may");
}

#[test]
fn only_the_very_token_orders_and_a_new_one_counts_at_once() {
    let scratch = Scratch::new();
    let file = token_file(&scratch);
    let f = Fixture::writable(file.clone());
    let pool = obedient(&f);
    let reply = with_token(&f, TOKEN);
    assert_eq!(reply.status, 200, "{reply:?}");
    let (_, by, ..) = pool.told().remove(0);
    assert!(by.starts_with("token over 127.0.0.1:"), "{by}");
    let wrong = [format!("{TOKEN}x"), format!("{TOKEN}\t{TOKEN}"), TOKEN[1..].to_owned(), TOKEN.to_uppercase(), "x".repeat(4096)];
    for token in &wrong {
        assert_eq!(code(&patiently(|| with_token(&f, token))), (403, "token_wrong".into()), "{token}");
    }
    assert_eq!(pool.told().len(), 1);
    // A barred address is looked at again a second later.
    fs::write(&file, "another-token-of-some-length").unwrap();
    assert_eq!(patiently(|| with_token(&f, "another-token-of-some-length")).status, 200);
    assert_eq!(patiently(|| with_token(&f, TOKEN)).status, 403);
    for bad in ["", "\n", "short\n", "with a space in it\n", "two-lines-of-some-length\nmore\n", "Größe-Größe-Größe-Größe\n"]
    {
        fs::write(&file, bad).unwrap();
        let reply =
            patiently(|| with_token(&f, bad.lines().next().unwrap_or("").replace(|c: char| !c.is_ascii_graphic(), "").as_str()));
        assert!([401, 503].contains(&reply.status), "{bad:?}: {reply:?}");
    }
    assert_eq!(order(&f, "POST", RESUME, "{}").status, 200, "the unix socket needs none");
}

#[test]
fn a_flood_of_wrong_tokens_locks_nobody_out_of_the_unix_socket() {
    let scratch = Scratch::new();
    let f = Fixture::writable(token_file(&scratch));
    let _pool = obedient(&f);
    let statuses: BTreeSet<u16> = (0..200).map(|_| with_token(&f, "wrong").status).collect();
    assert_eq!(statuses, [403, 429].into());
    assert_eq!(order(&f, "POST", RESUME, "{}").status, 200);
}

#[test]
fn lengths_that_lie_are_refused_and_change_nothing() {
    let f = Fixture::new(failed_over());
    let pool = obedient(&f);
    let raw = |rest: &str| {
        let mut stream = unix_client(&f.socket);
        // Whoever refuses it may close before the end.
        let _ = write!(stream, "POST {RESUME} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{JSON}{rest}");
        let _ = stream.shutdown(Shutdown::Write);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).chars().skip(9).take(3).collect::<String>()
    };
    let chunk = format!("{:x}\r\n{}\r\n", 4096, " ".repeat(4096));
    for (what, rest, status) in [
        ("two lengths", "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x".to_owned(), "400"),
        ("a negative one", "Content-Length: -2\r\n\r\n{}".to_owned(), "400"),
        ("one too large for a number", "Content-Length: 99999999999999999999999\r\n\r\n{}".to_owned(), "400"),
        ("one that is huge", "Content-Length: 18446744073709551000\r\n\r\n{}".to_owned(), "413"),
        ("chunks without an end", format!("Transfer-Encoding: chunked\r\n\r\n{}", chunk.repeat(40)), "413"),
        ("a chunk of a huge size", "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}".to_owned(), "4"),
        ("a chunk that is none", "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n".to_owned(), "400"),
        ("chunks that break off", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n".to_owned(), "400"),
    ] {
        let answer = raw(&rest);
        assert!(answer.starts_with(status) || answer.is_empty(), "{what}: {answer}");
    }
    assert_eq!(pool.told(), []);
    assert_eq!(raw("Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"), "200");
}

#[test]
fn pipelined_orders_are_carried_out_in_order() {
    let f = Fixture::new(failed_over());
    let pool = obedient(&f);
    let one = |max: &str, more: &str| {
        let body = format!("{{\"max\": \"{max}\"}}");
        format!("POST /api/v1/pools/orders/pause HTTP/1.1\r\nHost: x\r\n{JSON}{more}Content-Length: {}\r\n\r\n{body}", body.len())
    };
    let mut stream = unix_client(&f.socket);
    stream.write_all((one("1s", "") + &one("2s", "") + &one("3s", "Connection: close\r\n")).as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text.matches("HTTP/1.1 200").count(), 3, "{text}");
    let verbs: Vec<Verb> = pool.told().into_iter().map(|told| told.0).collect();
    assert_eq!(verbs, [1, 2, 3].map(|seconds| Verb::Pause { max: Duration::from_secs(seconds) }));
}

#[test]
fn an_order_that_waits_stops_nobody_and_keeps_its_connection() {
    let f = Fixture::new(failed_over());
    let receiver = f.orders.lock().unwrap().take().unwrap();
    let (go, going) = mpsc::channel::<()>();
    let pool = Obeying::start(receiver, move |_| {
        going.recv_timeout(LIMIT).unwrap();
        Ok(done())
    });
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..2).map(|_| scope.spawn(|| order(&f, "POST", RESUME, "{}").status)).collect();
        until("the pool has one of two", || (pool.told().len() == 1).then_some(()));
        // More clients than there are places: the orders keep theirs.
        let idle: Vec<_> = (0..100).map(|_| unix_client(&f.socket)).collect();
        assert_eq!([f.get("/livez").status, f.get_unix("/livez", "Host: x\r\n").status], [200, 200]);
        drop(idle);
        for _ in 0..2 {
            go.send(()).unwrap();
        }
        assert_eq!(waiting.into_iter().map(|order| order.join().unwrap()).collect::<Vec<_>>(), [200, 200]);
    });
    assert_eq!(pool.told().len(), 2);
}

#[test]
fn ten_thousand_orders_take_no_memory_and_block_nobody() {
    let f = Fixture::new(failed_over());
    // Control takes none of them: what is queued is all that is kept.
    let memory = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let (before, began) = (memory(), Instant::now());
    let body = json!({ "reason": "z".repeat(500) }).to_string();
    let one = format!("POST {RESUME} HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: {}\r\n\r\n{body}", body.len());
    let all = one.repeat(500);
    let statuses: Vec<String> = thread::scope(|scope| {
        let clients: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    let mut stream = unix_client(&f.socket);
                    let mut writer = stream.try_clone().unwrap();
                    let all = &all;
                    thread::scope(|scope| {
                        scope.spawn(move || {
                            // A connection ends after a minute, and when others need its place.
                            let _ = writer.write_all(all.as_bytes());
                            let _ = writer.shutdown(Shutdown::Write);
                        });
                        let mut bytes = Vec::new();
                        let _ = stream.read_to_end(&mut bytes);
                        String::from_utf8(bytes).unwrap()
                    })
                })
            })
            .collect();
        assert_eq!(f.get("/livez").status, 200);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let text = statuses.concat();
    let count = |status: &str| text.matches(&format!("HTTP/1.1 {status}")).count();
    assert_eq!(count("429") + count("409"), 10_000, "{} and {}", count("429"), count("409"));
    // Fifty in each second that was begun (`ORDERS_PER_SECOND`).
    let allowed = 50 * usize::try_from(began.elapsed().as_secs() + 2).unwrap();
    assert!(count("409") <= allowed && count("200") == 0, "{}, and {allowed} are allowed", count("409"));
    let mut kept = f.orders.lock().unwrap().take().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let queued = runtime.block_on(async {
        let mut queued = 0;
        while tokio::time::timeout(Duration::from_millis(50), kept.next()).await.is_ok() {
            queued += 1;
        }
        queued
    });
    assert!((1..=16).contains(&queued), "{queued}");
    let grown = memory().saturating_sub(before);
    // The answers that this test has read are 4 MB of it.
    assert!(grown < 48 * 1024, "{grown} kB");
}

#[test]
fn orders_for_the_process_reach_it_and_are_answered() {
    let f = Fixture::new(failed_over());
    let mut receiver = f.process_orders.lock().unwrap().take().unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            loop {
                let order = receiver.next().await;
                tell.send((order.verb, order.by.to_string(), order.reason.to_string(), order.dry_run)).unwrap();
                let answer = match order.verb {
                    ProcessVerb::Reload => Err(ProcessRefusal::Refused("workers cannot change while mainstay runs".into())),
                    ProcessVerb::Upgrade => unreachable!("nobody ordered it"),
                    ProcessVerb::Shutdown { .. } => {
                        Ok(Done { lines: vec!["mainstay stops".into()], sessions: 0, operation: None })
                    }
                };
                order.answer(answer);
            }
        });
    });
    let by = format!("uid 0 (root) over unix:{}", f.socket.display());
    let reply = order(&f, "POST", "/api/v1/reload", r#"{"reason": "a new replica"}"#);
    assert_eq!(
        (code(&reply), reply.json()["error"]["message"].as_str()),
        ((409, "refused".into()), Some("workers cannot change while mainstay runs"))
    );
    assert_eq!(told.recv_timeout(patience()).unwrap(), (ProcessVerb::Reload, by.clone(), "a new replica".to_owned(), false));
    let event = f.get("/api/v1/events").json()["events"][0].clone();
    assert_eq!((&event["kind"], &event["to"], &event["cause"]), (&json!("order"), &json!("refused"), &json!("command")));
    let evidence = format!("reload by {by}; because: a new replica; workers cannot change while mainstay runs");
    assert_eq!(event["evidence"], evidence);
    let reply = order(&f, "POST", "/api/v1/shutdown", r#"{"force": true, "dry_run": true}"#);
    assert_eq!((reply.status, reply.json()), (200, json!({"done": ["mainstay stops"], "sessions": 0})));
    assert_eq!(told.recv_timeout(patience()).unwrap(), (ProcessVerb::Shutdown { force: true }, by, String::new(), true));
}
