//! Conditions awaited, never slept for.
#![allow(missing_docs, clippy::missing_panics_doc, clippy::unwrap_used, reason = "what a test waits for in vain should panic")]

use std::{
    cell::RefCell,
    collections::HashMap,
    fs, io,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    time::{Duration, Instant},
};

/// How often a condition is looked at in the beginning. Short, because failovers are timed with it.
const FIRST_LOOKS: Duration = Duration::from_millis(2);
/// How often at the end. In between, a look follows after a sixteenth of the time waited so far, or after twice as long as it took (a
/// client's program to start, a status to render): looks cost processor time, which what is awaited may need.
const LATE_LOOKS: Duration = Duration::from_millis(100);

/// After a look that began when so much had been waited.
fn until_next_look(since: Instant, began: Duration) -> Duration {
    let waited = since.elapsed();
    (waited / 16).max(2 * waited.saturating_sub(began)).clamp(FIRST_LOOKS, LATE_LOOKS)
}

/// Looks at a condition until it holds or the time is over; whether it held.
pub fn wait_until(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let since = Instant::now();
    loop {
        let began = since.elapsed();
        if condition() {
            return true;
        }
        if since.elapsed() >= timeout {
            return false;
        }
        std::thread::sleep(until_next_look(since, began));
    }
}

/// How long a condition may take; slow machines set `MAINSTAY_TEST_PATIENCE` (seconds).
pub fn patience() -> Duration {
    let seconds = std::env::var("MAINSTAY_TEST_PATIENCE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}

/// Waits until `condition` gives something.
#[track_caller]
pub fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(patience(), what, condition)
}

/// As [`until`], for what takes longer by its nature.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let mut seen = None;
    wait_until(limit, || {
        seen = condition();
        seen.is_some()
    });
    let Some(seen) = seen else { panic!("waited in vain for: {what}") };
    seen
}

/// As [`until`], for a test whose own runtime has to go on meanwhile.
pub async fn until_async<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        let began = since.elapsed();
        if let Some(value) = condition().await {
            return value;
        }
        assert!(since.elapsed() < patience(), "waited in vain for: {what}");
        tokio::time::sleep(until_next_look(since, began)).await;
    }
}

/// Waits until a count that is not zero has stood still for as long as `pause`, in which everybody who could have raised it had a
/// processor, or for ten times as long where that cannot be told; the count.
#[track_caller]
pub fn stands_still(what: &str, pause: Duration, mut count: impl FnMut() -> u64) -> u64 {
    let (mut last, mut since) = (0, Watch::start());
    until(what, || {
        let now = count();
        if std::mem::replace(&mut last, now) != now {
            since = Watch::start();
        }
        (now > 0 && (since.unhindered() >= pause || since.elapsed() >= 10 * pause)).then_some(now)
    })
}

/// The next connection of a listener; its reads and writes have a deadline as well.
#[track_caller]
pub fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let stream = until("somebody connects", || match listener.accept() {
        Ok((stream, _)) => Some(stream),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream.set_write_timeout(Some(patience())).unwrap();
    stream
}

/// A stopwatch for upper bounds: what the machine did meanwhile for others is no fault of what is measured.
pub struct Watch {
    start: Instant,
    before: HashMap<PathBuf, Duration>,
    /// As of the last look, and of what has ended since then.
    last: RefCell<HashMap<PathBuf, Duration>>,
}

impl Watch {
    pub fn start() -> Self {
        let before = kept_from_running();
        Self { start: Instant::now(), last: RefCell::new(before.clone()), before }
    }

    /// What a clock on the wall says.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The same, but for the time in which a thread of this test or of a process that it started wanted to run and had no processor. Of a
    /// process that has ended only what was seen of it counts: whoever waits for an end asks again and again.
    pub fn unhindered(&self) -> Duration {
        let took = self.elapsed();
        let before = |task| self.before.get(task).copied().unwrap_or_default();
        let mut last = self.last.borrow_mut();
        last.extend(kept_from_running());
        took.saturating_sub(last.iter().map(|(task, kept)| kept.saturating_sub(before(task))).sum())
    }

    /// What is left of a time that was measured since the start, without what the machine did for others.
    pub fn without_the_machine(&self, took: Duration) -> Duration {
        took.saturating_sub(self.elapsed().saturating_sub(self.unhindered()))
    }
}

/// How long each thread of this process and of its descendants has wanted to run while the machine had other work (schedstat, second
/// number).
fn kept_from_running() -> HashMap<PathBuf, Duration> {
    let mut kept = HashMap::new();
    let mut processes = vec![std::process::id().to_string()];
    while let Some(process) = processes.pop() {
        // Whatever ends meanwhile is not there any more.
        let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        for task in tasks.map(|task| task.path()) {
            let read = |name: &str| fs::read_to_string(task.join(name)).unwrap_or_default();
            let nanos = read("schedstat").split(' ').nth(1).and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
            processes.extend(read("children").split_whitespace().map(str::to_owned));
            kept.insert(task, Duration::from_nanos(nanos));
        }
    }
    kept
}
