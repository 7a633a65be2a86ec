//! Listeners that lead to readers: who is chosen, who goes on when a reader leaves, and where clients go when there is none.

use std::{
    io::{self, Read, Write},
    iter,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, ChildStdin, Stdio},
    sync::Barrier,
    thread,
    time::Duration,
};

use mainstay::{app, config, failover::ReadEligibility};
use serde_json::{Value, json};

use crate::support::{
    child::Lines,
    config::{LOOPBACK, relay},
    echo::{Backend, reset},
    front::{client, end, is_over},
    postgres::{Postgres, binaries},
    process::{Process, Signal, settings},
    wait::{Watch, until, within},
};

const IS_STANDBY: &str = "SELECT pg_is_in_recovery()";

/// A print is read every ten seconds.
const READ: Duration = Duration::from_mins(1);

/// A listener that leads there; `more` are further keys.
fn listener(name: &str, route: &str, more: &Value) -> Value {
    let mut listener = json!({"name": name, "listen": LOOPBACK.to_string(), "route": route, "relay": relay()});
    listener.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    listener
}

/// One pool with these listeners, and a quick check.
fn pool(backends: &[SocketAddr], check: &Value, listeners: &[Value]) -> Value {
    let mut settings = settings(backends);
    let pool = settings["pools"][0].as_object_mut().unwrap();
    pool.remove("listen");
    let mut quick = json!({"interval": "200ms", "fast_interval": "50ms", "timeout": "1s"});
    quick.as_object_mut().unwrap().extend(check.as_object().unwrap().clone());
    pool.insert("check".to_owned(), quick);
    pool.insert("listeners".to_owned(), json!(listeners));
    settings
}

fn address(server: &Postgres) -> SocketAddr {
    ([127, 0, 0, 1], server.port).into()
}

/// Where this listener is bound.
fn bound(process: &Process, listener: &str) -> SocketAddr {
    let line = process.log().into_iter().find(|line| line["message"] == "listening" && line["listener"] == listener);
    let line = line.unwrap_or_else(|| panic!("no listener {listener}"));
    line["addresses"].as_str().unwrap().trim_matches(['[', ']']).parse().unwrap()
}

fn reading(process: &Process, backend: &str) -> String {
    let status = process.status();
    let backends = status["pools"][0]["backends"].as_array().unwrap();
    let found = backends.iter().find(|view| view["name"] == backend).unwrap();
    assert_eq!(found["reader"] == true, found["reader_reason"] == "reader");
    found["reader_reason"].as_str().unwrap().to_owned()
}

#[track_caller]
fn until_reading(process: &Process, backend: &str, word: &str) {
    until(&format!("{backend} is {word}"), || (reading(process, backend) == word).then_some(()));
}

/// A client with a session, which asks one question after the other.
pub(crate) struct Sql {
    child: Child,
    stdin: ChildStdin,
    stdout: Lines,
    stderr: Lines,
}

impl Sql {
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut child = binaries()
            .command("psql")
            .args(["-XAtqw", &format!("host=127.0.0.1 port={} user=postgres dbname=postgres", address.port())])
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql is part of the PostgreSQL client");
        let (stdout, stderr) = (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
        Self { stdin: child.stdin.take().unwrap(), stdout, stderr, child }
    }

    /// The one line that it answers, or what the client says of its end.
    pub(crate) fn ask(&mut self, sql: &str) -> Result<String, String> {
        let asked = writeln!(self.stdin, "{sql};").and_then(|()| self.stdin.flush());
        if let Some(line) = asked.ok().and_then(|()| self.stdout.next()) {
            return Ok(line.trim().to_owned());
        }
        Err(iter::from_fn(|| self.stderr.next()).map(|line| line + "\n").collect())
    }

    /// Whether a new session is with a standby: `t` or `f`.
    pub(crate) fn once(address: SocketAddr) -> String {
        Self::open(address).ask(IS_STANDBY).unwrap_or_else(|why| panic!("{why}"))
    }
}

impl Drop for Sql {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_example_reads_from_its_standbys_and_writes_to_its_primary() {
    let primary = Postgres::primary(&[]);
    primary.sql("CREATE ROLE mainstay LOGIN");
    let standbys = [primary.standby(&[]), primary.standby(&[])];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/replicas.yaml");
    let mut config = config::load(&path, &|_| Some("not asked for".to_owned())).unwrap().config;
    config.admin.listen = vec![LOOPBACK.into()];
    let pool = &mut config.pools[0];
    pool.listeners.iter_mut().for_each(|listener| listener.listen = vec![LOOPBACK.into()]);
    for (backend, server) in pool.backends.iter_mut().zip([&primary].into_iter().chain(&standbys)) {
        backend.address = address(server).to_string().parse().unwrap();
    }
    let running = app::start(&config).unwrap();
    let readings = || running.snapshots[0].get().backends.iter().map(|backend| backend.read_eligibility).collect::<Vec<_>>();
    until("all are known", || {
        (readings() == [ReadEligibility::Active, ReadEligibility::Reader, ReadEligibility::Reader]).then_some(())
    });
    let (rw, ro) = (running.listeners[0][0][0], running.listeners[0][1][0]);
    assert_eq!(Sql::once(rw), "f");
    let mut readers: Vec<_> = (0..6).map(|_| Sql::open(ro)).collect();
    let port = "SELECT pg_is_in_recovery()::text || current_setting('port')";
    for (number, reader) in readers.iter_mut().enumerate() {
        assert!(reader.ask(port).unwrap().starts_with("true"), "reader {number} is with the primary");
    }
    let sessions: Vec<_> = running.series[0].backends.iter().map(|backend| backend.connections_active.get()).collect();
    assert!(sessions[1..].iter().all(|sessions| (2..=4).contains(sessions)), "{sessions:?}");
    drop(readers);
    end(running);
}

#[test]
fn any_leads_to_the_primary_as_well_and_each_listener_says_where_it_leads() {
    let primary = Postgres::primary(&[]);
    let standby = primary.standby(&[]);
    let listeners = [listener("rw", "primary", &json!({})), listener("any", "any", &json!({"balance": "round_robin"}))];
    let process = Process::start(&pool(&[address(&primary), address(&standby)], &json!({"postgres": {}}), &listeners)).serving();
    until_reading(&process, "db-b", "reader");
    assert_eq!(reading(&process, "db-a"), "active");
    let mut said: Vec<_> = (0..6).map(|_| Sql::once(bound(&process, "any"))).collect();
    said.sort();
    assert_eq!(said, ["f", "f", "f", "t", "t", "t"]);
    let status = process.status();
    let routes: Vec<_> = (0..2).map(|n| status["pools"][0]["listeners"][n]["route"].as_str().unwrap().to_owned()).collect();
    assert_eq!(routes, ["primary", "any"]);
    let metric = |backend| process.metric("mainstay_backend_reader", &[("backend", backend)]);
    assert_eq!([metric("db-a"), metric("db-b")], [0, 1]);
    assert_eq!(process.metric("mainstay_backend_reader_reason", &[("backend", "db-a"), ("reason", "active")]), 1);
}

#[test]
fn a_dead_standby_loses_its_readers_at_once_and_new_ones_fall_back_or_wait() {
    let primary = Postgres::primary(&[]);
    let mut standby = primary.standby(&[]);
    let listeners = [
        listener("rw", "primary", &json!({})),
        listener("ro", "replica", &json!({})),
        listener("strict", "replica", &json!({"fallback": "none"})),
    ];
    let process = Process::start(&pool(&[address(&primary), address(&standby)], &json!({"postgres": {}}), &listeners)).serving();
    until_reading(&process, "db-b", "reader");
    let (ro, strict) = (bound(&process, "ro"), bound(&process, "strict"));
    let mut sessions = [ro, strict].map(Sql::open);
    assert!(sessions.iter_mut().all(|session| session.ask(IS_STANDBY).as_deref() == Ok("t")));
    let mut writer = Sql::open(process.address);
    assert_eq!(writer.ask(IS_STANDBY).unwrap(), "f");
    standby.signal("-QUIT");
    until_reading(&process, "db-b", "down");
    for session in &mut sessions {
        session.ask(IS_STANDBY).unwrap_err();
    }
    let closed = until("its sessions were closed", || {
        let gone = process.metric("mainstay_connections_active", &[("backend", "db-b")]) == 0;
        gone.then(|| process.metric("mainstay_connections_closed_total", &[("backend", "db-b")]))
    });
    assert_eq!(closed, 2);
    assert_eq!(Sql::once(ro), "f", "the fallback");
    let mut fallen_back = Sql::open(ro);
    assert_eq!(fallen_back.ask(IS_STANDBY).unwrap(), "f");
    let waiting = thread::spawn(move || Sql::once(strict));
    until("it waits", || (process.metric("mainstay_connections_held", &[]) == 1).then_some(()));
    // Neither the queue of those who wait, nor its place in it, has anything to do with the primary's.
    assert_eq!(Sql::once(process.address), "f");
    standby.restart(&[]);
    assert_eq!(waiting.join().unwrap(), "t", "it was served by the primary");
    assert_eq!(Sql::once(ro), "t");
    assert_eq!(fallen_back.ask(IS_STANDBY).unwrap(), "f", "who fell back stays");
    assert_eq!(writer.ask(IS_STANDBY).unwrap(), "f");
    assert_eq!(process.status()["pools"][0]["epoch"], 1);
}

/// The only standby has changed, and still proves itself: half of the clients read from it, and the others wait, also when both come
/// at the same time.
#[test]
fn a_canary_gets_its_share_and_who_waits_beside_it_is_not_handed_to_it() {
    let primary = Postgres::primary(&[]);
    let standby = primary.standby(&[]);
    let listeners = [listener("rw", "primary", &json!({})), listener("strict", "replica", &json!({"fallback": "none"}))];
    let mut settings = pool(&[address(&primary), address(&standby)], &json!({"postgres": {}}), &listeners);
    settings["pools"][0]["hold"] = json!({"timeout": "3s"});
    settings["pools"][0]["guard"] = json!({"mode": "enforce", "soak": "1h", "canary": "50%"});
    let process = Process::start(&settings).serving();
    let print = || {
        let diff: Value = serde_json::from_str(&process.get("/api/v1/pools/orders/diff").1).ok()?;
        diff["backends"].as_array()?.iter().all(|backend| backend["print"].is_string()).then_some(())
    };
    within(READ, "both prints", print);
    until_reading(&process, "db-b", "reader");
    standby.sql("ALTER SYSTEM SET random_page_cost = 2.5");
    standby.sql("SELECT pg_reload_conf()");
    within(READ, "db-b is a canary", || (reading(&process, "db-b") == "canary").then_some(()));
    // Not before its proofs have passed.
    let lasts = |status: &Value| Some(status["pools"][0]["backends"][1]["proof_what"].as_str()?.contains("guard.soak"));
    within(READ, "it has to last", || lasts(&process.status())?.then_some(()));
    let strict = bound(&process, "strict");
    let clients: Vec<_> = (0..20).map(|_| thread::spawn(move || Sql::open(strict).ask(IS_STANDBY))).collect();
    let answers: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert_eq!((answers.iter().filter(|answer| **answer == Ok("t".to_owned())).count(), refused.len()), (10, 10), "{answers:?}");
    let why = "no replica may be read: db-a: active, db-b: canary";
    assert!(refused.iter().all(|refused| refused.contains(why)), "{refused:?}");
    assert_eq!(process.metric("mainstay_connections_rejected_total", &[("listener", "strict"), ("reason", "hold_timeout")]), 10);
}

#[test]
fn who_waits_in_vain_for_a_reader_is_told_why() {
    let primary = Postgres::primary(&[]);
    let listeners = [listener("rw", "primary", &json!({})), listener("ro", "replica", &json!({"fallback": "none"}))];
    let mut settings = pool(&[address(&primary)], &json!({"postgres": {}}), &listeners);
    settings["pools"][0]["hold"] = json!({"timeout": "300ms"});
    let process = Process::start(&settings).serving();
    let why = Sql::open(bound(&process, "ro")).ask("SELECT 1").unwrap_err();
    assert!(why.contains("no database node may serve now (no replica may be read: db-a: active)"), "{why}");
    let rejected = [("listener", "ro"), ("reason", "hold_timeout")];
    assert_eq!(process.metric("mainstay_connections_rejected_total", &rejected), 1);
}

#[test]
fn a_lagging_standby_keeps_its_sessions_and_gets_no_new_ones_until_it_has_caught_up() {
    let primary = Postgres::primary(&[]);
    let standby = primary.standby(&[]);
    let listeners = [listener("rw", "primary", &json!({})), listener("ro", "replica", &json!({}))];
    let check = json!({"postgres": {"max_lag": "1MiB"}});
    let process = Process::start(&pool(&[address(&primary), address(&standby)], &check, &listeners)).serving();
    until_reading(&process, "db-b", "reader");
    let ro = bound(&process, "ro");
    let mut session = Sql::open(ro);
    assert_eq!(session.ask(IS_STANDBY).unwrap(), "t");
    standby.sql("SELECT pg_wal_replay_pause()");
    primary.sql("CREATE TABLE t AS SELECT repeat('x', 1000) AS x FROM generate_series(1, 4000)");
    until_reading(&process, "db-b", "lag");
    assert_eq!(Sql::once(ro), "f", "a new session goes to a standby that is too far behind");
    assert_eq!(session.ask(IS_STANDBY).unwrap(), "t");
    let line = process.logged("backend may not be read: lag");
    let told = line["message"].as_str().unwrap();
    assert!(told.contains(" MiB > 1.0 MiB; sessions go on"), "{told}");
    assert_eq!((&line["backend"], &line["reason"]), (&json!("db-b"), &json!("lag")));
    standby.sql("SELECT pg_wal_replay_resume()");
    until_reading(&process, "db-b", "reader");
    assert_eq!(Sql::once(ro), "t");
    assert_eq!(session.ask("SELECT count(*) FROM t").unwrap(), "4000", "the session from before");
    assert_eq!(process.metric("mainstay_sessions_revoked_total", &[]), 0);
    let events: Value = serde_json::from_str(&process.get("/api/v1/events").1).unwrap();
    let of_reader: Vec<_> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["kind"] == "reader" && event["backend"] == "db-b")
        .map(|event| event["to"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(of_reader, ["reader", "lag", "reader"]);
}

#[test]
fn readers_are_served_while_nobody_is_active_and_go_on_when_their_standby_is_promoted() {
    let mut primary = Postgres::primary(&[]);
    let standby = primary.standby(&[]);
    let listeners = [listener("rw", "primary", &json!({})), listener("ro", "replica", &json!({}))];
    let process = Process::start(&pool(&[address(&primary), address(&standby)], &json!({"postgres": {}}), &listeners)).serving();
    until_reading(&process, "db-b", "reader");
    let ro = bound(&process, "ro");
    let mut session = Sql::open(ro);
    assert_eq!(session.ask(IS_STANDBY).unwrap(), "t");
    primary.stop_fast();
    until("nobody is active", || process.status()["pools"][0]["active"].is_null().then_some(()));
    let rw = process.address;
    let writer = thread::spawn(move || Sql::once(rw));
    until("a writer waits", || (process.metric("mainstay_connections_held", &[]) == 1).then_some(()));
    assert_eq!(Sql::once(ro), "t", "readers do not wait behind writers");
    standby.promote();
    until("the standby is active", || (process.status()["pools"][0]["active"] == "db-b").then_some(()));
    assert_eq!(writer.join().unwrap(), "f");
    assert_eq!(reading(&process, "db-b"), "active");
    assert_eq!(session.ask(IS_STANDBY).unwrap(), "f", "the session from before goes on");
    assert_eq!(Sql::once(ro), "f", "the fallback");
    assert_eq!(process.metric("mainstay_connections_closed_total", &[("backend", "db-b"), ("reason", "revoked")]), 0);
}

/// Says its letter for each byte that it hears.
fn lettered(letter: u8) -> Backend {
    Backend::start(
        move |mut stream| while stream.read(&mut [0; 1]).is_ok_and(|read| read == 1) && stream.write_all(&[letter]).is_ok() {},
    )
}

/// A session with one of them.
struct Lettered(TcpStream);

impl Lettered {
    fn open(address: SocketAddr) -> Self {
        Self(client(address))
    }

    fn letter(&mut self) -> io::Result<char> {
        let mut letter = [0];
        self.0.write_all(b"?")?;
        self.0.read_exact(&mut letter)?;
        Ok(letter[0].into())
    }

    fn is_over(&mut self) -> bool {
        is_over(&self.0)
    }
}

fn letters(sessions: &mut [Lettered]) -> String {
    sessions.iter_mut().map(|session| session.letter().unwrap()).collect()
}

/// How many of `a`, `b` and `c`.
fn counts(letters: &str) -> [usize; 3] {
    ['a', 'b', 'c'].map(|letter| letters.matches(letter).count())
}

const TCP: fn() -> Value = || json!({"tcp": {}});

#[test]
fn sessions_are_spread_over_the_readers_by_their_number_or_in_turn() {
    let backends = [b'a', b'b', b'c'].map(lettered);
    let listeners = [
        listener("rw", "primary", &json!({})),
        listener("least", "replica", &json!({})),
        listener("turns", "replica", &json!({"balance": "round_robin"})),
        listener("any", "any", &json!({})),
    ];
    let process = Process::start(&pool(&backends.each_ref().map(|backend| backend.address), &TCP(), &listeners)).serving();
    until_reading(&process, "db-c", "reader");
    let least = bound(&process, "least");
    let mut sessions = Vec::new();
    for _ in 0..20 {
        sessions.push(Lettered::open(least));
        let [a, b, c] = counts(&letters(&mut sessions));
        assert!(a == 0 && b.abs_diff(c) <= 1, "{a} {b} {c}");
    }
    // Those of `b` end: all that come now go there until they are equal again.
    sessions.retain_mut(|session| session.letter().unwrap() == 'c');
    until("they have ended", || (process.metric("mainstay_connections_active", &[("backend", "db-b")]) == 0).then_some(()));
    sessions.extend((0..10).map(|_| {
        let mut session = Lettered::open(least);
        assert_eq!(session.letter().unwrap(), 'b');
        session
    }));
    // All at once: those on their way count before they have a session.
    let barrier = Barrier::new(8);
    let mut crowd: Vec<Lettered> = thread::scope(|scope| {
        let open = || {
            barrier.wait();
            (0..10).map(|_| Lettered::open(least)).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let [a, b, c] = counts(&letters(&mut crowd));
    assert!(a == 0 && b.abs_diff(c) <= 4, "{a} {b} {c}");
    drop((crowd, sessions));
    until("they have ended", || (process.metric("mainstay_connections_active", &[]) == 0).then_some(()));

    let turns = bound(&process, "turns");
    let mut in_turn: Vec<_> = (0..10).map(|_| Lettered::open(turns)).collect();
    assert_eq!(counts(&letters(&mut in_turn)), [0, 5, 5]);
    let mut any: Vec<_> = Vec::new();
    for _ in 0..5 {
        any.push(Lettered::open(bound(&process, "any")));
        letters(&mut any);
    }
    assert_eq!(letters(&mut any), "aaaaa", "the active one has the fewest");
}

#[test]
fn without_roles_everybody_but_the_active_one_is_read_and_the_last_resort_is_the_active_one() {
    let [mut a, b, mut c] = [b'a', b'b', b'c'].map(lettered);
    let listeners = [listener("rw", "primary", &json!({})), listener("ro", "replica", &json!({"balance": "round_robin"}))];
    let process = Process::start(&pool(&[a.address, b.address, c.address], &TCP(), &listeners)).serving();
    until_reading(&process, "db-c", "reader");
    let ro = bound(&process, "ro");
    let mut sessions: Vec<_> = (0..4).map(|_| Lettered::open(ro)).collect();
    assert_eq!(counts(&letters(&mut sessions)), [0, 2, 2]);
    a.stop();
    until("the next is active", || (process.status()["pools"][0]["active"] == "db-b").then_some(()));
    assert_eq!(counts(&letters(&mut sessions)), [0, 2, 2], "those with the one that is active now go on");
    let mut more: Vec<_> = (0..4).map(|_| Lettered::open(ro)).collect();
    assert_eq!(counts(&letters(&mut more)), [0, 0, 4]);
    let mut of_c: Vec<_> = more.into_iter().chain(sessions.extract_if(.., |session| session.letter().unwrap() == 'c')).collect();
    c.stop();
    until_reading(&process, "db-c", "down");
    assert!(of_c.iter_mut().all(Lettered::is_over), "the sessions of a dead reader go on");
    assert_eq!(process.metric("mainstay_sessions_revoked_total", &[("backend", "db-c"), ("cause", "down")]), 6);
    assert_eq!(Lettered::open(ro).letter().unwrap(), 'b', "the fallback");
    assert_eq!(letters(&mut sessions), "bb");
    // One writer and two readers: each is counted once.
    let mut writer = Lettered::open(process.address);
    assert_eq!(writer.letter().unwrap(), 'b');
    until("three are left", || (process.metric("mainstay_connections_active", &[("backend", "db-b")]) == 3).then_some(()));
    drop(b);
    until("nobody is active", || process.status()["pools"][0]["active"].is_null().then_some(()));
    assert!(writer.is_over() && sessions.iter_mut().all(Lettered::is_over));
    assert_eq!(process.metric("mainstay_sessions_revoked_total", &[("backend", "db-b"), ("cause", "down")]), 3);
}

#[test]
fn a_refused_connect_to_a_reader_costs_its_client_nothing() {
    let [a, b, mut c] = [b'a', b'b', b'c'].map(lettered);
    let listeners = [
        listener("rw", "primary", &json!({})),
        listener("ro", "replica", &json!({"balance": "round_robin", "fallback": "none"})),
        listener("last", "replica", &json!({})),
    ];
    // Nobody but the clients will find out.
    let check = json!({"tcp": {}, "interval": "30s", "fast_interval": "30s"});
    let process = Process::start(&pool(&[a.address, b.address, c.address], &check, &listeners)).serving();
    until_reading(&process, "db-c", "reader");
    c.stop();
    let started = Watch::start();
    let mut sessions: Vec<_> = (0..10).map(|_| Lettered::open(bound(&process, "ro"))).collect();
    assert_eq!(letters(&mut sessions), "bbbbbbbbbb");
    assert!(started.unhindered() < Duration::from_secs(1), "{:?}", started.elapsed());
    let refused = process.metric("mainstay_dial_failures_total", &[("backend", "db-c"), ("reason", "refused")]);
    assert!(refused >= 1, "nobody was sent there");
    // The other one, too: the fallback.
    drop(b);
    assert_eq!(Lettered::open(bound(&process, "last")).letter().unwrap(), 'a');
}

#[test]
fn a_reader_that_drops_everybody_keeps_nobody_from_the_others() {
    let speaks = |letter: u8| {
        Backend::start_first(LOOPBACK, move |mut stream| {
            let _ = stream.write_all(&[letter]);
            let _ = stream.read(&mut [0; 1]);
        })
    };
    let drops = Backend::start_first(LOOPBACK, |stream| {
        // Late enough that the connect has succeeded and the session has begun.
        thread::sleep(Duration::from_millis(20));
        reset(stream);
    });
    let (a, b, c) = (speaks(b'a'), speaks(b'b'), drops);
    let first_word = |address| {
        let mut word = [0];
        let mut session = client(address);
        session.read_exact(&mut word).map(|()| (char::from(word[0]), session))
    };
    let listeners = [listener("rw", "primary", &json!({})), listener("ro", "replica", &json!({}))];
    let process = Process::start(&pool(&[a.address, b.address, c.address], &TCP(), &listeners)).serving();
    until_reading(&process, "db-c", "reader");
    let ro = bound(&process, "ro");
    let served: Vec<_> = (0..10).map(|_| first_word(ro).unwrap()).collect();
    let by_b = served.iter().filter(|(letter, _)| *letter == 'b').count();
    assert!(by_b >= 5, "the good reader was passed over: {by_b} of 10");
    drop((served, process));
    // It is the only one: the fallback.
    let process = Process::start(&pool(&[a.address, c.address], &TCP(), &listeners)).serving();
    until_reading(&process, "db-b", "reader");
    assert_eq!(first_word(bound(&process, "ro")).unwrap().0, 'a');
}

#[test]
fn routes_change_by_reload_for_those_who_come_then() {
    let backends = [b'a', b'b'].map(lettered);
    let addresses = backends.each_ref().map(|backend| backend.address);
    let with = |route: &str, more: &Value| {
        pool(&addresses, &TCP(), &[listener("rw", "primary", &json!({})), listener("ro", route, more)])
    };
    let process = Process::start(&with("replica", &json!({"fallback": "none"}))).serving();
    until_reading(&process, "db-b", "reader");
    let ro = bound(&process, "ro");
    let mut reader = Lettered::open(ro);
    assert_eq!(reader.letter().unwrap(), 'b');
    process.reload(&with("primary", &json!({})).to_string());
    let route = || process.status()["pools"][0]["listeners"][1]["route"].as_str().unwrap().to_owned();
    assert_eq!(route(), "primary");
    let mut writer = Lettered::open(ro);
    assert_eq!((writer.letter().unwrap(), reader.letter().unwrap()), ('a', 'b'));
    process.reload(&with("any", &json!({"balance": "round_robin"})).to_string());
    let mut any: Vec<_> = (0..4).map(|_| Lettered::open(ro)).collect();
    assert_eq!(counts(&letters(&mut any)), [2, 2, 0]);
    assert_eq!((writer.letter().unwrap(), reader.letter().unwrap()), ('a', 'b'));
    assert_eq!(process.metric("mainstay_config_last_reload_successful", &[]), 1);
    // Its backend leaves the configuration, and its session does not.
    let mut alone = with("replica", &json!({}));
    alone["pools"][0]["backends"].as_array_mut().unwrap().pop();
    process.reload(&alone.to_string());
    assert_eq!(Lettered::open(ro).letter().unwrap(), 'a', "the fallback");
    assert_eq!(reader.letter().unwrap(), 'b');
    // The end of the process is the end of it all the same.
    process.signal(Signal::TERM);
    process.logged("draining");
    process.signal(Signal::TERM);
    assert!(reader.is_over());
    // Told to end, not merely cut with the process.
    until("its end is accounted for", || {
        let ended =
            |line: &Value| line["message"] == "session closed" && line["backend"] == "db-b" && line["reason"] == "shutdown";
        process.log().iter().any(ended).then_some(())
    });
}
