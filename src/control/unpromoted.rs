//! Tells why mainstay promotes nobody by itself, when it is time to.

use crate::failover::PromotionCondition;

/// Sets of conditions that are told in one outage.
const MOST: usize = 16;

/// What was told of the present outage.
#[derive(Debug, Default)]
pub(super) struct Unpromoted(Vec<Vec<PromotionCondition>>);

impl Unpromoted {
    /// The conditions to be told now: each set once in an outage, and none while one of `early` does not hold.
    pub(super) fn news(
        &mut self,
        is_served: bool,
        unmet: Option<Vec<PromotionCondition>>,
        early: &[PromotionCondition],
    ) -> Option<Vec<PromotionCondition>> {
        if is_served {
            self.0.clear();
            return None;
        }
        let unmet = unmet.filter(|unmet| !unmet.iter().any(|one| early.contains(one)))?;
        let unmet = essential(unmet);
        if unmet.is_empty() || self.0.contains(&unmet) || self.0.len() >= MOST {
            return None;
        }
        self.0.push(unmet.clone());
        Some(unmet)
    }
}

/// Without a candidate, what is asked of one says nothing more.
pub(super) fn essential(mut unmet: Vec<PromotionCondition>) -> Vec<PromotionCondition> {
    if unmet.contains(&PromotionCondition::Candidate) {
        unmet.retain(|one| !matches!(one, PromotionCondition::Witness | PromotionCondition::Lag | PromotionCondition::Proven));
    }
    unmet
}

/// Conditions with what each wants, for people.
pub(super) fn words(unmet: &[PromotionCondition]) -> String {
    unmet.iter().map(|one| format!("{one} ({})", wants(*one))).collect::<Vec<_>>().join(", ")
}

/// What does not hold.
const fn wants(condition: PromotionCondition) -> &'static str {
    match condition {
        PromotionCondition::NoOperation => "another operation runs",
        PromotionCondition::NoPrimary => "a backend is active, or says that it is a primary",
        PromotionCondition::PrimaryDown => "the last active backend is not down",
        PromotionCondition::NotOrdered => "an order or a reload took the last active backend out",
        PromotionCondition::After => "promotion.after has not passed since this mainstay had an active backend",
        PromotionCondition::Candidate => "no standby is up, in no doubt and of the history that was served",
        PromotionCondition::Witness => "a standby still hears its primary, or does not say whether it does",
        PromotionCondition::Fence => "the primary is silent, not refused, and the pool has no promotion.fence",
        PromotionCondition::Lag => "the candidate lacks more than promotion.max_lag, or nobody knows how much",
        PromotionCondition::Proven => "the candidate has changed and has not proven itself, and guard.mode is enforce",
        PromotionCondition::SingleDecider => "promotion.single is not true",
        PromotionCondition::Budget => "failover_budget is used up",
        PromotionCondition::Attempts => "two candidates were tried in vain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::label::Label as _;

    #[test]
    fn each_set_is_told_once_in_an_outage() {
        use PromotionCondition::{After, Candidate, Lag, NoOperation, Witness};
        let mut told = Unpromoted::default();
        let early = [After, NoOperation];
        let mut news = |served, unmet: &[PromotionCondition]| told.news(served, Some(unmet.to_vec()), &early).is_some();
        for _ in 0..2 {
            assert!(!news(false, &[After, Witness]) && !news(false, &[NoOperation]) && !news(false, &[]));
            assert!(news(false, &[Witness]) && !news(false, &[Witness]));
            assert!(news(false, &[Candidate, Witness, Lag]) && !news(false, &[Candidate]));
            assert!(news(false, &[Lag]) && !news(false, &[Witness]) && !news(false, &[Lag]));
            assert!(!news(true, &[Witness]));
        }
        assert_eq!(told.news(false, None, &early), None);
    }

    /// docs/promotion.md has a row for each.
    #[test]
    fn the_page_names_every_condition_in_these_words() {
        let page = include_str!("../../docs/promotion.md");
        for one in PromotionCondition::ALL {
            let row = format!("| `{one}` |");
            let line = page.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("no row {row}"));
            assert!(line.ends_with(&format!("| {} |", wants(*one))), "{line}\nmust end with | {} |", wants(*one));
        }
    }
}
