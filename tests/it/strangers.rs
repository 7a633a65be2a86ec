//! What strangers say is printed in many places, and moves no cursor, begins no line and hides nothing in any of them.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    sync::Arc,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};

use crate::{
    mysql::scripted::{self, OK, frame, greeting_of, receive, table},
    probe::fake::{message, row_of, welcome},
    support::{
        child::{Bounded, ended},
        config::LOOPBACK,
        echo::{Backend, refusing},
        front::client,
        process::{Process, Stderr, settings},
        scratch::Scratch,
        wait::until,
    },
};

/// More than any place shows, without an end.
const FILLER: usize = 10_000;
/// Of these, one after the other, more are never shown.
const LONGEST: usize = 640;

/// A name that is found again, and whatever a terminal, a log or a reader could be led astray by: other ends of a line, colours, a
/// title, NUL and other controls of both kinds, turned writing, what cannot be seen.
fn nasty(number: usize) -> String {
    format!(
        "evil{number}\n\rFORGED\x1b[31m\x1b]0;t\x07\0\u{9b}2J\u{85}\u{202e}\u{2066}\u{2028}\u{200b}\u{200f}\u{feff}\u{ad}\x7f\tFORGED{}",
        "z".repeat(FILLER)
    )
}

/// The same with bytes that are no UTF-8, where the protocol has bytes.
fn nasty_bytes(number: usize) -> Vec<u8> {
    nasty(number).replacen('\n', "\n?\u{1}", 1).into_bytes().into_iter().map(|byte| if byte == 1 { 0xff } else { byte }).collect()
}

fn without(text: &[u8], others: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| !others.contains(byte)).collect()
}

/// Without a space and without an end of a line, as a version is.
fn word(number: usize) -> String {
    nasty(number).chars().filter(|c| !c.is_whitespace() && *c != '\0').collect()
}

/// Short enough for a protocol that bounds its lines.
fn short(text: &[u8], length: usize) -> Vec<u8> {
    text[..length.min(text.len())].to_vec()
}

fn assert_clean(what: &str, text: &str) {
    let bad = |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{2066}\u{2028}\u{200b}\u{200f}\u{feff}\u{ad}".contains(c);
    let around = |at: usize| text.chars().skip(text[..at].chars().count().saturating_sub(200)).take(400).collect::<String>();
    assert!(!text.contains(bad), "{what}: {:?}", text.find(bad).map(around));
    assert!(!text.lines().any(|line| line.trim_start().starts_with("FORGED")), "{what}: {text}");
    let filler = "z".repeat(LONGEST);
    assert!(!text.contains(&filler), "{what}: {:?}", text.find(&filler).map(around));
}

/// Of what is as long as the file or the answer that it is read from.
fn unfilled(text: &str) -> String {
    text.replace(&"z".repeat(LONGEST), "")
}

/// What a program reads in JSON, whose own escapes are no matter.
fn assert_clean_json(what: &str, text: &str) {
    let value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{what}: {error}: {text}"));
    assert_clean(what, &strings(&value).join("\n"));
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

/// A `PostgreSQL` server that says these one after the other, each for something that it was told; the last for all that follows.
fn says(words: Vec<Vec<u8>>) -> Backend {
    Backend::start(move |mut stream| {
        let mut said = words.iter();
        let mut last = said.next().unwrap();
        while matches!(stream.read(&mut [0; 4096]), Ok(1..)) && stream.write_all(last).is_ok() {
            last = said.next().unwrap_or(last);
        }
    })
}

fn postgres_error(text: &[u8]) -> Vec<u8> {
    let text = without(text, &[0]);
    // More than 30,000 bytes are no message of a login.
    let field = |kind: u8, text: &[u8]| [&[kind], text, &[0]].concat();
    let fields = [field(b'S', &short(&text, 90)), b"VFATAL\0C28000\0".to_vec(), field(b'M', &text), field(b'D', &text)].concat();
    message(b'E', &[fields, b"\0".to_vec()].concat())
}

fn mysql_error(sequence: u8, text: &[u8]) -> Vec<u8> {
    frame(sequence, &[b"\xff\x15\x04", text].concat())
}

/// A `MySQL` server of this version that lets everybody in.
fn mysql(version: String, replication: Vec<u8>) -> Backend {
    scripted::start(move |stream| {
        stream.write_all(&greeting_of(&version, "mysql_native_password"))?;
        let (sequence, _) = receive(stream)?;
        stream.write_all(&frame(sequence + 1, OK))?;
        scripted::answer_with(stream, &replication)
    })
}

fn http(status: &[u8], headers: &str, body: &str) -> Vec<u8> {
    [b"HTTP/1.1 ", status, format!("\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()].concat()
}

fn patroni(state: &str, role: &str) -> String {
    json!({"state": state, "role": role, "patroni": {"version": "3", "name": role, "scope": state}}).to_string()
}

/// A Redis server that says this of itself.
fn redis(fields: &[u8]) -> Backend {
    let info = [format!("${}\r\n", fields.len()).as_bytes(), fields, b"\r\n"].concat();
    Backend::start(move |mut stream| {
        let mut question = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut question) {
            let is_ping = question[..length].windows(4).any(|word| word == b"PING");
            if stream.write_all(if is_ping { b"+PONG\r\n" } else { &info }).is_err() {
                return;
            }
        }
    })
}

/// An honest primary whose Sentinel says this.
fn with_sentinel(said: Vec<u8>, keep: &mut Vec<Backend>) -> (Backend, Value) {
    let sentinel = answers(said);
    let check = json!({"redis": {"sentinels": [sentinel.address.to_string()], "sentinel_name": "mymaster"}});
    keep.push(sentinel);
    (redis(b"redis_version:7.0.15\r\n\r\nrole:master\r\n"), check)
}

/// A server with TLS whose certificate has nasty names.
fn certified(number: usize, scratch: &Scratch) -> (Backend, Value) {
    let names = without(&short(nasty(number).as_bytes(), 60), b"\n\r\0;");
    scratch.file("names.ext", [b"basicConstraints=CA:FALSE\nsubjectAltName=DNS:", &names[..], b"\n"].concat(), 0o600);
    let script = "set -e
new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $new -days 2 -subj /CN=authority -keyout ca.key -out ca.crt
openssl req -new $new -subj \"/CN=$(printf 'evil\\033[31m\\342\\200\\256')\" -utf8 -keyout server.key -out server.csr
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names.ext -out server.crt";
    let made = Command::new("sh").args(["-c", script]).current_dir(scratch.directory()).bounded_output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let chain = vec![CertificateDer::from_pem_file(scratch.path("server.crt")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(scratch.path("server.key")).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let server = Backend::start(move |stream: TcpStream| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        let _ = StreamOwned::new(session, stream).read(&mut [0; 64]);
    });
    (server, json!({"http": {"tls": "verify-full", "tls_ca_file": scratch.path("ca.crt")}}))
}

/// What a stranger says, by the number in its text: a server, and the check that asks it.
fn sources(scratch: &Scratch) -> (Vec<(Backend, Value)>, Vec<Backend>) {
    let mut more = Vec::new();
    let postgres = || json!({"postgres": {"tls": "off"}});
    let mysql_check = || json!({"mysql": {"tls": "off"}});
    let bytes = |number, others: &[u8]| without(&nasty_bytes(number), others);
    let lines = |number| short(&bytes(number, b"\r"), 1000);
    let told = |number| String::from_utf8(short(nasty(number).as_bytes(), 80)).unwrap();
    let exchange = json!({"exchange": {"steps": [{"send": "hello\r\n"}, {"expect": "welcome"}]}});
    let script = |name: &str, number: usize, more: &str| {
        scratch.file(&format!("{name}.text"), bytes(number, b""), 0o600);
        scratch.file(name, format!("#!/bin/sh\n{more} cat {}.text\nexit 3\n", scratch.path(name).display()), 0o755)
    };
    let roles = scratch.file("roles", format!("#!/bin/sh\nprintf '%s\\n' 'primary version={}'\n", word(15)), 0o755);
    let bulk = |text: &[u8]| [format!("${}\r\n", text.len()).as_bytes(), text, b"\r\n"].concat();
    let named = [&b"*2\r\n"[..], &bulk(&lines(9)), &bulk(b"6379"), b"*2\r\n", &bulk(b"config-epoch"), &bulk(b"7")].concat();
    let version =
        [message(b'R', &[0; 4]), message(b'S', &[b"server_version\0", word(1).as_bytes(), b"\0"].concat()), message(b'Z', b"I")]
            .concat();
    let lost = table(
        &["Source_Host", "Replica_IO_Running", "Replica_SQL_Running", "Last_IO_Error"],
        &[&[&told(5), "No", "No", &told(5)]],
    );
    let sources = vec![
        (answers(postgres_error(&nasty_bytes(0))), postgres()),
        (says(vec![version, row_of(&word(1), Some("7"), Some("42"))]), postgres()),
        (says(vec![welcome(), postgres_error(nasty(2).as_bytes())]), postgres()),
        (answers([b"E", &bytes(3, b"\0")[..], b"\n\0"].concat()), postgres()),
        (greets(mysql_error(0, &nasty_bytes(4))), mysql_check()),
        (mysql(format!("8.0.36-{}", word(5)), lost), mysql_check()),
        (answers([b"-NOAUTH ", &lines(6)[..], b"\r\n"].concat()), json!("redis")),
        (
            redis(
                &[
                    b"redis_version:7",
                    word(7).as_bytes(),
                    b"\r\nrole:slave\r\nmaster_host:",
                    &lines(7),
                    b"\r\nmaster_link_status:",
                    &lines(7),
                    b"\r\n",
                ]
                .concat(),
            ),
            json!("redis"),
        ),
        with_sentinel([b"-NOAUTH ", &lines(8)[..], b"\r\n"].concat().repeat(2), &mut more),
        with_sentinel(named, &mut more),
        (redis(&[b"redis_version:7\r\nrole:", &bytes(10, b"\r\n")[..], b"\r\n"].concat()), json!("redis")),
        (answers(http(b"200 OK", "", &patroni(&nasty(11), "master"))), json!("http")),
        (answers(http(b"200 OK", "", &patroni("running", &nasty(12)))), json!("http")),
        (
            answers(http(b"301 Moved", &format!("Location: /evil13\u{202e}\u{9b}FORGED{}\r\n", "z".repeat(2000)), "")),
            json!("http"),
        ),
        (Backend::echo(), json!({"exec": [script("failing", 14, "")]})),
        (Backend::echo(), json!({"exec": {"command": [roles], "roles": true}})),
        (Backend::echo(), json!({"exec": [script("complaining", 16, ">&2")]})),
        (answers(bytes(17, b"")), exchange),
        certified(18, scratch),
        (greets([b"\xff", &bytes(19, b"")[..]].concat()), mysql_check()),
        (answers(bytes(20, b"")), postgres()),
        (answers(bytes(21, b"")), json!("redis")),
        (answers(http(&bytes(22, b"\r\n"), "", "")), json!("http")),
        (answers(message(b'R', &[b"\0\0\0\x0a", &bytes(23, b"")[..], b"\0\0"].concat())), postgres()),
        (mysql("8.0.36".to_owned(), mysql_error(1, &nasty_bytes(24))), mysql_check()),
        // As a second opinion.
        (says(vec![welcome(), row_of("15.1", Some("7"), Some("42"))]), json!({"postgres": {"tls": "off"}, "http": {"port": 0}})),
    ];
    (sources, more)
}

/// Takes the place of the system's resolver, whose errors are worded by what the machine has installed: it finds no name under
/// `never.test`, those under `once.test` once, and tells of it in this text.
fn resolver(scratch: &Scratch, text: &str) -> PathBuf {
    let bytes = text.bytes().filter(|byte| *byte != 0).map(|byte| byte.to_string()).collect::<Vec<_>>().join(",");
    let code = format!(
        r#"#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {{
    static int times;
    if (node && strstr(node, "never.test")) return EAI_FAIL;
    if (node && strstr(node, "once.test")) {{
        if (__sync_fetch_and_add(&times, 1)) return EAI_FAIL;
        node = "127.0.0.1";
    }}
    return ((lookup *)dlsym(RTLD_NEXT, "getaddrinfo"))(node, service, hints, found);
}}
static const unsigned char text[] = {{ {bytes}, 0 }};
const char *gai_strerror(int error) {{ return (const char *)text; }}
"#
    );
    scratch.file("resolver.c", code, 0o600);
    let library = scratch.path("resolver.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-w", "-o"]).arg(&library).arg(scratch.path("resolver.c")).arg("-ldl");
    let made = compiler.bounded_output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    library
}

/// The pools of the names that are not found, or not any more.
fn unresolved() -> [Value; 2] {
    ["never", "once"].map(|name| {
        json!({
            "name": name, "listen": "127.0.0.1:0", "check": "tcp",
            "backends": [{"name": "db", "address": format!("{name}.test:1")}],
        })
    })
}

/// The number of the resolver among the sources.
const RESOLVER: usize = 26;

/// One pool for each source.
fn pools(scratch: &Scratch) -> (Vec<Backend>, Value) {
    let (mut sources, mut backends) = sources(scratch);
    // The second opinion has a port of its own.
    let second = answers(http(b"200 OK", "", &patroni(&nasty(25), "master")));
    sources[25].1["http"]["port"] = second.address.port().into();
    backends.push(second);
    let mut all = settings(&[]);
    let mut pools = Vec::new();
    for (index, (backend, check)) in sources.into_iter().enumerate() {
        let pool = json!({
            "name": format!("pool-{index}"), "listen": "127.0.0.1:0", "check": check,
            "backends": [{"name": "db", "address": backend.address.to_string()}],
        });
        pools.push(pool);
        backends.push(backend);
    }
    pools.extend(unresolved());
    all["pools"] = json!(pools);
    (backends, all)
}

/// Of what is said in a language that is not the protocol's, only the first bytes are shown, or none.
const NOT_REPEATED: [usize; 3] = [19, 20, 22];

fn assert_heard(what: &str, texts: &[&str]) {
    let is_heard = |number: &usize| {
        let name = format!("evil{number}");
        texts.iter().any(|text| {
            text.match_indices(&name).any(|(at, _)| !text[at + name.len()..].starts_with(|c: char| c.is_ascii_digit()))
        })
    };
    let unheard: Vec<_> = (0..=RESOLVER).filter(|number| !NOT_REPEATED.contains(number) && !is_heard(number)).collect();
    assert!(unheard.is_empty(), "{what}: nothing was heard of {unheard:?}: {texts:#?}");
}

fn mainstay(arguments: &[&str]) -> [String; 2] {
    printed(Command::new(env!("CARGO_BIN_EXE_mainstay")).args(arguments))
}

fn printed(command: &mut Command) -> [String; 2] {
    let output = command.bounded_output().unwrap();
    [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("it prints UTF-8"))
}

fn all_probed(status: &Value) -> bool {
    status["pools"].as_array().unwrap().iter().all(|pool| !pool["backends"][0]["last_probe"].is_null())
}

#[test]
fn what_strangers_say_is_printable_wherever_it_is_shown() {
    let scratch = Scratch::new();
    let (_backends, settings) = pools(&scratch);
    let preload = format!("LD_PRELOAD={}", resolver(&scratch, &nasty(RESOLVER)).display());
    let process = Process::start_under(&["env", &preload], &settings, Stderr::Read);
    until("all were asked", || all_probed(&process.status()).then_some(()));
    process.logged("a Sentinel does not answer");
    process.logged("the name cannot be resolved; its last good addresses are kept");
    until("the second opinion is told of", || process.log().iter().find(|line| line.to_string().contains("evil25")).cloned());
    let (status, log) = (process.get("/api/v1/status").1, process.log());
    let lines: Vec<String> = log.iter().map(|line| strings(line).join("\n")).collect();
    assert_heard(
        "the API and the log",
        &[&[&status][..], &lines.iter().collect::<Vec<_>>()].concat().iter().map(|text| text.as_str()).collect::<Vec<_>>(),
    );
    for path in ["/api/v1/status", "/api/v1/events", "/readyz"] {
        assert_clean_json(path, &process.get(path).1);
    }
    let events = stream_of_events(&process);
    assert!(events.matches("evil").count() >= 5, "{events}");
    assert_clean("the stream of events", &events);
    for line in events.lines() {
        match line.split_once(": ") {
            Some(("data", object)) => assert_clean_json("an event", object),
            Some(("id" | "event" | "retry", _)) => {}
            _ => assert!(line.is_empty() || line.starts_with(':'), "{line:?} is no line of a stream of events"),
        }
    }
    for path in ["/metrics", "/"] {
        assert_clean(path, &process.get(path).1);
    }
    for (line, text) in log.iter().zip(&lines) {
        assert!(line["raw"].is_null(), "the log: {line}");
        assert!(!text.contains("\nFORGED"), "the log: {line}");
        assert_clean("the log", text);
    }
    let admin = process.admin.to_string();
    let [table, _] = mainstay(&["status", "--admin", &admin]);
    assert_clean("mainstay status", &table);
    assert_clean_json("mainstay status --json", &mainstay(&["status", "--json", "--admin", &admin])[0]);
    let [_, reasons] = mainstay(&["wait", "--max", "0s", "--admin", &admin]);
    assert_clean("mainstay wait", &reasons);
    let file = scratch.file("mainstay.yaml", settings.to_string(), 0o600);
    let check = ["check", "--connect", "-c", file.to_str().unwrap()];
    let [connected, warnings] = printed(Command::new("env").args([&preload, env!("CARGO_BIN_EXE_mainstay")]).args(check));
    assert!(connected.matches("evil").count() >= 15, "{connected}");
    assert!(connected.contains(&format!("evil{RESOLVER}")), "{connected}");
    assert_clean("mainstay check --connect", &connected);
    assert_clean("mainstay check --connect", &warnings);
}

/// All events so far, as the stream has them (RFC 9112, 7.1: pieces, each with its length in front).
fn stream_of_events(process: &Process) -> String {
    let so_far: Value = serde_json::from_str(&process.get("/api/v1/events").1).unwrap();
    let last = format!("id: {}\n", so_far["newest"]);
    let mut stream = client(process.admin);
    stream.write_all(b"GET /api/v1/events/stream?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let line = |reader: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line
    };
    while line(&mut reader) != "\r\n" {}
    let mut events = String::new();
    // Whole events only: each ends with an empty line.
    while !events.split_once(&last).is_some_and(|(_, event)| event.contains("\n\n")) {
        let length = usize::from_str_radix(line(&mut reader).trim_end(), 16).unwrap();
        let mut piece = vec![0; length + 2];
        reader.read_exact(&mut piece).unwrap();
        events.push_str(std::str::from_utf8(&piece[..length]).unwrap());
    }
    events
}

#[test]
fn what_strangers_say_begins_no_line_of_a_log_in_text() {
    // Each begins with its time.
    begins_no_line("text", "20");
}

#[test]
fn what_strangers_say_begins_no_line_of_a_log_in_logfmt() {
    begins_no_line("logfmt", "ts=20");
}

fn begins_no_line(format: &str, beginning: &str) {
    let scratch = Scratch::new();
    let (_backends, mut settings) = pools(&scratch);
    let admin = format!("unix:{}", scratch.path("admin.sock").display());
    settings["admin"]["listen"] = json!(admin);
    settings["log"]["format"] = json!(format);
    let file = scratch.file("mainstay.yaml", settings.to_string(), 0o600);
    let mut child = Command::new(env!("CARGO_BIN_EXE_mainstay"))
        .args(["run", "-c", file.to_str().unwrap()])
        .env("LD_PRELOAD", resolver(&scratch, &nasty(RESOLVER)))
        .stderr(File::create(scratch.path("log")).unwrap())
        .spawn()
        .unwrap();
    let log = || std::fs::read_to_string(scratch.path("log")).unwrap();
    until("all are told of", || {
        let text = log();
        (child.try_wait().unwrap().is_some()
            || ["evil8", "evil25", "evil0", "evil18", "evil26", "addresses are kept"].iter().all(|name| text.contains(name)))
        .then_some(())
    });
    let is_running = child.try_wait().unwrap().is_none();
    let _ = child.kill();
    ended(&mut child);
    let log = log();
    assert!(is_running, "{log}");
    assert_clean("the log", &log);
    assert!(log.lines().all(|line| line.starts_with(beginning)), "{log}");
}

#[test]
fn what_strangers_say_is_printable_in_a_single_probe() {
    let scratch = Scratch::new();
    let (sources, _more) = sources(&scratch);
    let ca = scratch.path("ca.crt").display().to_string();
    let mut heard = 0;
    for (index, (backend, check)) in sources.iter().enumerate() {
        let kind = check.as_str().unwrap_or_else(|| check.as_object().unwrap().keys().next_back().unwrap());
        let address = backend.address.to_string();
        // An exchange waits until then for the words that do not come.
        let timeout = if kind == "exchange" { "1s" } else { "5s" };
        let mut arguments = vec!["probe", kind, &address, "--timeout", timeout];
        let command = &check["exec"];
        match kind {
            "exec" if command.is_array() => arguments.extend(["--", command[0].as_str().unwrap()]),
            "exec" => arguments.extend(["--roles", "--", command["command"][0].as_str().unwrap()]),
            "exchange" => arguments.extend(["--send", "hello\\r\\n", "--expect", "welcome"]),
            "http" if check.is_object() && index == 18 => arguments.extend(["--tls", "verify-full", "--tls-ca-file", &ca]),
            "postgres" | "mysql" => arguments.extend(["--tls", "off"]),
            _ => {}
        }
        let [screen, complaint] = mainstay(&arguments);
        assert!(complaint.is_empty(), "{arguments:?}: {complaint}");
        assert_clean(&format!("{arguments:?}"), &screen);
        heard += usize::from(screen.contains("evil"));
        arguments.insert(3, "--json");
        let [object, _] = mainstay(&arguments);
        assert_clean_json(&format!("{arguments:?}"), &object);
    }
    assert!(heard >= 15, "only {heard} were heard");
    let library = resolver(&scratch, &nasty(RESOLVER));
    for format in [&[][..], &["--json"]] {
        let mut probe = Command::new(env!("CARGO_BIN_EXE_mainstay"));
        probe.args(["probe", "tcp", "never.test:5432"]).args(format).env("LD_PRELOAD", &library);
        let [told, _] = printed(&mut probe);
        assert!(told.contains(&format!("evil{RESOLVER}")), "{told}");
        if format.is_empty() { assert_clean("a name", &told) } else { assert_clean_json("a name", &told) }
    }
}

/// Whoever answers in the place of mainstay is a stranger as well.
#[test]
fn what_answers_in_the_place_of_mainstay_is_printable() {
    let said = nasty(0);
    let backend = json!({"name": said, "address": said, "health": said, "role": said, "reason": said, "reader": true,
        "reader_reason": said, "active": true, "connections": 1, "lag_bytes": null, "version": said});
    let last =
        json!({"at": said, "from": said, "to": said, "cause": said, "evidence": said, "gap_ms": 1.0, "sessions_closed": 0});
    let listener = json!({"name": said, "listen": [said], "connections": 1, "limit": null, "route": said, "allow": [said], "deny": [said],
        "proxy_protocol": {"accept_from": [said], "send": said}});
    let status = json!({"version": said, "uptime_seconds": 1, "phase": said, "reasons": [said], "pools": [{
        "name": said, "summary": said, "epoch": 1, "active": said, "listeners": [listener], "last_failover": last, "backends": [backend]}]});
    let wrong = json!({"version": "1", "uptime_seconds": said, "reasons": said});
    for body in [status.to_string(), wrong.to_string(), said.clone()] {
        for code in ["200 OK", "503 Service Unavailable"] {
            let answer = http(code.as_bytes(), "", &body);
            let server = Backend::start(move |mut stream| {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(&answer);
                let _ = stream.read(&mut [0; 1]);
            });
            let admin = server.address.to_string();
            for arguments in [&["status"][..], &["status", "--json"], &["wait", "--max", "0s"]] {
                for text in mainstay(&[arguments, &["--admin", &admin]].concat()) {
                    assert_clean(&format!("mainstay {arguments:?} of {code}"), &unfilled(&text));
                }
            }
        }
    }
}

/// A file that somebody else wrote, or a template filled with what somebody else wrote.
#[test]
fn what_a_configuration_holds_is_printable_where_its_errors_are_told() {
    let scratch = Scratch::new();
    let (_socket, nobody) = refusing();
    let (said, good) = (nasty(0), settings(&[nobody]));
    let process = Process::start(&good);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut settings = good.clone();
        settings["admin"]["listen"] = json!(process.admin.to_string());
        change(&mut settings);
        settings
    };
    let cases: [&dyn Fn(&mut Value); 9] = [
        &|settings| settings[&*said] = json!(1),
        &|settings| settings["pools"][0][&*said] = json!(1),
        &|settings| settings["pools"][0]["name"] = json!(said),
        &|settings| settings["pools"][0]["backends"][0]["name"] = json!(said),
        &|settings| settings["pools"][0]["backends"][0]["address"] = json!(format!("{said}:5432")),
        &|settings| settings["pools"][0]["check"] = json!(said),
        &|settings| settings["pools"][0]["check"]["interval"] = json!(said),
        &|settings| settings["log"]["level"] = json!(said),
        &|settings| settings["pools"][0]["listen"] = json!(said),
    ];
    for (index, change) in cases.into_iter().enumerate() {
        let escaped = with(change).to_string();
        // In JSON as it is written only what must be escaped is, and a YAML file has turned writing as it is.
        let file = scratch.file("mainstay.yaml", &escaped, 0o600);
        for arguments in [&["check"][..], &["check", "--json"]] {
            let [out, err] = mainstay(&[arguments, &["-c", file.to_str().unwrap()]].concat());
            assert!(
                out.contains("evil") || err.contains("evil") || out.contains("error") || err.contains("error"),
                "case {index}: {out}{err}"
            );
            for text in [out, err] {
                assert_clean(&format!("case {index}: {arguments:?}"), &unfilled(&text));
            }
        }
        process.reload(&escaped);
    }
    for line in process.log() {
        assert_clean("the log of reloads", &unfilled(&strings(&line).join(" ")));
    }
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
        let (_socket, nobody) = refusing();
        settings["pools"] = json!([{
            "name": "orders", "check": "redis", "hold": {"timeout": "100ms", "max": 10},
            "listeners": [{"name": "rw", "listen": "127.0.0.1:0", "refusal": refusal}],
            "backends": [{"name": "db-secret", "address": nobody.to_string()}],
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
