//! mainstay promotes by itself: after a death of the primary, and not when it is itself cut off.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use lab::{
    failure::Failure,
    pairs::{NAMES, Pair, mysql::MySqlPair, postgres::PostgresPair},
    stats::millis,
    transactions::{Client as _, Tally, Writers, postgres::Client},
    wait::until,
};
use serde_json::{Value, json};

use super::{Bench, Rows, run::random_phase};
use crate::{
    mainstay::Mainstay,
    pair::kill9,
    rng::Rng,
    table::{
        Bound::{Exactly, Told, Worst},
        Row,
        Unit::{Count, Millis},
    },
};

const PATIENCE: Duration = Duration::from_secs(90);
/// The default of `promotion.after`.
const AFTER: Duration = Duration::from_secs(3);
/// Longer than a promotion would take.
const CUT: Duration = Duration::from_secs(6);
/// An old primary that comes back gets this long to do something wrong.
const RETURNED: Duration = Duration::from_secs(1);

/// The report kills more primaries than the default budget allows.
fn promotion<M: Mortal>() -> Value {
    let mut promotion = json!({"how": "sql", "automatic": true, "single": true});
    if let Some(max_lag) = M::MAX_LAG {
        promotion["max_lag"] = max_lag.into();
    }
    json!({"promotion": promotion, "failover_budget": {"max": 1000}})
}

struct Run {
    first_write: f64,
    lost: f64,
    failed_connects: f64,
    late: f64,
}

/// Two servers, of which the one acknowledges nothing that the other does not have.
pub(super) trait Mortal: Pair {
    /// What was written and not acknowledged may be missing, where that can be counted in bytes.
    const MAX_LAG: Option<&'static str>;

    fn synchronous() -> Self;
    /// By SIGKILL; when that was.
    fn kill(&mut self, node: usize) -> Result<Instant, Failure>;
    /// Starts it again, as the primary that it was.
    fn revive(&mut self, node: usize) -> Result<(), Failure>;
    /// Whether the old one follows the new one again, with the same data as that.
    fn goes_on(&mut self, old: usize, new: usize) -> bool;
}

impl Mortal for PostgresPair {
    const MAX_LAG: Option<&'static str> = Some("16MiB");

    fn synchronous() -> Self {
        Self::start()
    }

    fn kill(&mut self, node: usize) -> Result<Instant, Failure> {
        kill9(self.cluster.node(node))
    }

    fn revive(&mut self, node: usize) -> Result<(), Failure> {
        Ok(self.cluster.node(node).start()?)
    }

    fn goes_on(&mut self, old: usize, new: usize) -> bool {
        self.rejoined(old, new);
        true
    }
}

impl Mortal for MySqlPair {
    const MAX_LAG: Option<&'static str> = None;

    fn synchronous() -> Self {
        let replica = ["--plugin-load-add=semisync_replica.so", "--loose-rpl-semi-sync-replica-enabled=ON"];
        let pair = Self::with(&["--plugin-load-add=semisync_source.so"], &replica);
        let primary = &pair.servers[0];
        primary.sql("SET GLOBAL rpl_semi_sync_source_timeout = 600000; SET GLOBAL rpl_semi_sync_source_enabled = ON");
        until("the primary waits for its replica", || {
            (primary.status("Rpl_semi_sync_source_clients") == "1" && primary.status("Rpl_semi_sync_source_status") == "ON")
                .then_some(())
        });
        pair
    }

    fn kill(&mut self, node: usize) -> Result<Instant, Failure> {
        let fault = Instant::now();
        self.servers[node].kill();
        Ok(fault)
    }

    fn revive(&mut self, node: usize) -> Result<(), Failure> {
        self.servers[node].restart();
        Ok(())
    }

    /// It may have written what nobody has an answer to, under numbers that the new one has given as well.
    fn goes_on(&mut self, _old: usize, _new: usize) -> bool {
        false
    }
}

/// The primary is killed, two nodes, synchronous; afterwards it comes back as a primary.
pub(super) fn kill9_alone<M: Mortal>(bench: &mut Bench, case: &str) -> Rows {
    let mut site = None;
    let mut runs = Vec::new();
    for number in 0..bench.runs {
        let (mainstay, mut pair, old) = if let Some(site) = site.take() {
            site
        } else {
            let pair = M::synchronous();
            (Mainstay::before(&pair, &promotion::<M>(), &bench.log(case))?, pair, 0)
        };
        let run = died(bench, &mainstay, &mut pair, old)?;
        eprintln!(
            "{case} {}/{}: first write after {:.0} ms, lost {}, failed connects {}, late {}",
            number + 1,
            bench.runs,
            run.first_write,
            run.lost,
            run.failed_connects,
            run.late
        );
        runs.push(run);
        site = pair.goes_on(old, 1 - old).then_some((mainstay, pair, 1 - old));
    }
    let of = |value: fn(&Run) -> f64| runs.iter().map(value).collect::<Vec<_>>();
    Ok(vec![
        Row::new(
            "from the kill to the first write (`after` is 3 s)",
            Millis,
            Worst(millis(AFTER) + 300.0),
            of(|run| run.first_write),
        ),
        Row::new("acknowledged writes lost", Count, Exactly(0.0), of(|run| run.lost)),
        Row::new("writes on the old primary after its return", Count, Exactly(0.0), of(|run| run.late)),
        Row::new("failed connects", Count, Exactly(0.0), of(|run| run.failed_connects)),
    ])
}

fn died<M: Mortal>(bench: &mut Bench, mainstay: &Mainstay, pair: &mut M, old: usize) -> Result<Run, Failure> {
    let new = 1 - old;
    mainstay.wait_ready(&bench.stop, NAMES[old])?;
    let before = pair.written(old);
    let began = Instant::now();
    let writers = writers::<M>(bench, mainstay.address(0));
    bench.stop.wait("every client writes", PATIENCE, || writers.tally().all_since(began))?;
    random_phase(bench)?;
    let fault = pair.kill(old)?;
    let first = |writers: &Writers| {
        let commits = writers.tally().commits.lock().unwrap_or_else(PoisonError::into_inner);
        // What the dead one had answered before may still have been on its way.
        let by_the_new_one = fault + Duration::from_secs(1);
        commits.iter().find(|(_, at)| *at > by_the_new_one).map(|(_, at)| *at)
    };
    let first = bench.stop.wait("a client writes to the new primary", PATIENCE, || first(&writers))?;
    bench.stop.wait("every client writes again", PATIENCE, || writers.tally().all_since(first))?;
    pair.revive(old)?;
    let returned = pair.written(old);
    bench.stop.pause(RETURNED)?;
    let late = pair.written(old) - returned;
    let tally = writers.stop();
    // A transaction without an answer may be there or not.
    let lost = (before + Tally::of(&tally.committed)).saturating_sub(pair.written(new));
    Ok(Run {
        first_write: millis(first.duration_since(fault)),
        lost: lost as f64,
        failed_connects: Tally::of(&tally.refused) as f64,
        late: late as f64,
    })
}

fn writers<P: Pair>(bench: &mut Bench, address: SocketAddr) -> Writers {
    Writers::start::<P::Client, _>(address, || {
        let mut rng = Rng::new(bench.rng.next());
        move || rng.duration_below(Duration::from_millis(20))
    })
}

/// mainstay's way to the primary is cut: a connect is refused, as if the primary had died. The standby hears it still.
pub(super) fn cut_off(bench: &mut Bench) -> Rows {
    let pair = PostgresPair::start();
    let way = Way::to(pair.nodes()[0])?;
    let more = json!({
        "backends": [
            {"name": NAMES[0], "address": way.address.to_string()},
            {"name": NAMES[1], "address": pair.nodes()[1].to_string()},
        ],
        "promotion": promotion::<PostgresPair>()["promotion"],
    });
    let mainstay = Mainstay::before(&pair, &more, &bench.log("cut_off"))?;
    let mut promotions = Vec::new();
    let mut back = Vec::new();
    for number in 0..bench.runs {
        mainstay.wait_ready(&bench.stop, NAMES[0])?;
        random_phase(bench)?;
        way.cut();
        bench
            .stop
            .wait("the primary is down for mainstay", PATIENCE, || mainstay.pool().ok().filter(|pool| pool.active.is_none()))?;
        bench.stop.pause(CUT)?;
        let operations = mainstay.scrape()?.sum("mainstay_operations_total", &[("kind", "promotion")]);
        let promoted = f64::from(u8::from(!pair.cluster.node(1).is_standby()?));
        let began = Instant::now();
        way.mend()?;
        bench.stop.wait("the primary serves again", PATIENCE, || Client::login(mainstay.address(0)).ok())?;
        back.push(millis(began.elapsed()));
        eprintln!("cut_off {}/{}: {operations} operations, {promoted} promotions", number + 1, bench.runs);
        promotions.push(operations.max(promoted));
    }
    Ok(vec![
        Row::new("promotions", Count, Exactly(0.0), promotions),
        Row::new("from the end of the cut to a login", Millis, Told, back),
    ])
}

/// A way to a server that can be cut and mended.
struct Way {
    address: SocketAddr,
    target: SocketAddr,
    open: Mutex<Option<Open>>,
}

struct Open {
    is_over: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    fn to(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let way = Self { address: listener.local_addr()?, target, open: Mutex::default() };
        way.listen(listener);
        Ok(way)
    }

    fn listen(&self, listener: TcpListener) {
        let (is_over, streams, target) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<TcpStream>>>::default(), self.target);
        let open = Open { is_over: Arc::clone(&is_over), streams: Arc::clone(&streams) };
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(open);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let _ = join(client, target, &streams);
            }
        });
    }

    fn cut(&self) {
        let Some(open) = self.open.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        open.is_over.store(true, Ordering::SeqCst);
        // The listener is woken, and closes.
        let _ = TcpStream::connect(self.address);
        for stream in open.streams.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) -> Result<(), Failure> {
        self.listen(TcpListener::bind(self.address)?);
        Ok(())
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.cut();
    }
}

fn join(client: TcpStream, target: SocketAddr, streams: &Mutex<Vec<TcpStream>>) -> io::Result<()> {
    let server = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    streams.lock().unwrap_or_else(PoisonError::into_inner).extend([client.try_clone()?, server.try_clone()?]);
    for (mut from, mut to) in [(client.try_clone()?, server.try_clone()?), (server, client)] {
        thread::spawn(move || {
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}
