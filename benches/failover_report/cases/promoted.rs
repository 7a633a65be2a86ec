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
    pairs::{NAMES, Pair as _, postgres::PostgresPair},
    stats::millis,
    transactions::{Client as _, Tally, Writers, postgres::Client},
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
fn promotion() -> Value {
    json!({
        "promotion": {"how": "sql", "automatic": true, "single": true, "max_lag": "16MiB"},
        "failover_budget": {"max": 1000},
    })
}

struct Run {
    first_write: f64,
    lost: f64,
    failed_connects: f64,
    late: f64,
}

/// The primary is killed, two nodes, synchronous; afterwards it comes back as a primary.
pub(super) fn kill9_alone(bench: &mut Bench) -> Rows {
    let mut pair = PostgresPair::start();
    let mainstay = Mainstay::before(&pair, &promotion(), &bench.log("automatic_promotion"))?;
    let mut runs = Vec::new();
    for number in 0..bench.runs {
        let old = number as usize % 2;
        let run = died(bench, &mainstay, &mut pair, old)?;
        eprintln!(
            "automatic_promotion {}/{}: first write after {:.0} ms, lost {}, failed connects {}, late {}",
            number + 1,
            bench.runs,
            run.first_write,
            run.lost,
            run.failed_connects,
            run.late
        );
        runs.push(run);
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

fn died(bench: &mut Bench, mainstay: &Mainstay, pair: &mut PostgresPair, old: usize) -> Result<Run, Failure> {
    let new = 1 - old;
    mainstay.wait_ready(&bench.stop, NAMES[old])?;
    let before = pair.written(old);
    let began = Instant::now();
    let writers = writers(bench, mainstay.address(0));
    bench.stop.wait("every client writes", PATIENCE, || writers.tally().all_since(began))?;
    random_phase(bench)?;
    let fault = kill9(pair.cluster.node(old))?;
    let first = |writers: &Writers| {
        let commits = writers.tally().commits.lock().unwrap_or_else(PoisonError::into_inner);
        // What the dead one had answered before may still have been on its way.
        let by_the_new_one = fault + Duration::from_secs(1);
        commits.iter().find(|(_, at)| *at > by_the_new_one).map(|(_, at)| *at)
    };
    let first = bench.stop.wait("a client writes to the new primary", PATIENCE, || first(&writers))?;
    bench.stop.wait("every client writes again", PATIENCE, || writers.tally().all_since(first))?;
    pair.cluster.node(old).start()?;
    let returned = pair.written(old);
    bench.stop.pause(RETURNED)?;
    let late = pair.written(old) - returned;
    let tally = writers.stop();
    // A transaction without an answer may be there or not.
    let lost = (before + Tally::of(&tally.committed)).saturating_sub(pair.written(new));
    pair.rejoined(old, new);
    Ok(Run {
        first_write: millis(first.duration_since(fault)),
        lost: lost as f64,
        failed_connects: Tally::of(&tally.refused) as f64,
        late: late as f64,
    })
}

fn writers(bench: &mut Bench, address: SocketAddr) -> Writers {
    Writers::start::<Client, _>(address, || {
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
        "promotion": promotion()["promotion"],
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
