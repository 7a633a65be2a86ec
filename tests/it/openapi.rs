//! docs/openapi.yaml beside a running mainstay: both have the same paths, methods and queries, and each answer is as it is documented.
//! `make openapi-check` asks for much more, by chance.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::support::{
    echo::Backend,
    judge::{judge, value},
    process::{Process, settings},
    scratch::Scratch,
    wait::{patience, until},
};

const JSON: &str = "Content-Type: application/json\r\n";
const AUTHORIZED: &str = "Authorization: Bearer ";
const TOKEN: &str = "a-token-of-the-tests-and-of-nobody-else";

/// Kinds of answers that are documented and not seen here, and where they are.
const SEEN_ELSEWHERE: [(&str, &str); 3] = [
    ("TooMany", "many orders or wrong tokens at once: admin::orders"),
    ("Unavailable", "a token file that is gone: admin::orders"),
    ("TooManyStreams", "many streams at once: admin::events"),
];

fn document() -> Value {
    serde_yaml::from_str(include_str!("../../docs/openapi.yaml")).unwrap()
}

/// Every key that is documented is there, and no other: what the document leaves open is closed.
fn strict(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(strict),
        Value::Object(map) => {
            let is_open = map.contains_key("properties") && !map.contains_key("additionalProperties");
            if is_open {
                map.insert("additionalProperties".into(), false.into());
            }
            map.values_mut().for_each(strict);
        }
        _ => {}
    }
}

/// An answer.
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }
}

/// A mainstay with two backends that takes orders.
struct Site {
    process: Process,
    backends: Vec<Backend>,
    /// Has the token.
    scratch: Scratch,
}

impl Site {
    fn start() -> Self {
        let scratch = Scratch::new();
        let file = scratch.file("token", TOKEN, 0o600);
        let backends = vec![Backend::echo(), Backend::echo()];
        let mut settings = settings(&[backends[0].address, backends[1].address]);
        settings["admin"]["write"] = json!({"token_file": file});
        let process = Process::start(&settings);
        until("a backend serves", || process.status()["pools"][0]["active"].is_string().then_some(()));
        Self { process, backends, scratch }
    }

    /// A request to this host name.
    fn send_to(&self, host: &str, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let mut stream = TcpStream::connect_timeout(&self.process.admin, patience()).unwrap();
        stream.set_read_timeout(Some(patience())).unwrap();
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: {host}\r\n{length}{headers}\r\n{body}").unwrap();
        read(stream)
    }

    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        self.send_to("localhost", method, path, headers, body)
    }

    fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "", "")
    }

    fn order(&self, method: &str, path: &str, body: &str) -> Reply {
        self.send(method, path, &format!("{AUTHORIZED}{TOKEN}\r\n{JSON}"), body)
    }
}

fn read(mut stream: TcpStream) -> Reply {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Reply { status: head[9..12].parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
}

/// Method and path of everything that is documented, with the keys of its query.
fn documented(document: &Value) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut all = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let resolved = parameters.iter().map(|parameter| followed(document, parameter));
            let query = resolved
                .filter(|parameter| parameter["in"] == "query")
                .map(|parameter| parameter["name"].as_str().unwrap().to_owned());
            all.insert((method.to_uppercase(), path.clone()), query.collect());
        }
    }
    all
}

/// What a `$ref` leads to.
fn followed<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    value["$ref"].as_str().map_or(value, |reference| document.pointer(&reference[1..]).unwrap())
}

#[test]
fn the_document_has_the_paths_that_exist() {
    let site = Site::start();
    let unknown: Value = serde_json::from_str(&site.get("/nothing/here").body).unwrap();
    let mut found = BTreeMap::new();
    for listed in unknown["error"]["paths"].as_array().unwrap() {
        let path = listed.as_str().unwrap().split('?').next().unwrap();
        let refused = site.send("BREW", path, "", "");
        assert_eq!(refused.status, 405, "{path}");
        for method in refused.header("allow").unwrap().split(", ").filter(|method| *method != "HEAD") {
            let keys: Value = serde_json::from_str(&site.send(method, &format!("{path}?no-such-key=1"), "", "").body).unwrap();
            let keys = keys["error"]["keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned());
            found.insert((method.to_owned(), path.to_owned()), keys.collect::<BTreeSet<_>>());
        }
    }
    assert!(found.len() > 30, "{found:?}");
    assert_eq!(documented(&document()), found, "docs/openapi.yaml (left) must have what mainstay has (right)");
}

/// The answers of a mainstay, to be judged together.
struct Judged<'a> {
    document: &'a Value,
    documents: Vec<Value>,
    names: Vec<String>,
    seen: BTreeSet<(String, String, u16)>,
}

impl Judged<'_> {
    /// An answer to `method` of the documented `path`.
    fn add(&mut self, (method, path): (&str, &str), reply: &Reply) {
        let name = format!("{method} {path}: {}", reply.status);
        let operation = &self.document["paths"][path][method.to_lowercase()];
        let documented = followed(self.document, &operation["responses"][reply.status.to_string()]);
        assert!(documented.is_object(), "{name} is not documented: {}", reply.body);
        for (header, _) in documented["headers"].as_object().into_iter().flatten() {
            assert!(reply.header(header).is_some(), "{name} has no {header}");
        }
        let (kind, content) = documented["content"].as_object().unwrap().iter().next().unwrap();
        let found = reply.header("content-type").unwrap();
        assert!(found.starts_with(kind.as_str()), "{name} is {found}");
        if kind == "application/json" {
            let json: Value = serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{name}: {error}: {}", reply.body));
            self.documents.push(value(&json, &content["schema"]));
            self.names.push(format!("{name}: {}", reply.body));
        }
        self.seen.insert((method.to_owned(), path.to_owned(), reply.status));
    }

    fn verdict(mut self) -> BTreeSet<(String, String, u16)> {
        let mut document = self.document.clone();
        strict(&mut document);
        self.documents.iter_mut().for_each(|document| strict(&mut document["schema"]));
        let verdicts = judge(&document, &self.documents);
        let wrong = self.names.iter().zip(verdicts).filter_map(|(name, verdict)| Some(format!("{}\n{name}", verdict?)));
        let wrong: Vec<String> = wrong.collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
        self.seen
    }
}

/// A path of this site.
fn filled(path: &str) -> String {
    path.replace("{pool}", "orders").replace("{backend}", "db-b").replace("{id}", "1").replace("{number}", "1")
}

/// The same of what is not there.
fn unfilled(path: &str) -> String {
    ["{pool}", "{backend}", "{id}", "{number}"].iter().fold(path.to_owned(), |path, name| path.replace(name, "none"))
}

/// What an order to this path needs.
fn body(path: &str, reason: &str) -> String {
    let mut body = json!({"reason": reason, "dry_run": true});
    if path.ends_with("/state") {
        body["state"] = "drain".into();
    }
    body.to_string()
}

/// A client that has sent something and got it back.
fn session(site: &Site) -> TcpStream {
    let mut client = site.process.connect();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    client
}

/// A switchover, so that there is an operation to be shown.
fn switch_over(site: &Site, judged: &mut Judged<'_>) {
    let path = "/api/v1/pools/{pool}/switchover";
    judged.add(("POST", path), &site.order("POST", &filled(path), r#"{"to": "db-b", "reason": "a test"}"#));
    until("the operation is over", || {
        let operations: Value = serde_json::from_str(&site.get("/api/v1/operations").body).unwrap();
        operations["operations"][0]["end"].is_object().then_some(())
    });
}

/// What every path answers.
fn of_every_path(site: &Site, judged: &mut Judged<'_>, (method, path): (&str, &str)) {
    let (here, name) = (filled(path), (method, path));
    judged.add(name, &site.send(method, &format!("{here}?no-such-key=1"), "", ""));
    judged.add(name, &site.send(method, &here, "Content-Length: 70000\r\n", ""));
    // Probes may be called by any name.
    if !["/livez", "/readyz", "/startupz", "/metrics"].contains(&path) {
        judged.add(name, &site.send_to("evil.example", method, &here, "", ""));
    }
}

fn of_a_readable_path(site: &Site, judged: &mut Judged<'_>, path: &str) {
    // A stream has no end.
    if path != "/api/v1/events/stream" {
        judged.add(("GET", path), &site.get(&filled(path)));
    }
    if path.contains('{') {
        judged.add(("GET", path), &site.get(&unfilled(path)));
    }
}

fn of_an_order(site: &Site, judged: &mut Judged<'_>, (method, path): (&str, &str)) {
    let (here, name) = (filled(path), (method, path));
    judged.add(name, &site.send(method, &here, JSON, ""));
    judged.add(name, &site.send(method, &here, &format!("{AUTHORIZED}{TOKEN}\r\nContent-Type: text/plain\r\n"), "{}"));
    judged.add(name, &site.order(method, &here, "[]"));
    if path.contains('{') {
        judged.add(name, &site.order(method, &unfilled(path), &body(path, "x")));
    }
    // 200, or 409 with the reason.
    judged.add(name, &site.order(method, &here, &body(path, "x")));
}

#[test]
fn each_answer_is_as_it_is_documented() {
    let (site, document) = (Site::start(), document());
    let mut judged = Judged { document: &document, documents: Vec::new(), names: Vec::new(), seen: BTreeSet::new() };
    let _broken = session(&site);
    switch_over(&site, &mut judged);
    let _shown = session(&site);
    for (method, path) in documented(&document).keys() {
        of_every_path(&site, &mut judged, (method, path));
        if method == "GET" {
            of_a_readable_path(&site, &mut judged, path);
        } else {
            of_an_order(&site, &mut judged, (method, path));
        }
    }
    let pause = "/api/v1/pools/{pool}/pause";
    let slow = format!("{AUTHORIZED}{TOKEN}\r\n{JSON}Content-Length: 10\r\n");
    judged.add(("POST", pause), &site.send("POST", &filled(pause), &slow, ""));
    // An outage: nobody is ready, and it becomes an incident.
    let Site { process, backends, scratch } = site;
    drop(backends);
    until("nobody serves", || process.status()["pools"][0]["active"].is_null().then_some(()));
    let site = Site { process, backends: Vec::new(), scratch };
    until("it is an incident", || (site.get("/api/v1/incidents/1").status == 200).then_some(()));
    for path in
        ["/readyz", "/api/v1/status", "/api/v1/incidents", "/api/v1/incidents/{number}", "/api/v1/events", "/api/v1/history"]
    {
        judged.add(("GET", path), &site.get(&filled(path)));
    }
    is_complete(&document, &judged.verdict());
}

/// Every kind of answer was seen, and 200 of every path but the stream.
fn is_complete(document: &Value, seen: &BTreeSet<(String, String, u16)>) {
    let mut missed: BTreeSet<String> = document["components"]["responses"].as_object().unwrap().keys().cloned().collect();
    let mut without = Vec::new();
    for (method, path) in documented(document).into_keys() {
        let mut is_fine = false;
        for (status, response) in document["paths"][&path][method.to_lowercase()]["responses"].as_object().unwrap() {
            let is_seen = seen.contains(&(method.clone(), path.clone(), status.parse().unwrap()));
            is_fine |= is_seen && ["200", "409"].contains(&status.as_str());
            if let Some(name) = response["$ref"].as_str().filter(|_| is_seen) {
                missed.remove(name.rsplit('/').next().unwrap());
            }
        }
        if !is_fine {
            without.push(path);
        }
    }
    assert_eq!(without, ["/api/v1/events/stream"]);
    let elsewhere: BTreeSet<String> = SEEN_ELSEWHERE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(missed, elsewhere);
}

#[test]
fn the_stream_is_as_it_is_documented() {
    let (site, document) = (Site::start(), document());
    let mut stream = TcpStream::connect_timeout(&site.process.admin, patience()).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    write!(stream, "GET /api/v1/events/stream?since=0 HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let data: Vec<Value> = lines
        .by_ref()
        .inspect(|line| {
            text.push_str(line);
            text.push('\n');
        })
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .take(2)
        .collect();
    assert!(text.to_lowercase().contains("content-type: text/event-stream"), "{text}");
    let mut document = document;
    strict(&mut document);
    let events: Vec<Value> =
        data.into_iter().map(|event| value(&event, &json!({"$ref": "#/components/schemas/Event"}))).collect();
    assert_eq!(judge(&document, &events), [None, None], "{text}");
}
