//! Pages in a real browser try to order something of the admin endpoint: pages of another port, of an opaque origin, and of a name
//! that was let resolve to this machine (DNS rebinding); with every request that a browser lets a page send, without a token, with a
//! wrong one and with the right one. Nothing may change.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{TOKEN, chromium::Browser};
use crate::support::{
    echo::{self, Backend},
    front::try_client,
    process::{Process, settings},
    scratch::Scratch,
    wait::within,
};

/// Resolves to this machine, in the browser.
const REBOUND: &str = "rebound.example";
/// For hundreds of requests of a page.
const PATIENCE: Duration = Duration::from_mins(4);

/// What came and how it was answered: method, origin, type of the body; and the status.
type Exchanges = BTreeMap<(String, String, String), BTreeSet<u16>>;

#[derive(Default)]
struct Site {
    admin: Option<SocketAddr>,
    page: String,
    exchanges: Exchanges,
    reports: Vec<Value>,
}

struct Request {
    head: Vec<String>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Self> {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.trim_end().is_empty() {
                break;
            }
            head.push(line.trim_end().to_owned());
        }
        let mut request = Self { head, body: Vec::new() };
        request.body = vec![0; request.header("content-length").parse().unwrap_or(0)];
        stream.read_exact(&mut request.body)?;
        Ok(request)
    }

    fn header(&self, name: &str) -> &str {
        let value = |line: &&String| line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        self.head.iter().find(value).and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    }

    fn word(&self, number: usize) -> &str {
        self.head[0].split(' ').nth(number).unwrap_or_default()
    }
}

/// The pages of the attacker under `/evil`, his collector under `/report`, and the admin endpoint under all other paths: for the
/// browser, an attacker whose name resolves to this machine after the first visit is the same.
fn serve(stream: TcpStream, site: &Mutex<Site>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = BufReader::new(stream);
    let request = Request::read(&mut stream)?;
    let path = request.word(1).split('?').next().unwrap_or_default().to_owned();
    let own = |kind: &str, text: &str| {
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len())
    };
    let answer = match &*path {
        "/evil" => own("text/html", &site.lock().unwrap().page),
        "/evil.js" => own("text/javascript", include_str!("attack.js")),
        "/report" => {
            site.lock().unwrap().reports.push(serde_json::from_slice(&request.body)?);
            own("text/plain", "")
        }
        "/favicon.ico" => own("image/png", ""),
        _ => return forward(&request, stream.get_mut(), site),
    };
    stream.get_mut().write_all(answer.as_bytes())
}

/// One request of a connection; nothing but its `Connection` header is changed.
fn forward(request: &Request, client: &mut TcpStream, site: &Mutex<Site>) -> io::Result<()> {
    let admin = site.lock().unwrap().admin.unwrap();
    let mut server = try_client(admin)?;
    server.set_read_timeout(Some(Duration::from_secs(20)))?;
    let upgrades = !request.header("upgrade").is_empty();
    let head = request.head.iter().map(|line| {
        let replaced = !upgrades && line.to_ascii_lowercase().starts_with("connection:");
        if replaced { "Connection: close".to_owned() } else { line.clone() }
    });
    server.write_all(format!("{}\r\n\r\n", head.collect::<Vec<_>>().join("\r\n")).as_bytes())?;
    server.write_all(&request.body)?;
    let mut answer = vec![0; 12];
    server.read_exact(&mut answer)?;
    let status = String::from_utf8_lossy(&answer)[9..12].parse().unwrap_or(0);
    let shown = |name: &str| request.header(name).split(';').next().unwrap_or_default().to_owned();
    // Ports are others each time.
    let origin = shown("origin").rsplit_once(':').map_or_else(|| shown("origin"), |(origin, _)| origin.to_owned());
    let method = if upgrades { "WebSocket".to_owned() } else { request.word(0).to_owned() };
    let key = (method, origin, shown("content-type"));
    site.lock().unwrap().exchanges.entry(key).or_default().insert(status);
    if upgrades {
        server.shutdown(std::net::Shutdown::Write)?;
    }
    server.read_to_end(&mut answer)?;
    client.write_all(&answer)
}

/// What a page saw: which page it was, what it tried, and what the browser let it know of the answer.
type Seen = (String, String, String);

const POOL: &str = "/api/v1/pools/orders";

/// Every order but `resume` and `drill`, which nobody would notice.
fn orders() -> Value {
    let of_pool = ["pause", "kill", "switchover", "promote"].map(|order| json!(["POST", format!("{POOL}/{order}")]));
    let others = [
        json!(["PUT", format!("{POOL}/backends/db-a/state")]),
        json!(["DELETE", "/api/v1/operations/1"]),
        json!(["POST", "/api/v1/reload"]),
        json!(["POST", "/api/v1/shutdown"]),
    ];
    of_pool.into_iter().chain(others).collect()
}

struct Attack {
    process: Process,
    site: Arc<Mutex<Site>>,
    /// Of the attacker's pages, and of the admin endpoint.
    ports: [u16; 2],
    scratch: Scratch,
    _backends: [Backend; 2],
    client: TcpStream,
}

impl Attack {
    /// `write`: orders are taken over TCP.
    fn new(write: bool) -> Self {
        let scratch = Scratch::new();
        let backends = [b'a', b'b'].map(|name| Backend::speaker(name, ([127, 0, 0, 1], 0).into()));
        let mut settings = settings(&backends.each_ref().map(|backend| backend.address));
        if write {
            settings["admin"]["write"] = json!({"token_file": scratch.file("token", TOKEN, 0o600)});
        }
        let process = Process::start(&settings).serving();
        let site = Arc::new(Mutex::new(Site { admin: Some(process.admin), ..Site::default() }));
        let ports = [(); 2].map(|()| listen(&site));
        let client = process.connect();
        assert_eq!(echo::who(&client).unwrap(), b'a');
        Self { process, site, ports, scratch, _backends: backends, client }
    }

    /// The body of a page whose script tries to order at these hosts.
    fn page(&self, who: &str, hosts: &[&str], orders: &Value) -> String {
        let [own, admin] = self.ports;
        let bases: Vec<_> = hosts.iter().map(|host| format!("http://{host}:{admin}")).collect();
        let report = format!("http://127.0.0.1:{own}/report");
        let with = json!({"who": who, "report": report, "bases": bases, "orders": orders, "token": TOKEN}).to_string();
        let with = encoded(&with);
        format!("<body><script src=\"http://127.0.0.1:{own}/evil.js?with={with}\"></script></body>")
    }

    /// Has the browser open a page; what its scripts saw, once so many have told.
    fn visit(&self, url: &str, page: &str, scripts: usize) -> Vec<Seen> {
        page.clone_into(&mut self.site.lock().unwrap().page);
        // The strictest browsers ask before a page reaches this machine at all; what they keep out is not what is tried here.
        let unguarded = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests,HttpsUpgrades";
        let browser = Browser::start(&self.scratch, &[unguarded, &format!("--host-resolver-rules=MAP {REBOUND} 127.0.0.1")]);
        let visited = browser.page();
        visited.open(url);
        let reports = within(PATIENCE, "the page has told", || {
            let reports = self.site.lock().unwrap().reports.clone();
            (reports.len() == scripts).then_some(reports)
        });
        drop(visited);
        self.site.lock().unwrap().reports.clear();
        reports.into_iter().flat_map(|report| serde_json::from_value::<Vec<Seen>>(report).unwrap()).collect()
    }

    fn exchanges(&self) -> Exchanges {
        std::mem::take(&mut self.site.lock().unwrap().exchanges)
    }

    /// Nothing has been done.
    #[track_caller]
    fn is_untouched(&self) {
        let pool = self.process.status()["pools"][0].clone();
        assert_eq!((&pool["active"], &pool["epoch"], &pool["paused"]), (&json!("db-a"), &json!(1), &json!(false)), "{pool}");
        assert!(pool["backends"].as_array().unwrap().iter().all(|backend| backend["admin"] == "ready"), "{pool}");
        let events: Value = serde_json::from_str(&self.process.get("/api/v1/events").1).unwrap();
        let events = events.get("events").unwrap_or(&events).as_array().unwrap().clone();
        assert!(events.iter().all(|event| event["kind"] != "order"), "{events:?}");
        assert_eq!(self.process.metric("mainstay_config_reloads_total", &[]), 0);
        assert_eq!(echo::who(&self.client).unwrap(), b'a', "the session goes on");
        let log = self.process.log();
        assert!(log.iter().all(|line| !line["message"].as_str().unwrap_or_default().contains("ordered")), "{log:?}");
    }
}

/// By every name of this machine.
fn listen(site: &Arc<Mutex<Site>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for listener in [listener, TcpListener::bind(format!("[::1]:{port}")).unwrap()] {
        let site = Arc::clone(site);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let site = Arc::clone(&site);
                thread::spawn(move || serve(stream, &site));
            }
        });
    }
    port
}

/// For a URL.
fn encoded(text: &str) -> String {
    text.bytes().flat_map(|byte| ['%', digit(byte >> 4), digit(byte & 15)]).collect()
}

fn digit(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap()
}

/// What each way got: at the endpoint, and in the page.
fn show(what: &str, exchanges: &Exchanges, seen: &[Seen]) {
    println!("{what}\n  what came: method, origin, type of the body -> answers");
    for ((method, origin, kind), answers) in exchanges {
        println!("  {method:9} {origin:24} {kind:34} -> {answers:?}");
    }
    let mut told: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for (who, what, got) in seen {
        told.entry((who, what)).or_default().insert(got);
    }
    println!("  what a page saw of it");
    for ((who, what), got) in told {
        println!("  {who:14} {what:42} {got:?}");
    }
}

#[test]
fn no_page_orders_anything() {
    for write in [false, true] {
        let attack = Attack::new(write);
        let [own, admin] = attack.ports;
        let names = ["127.0.0.1", "localhost", "[::1]"];
        let another = attack.page("another port", &names, &orders());
        let sandboxed = attack.page("sandboxed", &names, &orders()).replace('"', "&quot;");
        let data = encoded(&attack.page("data: URL", &names, &orders()));
        let page = format!(
            "{another}<iframe sandbox=\"allow-scripts allow-forms\" srcdoc=\"{sandboxed}\"></iframe>\
             <iframe src=\"data:text/html,{data}\"></iframe>"
        );
        let seen = attack.visit(&format!("http://127.0.0.1:{own}/evil"), &page, 3);
        let exchanges = attack.exchanges();
        show(&format!("orders over TCP: {write}; pages of other origins"), &exchanges, &seen);
        attack.is_untouched();
        let expected = 3 * (names.len() * orders().as_array().unwrap().len() * 17 + names.len());
        assert_eq!(seen.len(), expected, "each way was tried");
        let read = |seen: &[Seen]| seen.iter().filter(|(_, what, got)| what == "read" && got == "true").count();
        assert_eq!(read(&seen), 0, "another origin reads nothing");
        // Only where the browser asks first, and is told no, does nothing come.
        assert!(exchanges.iter().all(|((method, ..), _)| method != "PUT" && method != "DELETE"), "{exchanges:?}");

        let page = attack.page("rebound", &[REBOUND], &orders());
        let seen = attack.visit(&format!("http://{REBOUND}:{admin}/evil"), &page, 1);
        let exchanges = attack.exchanges();
        show(&format!("orders over TCP: {write}; a page whose name was let resolve to this machine"), &exchanges, &seen);
        attack.is_untouched();
        // Here the browser keeps nothing back: the endpoint has to.
        let came = |method: &str, kind: &str| exchanges.keys().any(|(is, _, of)| is == method && of == kind);
        assert!(came("PUT", "application/json") && came("DELETE", "application/json"), "{exchanges:?}");
        // A page whose origin is the endpoint's own, and which has the token, is no attacker: what is tried here can be seen.
        let own = attack.page("own", &["127.0.0.1"], &json!([["POST", format!("{POOL}/pause")]]));
        let seen = attack.visit(&format!("http://127.0.0.1:{admin}/evil"), &own, 1);
        show(&format!("orders over TCP: {write}; a page of the endpoint's own origin"), &attack.exchanges(), &seen);
        assert_eq!(attack.process.status()["pools"][0]["paused"], json!(write));
    }
}
