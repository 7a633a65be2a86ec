//! When the next probe of a backend is due. Counts in the runtime's time, and knows nothing of what a probe is.

use std::time::Duration;

use tokio::time::Instant;

use super::events::ProberKey;
use crate::{config::CheckConfig, failover::Pace};

/// Between two probes while no backend is active. Short enough that a promotion is seen at once, long enough not to burden a server
/// that refuses connections.
pub const URGENT_INTERVAL: Duration = Duration::from_millis(20);

/// A planned probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// When.
    pub(super) at: Instant,
    nudged: bool,
}

/// A probe that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// When it really began.
    pub(super) at: Instant,
    /// How much later than planned.
    pub(super) lateness: Duration,
    /// It was requested outside the pace: with a new connection.
    pub(super) fresh: bool,
}

/// The plan. Missed probes are not made up for: the next one is an interval after the last one *began*, or at once when that one
/// took longer.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Duration,
    fast_interval: Duration,
    pace: Pace,
    /// Shortens the very first pause, so that the probes of many backends do not coincide.
    phase: Duration,
    paced: Instant,
    nudged: Option<Instant>,
    last_nudged: Option<Instant>,
}

impl Schedule {
    /// The first probe is due now.
    pub(super) fn new(check: &CheckConfig, key: ProberKey) -> Self {
        Self {
            interval: check.interval,
            fast_interval: check.fast_interval,
            pace: Pace::Normal,
            phase: check.interval * u32::try_from(key.0 % 8).unwrap_or(0) / 16,
            paced: Instant::now(),
            nudged: None,
            last_nudged: None,
        }
    }

    /// The next probe; `not_before` delays a probe whatever its reason.
    pub(super) fn due(&self, not_before: Option<Instant>) -> Due {
        let nudged = self.nudged.is_some_and(|nudged| nudged <= self.paced);
        let at = if nudged { self.nudged.unwrap_or(self.paced) } else { self.paced };
        Due { at: not_before.map_or(at, |bound| at.max(bound)), nudged }
    }

    /// A probe is wanted at once, but not within `fast_interval` of the last such one.
    pub(super) fn nudge(&mut self, now: Instant) {
        let at = self.last_nudged.map_or(now, |last| now.max(last + self.fast_interval));
        self.nudged.get_or_insert(at);
    }

    /// Changes the pace. The next probe is pulled forward if the new pace wants it sooner.
    pub(super) fn pace(&mut self, pace: Pace, now: Instant) {
        self.pace = pace;
        self.paced = self.paced.min(now + self.current());
    }

    /// The probe that was due begins.
    pub(super) fn start(&mut self, due: Due, now: Instant) -> Start {
        if due.nudged {
            self.nudged = None;
            self.last_nudged = Some(now);
        }
        Start { at: now, lateness: now.saturating_duration_since(due.at), fresh: due.nudged }
    }

    /// The probe that began at `started` is over.
    pub(super) fn finished(&mut self, started: Instant) {
        self.paced = started + self.current().saturating_sub(std::mem::take(&mut self.phase));
    }

    /// The last probe does not count; the next one is due at once.
    pub(super) fn again(&mut self) {
        self.paced = Instant::now();
    }

    const fn current(&self) -> Duration {
        match self.pace {
            Pace::Normal => self.interval,
            Pace::Fast => self.fast_interval,
            Pace::Urgent => URGENT_INTERVAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CheckKind, TcpCheck};

    const MS: Duration = Duration::from_millis(1);

    fn schedule(key: u64) -> Schedule {
        let check = CheckConfig {
            kind: CheckKind::Tcp(TcpCheck),
            second: None,
            interval: 1000 * MS,
            fast_interval: 100 * MS,
            timeout: 1000 * MS,
            fresh_login: 5000 * MS,
            proxy_header: None,
        };
        Schedule::new(&check, ProberKey(key))
    }

    fn run(schedule: &mut Schedule, now: Instant) -> Start {
        let due = schedule.due(None);
        let start = schedule.start(due, now);
        schedule.finished(start.at);
        start
    }

    #[test]
    fn the_first_probe_is_due_at_once_and_the_second_is_out_of_step() {
        for key in 0..16 {
            let mut schedule = schedule(key);
            let zero = schedule.due(None).at;
            run(&mut schedule, zero);
            let pause = schedule.due(None).at - zero;
            assert!(pause > 500 * MS && pause <= 1000 * MS, "{pause:?}");
            let second = schedule.due(None).at;
            run(&mut schedule, second);
            assert_eq!(schedule.due(None).at, second + 1000 * MS);
        }
    }

    #[test]
    fn a_faster_pace_pulls_the_next_probe_forward_and_a_slower_one_leaves_it() {
        let mut schedule = schedule(0);
        let zero = schedule.due(None).at;
        run(&mut schedule, zero);
        schedule.pace(Pace::Fast, zero + 500 * MS);
        assert_eq!(schedule.due(None).at, zero + 600 * MS);
        schedule.pace(Pace::Urgent, zero + 500 * MS);
        assert_eq!(schedule.due(None).at, zero + 520 * MS);
        schedule.pace(Pace::Normal, zero + 500 * MS);
        assert_eq!(schedule.due(None).at, zero + 520 * MS);
    }

    #[test]
    fn missed_probes_are_not_made_up_for() {
        let mut schedule = schedule(0);
        let zero = schedule.due(None).at;
        run(&mut schedule, zero);
        let start = run(&mut schedule, zero + 61_000 * MS);
        assert_eq!(start.lateness, 60_000 * MS);
        assert_eq!(schedule.due(None).at, zero + 62_000 * MS);
    }

    #[test]
    fn nudges_are_one_and_spaced() {
        let mut schedule = schedule(0);
        let zero = schedule.due(None).at;
        run(&mut schedule, zero);
        schedule.nudge(zero + 10 * MS);
        schedule.nudge(zero + 11 * MS);
        let start = run(&mut schedule, zero + 10 * MS);
        assert!(start.fresh);
        assert_eq!(schedule.due(None).at, zero + 1010 * MS);
        schedule.nudge(zero + 12 * MS);
        assert_eq!(schedule.due(None).at, zero + 110 * MS);
    }

    #[test]
    fn a_bound_holds_every_probe_back() {
        let mut schedule = schedule(0);
        let zero = schedule.due(None).at;
        schedule.nudge(zero);
        assert_eq!(schedule.due(Some(zero + 700 * MS)).at, zero + 700 * MS);
    }
}
