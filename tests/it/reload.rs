//! Another configuration while clients are at work: what stays is not disturbed, what goes goes in order, and what cannot be is
//! refused whole.

mod watched;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mainstay::{
    failover::{Cause, Health},
    reason::CloseReason,
};
use serde_json::{Value, json};

use crate::support::{
    config::{LOOPBACK, listener, pool_of},
    echo::Backend,
    front::{Front, Session, client},
    postgres::Postgres,
    process::{Process, Signal, settings},
    wait::{Watch, patience, stands_still, until},
};

/// Clients that come, say something and leave, all the time.
struct Traffic {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    cut: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Traffic {
    fn towards(address: SocketAddr) -> Self {
        let (stop, served, cut) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let client = || {
            let (stop, served, cut) = (Arc::clone(&stop), Arc::clone(&served), Arc::clone(&cut));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let ended = if Session::try_open(address).is_ok() { &served } else { &cut };
                    ended.fetch_add(1, Ordering::Relaxed);
                    // A pace for those who come: nothing is waited for.
                    thread::sleep(Duration::from_millis(2));
                }
            })
        };
        let threads = vec![client(), client()];
        let traffic = Self { stop, served, cut, threads };
        traffic.goes_on();
        traffic
    }

    fn goes_on(&self) {
        let before = self.served.load(Ordering::Relaxed);
        until("clients are served", || (self.served.load(Ordering::Relaxed) > before + 5).then_some(()));
    }

    /// How many were not served to their end. One that could not connect has panicked.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.cut.load(Ordering::Relaxed)
    }
}

#[test]
fn backends_that_stay_keep_health_epoch_and_sessions_wherever_they_stand_in_the_list() {
    let (a, b, c) = (Backend::echo(), Backend::echo(), Backend::echo());
    let front = Front::with(&pool_of(&[("db-a", a.address), ("db-b", b.address)]));
    let mut session = Session::open(front.address());
    let traffic = Traffic::towards(front.address());
    let since = front.snapshot().backends[0].since;
    let lists: [&[_]; 3] = [
        &[("db-c", c.address), ("db-a", a.address)],
        &[("db-b", b.address), ("db-c", c.address), ("db-a", a.address)],
        &[("db-a", a.address), ("db-b", b.address)],
    ];
    for turn in 0..30 {
        let list = lists[turn % lists.len()];
        front.reload(&pool_of(list)).unwrap();
        let snapshot = until("the list is in use", || {
            let snapshot = front.snapshot();
            let names: Vec<_> = snapshot.backends.iter().map(|backend| &*backend.name).collect();
            (names == list.iter().map(|(name, _)| *name).collect::<Vec<_>>()).then_some(snapshot)
        });
        let active = &snapshot.backends[snapshot.active.unwrap().index()];
        assert_eq!((&*active.name, active.health, active.since), ("db-a", Health::Up, since), "turn {turn}");
        assert_eq!((snapshot.epoch.0, snapshot.suspended), (1, false), "turn {turn}");
        session.works();
        traffic.goes_on();
    }
    assert_eq!(traffic.end(), 0);
    session.works();
    assert_eq!(front.pool().held.get(), 0);
    assert_eq!(front.pool().hold_duration.get_sample_count(), 0, "nobody was ever held");
}

#[test]
fn a_removed_backend_gives_way_and_its_sessions_end_with_the_next_epoch() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let front = Front::with(&pool_of(&[("db-a", a.address), ("db-b", b.address)]));
    until("both are known", || front.snapshot().backends.iter().all(|b| b.health == Health::Up).then_some(()));
    let mut session = Session::open(front.address());
    let closed = Arc::clone(&front.series().backends[0]);
    let changes = front.reload(&pool_of(&[("db-b", b.address)])).unwrap();
    assert_eq!(changes.to_string(), "changed: orders; backends removed: orders/db-a");
    until("the other is active", || (front.snapshot().epoch.0 == 2).then_some(()));
    session.is_over();
    until("it was revoked", || (closed.closed.get(CloseReason::Revoked).get() == 1).then_some(()));
    Session::open(front.address());
    let last = front.snapshot().last_failover.clone().unwrap();
    assert_eq!((&*last.from, &*last.to, last.cause), ("db-a", "db-b", Cause::Removed));
}

#[test]
fn a_removed_backend_without_a_successor_keeps_its_sessions_and_newcomers_are_held() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let front = Front::with(&pool_of(&[("db-a", a.address)]));
    let mut session = Session::open(front.address());
    let dead = TcpListener::bind(LOOPBACK).unwrap().local_addr().unwrap();
    front.reload(&pool_of(&[("db-x", dead)])).unwrap();
    until("nobody is active", || front.snapshot().active.is_none().then_some(()));
    let newcomer = thread::spawn({
        let address = front.address();
        move || Session::open(address)
    });
    until("the newcomer is held", || (front.pool().held.get() == 1).then_some(()));
    session.works();
    front.reload(&pool_of(&[("db-b", b.address)])).unwrap();
    newcomer.join().unwrap().works();
    session.is_over();
}

#[test]
fn an_address_of_the_same_name_is_another_backend() {
    let (mut a, b) = (Backend::echo(), Backend::echo());
    let front = Front::with(&pool_of(&[("db", a.address)]));
    let mut session = Session::open(front.address());
    front.reload(&pool_of(&[("db", b.address)])).unwrap();
    until("the new one is active", || (front.snapshot().epoch.0 == 2).then_some(()));
    session.is_over();
    a.stop();
    Session::open(front.address()).works();
}

#[test]
fn a_new_check_of_the_same_kind_begins_at_once_and_forgets_nothing() {
    let mut a = Backend::echo();
    let mut config = pool_of(&[("db-a", a.address)]);
    config.pools[0].check.interval = Duration::from_millis(10);
    let front = Front::with(&config);
    let mut session = Session::open(front.address());
    let probes = || front.backend().probes.iter().map(|(_, count)| count.get()).sum::<u64>();
    until("it was probed often", || (probes() > 50).then_some(()));
    config.pools[0].check.interval = Duration::from_mins(10);
    front.reload(&config).unwrap();
    stands_still("the old check rests", Duration::from_millis(100), probes);
    config.pools[0].check.interval = Duration::from_millis(100);
    front.reload(&config).unwrap();
    let before = probes();
    until("it is probed by the new check", || (probes() > before + 3).then_some(()));
    assert_eq!((front.snapshot().epoch.0, front.snapshot().backends[0].health), (1, Health::Up));
    session.works();
    // The new prober's first reports count, although the old one had made many more.
    a.stop();
    let stopped = Watch::start();
    until("it is down", || (front.snapshot().backends[0].health == Health::Down).then_some(()));
    assert!(stopped.unhindered() < Duration::from_secs(2), "{:?}", stopped.elapsed());
}

#[test]
fn an_address_that_stays_takes_new_settings_for_new_clients() {
    let a = Backend::echo();
    let mut config = pool_of(&[("db-a", a.address)]);
    let front = Front::with(&config);
    let mut first = Session::open(front.address());
    let mut second = Session::open(front.address());
    config.pools[0].listeners[0].max_connections = Some(2);
    config.pools[0].listeners[0].idle_timeout = Some(Duration::from_millis(100));
    front.reload(&config).unwrap();
    until("the limit holds", || Session::try_open(front.address()).is_err().then_some(()));
    drop(second.0.shutdown(std::net::Shutdown::Both));
    second.is_over();
    let mut third = until("there is a place", || Session::try_open(front.address()).ok());
    third.is_over();
    // It began when no session was ended for its silence.
    first.works();
}

#[test]
fn listeners_come_and_go_while_the_others_accept_without_a_gap() {
    let a = Backend::echo();
    let stays = free_address();
    let (first, second) = (free_address(), free_address());
    let config = |extra: &[SocketAddr], name: &str| {
        let mut config = pool_of(&[("db-a", a.address)]);
        config.pools[0].listeners = vec![listener(name)];
        config.pools[0].listeners[0].listen = [&[stays], extra].concat().into_iter().map(Into::into).collect();
        config
    };
    let front = Front::with(&config(&[first], "rw"));
    let traffic = Traffic::towards(stays);
    let mut old = Session::open(first);
    // Also under another name of the listener, which is another series and the same socket.
    front.reload(&config(&[second], "write")).unwrap();
    Session::open(second).works();
    until("the first is closed", || TcpStream::connect_timeout(&first, patience()).is_err().then_some(()));
    old.works();
    for turn in 0..20 {
        let extra = [first, second][turn % 2];
        front.reload(&config(&[extra], "rw")).unwrap();
        until("it accepts", || TcpStream::connect_timeout(&extra, patience()).is_ok().then_some(()));
        traffic.goes_on();
    }
    assert_eq!(traffic.end(), 0);
    old.works();
}

#[test]
fn clients_in_the_queue_of_an_address_that_goes_are_still_served() {
    let a = Backend::echo();
    let (stays, goes) = (free_address(), free_address());
    let config = |listen: &[SocketAddr]| {
        let mut config = pool_of(&[("db-a", a.address)]);
        config.workers = Some(1);
        config.pools[0].listeners[0].listen = listen.iter().copied().map(Into::into).collect();
        config
    };
    let front = Front::with(&config(&[stays, goes]));
    for _ in 0..20 {
        let mut clients: Vec<_> = (0..50).map(|_| client(goes)).collect();
        front.reload(&config(&[stays])).unwrap();
        for client in &mut clients {
            client.write_all(b"ping").unwrap();
            client.read_exact(&mut [0; 4]).unwrap();
        }
        until("it is closed", || TcpStream::connect_timeout(&goes, patience()).is_err().then_some(()));
        front.reload(&config(&[stays, goes])).unwrap();
    }
}

#[test]
fn a_port_that_is_taken_refuses_the_whole_reload() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let front = Front::with(&pool_of(&[("db-a", a.address)]));
    let taken = TcpListener::bind(LOOPBACK).unwrap();
    let also = free_address();
    let mut config = pool_of(&[("db-b", b.address)]);
    config.pools[0].listeners[0].listen.extend([also, taken.local_addr().unwrap()].map(Into::into));
    let error = front.reload(&config).unwrap_err().to_string();
    assert!(error.contains("another process listens there") && error.contains("pool orders, listener rw"), "{error}");
    assert!(TcpStream::connect_timeout(&also, patience()).is_err(), "a part of it is in use");
    Session::open(front.address());
    assert_eq!(&*front.snapshot().backends[0].name, "db-a");
    drop(taken);
    front.reload(&config).unwrap();
    until("it is in use", || (&*front.snapshot().backends[0].name == "db-b").then_some(()));
}

#[test]
fn what_cannot_change_is_named_and_nothing_else_changes_either() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let front = Front::with(&pool_of(&[("db-a", a.address)]));
    let mut config = pool_of(&[("db-b", b.address)]);
    config.workers = Some(3);
    config.shutdown.timeout = Duration::from_secs(1);
    let error = front.reload(&config).unwrap_err().to_string();
    assert_eq!(error, "shutdown, workers cannot change while mainstay runs: restart it");
    assert_eq!(&*front.snapshot().backends[0].name, "db-a");
    assert_eq!(front.reload(&pool_of(&[("db-a", a.address)])).unwrap().to_string(), "nothing");
}

#[test]
fn pools_come_and_go_and_what_is_left_of_one_ends_in_order() {
    let (a, b) = (Backend::echo(), Backend::echo());
    let mut process = settings(&[a.address]);
    let (orders, users) = (free_address(), free_address());
    process["shutdown"]["timeout"] = "2s".into();
    process["pools"][0]["listen"] = orders.to_string().into();
    let one = process.clone();
    let mut pool = process["pools"][0].clone();
    (pool["name"], pool["listen"]) = ("users".into(), users.to_string().into());
    pool["backends"] = json!([{"name": "db-u", "address": b.address.to_string()}]);
    process["pools"].as_array_mut().unwrap().push(pool);
    let two = process;

    let process = Process::start(&one).serving();
    let mut session = Session::open(orders);
    process.reload(&two.to_string());
    let mut idle = Session::open(users);
    let mut patient = Session::open(users);
    assert_eq!(process.metric("mainstay_connections_active", &[("pool", "users")]), 2);

    process.reload(&one.to_string());
    let gone = Watch::start();
    until("its address is closed", || TcpStream::connect_timeout(&users, patience()).is_err().then_some(()));
    assert_eq!(process.status()["pools"].as_array().unwrap().len(), 1);
    idle.works();
    drop(idle);
    patient.works();
    // Its sessions may finish for as long as those of a process that stops.
    patient.is_over();
    let took = gone.elapsed();
    assert!(took > Duration::from_millis(1500) && gone.unhindered() < Duration::from_secs(4), "{took:?}");
    until("nothing tells of it any more", || (!process.get("/metrics").1.contains(r#"pool="users""#)).then_some(()));
    session.works();

    process.reload(&two.to_string());
    Session::open(users);
    process.reload(&one.to_string());
    // Without a session there is nothing to wait for.
    until("nothing tells of it any more", || (!process.get("/metrics").1.contains(r#"pool="users""#)).then_some(()));
    session.works();
    let said = process.logged("the configuration was loaded again");
    assert_eq!(said["changes"], "added: users");
}

#[test]
fn a_bad_file_changes_nothing_and_its_errors_are_told_with_their_lines() {
    let a = Backend::echo();
    let good = settings(&[a.address]);
    let process = Process::start(&good).serving();
    let mut session = Session::open(process.address);
    let traffic = Traffic::towards(process.address);
    for (refused, (bad, told)) in
        [("pools:\n  - name: orders\n    lissen: 127.0.0.1:0\n", "lissen"), ("", "empty"), ("pools: [", ""), ("pools: []\n", "")]
            .into_iter()
            .enumerate()
    {
        process.reload(bad);
        // A reload's last line, and so all of its lines are here.
        let lines = until("the log tells of it", || {
            let lines = process.log();
            let ends = |line: &&Value| line["message"].as_str().is_some_and(|message| message.contains("was not loaded again"));
            (lines.iter().filter(ends).count() == refused + 1).then_some(lines)
        });
        assert_eq!(lines.last().unwrap()["level"], "ERROR");
        assert!(lines.iter().any(|line| line["level"] == "ERROR" && line.to_string().contains(told)), "{told}");
        traffic.goes_on();
    }
    let wrong = process.logged("lissen");
    assert_eq!((&wrong["line"], &wrong["path"]), (&json!(3), &json!("pools[0].lissen")), "{wrong}");
    assert_eq!(process.metric("mainstay_config_last_reload_successful", &[]), 0);
    assert_eq!(process.metric("mainstay_config_reloads_total", &[("result", "failure")]), 4);
    assert_eq!(process.get("/readyz").0, 200);
    process.reload(&good.to_string());
    assert_eq!(process.metric("mainstay_config_last_reload_successful", &[]), 1);
    assert_eq!(traffic.end(), 0);
    session.works();
}

#[test]
fn a_password_that_was_changed_is_read_again_and_no_client_notices() {
    let server = Postgres::primary(&[]);
    server.sql("CREATE ROLE probe LOGIN PASSWORD 'first' IN ROLE pg_monitor");
    server.hba("host all probe all scram-sha-256");
    let file = std::env::temp_dir().join(format!("mainstay-reload-{}.password", std::process::id()));
    std::fs::write(&file, "first\n").unwrap();
    let mut settings = settings(&[([127, 0, 0, 1], server.port).into()]);
    let check = json!({"user": "probe", "password_file": file.to_str().unwrap()});
    settings["pools"][0]["check"] = json!({"postgres": check, "interval": "200ms", "fresh_login": "200ms"});
    let process = Process::start(&settings).serving();
    server.sql("ALTER ROLE probe PASSWORD 'second'");
    let backend = |key: &str| process.status()["pools"][0]["backends"][0][key].clone();
    until("the check is told to be wrong", || (backend("alert") == "misconfigured").then_some(()));
    process.reload(&settings.to_string());
    until("the old password is still wrong", || (backend("alert") == "misconfigured").then_some(()));
    std::fs::write(&file, "second\n").unwrap();
    process.reload(&settings.to_string());
    until("the check works again", || backend("alert").is_null().then_some(()));
    assert_eq!((&process.status()["pools"][0]["epoch"], backend("health")), (&json!(1), json!("up")));
    std::fs::remove_file(&file).unwrap();
    process.reload(&settings.to_string());
    assert_eq!(process.logged("was not loaded again")["level"], "ERROR");
    assert!(!process.log().iter().any(|line| line.to_string().contains("second")), "a secret is in the log");
}

#[test]
fn hundreds_of_reloads_during_failovers_leave_nothing_behind() {
    let (mut a, b, c) = (Backend::echo(), Backend::echo(), Backend::echo());
    let one = settings(&[a.address, b.address]).to_string();
    let two = settings(&[a.address, b.address, c.address]).to_string();
    let process = Process::start(&settings(&[a.address, b.address])).serving();
    process.reload(&one);
    let files = process.files();
    let traffic = Traffic::towards(process.address);
    let started = Watch::start();
    for turn in 0..200 {
        process.replace(if turn % 2 == 0 { &two } else { &one });
        process.signal(Signal::HUP);
        if turn == 100 {
            a.stop();
        }
        // The pace of the reloads.
        thread::sleep(Duration::from_millis(10));
    }
    assert!(started.unhindered() < Duration::from_secs(10));
    process.reload(&one);
    assert_eq!(process.status()["pools"][0]["active"], "db-b");
    assert_eq!(process.status()["pools"][0]["epoch"], 2, "one failover, whatever was reloaded meanwhile");
    assert_eq!(process.status()["pools"][0]["backends"].as_array().unwrap().len(), 2);
    assert_eq!(process.metric("mainstay_panics_total", &[]), 0);
    assert_eq!(process.metric("mainstay_config_reloads_total", &[("result", "failure")]), 0);
    assert!(traffic.end() <= 2, "more were cut than had a session with the backend that died");
    until("the descriptors are back", || (process.files() <= files).then_some(()));
    let probes = || process.metric("mainstay_probes_total", &[("backend", "db-b")]);
    let (before, begun) = (probes(), Instant::now());
    until("it was probed five times", || (probes() >= before + 5).then_some(()));
    // The time is the subject: more than one prober would make more by then.
    thread::sleep(Duration::from_secs(1));
    let (made, took) = (probes() - before, begun.elapsed());
    assert!(
        u128::from(made) <= took.as_millis() / 200 + 3,
        "{made} probes of one backend within {took:?} at intervals of 200 ms: probers were left behind"
    );
}

/// An address that was free a moment ago.
fn free_address() -> SocketAddr {
    TcpListener::bind(LOOPBACK).unwrap().local_addr().unwrap()
}
