//! No processor time is left: mainstay is late then, and blames nobody for it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Child, Command},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use mainstay::control::heartbeat::MAX_AGE;
use serde_json::json;

use crate::support::{
    echo::Backend,
    process::{Process, Stderr, settings},
    wait::{Watch, until},
};

/// Processes that burn all the processor time that they get.
struct Hogs(Vec<Child>);

impl Hogs {
    fn start() -> Self {
        let count = 4 * thread::available_parallelism().unwrap().get();
        // Each ends by itself, should the test be killed.
        let script = "end=$(($(date +%s) + 30)); while [ $(date +%s) -lt $end ]; do i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; done";
        Self((0..count).map(|_| Command::new("sh").args(["-c", script]).spawn().unwrap()).collect())
    }
}

impl Drop for Hogs {
    fn drop(&mut self) {
        for hog in &mut self.0 {
            let _ = hog.kill();
            let _ = hog.wait();
        }
    }
}

fn round_trip(process: &Process) {
    let mut client = process.connect();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
}

#[test]
fn a_machine_without_a_free_core_is_no_evidence_against_a_backend() {
    let (first, second) = (Backend::echo(), Backend::echo());
    let mut settings = settings(&[first.address, second.address]);
    // Deadlines that a starved process misses again and again.
    settings["pools"][0]["check"]["interval"] = "20ms".into();
    settings["pools"][0]["check"]["fast_interval"] = "10ms".into();
    settings["pools"][0]["check"]["timeout"] = "20ms".into();
    // With every bucket of how late they were.
    settings["metrics"] = json!({"detail": "full"});
    // Whatever else runs has precedence.
    let process = Process::start_under(&["nice", "-n", "19"], &settings, Stderr::Read).serving();
    let control = process.thread("mainstay-contro");
    let kept = || process.kept_from_running(&control);
    let before = kept();
    let hogs = Hogs::start();
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        round_trip(&process);
    }
    let (code, body) = process.get("/livez");
    drop(hogs);
    until("it lives", || (process.get("/livez").0 == 200).then_some(()));
    let kept = kept().saturating_sub(before);
    // A sign of life is due each second. Only of a thread that was late for one by so much, and for want of a processor, it may say so.
    assert!(code == 200 || kept + Duration::from_secs(1) >= MAX_AGE, "it was kept from running for {kept:?}: {body}");
    let probes = |name, labels: &[_]| process.metric(&format!("mainstay_probe_lateness_seconds_{name}"), labels);
    let late = probes("count", &[]) - probes("bucket", &[("le", "0.025")]);
    assert!(late >= 5, "only {late} probes were later than their timeout: that was no starvation");
    assert_eq!(process.metric("mainstay_transitions_total", &[("to", "down")]), 0);
    assert_eq!(process.metric("mainstay_pool_epoch", &[]), 1);
}

/// Mainstay with one worker, which dumps, queries and the accept loop must share, before a backend that dumps for `d` and
/// echoes everything else.
fn one_worker() -> (Backend, Process) {
    let backend = Backend::start(|mut stream| {
        let mut what = [0; 1];
        while stream.read_exact(&mut what).is_ok() {
            if what[0] == b'd' {
                let flood = vec![0; 1 << 20];
                while stream.write_all(&flood).is_ok() {}
                return;
            }
            let _ = stream.write_all(&what);
        }
    });
    let mut settings = settings(&[backend.address]);
    settings["workers"] = 1.into();
    let process = Process::start(&settings).serving();
    (backend, process)
}

/// Takes a dump as fast as it comes until it is enough; its bytes.
fn dump(process: &Process, enough: &AtomicBool) -> usize {
    let mut dump = process.connect();
    dump.write_all(b"d").unwrap();
    let mut piece = vec![0; 1 << 20];
    let mut bytes = 0;
    while !enough.load(Ordering::Relaxed) {
        bytes += dump.read(&mut piece).unwrap();
    }
    bytes
}

fn ask(query: &mut TcpStream) {
    query.write_all(b"q").unwrap();
    query.read_exact(&mut [0; 1]).unwrap();
}

#[test]
fn a_dump_at_full_speed_starves_neither_checks_nor_queries_nor_the_admin_endpoint() {
    let (_backend, process) = one_worker();
    let mut query = process.connect();
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let dump = scope.spawn(|| dump(&process, &enough));
        let probes = || process.metric("mainstay_probes_total", &[("outcome", "ok")]);
        let (started, before) = (Instant::now(), probes());
        let mut queries = 0;
        while started.elapsed() < Duration::from_secs(2) {
            ask(&mut query);
            queries += 1;
        }
        round_trip(&process);
        let asked = Watch::start();
        assert_eq!(process.get("/livez").0, 200);
        assert!(asked.unhindered() < Duration::from_millis(500), "{:?}", asked.elapsed());
        let probes = probes() - before;
        enough.store(true, Ordering::Relaxed);
        let bytes = dump.join().unwrap();
        assert!(bytes > 100 << 20, "that was no dump: {bytes} bytes");
        assert!(probes >= 6, "{probes} probes in two seconds at an interval of 200 ms");
        // Counted in bytes, as below: the session of the dump takes its turn of a millisecond, and the next turn is the query's.
        assert!(bytes / queries < 8 << 20, "{bytes} bytes passed {queries} queries");
    });
    assert_eq!(process.metric("mainstay_transitions_total", &[("to", "down")]), 0);
}

#[test]
fn several_dumps_take_short_turns_and_a_query_has_its_own_between_them() {
    const DUMPS: usize = 4;
    let (_backend, process) = one_worker();
    let mut query = process.connect();
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let dumps: Vec<_> = (0..DUMPS).map(|_| scope.spawn(|| dump(&process, &enough))).collect();
        let started = Instant::now();
        let mut queries = 0;
        while started.elapsed() < Duration::from_secs(2) {
            ask(&mut query);
            queries += 1;
        }
        enough.store(true, Ordering::Relaxed);
        let bytes: usize = dumps.into_iter().map(|dump| dump.join().unwrap()).sum();
        assert!(bytes > 100 << 20, "those were no dumps: {bytes} bytes");
        // Counted in bytes, which depend little on how busy the machine is: a query waits for a turn of each dump on its way
        // there, and on its way back, of a quarter of a mebibyte each.
        assert!(bytes / queries < 8 << 20, "{bytes} bytes passed {queries} queries");
    });
}
