//! Observed health of one backend, from the outcomes of its probes.

use super::vocabulary::Health;

/// The result of one observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Agrees with the verdict.
    Unchanged,
    /// Contradicts the verdict, but not yet often enough; the backend is probed faster.
    Pending,
    /// The verdict changed.
    Changed,
}

/// A verdict and the number of consecutive observations that contradict it. Whatever agrees with the verdict resets the count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tracker {
    verdict: Health,
    against: u32,
}

impl Tracker {
    /// The verdict.
    pub const fn verdict(&self) -> Health {
        self.verdict
    }

    /// A change is pending.
    pub const fn is_pending(&self) -> bool {
        self.against > 0
    }

    /// How many consecutive observations contradict the verdict.
    pub const fn against(&self) -> u32 {
        self.against
    }

    /// A probe succeeded. The first verdict after start needs one; after that, Up needs `needed` in a row.
    pub const fn success(&mut self, needed: u32) -> Transition {
        self.observe(Health::Up, needed)
    }

    /// A probe failed. The first verdict after start needs one; after that, Down needs `fall` in a row.
    pub const fn failure(&mut self, fall: u32) -> Transition {
        self.observe(Health::Down, fall)
    }

    /// The backend answered, but the answer proves neither health nor death: it resets the count.
    pub const fn interrupt(&mut self) {
        self.against = 0;
    }

    /// Down without counting: two independent signals agree.
    pub fn force_down(&mut self) -> Transition {
        let transition = if self.verdict == Health::Down { Transition::Unchanged } else { Transition::Changed };
        *self = Self { verdict: Health::Down, against: 0 };
        transition
    }

    const fn observe(&mut self, seen: Health, needed: u32) -> Transition {
        if self.verdict as u8 == seen as u8 {
            self.against = 0;
            return Transition::Unchanged;
        }
        self.against += 1;
        if matches!(self.verdict, Health::Unknown) || self.against >= needed {
            self.verdict = seen;
            self.against = 0;
            Transition::Changed
        } else {
            Transition::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracker(verdict: Health) -> Tracker {
        Tracker { verdict, against: 0 }
    }

    #[test]
    fn the_first_verdict_needs_one_observation() {
        assert_eq!(Tracker::default().success(9), Transition::Changed);
        assert_eq!(Tracker::default().failure(9), Transition::Changed);
    }

    #[test]
    fn every_threshold_flips_exactly_at_its_count_and_one_contrary_result_starts_over() {
        for needed in 1..=5 {
            for interrupted_after in 0..needed {
                for (from, to) in [(Health::Up, Health::Down), (Health::Down, Health::Up)] {
                    let mut t = tracker(from);
                    let contradict = |t: &mut Tracker| if to == Health::Down { t.failure(needed) } else { t.success(needed) };
                    for _ in 0..interrupted_after {
                        assert_eq!(contradict(&mut t), Transition::Pending);
                    }
                    let agree = if from == Health::Up { t.success(needed) } else { t.failure(needed) };
                    assert_eq!(agree, Transition::Unchanged);
                    assert!(!t.is_pending());
                    for _ in 1..needed {
                        assert_eq!(contradict(&mut t), Transition::Pending);
                        assert_eq!(t.verdict(), from);
                    }
                    assert_eq!(contradict(&mut t), Transition::Changed);
                    assert_eq!(t.verdict(), to);
                }
            }
        }
    }

    #[test]
    fn an_interruption_breaks_a_run() {
        let mut t = tracker(Health::Up);
        assert_eq!(t.failure(2), Transition::Pending);
        t.interrupt();
        assert_eq!(t.failure(2), Transition::Pending);
        assert_eq!(t.failure(2), Transition::Changed);
    }
}
