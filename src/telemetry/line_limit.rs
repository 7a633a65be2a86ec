//! How many log lines there are in a time about one thing. What is beyond is counted, and told with the next line.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// By default so many lines, within this time.
const LINES: u32 = 6;
const WINDOW: Duration = Duration::from_mins(1);

/// The lines about each thing. Its keys must be of a bounded set.
#[derive(Debug)]
pub struct LineLimit<K> {
    most: u32,
    window: Duration,
    lines: Mutex<BTreeMap<K, Lines>>,
}

/// A line may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// How many about the same thing were not, since the last one that was; `None` for none.
    pub suppressed: Option<u64>,
}

#[derive(Debug)]
struct Lines {
    since: Instant,
    written: u32,
    suppressed: u64,
}

impl<K: Ord> Default for LineLimit<K> {
    /// Six a minute.
    fn default() -> Self {
        Self::new(LINES, WINDOW)
    }
}

impl<K: Ord> LineLimit<K> {
    /// So many lines within such a time.
    pub const fn new(most: u32, window: Duration) -> Self {
        Self { most, window, lines: Mutex::new(BTreeMap::new()) }
    }

    /// Whether one more may be written now.
    pub fn admits(&self, key: K) -> Option<Admitted> {
        self.admits_at(key, Instant::now())
    }

    fn admits_at(&self, key: K, now: Instant) -> Option<Admitted> {
        let is_over = |lines: &Lines| now.saturating_duration_since(lines.since) >= self.window;
        let mut all = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, lines| lines.suppressed > 0 || !is_over(lines));
        let lines = all.entry(key).or_insert(Lines { since: now, written: 0, suppressed: 0 });
        if is_over(lines) {
            (lines.since, lines.written) = (now, 0);
        }
        if lines.written < self.most {
            lines.written += 1;
            let suppressed = Some(std::mem::take(&mut lines.suppressed)).filter(|count| *count > 0);
            return Some(Admitted { suppressed });
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
        let (limit, start) = (LineLimit::default(), Instant::now());
        let admitted = |key, seconds: std::ops::Range<u64>| {
            let lines = seconds.filter_map(|now| limit.admits_at(key, start + Duration::from_secs(now)));
            lines.map(|admitted| admitted.suppressed).collect::<Vec<_>>()
        };
        assert_eq!(admitted("a", 0..50), [None; LINES as usize]);
        assert_eq!(admitted("b", 50..52), [None, None], "another thing");
        assert_eq!(admitted("a", 60..62), [Some(50 - u64::from(LINES)), None]);
        assert_eq!(admitted("a", 500..501), [None]);
        assert_eq!(limit.lines.lock().unwrap().len(), 1, "what is over is forgotten");
    }
}
