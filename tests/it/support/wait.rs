//! Conditions awaited, never slept for.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

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
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A stopwatch for upper bounds: what the machine did meanwhile for others is no fault of what is measured.
pub struct Watch {
    start: Instant,
    kept: HashMap<PathBuf, Duration>,
}

impl Watch {
    pub fn start() -> Self {
        Self { start: Instant::now(), kept: kept_from_running() }
    }

    /// What a clock on the wall says.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The same, but for the time in which a thread of this test or of a process that it started wanted to run and had no processor.
    pub fn unhindered(&self) -> Duration {
        let took = self.elapsed();
        let before = |task| self.kept.get(task).copied().unwrap_or_default();
        took.saturating_sub(kept_from_running().iter().map(|(task, kept)| kept.saturating_sub(before(task))).sum())
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
