//! Figures: what is counted, which ratio they must reach beside the peers, and whether they do.

use lab::stats::{ends, median};

use crate::contestant::Contestant;

/// What must be true of a figure: of the median of mainstay's over that of the best peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    /// Nothing: the figure is for information.
    Told,
    /// Less is better, and the ratio to the best peer at most this.
    AtMost(f64),
    /// More is better, and the ratio to the best peer at least this.
    AtLeast(f64),
    /// What is added to direct, round by round, is compared; at most this.
    AddedAtMost(f64),
    /// As `AtMost`, but to `HAProxy` alone.
    OfHaproxyAtMost(f64),
}

/// One kind of number that a measure yields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure {
    pub(crate) key: &'static str,
    pub(crate) what: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) bound: Bound,
}

impl Figure {
    pub(crate) const fn new(key: &'static str, what: &'static str, unit: &'static str, bound: Bound) -> Self {
        Self { key, what, unit, bound }
    }

    /// Those that mainstay is compared with.
    fn rivals(&self) -> &'static [Contestant] {
        match self.bound {
            Bound::OfHaproxyAtMost(_) => &[Contestant::Haproxy],
            _ => &Contestant::PEERS,
        }
    }

    /// The better of two values.
    fn better(&self, left: f64, right: f64) -> f64 {
        if matches!(self.bound, Bound::AtLeast(_)) { left.max(right) } else { left.min(right) }
    }

    pub(crate) fn bound(&self) -> String {
        match self.bound {
            Bound::Told => String::new(),
            Bound::AtMost(most) => format!("≤ {most:.2}"),
            Bound::AtLeast(least) => format!("≥ {least:.2}"),
            Bound::AddedAtMost(most) => format!("added ≤ {most:.2}"),
            Bound::OfHaproxyAtMost(most) => format!("≤ {most:.2} of haproxy"),
        }
    }
}

/// The numbers of one run of one contestant, by the figure's key.
pub(crate) type Sample = Vec<(&'static str, f64)>;

/// All that is known of a measure.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) figures: &'static [Figure],
    /// One sample a round.
    pub(crate) samples: Vec<(Contestant, Vec<Sample>)>,
    /// Why it could not be measured to its end.
    pub(crate) failed: Option<String>,
}

/// What is said of a figure with a bound.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    pub(crate) ours: f64,
    /// Who was best besides mainstay.
    pub(crate) rival: Contestant,
    pub(crate) best: f64,
    pub(crate) ratio: f64,
    /// The ratio within each round: smallest and largest.
    pub(crate) spread: (f64, f64),
    pub(crate) holds: bool,
}

impl Book {
    /// The numbers of a figure, one a round.
    pub(crate) fn values(&self, figure: &Figure, contestant: Contestant) -> Vec<f64> {
        let samples = self.samples.iter().find(|(of, _)| *of == contestant).map_or(&[] as &[Sample], |(_, samples)| samples);
        let value = |sample: &Sample| sample.iter().find(|(key, _)| *key == figure.key).map(|(_, value)| *value);
        samples.iter().filter_map(value).collect()
    }

    /// The numbers that are compared: less direct's of the same round, where that is asked.
    pub(crate) fn compared(&self, figure: &Figure, contestant: Contestant) -> Vec<f64> {
        let values = self.values(figure, contestant);
        if !matches!(figure.bound, Bound::AddedAtMost(_)) {
            return values;
        }
        values.iter().zip(self.values(figure, Contestant::Direct)).map(|(value, direct)| value - direct).collect()
    }

    /// `None` for a figure without a bound, and without mainstay or anybody to compare it with.
    pub(crate) fn verdict(&self, figure: &Figure) -> Option<Verdict> {
        let ours = self.compared(figure, Contestant::Mainstay);
        let rivals: Vec<_> = figure.rivals().iter().map(|rival| (*rival, self.compared(figure, *rival))).collect();
        let medians = rivals.iter().filter_map(|(rival, values)| Some((*rival, median(values)?)));
        let (rival, best) = medians
            .reduce(|left, right| if (figure.better(left.1, right.1) - left.1).abs() < f64::EPSILON { left } else { right })?;
        let middle = median(&ours)?;
        let ratio = middle / best;
        let in_round = ours.iter().enumerate().filter_map(|(round, ours)| {
            let best = rivals.iter().filter_map(|(_, values)| values.get(round).copied()).reduce(|l, r| figure.better(l, r))?;
            Some(ours / best)
        });
        let holds = match figure.bound {
            Bound::Told => return None,
            Bound::AtMost(most) | Bound::OfHaproxyAtMost(most) => ratio <= most,
            Bound::AtLeast(least) => ratio >= least,
            // Where the best peer adds nothing that can be measured, there is no ratio to speak of.
            Bound::AddedAtMost(most) => middle <= best * most || (best <= 0.0 && middle <= best),
        };
        let spread = ends(&in_round.collect::<Vec<_>>())?;
        Some(Verdict { ours: middle, rival, best, ratio, spread, holds })
    }

    /// It could be measured, and every bound that can be judged holds.
    pub(crate) fn holds(&self) -> bool {
        self.failed.is_none() && self.figures.iter().all(|figure| self.verdict(figure).is_none_or(|verdict| verdict.holds))
    }
}
