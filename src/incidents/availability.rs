//! How much of the last days a pool had an active backend.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::state::Kept;

/// Days of the window.
const DAYS: u64 = 30;

/// What was seen on one day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Day {
    /// Days since 1970.
    #[serde(rename = "day")]
    number: u64,
    /// Seconds during which it was watched.
    watched: f64,
    /// Seconds of them during which no backend was active.
    out: f64,
}

/// The days of the window on which the pool was watched, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Availability {
    days: VecDeque<Day>,
}

impl Kept for Availability {
    const NAME: &'static str = "availability";
    const MAX_LEN: u64 = 16 << 10;
    const LOST: &'static str = "the availability begins anew";
    const SET_ASIDE: bool = true;
}

impl Availability {
    /// On this day it was watched for so many seconds more, and during so many of them no backend was active.
    pub(super) fn add(&mut self, day: u64, watched: f64, out: f64) {
        self.merge(day, watched, out);
        // A clock that was wrong for a while may have made days that are yet to come.
        self.days.retain(|known| known.number.saturating_add(DAYS) > day && known.number <= day.saturating_add(1));
    }

    fn merge(&mut self, day: u64, watched: f64, out: f64) {
        let (watched, out) = (watched.max(0.0), out.max(0.0));
        match self.days.iter_mut().find(|known| known.number == day) {
            Some(known) => (known.watched, known.out) = (known.watched + watched, known.out + out),
            None => self.days.push_back(Day { number: day, watched, out }),
        }
        self.days.make_contiguous().sort_by_key(|known| known.number);
    }

    /// What an earlier process saw.
    pub(super) fn adopt(&mut self, earlier: &Self, today: u64) {
        for Day { number, watched, out } in &earlier.days {
            self.merge(*number, *watched, *out);
        }
        self.add(today, 0.0, 0.0);
    }

    /// From 0 to 1; 1 before anything was seen.
    pub(super) fn ratio(&self) -> f64 {
        let sum = |of: fn(&Day) -> f64| self.days.iter().map(of).sum::<f64>();
        let (watched, out) = (sum(|day| day.watched), sum(|day| day.out));
        if watched > 0.0 { (1.0 - out / watched).clamp(0.0, 1.0) } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: f64 = 86_400.0;

    #[test]
    fn it_is_the_part_of_the_watched_time_and_old_days_leave() {
        let mut seen = Availability::default();
        assert!((seen.ratio() - 1.0).abs() < 1e-12);
        seen.add(20_000, 3600.0, 36.0);
        assert!((seen.ratio() - 0.99).abs() < 1e-12, "an hour is all that is known");
        (20_001..20_030).for_each(|day| seen.add(day, DAY, 0.0));
        assert!((seen.ratio() - (1.0 - 36.0 / (29.0 * DAY + 3600.0))).abs() < 1e-12);
        seen.add(20_030, 1.0, 0.0);
        assert!((seen.ratio() - 1.0).abs() < 1e-12 && seen.days.len() == 30, "the day of the outage has left");
        let json = serde_json::to_string(&seen).unwrap();
        assert!(json.len() < 4096, "{}", json.len());
        assert_eq!(serde_json::from_str::<Availability>(&json).unwrap(), seen);
    }

    #[test]
    fn what_an_earlier_process_saw_counts_and_days_to_come_do_not() {
        let (mut earlier, mut seen) = (Availability::default(), Availability::default());
        earlier.add(20_000, 1000.0, 500.0);
        earlier.days.push_back(Day { number: u64::MAX, watched: 1e9, out: 1e9 });
        seen.add(20_000, 1000.0, 0.0);
        seen.adopt(&earlier, 20_000);
        assert!((seen.ratio() - 0.75).abs() < 1e-12, "{seen:?}");
        seen.add(20_000, f64::MIN, -5.0);
        assert!((seen.ratio() - 0.75).abs() < 1e-12, "{seen:?}");
    }
}
