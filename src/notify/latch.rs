//! A state that is told when it has lasted for a while, and told again when it has been over for a while. Pure.
//!
//! One that comes and goes must not flood: within ten minutes, each time that it was told doubles the time for which it has to be
//! over before that is told. Until then it is one and the same.

use std::time::Duration;

use crate::failover::Time;

/// One that returns later is a new one.
const MEMORY: Duration = Duration::from_mins(10);
/// The longest wait before an end is told.
const LONGEST: Duration = Duration::from_mins(5);

/// One state of one pool.
#[derive(Clone, Debug)]
pub(super) struct Latch {
    /// It must last this long.
    lasts: Duration,
    /// It must be over this long, the first time.
    settles: Duration,
    since: Option<Time>,
    over_since: Option<Time>,
    is_told: bool,
    /// How often it went away and returned while it was told.
    returned: u32,
    /// How often it was told within [`MEMORY`] of the last end.
    repeated: u32,
    last_end: Option<Time>,
}

/// What has to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has begun.
    Begun,
    /// It is over.
    Over {
        lasted: Duration,
        /// How often it had gone away and returned.
        returned: u32,
    },
}

impl Latch {
    pub(super) const fn new(lasts: Duration, settles: Duration) -> Self {
        Self { lasts, settles, since: None, over_since: None, is_told: false, returned: 0, repeated: 0, last_end: None }
    }

    /// It is, or is not, at `now`; `lasts` is how long it must last this time, if not as usual.
    pub(super) fn look(&mut self, now: Time, is: Option<Time>, lasts: Option<Duration>) -> Option<Turn> {
        let Some(since) = is else { return self.gone(now) };
        if self.is_told && self.over_since.take().is_some() {
            self.returned += 1;
        }
        let since = *self.since.get_or_insert(since);
        if self.is_told || now.since(since) < lasts.unwrap_or(self.lasts) {
            return None;
        }
        self.is_told = true;
        let is_repeated = self.last_end.is_some_and(|end| now.since(end) < MEMORY);
        self.repeated = if is_repeated { self.repeated.saturating_add(1) } else { 0 };
        Some(Turn::Begun)
    }

    fn gone(&mut self, now: Time) -> Option<Turn> {
        if !self.is_told {
            self.since = None;
            return None;
        }
        let over_since = *self.over_since.get_or_insert(now);
        let settles = self.settles.saturating_mul(1 << self.repeated.min(16)).min(LONGEST);
        if now.since(over_since) < settles {
            return None;
        }
        let lasted = self.since.map(|since| over_since.since(since)).unwrap_or_default();
        let turn = Turn::Over { lasted, returned: self.returned };
        *self = Self { repeated: self.repeated, last_end: Some(now), ..Self::new(self.lasts, self.settles) };
        Some(turn)
    }

    /// It was told, and its end was not.
    pub(super) const fn is_told(&self) -> bool {
        self.is_told
    }

    /// Time alone may change something.
    pub(super) const fn is_pending(&self) -> bool {
        (self.since.is_some() && !self.is_told) || self.over_since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn latch() -> Latch {
        Latch::new(Duration::from_millis(500), Duration::from_secs(2))
    }

    #[test]
    fn what_is_short_is_not_told() {
        let mut latch = latch();
        for (now, is) in [(0, false), (100, true), (599, true), (600, false), (700, true), (1100, true)] {
            assert_eq!(latch.look(at(now), is.then(|| at(now)), None), None, "{now}");
        }
        assert!(latch.is_pending() && !latch.is_told());
    }

    #[test]
    fn beginning_and_end_are_told_once_and_the_end_has_its_length() {
        let mut latch = latch();
        assert_eq!(latch.look(at(1000), Some(at(900)), None), None);
        assert_eq!(latch.look(at(1400), Some(at(1400)), None), Some(Turn::Begun));
        assert_eq!(latch.look(at(9000), Some(at(9000)), None), None);
        assert_eq!(latch.look(at(10_000), None, None), None);
        // It returns for a moment: the same one goes on.
        assert_eq!(latch.look(at(10_100), Some(at(10_100)), None), None);
        assert_eq!(latch.look(at(10_900), None, None), None);
        assert_eq!(latch.look(at(12_899), None, None), None);
        let over = Turn::Over { lasted: Duration::from_secs(10), returned: 1 };
        assert_eq!(latch.look(at(12_900), None, None), Some(over));
        assert_eq!(latch.look(at(20_000), None, None), None);
        assert!(!latch.is_pending());
    }

    #[test]
    fn one_that_comes_and_goes_for_an_hour_is_told_a_few_times() {
        let mut latch = latch();
        // Three seconds down, three seconds up.
        let told: Vec<u64> = (0..36_000)
            .map(|step| step * 100)
            .filter(|now| latch.look(at(*now), ((now / 3000) % 2 == 1).then(|| at(*now)), None).is_some())
            .collect();
        assert!((3..=4).contains(&told.len()), "{told:?}");
        // Up for two minutes between two outages: told each time, until the doubled time is longer.
        let told = (0..36_000_u64)
            .map(|step| 3_600_000 + step * 100)
            .filter(|now| latch.look(at(*now), (now % 125_000 < 5000).then(|| at(*now)), None).is_some())
            .count();
        assert!((10..=20).contains(&told), "{told}");
    }
}
