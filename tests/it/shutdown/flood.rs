//! A server that answers "not yet" or "no longer" is not asked so often that its log becomes unreadable, and is not found late.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mainstay::{
    app,
    config::{CheckKind, PostgresCheck, TlsMode},
    failover::{Election, Policy},
};

use super::{Session, pool, until_nobody_serves};
use crate::{
    hold::startup,
    probe::fake::{error, facts, welcome},
    support::{
        config::tcp_pool,
        echo::Backend,
        front::{Front, connect, end},
        postgres::Postgres,
        wait::{Watch, patience, until},
    },
};

/// How long its log is watched.
const WATCHED: Duration = Duration::from_secs(5);

fn refusals(server: &Postgres) -> usize {
    server.log().lines().filter(|line| line.contains("FATAL:  the database system is ")).count()
}

#[test]
fn a_server_that_stops_slowly_hears_of_us_once_a_second() {
    let server = Postgres::primary(&[]);
    let front = Front::with(&pool(&[&server]));
    let checkpointer = server.process("checkpointer");
    checkpointer.freeze();
    let begun = Instant::now();
    server.signal("-INT");
    until_nobody_serves(&front);
    // For as long as its log is watched.
    thread::sleep(WATCHED);
    let (told, took) = (refusals(&server), begun.elapsed());
    checkpointer.thaw();
    println!("{told} lines in {took:?}");
    assert!(told as f64 <= took.as_secs_f64() + 2.0, "{told} lines in {took:?}");
}

/// Somebody waits from the start, or comes when the server has started for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    First,
    Late,
}

/// Waits until it is served; when it has written, by the server's clock.
fn write(client: TcpStream) -> f64 {
    let time = Session::open(client).unwrap().query("SELECT extract(epoch FROM clock_timestamp())").unwrap();
    time.parse().unwrap()
}

/// The time of the last line in a server's log that holds `text`.
fn logged(server: &Postgres, text: &str) -> f64 {
    let log = server.log();
    let line = log.lines().rfind(|line| line.contains(text)).unwrap();
    line.split(' ').next().unwrap().parse().unwrap()
}

/// A server starts for as long as its log is watched: how soon after the end of that its first client has written.
fn first_write(primary: &Postgres, comes: Client) -> Duration {
    // Takes nobody in for as long as it follows another.
    let server = primary.standby_that_serves_nobody(&["log_line_prefix=%n "]);
    let mut config = pool(&[&server]);
    config.pools[0].hold.timeout = 10 * patience();
    let running = app::start(&config).unwrap();
    until("it was asked", || (refusals(&server) > 0).then_some(()));
    let wait = || {
        let client = connect(&running);
        thread::spawn(move || write(client))
    };
    let early = (comes == Client::First).then(wait);
    let (before, begun) = (refusals(&server), Instant::now());
    // For as long as its log is watched.
    thread::sleep(WATCHED);
    let (told, took) = (refusals(&server) - before, begun.elapsed());
    // While somebody waits: ten in the first 0.2 s, 17 until the second is over, then ten a second.
    let most = if comes == Client::First { 17.0 + 10.0 * took.as_secs_f64() } else { took.as_secs_f64() };
    assert!(told as f64 <= most + 2.0, "{comes:?}: {told} lines in {took:?}");
    let client = early.unwrap_or_else(|| {
        // Just after a login: the next one would be due a second later.
        let before = refusals(&server);
        until("it is asked", || (refusals(&server) > before).then_some(()));
        let (before, came) = (refusals(&server), Watch::start());
        let client = wait();
        until("it is asked", || (refusals(&server) > before).then_some(()));
        let asked = came.unhindered();
        println!("asked {asked:?} after a client had come");
        assert!(asked < Duration::from_millis(400), "asked only {asked:?} after a client had come");
        client
    });
    let promoted = Watch::start();
    server.promote();
    let written = client.join().unwrap();
    let after = Duration::from_secs_f64((written - logged(&server, "ready to accept connections")).max(0.0));
    let own = promoted.without_the_machine(after);
    println!("{comes:?}: {told} lines in {took:?}; written {after:?} after it was ready, {own:?} without the machine");
    end(running);
    own
}

/// `MAINSTAY_TEST_ROUNDS`: so often.
#[test]
fn a_server_that_starts_slowly_is_asked_at_a_bearable_pace_and_its_first_client_writes_at_once() {
    let primary = &Postgres::primary(&["log_line_prefix=%n "]);
    primary.sql("CREATE TABLE t (n bigint)");
    let rounds = std::env::var("MAINSTAY_TEST_ROUNDS").ok().map_or(1, |text| text.parse().unwrap());
    for _ in 0..rounds {
        thread::scope(|scope| {
            let both = [Client::First, Client::Late].map(|comes| (comes, scope.spawn(move || first_write(primary, comes))));
            for (comes, first) in both {
                let first = first.join().unwrap();
                // Between two logins while somebody waits is a tenth of a second at most; then the client is let in and served.
                assert!(first < Duration::from_millis(300), "{comes:?}: {first:?}");
            }
        });
    }
}

/// A server that starts until it is told that it is ready, and counts the logins of the check.
struct Starting {
    server: Backend,
    logins: Arc<AtomicUsize>,
    is_ready: Arc<AtomicBool>,
}

impl Starting {
    fn begin() -> Self {
        let (logins, is_ready) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, ready) = (Arc::clone(&logins), Arc::clone(&is_ready));
        let server = Backend::start(move |stream| drop(serve(stream, &counted, &ready)));
        Self { server, logins, is_ready }
    }

    fn logins(&self) -> usize {
        self.logins.load(Ordering::SeqCst)
    }

    /// The moment of the next login.
    fn next_login(&self) -> Instant {
        let before = self.logins();
        until("another login", || (self.logins() > before).then(Instant::now))
    }

    /// Waits until it is asked as rarely as while nobody waits.
    fn until_left_alone(&self) {
        let mut last = self.next_login();
        until("a long pause between two logins", || {
            let next = self.next_login();
            (next - std::mem::replace(&mut last, next) > Duration::from_millis(700)).then_some(())
        });
    }
}

fn serve(mut stream: TcpStream, logins: &AtomicUsize, is_ready: &AtomicBool) -> std::io::Result<()> {
    let mut packet = [0; 4096];
    let length = stream.read(&mut packet)?;
    let is_check = packet[..length].windows(14).any(|field| field == b"user\0postgres\0");
    logins.fetch_add(usize::from(is_check), Ordering::SeqCst);
    if !is_ready.load(Ordering::SeqCst) {
        return stream.write_all(&error("FATAL", "57P03", "the database system is starting up"));
    }
    stream.write_all(&welcome())?;
    while stream.read(&mut packet)? > 0 {
        stream.write_all(&facts())?;
    }
    Ok(())
}

#[test]
fn a_client_that_waits_makes_us_ask_a_server_that_starts_at_once_and_then_often() {
    // Where clients are held, and where they are refused at once.
    for hold in [Duration::from_mins(1), Duration::from_millis(1)] {
        let starting = Starting::begin();
        let mut config = tcp_pool(&[starting.server.address]);
        let check = PostgresCheck { tls: TlsMode::Off, ..PostgresCheck::default() };
        config.pools[0].check.kind = CheckKind::Postgres(check);
        config.pools[0].policy = Policy { election: Election::ByRole, ..Policy::default() };
        config.pools[0].hold.timeout = hold;
        let running = app::start(&config).unwrap();
        let visit = || {
            starting.until_left_alone();
            let came = Watch::start();
            let client = connect(&running);
            starting.next_login();
            let waited = came.unhindered();
            drop(client);
            waited
        };
        // Nobody would come by within a second otherwise.
        let asked = (0..4).map(|_| visit()).find(|waited| *waited < Duration::from_millis(400));
        println!("hold {hold:?}: asked {asked:?} after a client had come");
        assert!(asked.is_some(), "hold {hold:?}: not asked when a client came");
        if hold < Duration::from_secs(1) {
            end(running);
            continue;
        }
        starting.until_left_alone();
        let mut client = connect(&running);
        let (before, begun) = (starting.logins(), Watch::start());
        until("it was asked twelve times", || (starting.logins() >= before + 12).then_some(()));
        let took = begun.unhindered();
        assert!(took < Duration::from_secs(8), "the pace of a client that waits: {took:?}");
        starting.is_ready.store(true, Ordering::SeqCst);
        client.write_all(&startup()).unwrap();
        client.read_exact(&mut [0; 1]).unwrap();
        end(running);
    }
}
