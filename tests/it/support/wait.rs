//! Conditions awaited, never slept for.

use std::time::{Duration, Instant};

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

/// How long the threads of this process have wanted to run while the machine had other work, all told (schedstat, second number).
pub fn kept_from_running() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let waited = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split(' ').nth(1)?.parse::<u64>().ok()
    });
    Duration::from_nanos(waited.sum())
}
