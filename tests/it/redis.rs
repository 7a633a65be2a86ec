//! The Redis check against real servers, and what becomes of clients when one dies.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use mainstay::{
    config::{CheckKind, RedisCheck, Secret, Sentinels, TlsMode},
    control::probe::{self, Broken, Deadline, Finding},
    failover::{Outcome, Role},
    net::addr::BackendAddr,
};
use serde_json::{Value, json};

use crate::support::{
    front::client,
    process::{Process, settings},
    redis::{Redis, ask},
    wait::{Watch, patience, until, until_async},
};

/// For what must succeed, however slow the machine is.
const TIMEOUT: Duration = Duration::from_secs(20);

fn local(port: u16) -> BackendAddr {
    format!("127.0.0.1:{port}").parse().unwrap()
}

fn user(name: Option<&str>, password: Option<&str>) -> RedisCheck {
    let password = password.map(|password| Secret::new(password.into()));
    RedisCheck { user: name.map(str::to_owned), password, ..RedisCheck::default() }
}

async fn once(port: u16, check: &RedisCheck) -> Finding {
    probe::once(&local(port), &CheckKind::Redis(check.clone()), TIMEOUT).await.unwrap()
}

#[tokio::test]
async fn roles_versions_and_a_lost_primary() {
    let primary = Redis::primary(&[]);
    let replica = primary.replica(&[]);
    let finding = once(primary.port, &RedisCheck::default()).await;
    assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Primary)), "{}", finding.evidence);
    assert!(finding.facts.version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit())));
    assert_eq!(once(replica.port, &RedisCheck::default()).await.facts.role, Some(Role::Standby));
    let facts = async |port| once(port, &RedisCheck::default()).await.facts;
    primary.ask(&["SET", "k", "v"]);
    let wrote = facts(primary.port).await;
    assert_eq!(wrote.hears_primary, None);
    until_async("the replica has it", async || {
        let facts = facts(replica.port).await;
        assert_eq!(facts.hears_primary, Some(true));
        (facts.history == wrote.history && facts.position >= wrote.position).then_some(())
    })
    .await;
    assert!(wrote.position.is_some() && wrote.history != 0);
    // Without its primary a replica is a replica still, also one that then serves nothing.
    let strict = primary.replica(&["replica-serve-stale-data no"]);
    drop(primary);
    for port in [replica.port, strict.port] {
        let limit = Instant::now() + patience();
        loop {
            let finding = once(port, &RedisCheck::default()).await;
            assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Standby)), "{}", finding.evidence);
            if finding.evidence.contains("lost its primary") {
                assert_eq!(finding.facts.hears_primary, Some(false));
                if port == replica.port {
                    assert!(finding.facts.position >= wrote.position, "{:?}", finding.facts);
                }
                break;
            }
            assert!(Instant::now() < limit, "the loss was not seen: {}", finding.evidence);
        }
    }
    // A promotion is seen over the standing session, with the next question.
    let login = probe::login(&local(replica.port), &CheckKind::Redis(RedisCheck::default())).unwrap();
    let (mut standing, _) = login.open(&replica.address().into(), Deadline::after(TIMEOUT)).await.unwrap();
    replica.ask(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(standing.query(Deadline::after(TIMEOUT)).await.facts.role, Some(Role::Primary));
}

#[tokio::test]
async fn the_least_privilege_that_is_advised_is_enough_and_less_is_told_apart() {
    let server = Redis::primary(&[]);
    server.ask(&["ACL", "SETUSER", "mainstay", "reset", "on", ">S3cr3t word", "+ping", "+info"]);
    server.ask(&["ACL", "SETUSER", "blind", "reset", "on", ">x", "+ping"]);
    server.ask(&["CONFIG", "SET", "requirepass", "root"]);
    assert_eq!(once(server.port, &user(Some("mainstay"), Some("S3cr3t word"))).await.outcome, Outcome::Ok);
    assert_eq!(once(server.port, &user(None, Some("root"))).await.outcome, Outcome::Ok);
    for wrong in
        [user(None, None), user(Some("mainstay"), Some("wrong")), user(None, Some("wrong")), user(Some("blind"), Some("x"))]
    {
        let finding = once(server.port, &wrong).await;
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
        assert!(!finding.evidence.contains("wrong\"") && finding.evidence.contains("the server says"), "{}", finding.evidence);
    }
    // It takes a ClientHello for the beginning of a command and waits for the rest: only the deadline ends this.
    let encrypted = CheckKind::Redis(RedisCheck { tls: TlsMode::Require, ..RedisCheck::default() });
    let finding = probe::once(&local(server.port), &encrypted, Duration::from_secs(1)).await.unwrap();
    assert_ne!(finding.outcome, Outcome::Ok, "TLS with a server that has none: {}", finding.evidence);
}

#[tokio::test]
async fn loading_busy_and_full_are_alive() {
    let server = Redis::primary(&["maxclients 3"]);
    let login = probe::login(&local(server.port), &CheckKind::Redis(RedisCheck::default())).unwrap();
    let (mut standing, _) = login.open(&server.address().into(), Deadline::after(TIMEOUT)).await.unwrap();
    let crowd: Vec<_> = (0..3).map(|_| client(server.address())).collect();
    let finding = once(server.port, &RedisCheck::default()).await;
    assert_eq!(finding.outcome, Outcome::Saturated, "{}", finding.evidence);
    assert_eq!(standing.query(Deadline::after(TIMEOUT)).await.outcome, Outcome::Ok, "the standing session has its place");
    drop(crowd);

    let busy = Redis::primary(&["busy-reply-threshold 50"]);
    let mut script = client(busy.address());
    let running = thread::spawn(move || ask(&mut script, &["EVAL", "while true do end", "0"]));
    let limit = Instant::now() + patience();
    loop {
        let finding = once(busy.port, &RedisCheck::default()).await;
        if finding.outcome == Outcome::Saturated {
            break;
        }
        assert!(Instant::now() < limit, "a busy server was not seen: {}", finding.evidence);
    }
    busy.ask(&["SCRIPT", "KILL"]);
    assert!(running.join().unwrap().unwrap().starts_with("-ERR"));

    // Reads a data set, slowly: a key takes 10 ms, and it looks up after five of them.
    let mut slow = Redis::primary(&["rdbcompression no", "loading-process-events-interval-bytes 1024"]);
    for key in 0..300 {
        slow.ask(&["SET", &key.to_string(), &"x".repeat(200)]);
    }
    slow.ask(&["SAVE"]);
    slow.ask(&["CONFIG", "SET", "key-load-delay", "10000"]);
    slow.ask(&["CONFIG", "REWRITE"]);
    slow.settings_of_file();
    slow.signal("-KILL");
    slow.restart();
    let finding = once(slow.port, &RedisCheck::default()).await;
    assert_eq!(finding.outcome, Outcome::Starting, "{}", finding.evidence);
}

#[tokio::test]
async fn a_hung_server_is_a_timeout_and_a_killed_one_breaks_the_standing_session() {
    let server = Redis::primary(&[]);
    let login = probe::login(&local(server.port), &CheckKind::Redis(RedisCheck::default())).unwrap();
    let (mut standing, _) = login.open(&server.address().into(), Deadline::after(TIMEOUT)).await.unwrap();
    server.signal("-STOP");
    let short = Deadline::after(Duration::from_millis(200));
    let finding = standing.query(short).await;
    assert_eq!(finding.outcome, Outcome::Timeout, "{}", finding.evidence);
    server.signal("-CONT");
    let (mut standing, _) = login.open(&server.address().into(), Deadline::after(TIMEOUT)).await.unwrap();
    server.signal("-KILL");
    let broken = tokio::time::timeout(TIMEOUT, standing.broken()).await.expect("the kernel tells");
    assert!(matches!(&broken, Broken::Closed(finding) if finding.outcome == Outcome::Closed), "{broken:?}");
    assert_eq!(standing.ended(), Some(broken));
}

#[tokio::test]
async fn a_thousand_probes_leave_no_line_in_the_servers_log_and_no_connection() {
    let server = Redis::primary(&[]);
    once(server.port, &RedisCheck::default()).await;
    let before = server.log();
    for _ in 0..1000 {
        assert_eq!(once(server.port, &RedisCheck::default()).await.outcome, Outcome::Ok);
    }
    until("all are gone", || server.ask(&["INFO", "clients"]).contains("connected_clients:1\r").then_some(()));
    assert_eq!(server.log(), before);
}

#[tokio::test]
async fn a_sentinel_and_another_protocol_are_no_server_of_data() {
    let web = crate::support::echo::Backend::start(|mut stream| {
        let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = std::io::Read::read(&mut stream, &mut [0; 512]);
    });
    let finding = once(web.address.port(), &RedisCheck::default()).await;
    assert_eq!(finding.outcome, Outcome::ProtocolError, "{}", finding.evidence);
    assert!(finding.evidence.contains("does not speak Redis"), "{}", finding.evidence);
    let finding = once(Redis::sentinel().port, &RedisCheck::default()).await;
    assert_eq!(finding.outcome, Outcome::Misconfigured, "{}", finding.evidence);
    assert!(finding.evidence.contains("Sentinel"), "{}", finding.evidence);
}

fn by_name(sentinel: &Redis) -> Sentinels {
    Sentinels { addresses: vec![local(sentinel.port)], name: "mymaster".into(), user: None, password: None }
}

#[tokio::test]
async fn sentinels_with_a_password_are_asked_with_it() {
    let primary = Redis::primary(&[]);
    let rights = "user asker on >asked +sentinel|get-master-addr-by-name +sentinel|master";
    let sentinel = primary.watched_with(&["requirepass secret", rights]);
    for (user, password, epoch) in [
        (None, Some("secret"), Some(0)),
        (Some("asker"), Some("asked"), Some(0)),
        (None, None, None),
        (None, Some("wrong"), None),
        (Some("asker"), Some("secret"), None),
    ] {
        let sentinels = Sentinels {
            user: user.map(str::to_owned),
            password: password.map(|password| Secret::new(password.to_owned())),
            ..by_name(&sentinel)
        };
        let finding = once(primary.port, &RedisCheck { sentinels: Some(sentinels), ..RedisCheck::default() }).await;
        assert_eq!(finding.facts.db_epoch, epoch, "{user:?} {password:?}: {}", finding.evidence);
    }
}

#[tokio::test]
async fn the_sentinels_tell_an_old_primary_that_returns_from_a_new_one() {
    let mut old = Redis::primary(&[]);
    let new = old.replica(&[]);
    let sentinel = old.watched();
    let sentinels = by_name(&sentinel);
    let check = RedisCheck { sentinels: Some(sentinels), ..RedisCheck::default() };
    let named = || sentinel.ask_list(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"]).contains(&new.port.to_string());
    until("the Sentinel knows the replica", || {
        sentinel.ask_list(&["SENTINEL", "MASTER", "mymaster"]).windows(2).any(|pair| pair == ["num-slaves", "1"]).then_some(())
    });
    let first = once(old.port, &check).await;
    assert_eq!((first.facts.role, first.facts.db_epoch), (Some(Role::Primary), Some(0)), "{}", first.evidence);
    // One that was seen as a replica is believed when it is promoted, before the Sentinels say so: here by hand.
    let login = probe::login(&local(new.port), &CheckKind::Redis(check.clone())).unwrap();
    let (mut session, seen) = login.open(&new.address().into(), Deadline::after(TIMEOUT)).await.unwrap();
    assert_eq!(seen.facts.role, Some(Role::Standby), "{}", seen.evidence);
    old.signal("-KILL");
    until("the Sentinel has promoted it", || named().then_some(()));
    let limit = Instant::now() + patience();
    loop {
        let mut seen = session.query(Deadline::after(TIMEOUT)).await;
        // A Sentinel ends every session with what it promotes.
        if seen.outcome == Outcome::Closed {
            (session, seen) = login.open(&new.address().into(), Deadline::after(TIMEOUT)).await.unwrap();
        }
        assert_ne!(seen.facts.role, Some(Role::Unknown), "{}", seen.evidence);
        if seen.facts.role == Some(Role::Primary) && seen.facts.db_epoch == Some(1) {
            break;
        }
        assert!(Instant::now() < limit, "{seen:?}");
        // The pace of the questions; the condition and its deadline are above.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The old one is not, until the Sentinels have made it a replica.
    old.restart();
    let returned = once(old.port, &check).await;
    assert_eq!((returned.outcome, returned.facts.role), (Outcome::Ok, Some(Role::Unknown)), "{}", returned.evidence);
    assert!(returned.evidence.contains("the Sentinels name 127.0.0.1:"), "{}", returned.evidence);
    // Sentinels that hang, or are gone, hold nothing up and take nothing down.
    for signal in ["-STOP", "-KILL"] {
        sentinel.signal(signal);
        let started = Watch::start();
        let seen = once(new.port, &check).await;
        assert_eq!((seen.outcome, seen.facts.role), (Outcome::Ok, Some(Role::Primary)), "{}", seen.evidence);
        assert!(started.unhindered() < Duration::from_millis(1500), "{:?}", started.elapsed());
        assert_eq!(session.query(Deadline::after(TIMEOUT)).await.facts.db_epoch, Some(1), "the last opinion counts");
    }
}

/// Settings of a pool of these two, with the default check.
fn before(primary: &Redis, replica: &Redis) -> Value {
    let mut settings = settings(&[primary.address(), replica.address()]);
    settings["pools"][0]["check"] = json!("redis");
    settings
}

/// Counts as fast as it is answered, on a new connection whenever the old one has ended: failed connects, and the answers' gaps.
fn count(process: &Process, stop: &AtomicBool) -> (u32, Duration) {
    let (mut failed, mut longest, mut last) = (0, Duration::ZERO, Instant::now());
    while !stop.load(Ordering::Relaxed) {
        let mut client = process.connect();
        let mut answered = false;
        while let Ok(reply) = ask(&mut client, &["INCR", "counter"]) {
            if !reply.starts_with(':') {
                break;
            }
            answered = true;
            longest = longest.max(last.elapsed());
            last = Instant::now();
            if stop.load(Ordering::Relaxed) {
                return (failed, longest);
            }
        }
        failed += u32::from(!answered);
    }
    (failed, longest)
}

#[test]
fn clients_of_a_killed_primary_wait_for_the_promotion_of_its_replica() {
    let primary = Redis::primary(&[]);
    let replica = primary.replica(&[]);
    let process = Process::start(&before(&primary, &replica)).serving();
    assert_eq!(process.status()["pools"][0]["active"], "db-a");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| count(&process, &stop))).collect();
        until("the clients count", || replica.ask(&["GET", "counter"]).parse::<u64>().is_ok_and(|n| n > 100).then_some(()));
        primary.signal("-KILL");
        until("nobody is active", || process.status()["pools"][0]["active"].is_null().then_some(()));
        replica.ask(&["REPLICAOF", "NO", "ONE"]);
        let promoted = Watch::start();
        until("the replica serves", || (process.status()["pools"][0]["active"] == "db-b").then_some(()));
        let took = promoted.unhindered();
        let at_promotion: u64 = replica.ask(&["GET", "counter"]).parse().unwrap();
        until("they count on", || {
            replica.ask(&["GET", "counter"]).parse::<u64>().is_ok_and(|n| n > at_promotion + 100).then_some(())
        });
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            let (failed, gap) = client.join().unwrap();
            assert_eq!(failed, 0, "connects failed; longest gap {gap:?}");
        }
        assert!(took < Duration::from_secs(1), "{took:?}");
    });
    assert_eq!(process.status()["pools"][0]["last_failover"]["cause"], "down");
}

#[test]
fn a_demoted_primary_loses_its_clients_and_an_old_one_that_returns_gets_none() {
    let mut primary = Redis::primary(&[]);
    let replica = primary.replica(&[]);
    let process = Process::start(&before(&primary, &replica)).serving();
    let mut client = process.connect();
    assert_eq!(ask(&mut client, &["SET", "a", "1"]).unwrap(), "+OK");
    // A switchover as a person or a Sentinel makes it.
    replica.ask(&["REPLICAOF", "NO", "ONE"]);
    primary.ask(&["REPLICAOF", "127.0.0.1", &replica.port.to_string()]);
    until("the new primary serves", || (process.status()["pools"][0]["active"] == "db-b").then_some(()));
    assert!(ask(&mut client, &["SET", "a", "2"]).is_err(), "a session with a demoted primary goes on");
    assert_eq!(ask(&mut process.connect(), &["SET", "a", "3"]).unwrap(), "+OK");
    // It comes back as what its own file says: a primary.
    primary.signal("-KILL");
    primary.restart();
    until("there is a conflict", || (process.metric("mainstay_primary_conflict", &[]) == 1).then_some(()));
    // What must not happen has had its time.
    thread::sleep(Duration::from_millis(500));
    assert_eq!(process.status()["pools"][0]["active"], "db-b");
    assert_eq!(ask(&mut process.connect(), &["GET", "a"]).unwrap(), "3");
}

#[test]
fn who_cannot_be_served_is_told_so_in_the_words_of_redis() {
    let primary = Redis::primary(&[]);
    let replica = primary.replica(&[]);
    let mut settings = before(&primary, &replica);
    settings["pools"][0]["hold"] = json!({"timeout": "300ms"});
    let process = Process::start(&settings).serving();
    drop(primary);
    until("nobody is active", || process.status()["pools"][0]["active"].is_null().then_some(()));
    let reply = ask(&mut process.connect(), &["PING"]).unwrap();
    assert!(reply.starts_with("-LOADING mainstay: no database node may serve now"), "{reply}");
}
