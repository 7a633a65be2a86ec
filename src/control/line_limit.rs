//! How many log lines a minute there are about one thing. What is beyond is counted, and told with the next line.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::failover::Time;

/// So many lines within [`WINDOW`].
const LINES: u32 = 6;
const WINDOW: Duration = Duration::from_mins(1);

/// The lines about each thing.
#[derive(Debug)]
pub(super) struct LineLimit<K>(Mutex<BTreeMap<K, Lines>>);

#[derive(Debug, Default)]
struct Lines {
    since: Time,
    written: u32,
    suppressed: u64,
}

impl<K: Ord> Default for LineLimit<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord> LineLimit<K> {
    /// Whether one more may be written: how many were not, since the last that was.
    pub(super) fn admits(&self, key: K, now: Time) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, lines| lines.suppressed > 0 || now.since(lines.since) < WINDOW);
        let lines = all.entry(key).or_insert_with(|| Lines { since: now, ..Lines::default() });
        if now.since(lines.since) >= WINDOW {
            (lines.since, lines.written) = (now, 0);
        }
        if lines.written < LINES {
            lines.written += 1;
            return Some(std::mem::take(&mut lines.suppressed));
        }
        lines.suppressed += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_is_counted_and_told_with_the_next_line() {
        let limit = LineLimit::default();
        let at = |seconds| Time::ZERO + Duration::from_secs(seconds);
        let admitted =
            |key, seconds: std::ops::Range<u64>| seconds.filter_map(|now| limit.admits(key, at(now))).collect::<Vec<_>>();
        assert_eq!(admitted("a", 0..50), [0; LINES as usize]);
        assert_eq!(admitted("b", 50..52), [0, 0], "another thing");
        assert_eq!(admitted("a", 60..62), [50 - u64::from(LINES), 0]);
        assert_eq!(admitted("a", 500..501), [0]);
        assert_eq!(limit.0.lock().unwrap().len(), 1, "what is over is forgotten");
    }
}
