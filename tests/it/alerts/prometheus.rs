//! A real Prometheus and a real Alertmanager with the files of `deploy/prometheus`, and what they send people.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use lab::port::ReservedPort;
use serde_json::Value;

use super::{
    dashboard::{self, Query},
    text,
};
use crate::support::{
    config::LOOPBACK,
    scratch::Scratch,
    wait::{patience, until, within},
};

/// What somebody is told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub at: Instant,
    /// `page` or `ticket`.
    pub way: String,
    /// `firing` or `resolved`.
    pub status: String,
    pub alert: String,
    pub summary: String,
}

/// Takes the notifications.
struct Receiver {
    address: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind(LOOPBACK).unwrap();
        let (address, told) = (listener.local_addr().unwrap(), Arc::default());
        let own = Arc::clone(&told);
        // It ends with the test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = Arc::clone(&own);
                thread::spawn(move || take(stream, &own));
            }
        });
        Self { address, told }
    }
}

/// One connection, with as many notifications as come over it.
fn take(stream: TcpStream, told: &Mutex<Vec<Told>>) -> Option<()> {
    let mut writer = stream.try_clone().ok()?;
    let mut lines = BufReader::new(stream);
    loop {
        let (mut first, mut length) = (String::new(), 0);
        lines.read_line(&mut first).ok()?;
        let way = first.split_whitespace().nth(1)?.trim_start_matches('/').to_owned();
        loop {
            let mut line = String::new();
            lines.read_line(&mut line).ok()?;
            if line.trim_end().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        lines.read_exact(&mut body).ok()?;
        let at = Instant::now();
        let message: Value = serde_json::from_slice(&body).ok()?;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for alert in message["alerts"].as_array()? {
            let one = Told {
                at,
                way: way.clone(),
                status: word(&alert["status"]),
                alert: word(&alert["labels"]["alertname"]),
                summary: word(&alert["annotations"]["summary"]),
            };
            println!("told: {one:?}");
            told.lock().unwrap().push(one);
        }
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
}

/// A program that is ended with the test.
struct Program(Child);

impl Program {
    fn start(name: &str, directory: &Scratch, args: &[String]) -> Self {
        let log = std::fs::File::create(directory.path(&format!("{name}.log"))).unwrap();
        let mut command = Command::new(name);
        command.args(args).current_dir(directory.directory()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap_or_else(|error| panic!("{name}: {error}; `tests/install-deps alerts` installs it")))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Prometheus that scrapes one mainstay.
pub(super) struct Prometheus {
    _program: Program,
    _port: ReservedPort,
    address: SocketAddr,
    since: SystemTime,
    _directory: Scratch,
}

/// A file of `deploy/prometheus`, with some texts replaced.
fn put(directory: &Scratch, name: &str, replace: &[(&str, String)]) {
    let text = replace.iter().fold(text(&format!("deploy/prometheus/{name}")), |text, (old, new)| {
        assert!(text.contains(old), "{name} does not name {old}");
        text.replace(old, new)
    });
    directory.file(name, text, 0o644);
}

impl Prometheus {
    /// Of a mainstay with this admin address, with the shipped files; only their addresses are others, and how often it scrapes.
    pub(super) fn of(mainstay: SocketAddr, alertmanager: SocketAddr, every: &str) -> Self {
        let (directory, port) = (Scratch::new(), ReservedPort::new().unwrap());
        put(&directory, "rules.yaml", &[]);
        let targets = ("\"app-1:8432\", \"app-2:8432\"", format!("\"{mainstay}\""));
        let pace = [
            ("scrape_interval: 5s", format!("scrape_interval: {every}")),
            ("scrape_timeout: 4s", format!("scrape_timeout: {every}")),
        ];
        put(&directory, "prometheus.yml", &[&[targets, ("127.0.0.1:9093", alertmanager.to_string())], &pace[..]].concat());
        let address = port.address();
        let since = SystemTime::now();
        let args = [
            "--config.file=prometheus.yml".to_owned(),
            "--storage.tsdb.path=prometheus".to_owned(),
            format!("--web.listen-address={address}"),
        ];
        let program = Program::start("prometheus", &directory, &args);
        let this = Self { _program: program, _port: port, address, since, _directory: directory };
        within(3 * patience(), "Prometheus is ready", || (get(address, "/-/ready")?.0 == 200).then_some(()));
        until("mainstay was scraped", || (!this.ask("mainstay_build_info").is_empty()).then_some(()));
        this
    }

    /// Whether every rule has been looked at, without an error.
    fn has_looked(&self) -> bool {
        let Some((200, body)) = get(self.address, "/api/v1/rules") else { return false };
        let body: Value = serde_json::from_str(&body).unwrap();
        let groups = body["data"]["groups"].as_array().unwrap();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        rules.clone().all(|rule| rule["health"] == "ok") && rules.count() == super::alerts().len()
    }

    /// The values that an expression has now.
    pub(super) fn ask(&self, expr: &str) -> Vec<f64> {
        self.series("query", expr, "").iter().map(|series| number(&series["value"])).collect()
    }

    /// Whether Grafana draws something for this query. What is not a number is not drawn.
    pub(super) fn shows(&self, query: &Query) -> bool {
        let expr = dashboard::filled_in(&query.expr);
        if !query.is_range {
            return self.ask(&expr).iter().any(|value| value.is_finite());
        }
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let range = format!("&start={}&end={}&step=1s", seconds(self.since), seconds(SystemTime::now()));
        let series = self.series("query_range", &expr, &range);
        series.iter().flat_map(|series| series["values"].as_array().unwrap()).any(|value| number(value).is_finite())
    }

    fn series(&self, way: &str, expr: &str, range: &str) -> Vec<Value> {
        let query = percent_encoding::utf8_percent_encode(expr, percent_encoding::NON_ALPHANUMERIC);
        let (code, body) = get(self.address, &format!("/api/v1/{way}?query={query}{range}")).unwrap();
        assert_eq!(code, 200, "{expr}: {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        body["data"]["result"].as_array().unwrap().clone()
    }
}

/// The number of a sample.
fn number(sample: &Value) -> f64 {
    sample[1].as_str().unwrap().parse().unwrap()
}

/// Prometheus, Alertmanager, and who gets the notifications.
pub(super) struct Monitoring {
    pub prometheus: Prometheus,
    _alertmanager: Program,
    _port: ReservedPort,
    receiver: Receiver,
    _directory: Scratch,
}

impl Monitoring {
    /// Of a mainstay with this admin address, with the shipped files; only their addresses are others.
    pub(super) fn of(mainstay: SocketAddr) -> Self {
        let (directory, receiver, port) = (Scratch::new(), Receiver::start(), ReservedPort::new().unwrap());
        put(&directory, "alertmanager.yml", &[("127.0.0.1:9099", receiver.address.to_string())]);
        let address = port.address();
        let args = [
            "--config.file=alertmanager.yml".to_owned(),
            "--storage.path=alertmanager".to_owned(),
            format!("--web.listen-address={address}"),
            "--cluster.listen-address=".to_owned(),
        ];
        let alertmanager = Program::start("prometheus-alertmanager", &directory, &args);
        within(3 * patience(), "Alertmanager is ready", || (get(address, "/-/ready")?.0 == 200).then_some(()));
        let prometheus = Prometheus::of(mainstay, address, "5s");
        within(3 * patience(), "every rule was looked at", || prometheus.has_looked().then_some(()));
        Self { prometheus, _alertmanager: alertmanager, _port: port, receiver, _directory: directory }
    }

    /// What was told so far.
    pub(super) fn told(&self) -> Vec<Told> {
        self.receiver.told.lock().unwrap().clone()
    }

    /// Waits until this is told.
    #[track_caller]
    pub(super) fn tells(&self, limit: Duration, alert: &str, status: &str) -> Told {
        within(limit, &format!("{alert} is {status}"), || {
            self.told().into_iter().find(|one| one.alert == alert && one.status == status)
        })
    }
}

/// `GET path`: status and body, if somebody answers.
fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, patience()).ok()?;
    stream.set_read_timeout(Some(patience())).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.get(9..12)?.parse().ok()?, body.to_owned()))
}
