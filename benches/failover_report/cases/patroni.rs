//! A real Patroni cluster, checked as its documentation page says: the database, and Patroni's REST API as a second opinion.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use lab::{
    failure::Failure,
    servers::patroni::{Cluster, LONG},
    session::{Endpoint, Session, last_value},
    stats::millis,
};
use rustix::process::Signal;

use super::{Bench, Rows, run::random_phase};
use crate::{
    mainstay::{Mainstay, PoolSpec},
    table::{
        Bound::{Exactly, Told, Worst},
        Row,
        Unit::{Count, Millis},
    },
    writers::Writers,
};

/// The REST API is silent for this long: longer than it takes to give a backend up, shorter than the leader's lock lasts (20 s).
const SILENT: Duration = Duration::from_secs(8);
/// Clients go on for this long after the last of them was served.
const SETTLE: Duration = Duration::from_millis(300);

/// One change of the leader.
struct Change {
    /// From when the new leader took writes to the first that it acknowledged through mainstay.
    share: f64,
    lost: f64,
    failed_connects: f64,
}

struct Run {
    silent_changes: f64,
    silent_sessions_lost: f64,
    switchover: Change,
    kill9: Change,
}

pub(super) fn run(bench: &mut Bench) -> Rows {
    let mut runs = Vec::new();
    for run in 0..bench.runs {
        runs.push(one_run(bench, run)?);
    }
    let of = |value: fn(&Run) -> f64| runs.iter().map(value).collect::<Vec<_>>();
    Ok(vec![
        Row::new(
            "REST API silent for 8 s: changes of who serves, or of health",
            Count,
            Exactly(0.0),
            of(|run| run.silent_changes),
        ),
        Row::new("REST API silent for 8 s: sessions lost", Count, Exactly(0.0), of(|run| run.silent_sessions_lost)),
        Row::new("switchover: mainstay's share of the gap", Millis, Worst(150.0), of(|run| run.switchover.share)),
        Row::new("switchover: acknowledged writes lost", Count, Exactly(0.0), of(|run| run.switchover.lost)),
        Row::new("switchover: failed connects", Count, Told, of(|run| run.switchover.failed_connects)),
        Row::new("kill -9: mainstay's share of the gap", Millis, Worst(150.0), of(|run| run.kill9.share)),
        Row::new("kill -9: acknowledged writes lost", Count, Exactly(0.0), of(|run| run.kill9.lost)),
        Row::new("kill -9: failed connects (Patroni waits 20 s, `hold` 15 s)", Count, Told, of(|run| run.kill9.failed_connects)),
    ])
}

fn one_run(bench: &mut Bench, run: u32) -> Result<Run, Failure> {
    let mut cluster = Cluster::start();
    let leader = leader(&cluster)?;
    for sql in [
        "CREATE ROLE app LOGIN",
        "CREATE ROLE probe LOGIN",
        "CREATE TABLE acks (row bigint PRIMARY KEY)",
        "GRANT INSERT ON acks TO app",
    ] {
        cluster.sql(leader, sql).ok_or_else(|| Failure::Said(format!("{sql}: failed")))?;
    }
    let check = format!("{{postgres: {{user: probe}}, http: {{port: {}}}}}", cluster.api);
    let backends = (0..2).map(|node| (format!("node-{node}"), cluster.address(node))).collect();
    let mainstay = Mainstay::start(&[PoolSpec { name: "orders", check, hold: None, backends }], &bench.log("patroni"), None)?;
    mainstay.wait_for(&bench.stop, "the leader serves", |pool| pool.active == Some(format!("node-{leader}")))?;

    let writers = writing(bench, &mainstay, cluster.address(leader), run * 2)?;
    let events = mainstay.newest_event()?;
    random_phase(bench)?;
    let ends = writers.look(|books| books.ends.len());
    cluster.nodes[leader].signal_patroni(Signal::STOP);
    let paused = bench.stop.pause(SILENT);
    let silent_changes = mainstay.events_since(events)?.iter().filter(|event| event.is_transition()).count() as f64;
    let silent_sessions_lost = (writers.look(|books| books.ends.len()) - ends) as f64;
    cluster.nodes[leader].signal_patroni(Signal::CONT);
    paused?;
    bench.stop.wait("Patroni answers again", LONG, || (cluster.leader() == Some(leader)).then_some(()))?;

    let other = 1 - leader;
    let names = [cluster.nodes[leader].name, cluster.nodes[other].name];
    let watch = Watch::begin(cluster.address(other))?;
    let ordered = Instant::now();
    cluster.control(&["switchover", "--leader", names[0], "--candidate", names[1], "--force"]);
    let switchover = change(bench, &cluster, writers, watch, other, ordered)?;
    // In Patroni's own words: before it has written that down, it promotes nobody.
    bench.stop.wait("the old leader follows synchronously", LONG, || {
        let list = cluster.control(&["list", "--format", "json"]).stdout;
        String::from_utf8_lossy(&list).contains("Sync Standby").then_some(())
    })?;

    let writers = writing(bench, &mainstay, cluster.address(other), run * 2 + 1)?;
    random_phase(bench)?;
    let watch = Watch::begin(cluster.address(leader))?;
    let fault = Instant::now();
    cluster.nodes[other].kill();
    let kill9 = change(bench, &cluster, writers, watch, leader, fault)?;
    eprintln!(
        "patroni {}/{}: silent API: {silent_changes} changes; switchover: share {:.1} ms, lost {}; kill -9: share {:.1} ms, lost {}, \
         failed connects {}",
        run + 1,
        bench.runs,
        switchover.share,
        switchover.lost,
        kill9.share,
        kill9.lost,
        kill9.failed_connects,
    );
    Ok(Run { silent_changes, silent_sessions_lost, switchover, kill9 })
}

fn leader(cluster: &Cluster) -> Result<usize, Failure> {
    cluster.leader().ok_or_else(|| Failure::Said("the cluster has no leader".into()))
}

/// Clients that all have written to this node.
fn writing(bench: &Bench, mainstay: &Mainstay, node: SocketAddr, run: u32) -> Result<Writers, Failure> {
    let writers = Writers::start(mainstay.address(0), run)?;
    bench.stop.wait("every client writes", LONG, || writers.look(|books| books.all_wrote_to(node.port())).then_some(()))?;
    Ok(writers)
}

fn change(
    bench: &Bench,
    cluster: &Cluster,
    writers: Writers,
    watch: Watch,
    new: usize,
    fault: Instant,
) -> Result<Change, Failure> {
    let port = cluster.address(new).port();
    bench.stop.wait("every client writes to the new leader", LONG, || {
        writers.look(|books| books.acks.iter().any(|ack| ack.node == port && ack.at > fault)).then_some(())
    })?;
    bench.stop.wait("every client was served", LONG, || writers.look(|books| books.all_wrote_to(port)).then_some(()))?;
    bench.stop.pause(SETTLE)?;
    let writable = watch.end()?;
    let books = writers.stop();
    let first = books.first_by(port).ok_or_else(|| Failure::Said("the new leader acknowledged nothing".into()))?;
    let rows = cluster.sql(new, "SELECT row FROM acks").ok_or_else(|| Failure::Said("the new leader shows no rows".into()))?;
    let rows: BTreeSet<u64> = rows.lines().filter_map(|row| row.parse().ok()).collect();
    Ok(Change {
        share: millis(first.at.saturating_duration_since(writable)),
        lost: books.acks.iter().filter(|ack| !rows.contains(&ack.row)).count() as f64,
        failed_connects: books.refusals.len() as f64,
    })
}

/// Asks a standby, past mainstay and about every millisecond, whether it takes writes.
struct Watch(JoinHandle<Result<Instant, String>>);

impl Watch {
    fn begin(node: SocketAddr) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let mut session = runtime.block_on(Session::connect(&Endpoint::Tcp(node), "postgres", "postgres"))?;
        let watch = move || {
            let limit = Instant::now() + LONG;
            runtime.block_on(async {
                while Instant::now() < limit {
                    let answer = session.query("SELECT pg_is_in_recovery()").await.map_err(|error| error.to_string())?;
                    if last_value(answer).as_deref() == Some("f") {
                        return Ok(Instant::now());
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err("the standby did not become a primary".into())
            })
        };
        Ok(Self(std::thread::Builder::new().name("watch".into()).spawn(watch)?))
    }

    fn end(self) -> Result<Instant, Failure> {
        self.0.join().map_err(|_| Failure::Said("the watch ended".into()))?.map_err(Failure::Said)
    }
}
