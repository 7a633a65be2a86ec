//! Faults of the check rather than of the database: a failover would make an outage out of them.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lab::{
    cluster::Node,
    failure::Failure,
    session::{Endpoint, Session, SessionError},
};

use super::{
    Bench, Rows,
    run::{CLIENT_TIMEOUT, Scene},
};
use crate::{
    mainstay::{Mainstay, PoolSpec},
    pair::Pair,
    table::{
        Bound::{Exactly, Told},
        Row,
        Unit::Count,
    },
    writers,
};

/// A whole new login of the check comes every 5 s; two must have been made under the fault.
const WATCHED: Duration = Duration::from_secs(11);
const PASSWORD: &str = "correct horse";

/// What both cases look at.
#[derive(Debug)]
struct Seen {
    /// Probes of the primary with the expected outcome.
    probes: f64,
    /// The alert was shown.
    alerted: bool,
    /// Changes of who serves, or of health.
    transitions: usize,
    /// Clients that wrote during the whole fault, in their session.
    went_on: usize,
    /// New clients that were not served; and how many there were.
    failed_connects: usize,
    connects: usize,
    /// The alert went away afterwards.
    over: bool,
}

fn rows(runs: &[Seen], outcome: &'static str) -> Vec<Row> {
    let of = |value: fn(&Seen) -> f64| runs.iter().map(value);
    vec![
        Row::new("changes of who serves, or of health", Count, Exactly(0.0), of(|run| run.transitions as f64)),
        Row::new("clients whose session went on, of 8", Count, Exactly(writers::COUNT as f64), of(|run| run.went_on as f64)),
        Row::new(outcome, Count, Exactly(1.0), of(|run| f64::from(u8::from(run.probes > 0.0)))),
        Row::new("alert shown during the fault", Count, Exactly(1.0), of(|run| f64::from(u8::from(run.alerted)))),
        Row::new("alert gone after it", Count, Exactly(1.0), of(|run| f64::from(u8::from(run.over)))),
    ]
}

/// Watches a fault from its beginning: `begin` makes it, `probe_clients` says whether new clients are tried, `end` ends it.
fn watch<G>(
    bench: &Bench,
    scene: &Scene,
    run: u32,
    outcome: &str,
    mut new_client: impl FnMut() -> Option<bool>,
    (begin, end): (impl FnOnce(&Node) -> Result<G, Failure>, impl FnOnce(&Node, G) -> Result<(), Failure>),
) -> Result<Seen, Failure> {
    let (primary, mainstay) = (scene.pair.primary(), &scene.mainstay);
    let probes = |mainstay: &Mainstay| -> Result<f64, Failure> {
        Ok(mainstay.scrape()?.sum("mainstay_probes_total", &[("backend", primary.name()), ("outcome", outcome)]))
    };
    let (events, probes_before) = (mainstay.newest_event()?, probes(mainstay)?);
    let writers = scene.writers(bench, run)?;
    let guard = begin(primary)?;
    let since = Instant::now();
    let (mut alerted, mut connects, mut failed_connects) = (false, 0, 0);
    while since.elapsed() < WATCHED {
        let pool = mainstay.pool()?;
        alerted |=
            pool.backends.iter().any(|backend| backend.name == primary.name() && backend.alert.as_deref() == Some(outcome));
        if let Some(served) = new_client() {
            connects += 1;
            failed_connects += usize::from(!served);
        }
        bench.stop.pause(Duration::from_millis(250))?;
    }
    let late = Instant::now();
    bench
        .stop
        .wait("every client still writes", CLIENT_TIMEOUT, || writers.look(|books| books.all_wrote_since(late)).then_some(()))?;
    let books = writers.stop();
    let went_on = (0..writers::COUNT).filter(|writer| books.ends.iter().all(|end| end.writer != *writer)).count();
    end(primary, guard)?;
    let over = mainstay
        .wait_for(&bench.stop, "the alert is gone", |pool| pool.backends.iter().all(|backend| backend.alert.is_none()))
        .is_ok();
    let happened = mainstay.events_since(events)?;
    let seen = Seen {
        probes: probes(mainstay)? - probes_before,
        alerted,
        transitions: happened.iter().filter(|event| event.is_transition()).count(),
        went_on,
        failed_connects,
        connects,
        over,
    };
    eprintln!("{outcome} {}/{}: {seen:?}", run + 1, bench.runs);
    for event in happened.iter().filter(|event| event.kind != "check") {
        eprintln!("    {event}");
    }
    Ok(seen)
}

pub(super) fn saturated(bench: &mut Bench) -> Rows {
    let scene = Scene::open(bench, "saturated", &["max_connections = 20"])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let take_all = |node: &Node| {
        let mut taken = Vec::new();
        loop {
            match runtime.block_on(Session::connect(&Endpoint::Tcp(node.address()), "app", "postgres")) {
                Ok(session) => taken.push(session),
                Err(SessionError::Server(error)) if error.code == "53300" => return Ok(taken),
                Err(error) => return Err(Failure::Said(error.to_string())),
            }
        }
    };
    let release = |_: &Node, taken: Vec<Session>| {
        for session in taken {
            runtime.block_on(session.close());
        }
        Ok(())
    };
    let runs = (0..bench.runs).map(|run| watch(bench, &scene, run, "saturated", || None, (take_all, release)));
    let runs = runs.collect::<Result<Vec<_>, _>>()?;
    Ok(rows(&runs, "outcome `saturated` counted"))
}

pub(super) fn password_changed(bench: &mut Bench) -> Rows {
    let scene = scene_with_password(bench)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let address = Endpoint::Tcp(scene.mainstay.address(0));
    let new_client = || Some(runtime.block_on(Session::connect(&address, "app", "postgres")).is_ok());
    let change = |node: &Node| {
        node.query("ALTER ROLE probe PASSWORD 'battery staple'")?;
        node.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'probe'")?;
        Ok(())
    };
    let restore = |node: &Node, ()| {
        node.query(&format!("ALTER ROLE probe PASSWORD '{PASSWORD}'"))?;
        Ok(())
    };
    let runs = (0..bench.runs).map(|run| watch(bench, &scene, run, "misconfigured", new_client, (change, restore)));
    let runs = runs.collect::<Result<Vec<_>, _>>()?;
    let mut rows = rows(&runs, "outcome `misconfigured` counted");
    rows.push(Row::new(
        "new clients not served during the fault",
        Count,
        Exactly(0.0),
        runs.iter().map(|run| run.failed_connects as f64),
    ));
    rows.push(Row::new("new clients during the fault", Count, Told, runs.iter().map(|run| run.connects as f64)));
    Ok(rows)
}

/// As [`Scene::open`], but the check logs in with a password (SCRAM-SHA-256).
fn scene_with_password(bench: &mut Bench) -> Result<Scene, Failure> {
    let pair = Pair::create(&[])?;
    bench.postgres = Some(pair.version()?);
    pair.primary().query(&format!("ALTER ROLE probe PASSWORD '{PASSWORD}'"))?;
    pair.demand_password_from_probe()?;
    let log = bench.log("password_changed");
    let file = password_file(&log)?;
    let login = format!(", password_file: {}", file.display());
    let mainstay = Mainstay::start(&[PoolSpec::of_nodes(pair.nodes(), &login)], &log, None)?;
    mainstay.wait_ready(&bench.stop, pair.primary().name())?;
    fs::remove_file(file)?;
    Ok(Scene { mainstay, pair })
}

fn password_file(log: &Path) -> Result<PathBuf, Failure> {
    let file = log.with_extension("password");
    fs::write(&file, PASSWORD)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(file)
}
