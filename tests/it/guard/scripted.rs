//! A whole mainstay before two servers that say what the test wants: backends that leave the configuration and come back, prints that
//! cannot be read, prints and servers that never rest, and reloads at the wrong moment.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};

use super::READ;
use crate::support::{
    config::LOOPBACK,
    echo::Backend,
    scratch::Scratch,
    site::Site,
    wait::{Watch, until, within},
};

/// What a server says to `CONFIG GET`, as it goes over the wire.
type Words = Arc<Mutex<Vec<u8>>>;

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn parameters(of: &[(&str, &str)]) -> Vec<u8> {
    let words: String = of.iter().map(|(name, value)| bulk(name) + &bulk(value)).collect();
    format!("*{}\r\n{words}", 2 * of.len()).into_bytes()
}

/// Speaks as much of Redis as the check asks for.
struct Server {
    backend: Backend,
    config: Words,
    /// It answers nothing to `CONFIG GET` as long as this is set.
    is_held: Arc<AtomicBool>,
    /// Its sessions: a test may end them.
    sessions: Arc<Mutex<Vec<TcpStream>>>,
}

impl Server {
    fn start(role: &'static str) -> Self {
        let (config, sessions) = (Words::default(), Arc::<Mutex<Vec<TcpStream>>>::default());
        let is_held = Arc::<AtomicBool>::default();
        let (says, held, opened) = (Arc::clone(&config), Arc::clone(&is_held), Arc::clone(&sessions));
        let backend = Backend::start_at(LOOPBACK, move |stream| {
            opened.lock().unwrap().push(stream.try_clone().unwrap());
            let _ = talk(&stream, role, (&says, &held));
        });
        let server = Self { backend, config, is_held, sessions };
        server.has("1");
        server
    }

    /// The value of its one parameter from now on.
    fn has(&self, value: &str) {
        self.answers(parameters(&[("maxclients", value)]));
    }

    fn answers(&self, words: Vec<u8>) {
        *self.config.lock().unwrap() = words;
    }

    fn holds(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::SeqCst);
    }

    fn hang_up(&self) {
        for session in self.sessions.lock().unwrap().drain(..) {
            let _ = session.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn talk(stream: &TcpStream, role: &str, (config, is_held): (&Words, &AtomicBool)) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let count: usize = line.trim_end().trim_start_matches('*').parse().unwrap_or(0);
        let mut words = Vec::new();
        for _ in 0..count {
            line.clear();
            reader.read_line(&mut line)?;
            let mut word = vec![0; line.trim_end()[1..].parse::<usize>().unwrap() + 2];
            reader.read_exact(&mut word)?;
            words.push(String::from_utf8_lossy(&word).trim_end().to_lowercase());
        }
        let id = "0123456789012345678901234567890123456789";
        let replication = format!("role:{role}\r\nmaster_link_status:up\r\nslave_read_repl_offset:9\r\nslave_repl_offset:9\r\n");
        let answer = match words.join(" ") {
            words if words.starts_with("config") => {
                within(5 * READ, "the test goes on", || (!is_held.load(Ordering::SeqCst)).then_some(()));
                config.lock().unwrap().clone()
            }
            words if words.contains("server") => bulk(&format!("redis_version:7.0.15\r\nrun_id:{id}\r\n")).into_bytes(),
            words if words.contains("modules") => bulk("# Modules\r\n").into_bytes(),
            words if words.starts_with("info") => {
                bulk(&format!("{replication}master_replid:{id}\r\nmaster_repl_offset:9\r\n")).into_bytes()
            }
            _ => b"+OK\r\n".to_vec(),
        };
        (&mut &*stream).write_all(&answer)?;
    }
}

/// A mainstay before a primary and a replica.
struct Scripted {
    site: Site,
    a: Server,
    b: Server,
    settings: Value,
    scratch: Scratch,
}

impl Scripted {
    fn new(guard: &Value) -> Self {
        let (a, b, scratch) = (Server::start("master"), Server::start("slave"), Scratch::new());
        let mut settings = json!({
            "log": {"level": "info", "format": "json"},
            "state_dir": scratch.directory(),
            "pools": [{
                "name": "orders",
                "listen": "127.0.0.1:0",
                "check": {"redis": {}, "interval": "200ms", "fall": 5},
                "guard": guard,
                "backends": [named("db-a", a.backend.address), named("db-b", b.backend.address)],
            }],
        });
        let site = Site::start(&mut settings, &scratch.path("admin.sock"));
        let scripted = Self { site, a, b, settings, scratch };
        until("both prints", || scripted.diff()["backends"].as_array()?.iter().all(has_print).then_some(()));
        scripted
    }

    fn diff(&self) -> Value {
        serde_json::from_str(&self.site.process.get("/api/v1/pools/orders/diff").1).unwrap()
    }

    /// These backends from now on.
    fn reload(&mut self, backends: &[Value]) {
        self.settings["pools"][0]["backends"] = json!(backends);
        self.load();
    }

    fn load(&self) {
        self.site.process.reload(&self.settings.to_string());
        assert_eq!(self.site.process.metric("mainstay_config_last_reload_successful", &[]), 1);
    }

    fn restart(self) -> Self {
        let Self { site, a, b, mut settings, scratch } = self;
        drop(site);
        let site = Site::start(&mut settings, &scratch.path("admin.sock"));
        Self { site, a, b, settings, scratch }
    }

    /// The state of a backend's proof, what is said of it, and whether its print was read.
    fn proof(&self, name: &str) -> Option<(String, String, bool)> {
        let pool = &self.site.process.status()["pools"][0];
        let backend = pool["backends"].as_array()?.iter().find(|backend| backend["name"] == name)?.clone();
        let diff = self.diff();
        let print = diff["backends"].as_array()?.iter().find(|backend| backend["name"] == name)?.clone();
        let text = |key: &str| backend[key].as_str().unwrap_or_default().to_owned();
        Some((text("proof"), text("proof_what"), print["read_at"].is_string()))
    }

    #[track_caller]
    fn is(&self, name: &str, state: &str) -> String {
        within(READ, &format!("{name} is {state}"), || self.proof(name).filter(|(is, _, was_read)| is == state && *was_read)).1
    }

    /// Log lines with this message about a backend.
    fn lines(&self, name: &str, message: &str) -> Vec<Value> {
        self.site.process.log().into_iter().filter(|line| line["message"] == message && line["backend"] == name).collect()
    }
}

fn has_print(backend: &Value) -> bool {
    backend["print"].is_string()
}

fn named(name: &str, address: SocketAddr) -> Value {
    json!({"name": name, "address": address.to_string()})
}

/// Its proofs never begin, so that what is told stays.
fn slow() -> Value {
    json!({"soak": "1h"})
}

#[test]
fn a_backend_that_comes_back_is_no_new_one() {
    let mut scripted = Scripted::new(&slow());
    let [a, b] = [named("db-a", scripted.a.backend.address), named("db-b", scripted.b.backend.address)];
    // As it was.
    scripted.reload(std::slice::from_ref(&a));
    scripted.reload(&[a.clone(), b.clone()]);
    scripted.is("db-b", "proven");
    // Changed meanwhile, also over a restart of mainstay.
    scripted.reload(std::slice::from_ref(&a));
    scripted.b.has("2");
    let mut scripted = scripted.restart();
    scripted.reload(&[a.clone(), b.clone()]);
    scripted.is("db-b", "proving");
    let line = until("it is told", || scripted.lines("db-b", "proof changed").into_iter().next());
    assert!(line["what"].as_str().unwrap().contains("maxclients"), "{line}");
    // Under another name, with its old proof.
    let renamed = named("db-x", scripted.b.backend.address);
    scripted.reload(&[a.clone(), renamed]);
    scripted.is("db-x", "proving");
    // As it was proven, under the first name again.
    scripted.b.has("1");
    scripted.reload(&[a, b]);
    scripted.is("db-b", "proven");
}

#[test]
fn a_backend_that_moves_has_to_prove_itself_if_it_is_another_server() {
    let mut scripted = Scripted::new(&slow());
    let [a, b] = [named("db-a", scripted.a.backend.address), named("db-b", scripted.b.backend.address)];
    let other = Server::start("slave");
    scripted.reload(&[a.clone(), named("db-b", other.backend.address)]);
    scripted.is("db-b", "proven");
    other.has("2");
    scripted.is("db-b", "proving");
    scripted.reload(&[a.clone(), b]);
    scripted.is("db-b", "proven");
    scripted.reload(&[a.clone(), named("db-b", other.backend.address)]);
    scripted.is("db-b", "proving");
    // A name goes to a third one that nobody has seen, and what is known to the server that had it.
    scripted.reload(&[a, named("db-b", scripted.b.backend.address), named("db-c", other.backend.address)]);
    scripted.is("db-c", "proving");
    scripted.is("db-b", "proven");
}

/// It is told once, and proves nothing.
fn a_print_is_unread(answer: Vec<u8>) {
    let scripted = Scripted::new(&slow());
    let before = scripted.lines("db-b", "proof changed").len();
    scripted.b.answers(answer);
    let what = within(READ, "it is told", || Some(scripted.proof("db-b")?.1).filter(|what| !what.is_empty()));
    assert!(what.starts_with("its print cannot be read: "), "{what}");
    assert_eq!(scripted.proof("db-b").unwrap().0, "unproven");
    // It serves all the same.
    scripted.site.serves("db-a");
    scripted.b.has("1");
    scripted.is("db-b", "proven");
    let lines = until("both are told", || {
        Some(scripted.lines("db-b", "proof changed").split_off(before)).filter(|lines| lines.len() >= 2)
    });
    let levels: Vec<_> = lines.iter().map(|line| (line["level"].as_str().unwrap(), line["to"].as_str().unwrap())).collect();
    assert_eq!(levels, [("WARN", "unproven"), ("INFO", "proven")], "{lines:?}");
}

#[test]
fn a_print_with_more_than_anybody_has_is_unread() {
    a_print_is_unread(format!("*4000\r\n{}", bulk(&"v".repeat(400)).repeat(4000)).into_bytes());
}

#[test]
fn a_print_that_is_rubbish_is_unread() {
    a_print_is_unread(b"rubbish\r\n".to_vec());
}

#[test]
fn a_print_with_a_name_of_ten_megabytes_is_unread() {
    a_print_is_unread([b"*2\r\n$10000000\r\n".to_vec(), vec![b'x'; 10_000_000], b"\r\n$1\r\n1\r\n".to_vec()].concat());
}

#[test]
fn what_is_no_text_is_a_value_like_any_other() {
    let scripted = Scripted::new(&slow());
    scripted.b.answers([b"*2\r\n$10\r\nmaxclients\r\n$4\r\n".to_vec(), vec![0, 0xff, 0xc0, 0x1b], b"\r\n".to_vec()].concat());
    let what = within(READ, "it is told", || Some(scripted.proof("db-b")?.1).filter(|what| !what.is_empty()));
    assert!(what.chars().all(mainstay::failover::is_printable), "{what:?}");
}

#[test]
fn a_first_print_that_cannot_be_read_is_told() {
    let mut scripted = Scripted::new(&slow());
    let other = Server::start("slave");
    other.answers(b"rubbish\r\n".to_vec());
    let backends = scripted.settings["pools"][0]["backends"].as_array().unwrap().clone();
    scripted.reload(&[backends, vec![named("db-c", other.backend.address)]].concat());
    let line = within(READ, "it is told", || scripted.lines("db-c", "print cannot be read").pop());
    assert!(line["level"] == "WARN" && line["why"].is_string() && line["help"].is_string(), "{line}");
    other.has("1");
    within(READ, "it is read", || scripted.lines("db-c", "print can be read again").pop());
    assert_eq!(scripted.lines("db-c", "print cannot be read").len(), 1);
}

#[test]
fn a_mere_doubt_is_no_warning_and_one_that_flaps_is_not_told_each_time() {
    let scripted = Scripted::new(&json!({"mode": "enforce", "soak": "1h"}));
    let events = || {
        let list: Value = serde_json::from_str(&scripted.site.process.get("/api/v1/events").1).unwrap();
        let events = list["events"].as_array().unwrap().iter();
        events.filter(|event| event["kind"] == "proof" && event["backend"] == "db-b").count()
    };
    let is_proven = || scripted.proof("db-b").is_some_and(|(state, ..)| state == "proven");
    // The first time, as at the beginning.
    for round in 1..=12 {
        let before = events();
        within(READ, "it is proven", || is_proven().then_some(()));
        within(READ, "it was in doubt, and is no longer", || {
            // The check may not have its standing session yet.
            if events() == before {
                scripted.b.hang_up();
            }
            (events() >= before + 2 && is_proven()).then_some(())
        });
        if round == 1 {
            let is_over = |lines: &Vec<Value>| lines.last().is_some_and(|last| last["to"] == "proven");
            let lines = until("both are told", || Some(scripted.lines("db-b", "proof changed")).filter(is_over));
            let [.., doubt, end] = &lines[..] else { panic!("{lines:?}") };
            assert_eq!(
                (&doubt["level"], &doubt["to"], &end["level"], &end["to"]),
                (&json!("INFO"), &json!("unproven"), &json!("INFO"), &json!("proven"))
            );
            assert!(doubt["what"].as_str().unwrap().contains("it was away") && doubt["help"].is_string(), "{doubt}");
            assert_eq!(end["what"], "it is as it was proven");
        }
    }
    let lines = scripted.lines("db-b", "proof changed");
    let minutes = usize::try_from(scripted.site.process.status()["uptime_seconds"].as_u64().unwrap()).unwrap() / 60 + 1;
    assert!(lines.len() <= 6 * minutes && events() >= 24, "{} lines in {minutes} minutes, {} events", lines.len(), events());
    assert!(lines.iter().all(|line| line["level"] == "INFO"), "{lines:?}");
    // What was changed while no mainstay looked is not known either.
    let scripted = scripted.restart();
    scripted.is("db-a", "proven");
    let lines = [scripted.lines("db-a", "proof changed"), scripted.lines("db-b", "proof changed")].concat();
    assert!(lines.iter().all(|line| line["level"] == "INFO"), "{lines:?}");
}

#[test]
fn what_is_gone_is_not_looked_after_at_each_probe() {
    let mut scripted = Scripted::new(&slow());
    scripted.settings["log"]["level"] = json!("trace");
    let mut scripted = scripted.restart();
    scripted.is("db-a", "proven");
    let is_down = |scripted: &Scripted| scripted.site.process.status()["pools"][0]["backends"][0]["health"] == "down";
    let looks = |site: &Site| {
        let log = site.process.log().into_iter();
        log.filter(|line| line["message"] == "looks after its prints and proofs").count()
    };
    let probes = |site: &Site| site.process.metric("mainstay_probes_total", &[("backend", "db-a")]);
    scripted.a.backend.stop();
    scripted.a.hang_up();
    until("db-a is down", || is_down(&scripted).then_some(()));
    let (began, before) = (Watch::start(), (looks(&scripted.site), probes(&scripted.site)));
    until("many probes", || (probes(&scripted.site) >= before.1 + 100).then_some(()));
    let (looked, seconds) = (looks(&scripted.site) - before.0, usize::try_from(began.elapsed().as_secs()).unwrap());
    // One a second, and a few for what else happens.
    assert!(looked <= seconds + 10, "{looked} looks in {seconds} s");
}

#[test]
fn proofs_of_another_configuration_do_not_count() {
    let mut scripted = Scripted::new(&slow());
    let script = scripted.scratch.script("echo $1 >>$DIR/begun; while [ ! -e $DIR/$1 ]; do sleep 0.1; done");
    let proof = |name: &str| json!({"soak": "1h", "proofs": [{"name": name, "exec": [script, name], "timeout": "5m"}]});
    let directory = scripted.scratch.directory().to_owned();
    let path = |name: &str| std::path::Path::new(&directory).join(name);
    let begun = || std::fs::read_to_string(path("begun")).unwrap_or_default();
    scripted.settings["pools"][0]["guard"] = proof("first");
    scripted.load();
    scripted.b.has("2");
    within(READ, "the first runs", || (begun() == "first\n").then_some(()));
    // In the middle of it: what has passed then does not count.
    scripted.settings["pools"][0]["guard"] = proof("second");
    scripted.load();
    std::fs::write(path("first"), "").unwrap();
    within(READ, "the second runs", || begun().ends_with("second\n").then_some(()));
    assert!(!scripted.proof("db-b").unwrap().1.contains("guard.soak"), "the second has not passed");
    // Off and on again: nobody waits for what was given up.
    for guard in [json!({"mode": "off"}), proof("third")] {
        scripted.settings["pools"][0]["guard"] = guard;
        scripted.load();
    }
    within(READ, "the third runs", || begun().ends_with("third\n").then_some(()));
    // mainstay is killed in the middle, and knows afterwards what is unproven.
    let scripted = scripted.restart();
    scripted.is("db-b", "proving");
    std::fs::write(path("third"), "").unwrap();
    within(READ, "it has to last", || scripted.proof("db-b")?.1.contains("guard.soak").then_some(()));
}

#[test]
fn a_promoter_is_told_the_end_of_what_an_earlier_mainstay_told() {
    let scratch = Scratch::new();
    let hook = scratch.script("echo $MAINSTAY_BACKEND $MAINSTAY_CAUSE >>$DIR/told");
    let told = || std::fs::read_to_string(scratch.path("told")).unwrap_or_default();
    let scripted = Scripted::new(&json!({"soak": "1h", "on_unproven": {"exec": [hook]}}));
    scripted.b.has("2");
    within(READ, "it is told", || (told() == "db-b unproven\n").then_some(()));
    scripted.is("db-b", "proving");
    let scripted = scripted.restart();
    scripted.b.has("1");
    within(READ, "it is told the end", || (told() == "db-b unproven\ndb-b proven\n").then_some(()));
    drop(scripted);
}

#[test]
fn the_key_of_the_fingerprints_is_kept_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let scripted = Scripted::new(&slow());
    let long = |end: &str| parameters(&[("maxclients", "1"), ("long", &("x".repeat(500) + end))]);
    scripted.b.answers(long("a"));
    let path = scripted.scratch.path("orders.key.json");
    let key = until("the key is kept", || std::fs::read_to_string(&path).ok());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    scripted.is("db-b", "proving");
    scripted.site.run(&["approve", "orders/db-b", "--reason", "a test"]).is_done("until it changes again");
    let prints = scripted.scratch.path("orders.prints.json");
    until("the approval is kept", || std::fs::read_to_string(&prints).ok()?.contains("a test").then_some(()));
    // The same key: a change shows. A lost key: it does not, and nothing else does either.
    let scripted = scripted.restart();
    scripted.is("db-b", "approved");
    let Scripted { site, a, b, mut settings, scratch } = scripted;
    drop(site);
    std::fs::remove_file(&path).unwrap();
    let site = Site::start(&mut settings, &scratch.path("admin.sock"));
    let scripted = Scripted { site, a, b, settings, scratch };
    scripted.is("db-b", "approved");
    let another = until("another key", || std::fs::read_to_string(&path).ok());
    assert_ne!(key, another);
    scripted.b.answers(long("b"));
    scripted.is("db-b", "proving");
    let shown = scripted.diff().to_string() + &std::fs::read_to_string(&prints).unwrap();
    let secret = another.split('"').max_by_key(|word| word.len()).unwrap();
    assert!(secret.len() == 43 && !shown.contains(secret), "{secret}");
}

/// It may be another one than before, and that will be known in a moment.
#[test]
fn a_switchover_to_one_that_was_away_waits_until_it_is_read() {
    let mut scripted = Scripted::new(&json!({"mode": "warn", "soak": "1h"}));
    let pool = &mut scripted.settings["pools"][0];
    pool["promotion"] = json!({"how": "sql"});
    // Time enough for a print that does not come.
    pool["check"]["timeout"] = json!("60s");
    scripted.load();
    let order = |more: &[&str]| {
        let said = scripted.site.run(&[&["switchover", "orders", "--to", "db-b", "--dry-run"], more].concat());
        format!("{}{}", said.out, said.err)
    };
    let why = "db-b was away, and its print has not been read since; order again in a moment";
    scripted.is("db-b", "proven");
    assert!(!order(&[]).contains(why));
    scripted.b.holds(true);
    scripted.b.hang_up();
    until("it was away", || order(&[]).contains(why).then_some(()));
    // However long that takes; and who insists gets it at once.
    assert!(!order(&["--force"]).contains(why));
    assert!(order(&[]).contains(why));
    scripted.site.run(&["drill", "orders"]).is_done(&format!("switchover: not now: {why}"));
    scripted.b.holds(false);
    until("it was read", || (!order(&[]).contains(why)).then_some(()));
}
