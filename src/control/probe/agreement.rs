//! Combines the check of the database with a second opinion by HTTP. Pure: one truth table.
//!
//! The database itself is asked, so it decides about health. With two opinions, a backend is the primary only when both say so, and
//! it is not when either clearly denies it. A second opinion that is missing, or cannot be understood, changes nothing: a hung
//! endpoint must not take a healthy database down.

use super::finding::Finding;
use crate::{
    failover::{Facts, Outcome, Printable, Role},
    labels,
};

/// What the second opinion is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecondOpinion {
    /// That this is the primary.
    Primary(Finding),
    /// A clear denial: it is not, or the database does not run.
    Otherwise(Finding),
    /// Nothing usable; holds the reason.
    Nothing(Printable),
}

/// Whether both have agreed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// No: a denial counts at once.
    New,
    /// Yes: one denial is not enough. A restarted Patroni denies its own leader for a moment.
    Earned,
}

labels! {
    /// The second opinion compared with the first.
    pub enum Agreement {
        /// They agree, or the difference does not matter.
        Agrees = "agrees",
        /// It says nothing usable.
        Silent = "silent",
        /// It denies that the database is the primary, which says that it is.
        Contradicts = "contradicts",
    }
}

/// The combination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// What the probe reports.
    pub finding: Finding,
    /// The comparison; `None` when it does not matter.
    pub agreement: Option<Agreement>,
}

/// The truth table.
///
/// | direct | HTTP | trust | together |
/// |---|---|---|---|
/// | not ok | · | · | the direct check's finding |
/// | standby, or no role known | · | · | the direct check's finding |
/// | primary | primary | · | the direct check's finding |
/// | primary | otherwise | earned | the direct check's finding, and a word |
/// | primary | otherwise | new | role unknown |
/// | primary | nothing | · | the direct check's finding, and a word |
/// | knows no roles | primary | · | primary, with HTTP's facts |
/// | knows no roles | otherwise, the database runs | · | HTTP's facts |
/// | knows no roles | otherwise, the database does not run | · | role unknown |
/// | knows no roles | nothing | · | role unknown |
pub fn join(direct: Finding, opinion: &SecondOpinion, trust: Trust) -> Joined {
    if direct.outcome != Outcome::Ok {
        return Joined { finding: direct, agreement: None };
    }
    let agreement = if matches!(opinion, SecondOpinion::Nothing(_)) { Agreement::Silent } else { Agreement::Agrees };
    let (finding, agreement) = match (direct.facts.role, opinion) {
        (None, opinion) => (without_roles(direct, opinion), agreement),
        (Some(Role::Primary), SecondOpinion::Otherwise(other)) => {
            let finding = match trust {
                Trust::Earned => with_word(direct, &format!("HTTP denies it, for the first time: {}", other.evidence)),
                Trust::New => {
                    let facts = Facts { role: Some(Role::Unknown), ..direct.facts };
                    let evidence = format!("the database says {}, but HTTP: {}", direct.evidence, other.evidence);
                    Finding { facts, evidence: evidence.into(), ..direct }
                }
            };
            (finding, Agreement::Contradicts)
        }
        (Some(Role::Primary), SecondOpinion::Nothing(why)) => {
            (with_word(direct, &format!("the HTTP check says nothing: {why}")), agreement)
        }
        _ => (direct, agreement),
    };
    Joined { finding, agreement: Some(agreement) }
}

fn without_roles(direct: Finding, opinion: &SecondOpinion) -> Finding {
    let unknown = Facts { role: Some(Role::Unknown), ..Facts::default() };
    let (facts, word) = match opinion {
        SecondOpinion::Primary(other) | SecondOpinion::Otherwise(other) if other.outcome == Outcome::Ok => {
            (other.facts.clone(), other.evidence.to_string())
        }
        SecondOpinion::Primary(other) | SecondOpinion::Otherwise(other) => (unknown, other.evidence.to_string()),
        SecondOpinion::Nothing(why) => (unknown, format!("the HTTP check says nothing, so its role is not known: {why}")),
    };
    Finding { facts, ..with_word(direct, &word) }
}

fn with_word(finding: Finding, word: &str) -> Finding {
    Finding { evidence: format!("{}; {word}", finding.evidence).into(), ..finding }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::label::Label;

    fn finding(outcome: Outcome, role: Option<Role>, evidence: &str) -> Finding {
        let facts = Facts { role, db_epoch: role.map(|_| 7), ..Facts::default() };
        Finding { outcome, facts, evidence: evidence.into() }
    }

    fn direct(role: Option<Role>) -> Finding {
        finding(Outcome::Ok, role, "direct")
    }

    fn primary() -> SecondOpinion {
        SecondOpinion::Primary(finding(Outcome::Ok, Some(Role::Primary), "http"))
    }

    fn standby() -> SecondOpinion {
        SecondOpinion::Otherwise(finding(Outcome::Ok, Some(Role::Standby), "http"))
    }

    fn stopped() -> SecondOpinion {
        SecondOpinion::Otherwise(Finding::new(Outcome::Starting, "http"))
    }

    fn nothing() -> SecondOpinion {
        SecondOpinion::Nothing("hung".into())
    }

    #[test]
    fn a_direct_check_that_is_not_ok_is_all_that_counts() {
        for &outcome in Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::Ok) {
            for opinion in [primary(), standby(), stopped(), nothing()] {
                for trust in [Trust::New, Trust::Earned] {
                    let found = Finding::new(outcome, "direct");
                    assert_eq!(join(found.clone(), &opinion, trust), Joined { finding: found, agreement: None });
                }
            }
        }
    }

    #[test]
    fn a_standby_is_a_standby_whatever_http_says() {
        for role in [Role::Standby, Role::Unknown] {
            for (opinion, agreement) in [
                (primary(), Agreement::Agrees),
                (standby(), Agreement::Agrees),
                (stopped(), Agreement::Agrees),
                (nothing(), Agreement::Silent),
            ] {
                for trust in [Trust::New, Trust::Earned] {
                    let joined = join(direct(Some(role)), &opinion, trust);
                    assert_eq!(joined, Joined { finding: direct(Some(role)), agreement: Some(agreement) });
                }
            }
        }
    }

    #[test]
    fn a_primary_needs_both_and_silence_takes_nothing_away() {
        for (opinion, trust, role, agreement) in [
            (primary(), Trust::New, Role::Primary, Agreement::Agrees),
            (primary(), Trust::Earned, Role::Primary, Agreement::Agrees),
            (standby(), Trust::New, Role::Unknown, Agreement::Contradicts),
            (standby(), Trust::Earned, Role::Primary, Agreement::Contradicts),
            (stopped(), Trust::New, Role::Unknown, Agreement::Contradicts),
            (stopped(), Trust::Earned, Role::Primary, Agreement::Contradicts),
            (nothing(), Trust::New, Role::Primary, Agreement::Silent),
            (nothing(), Trust::Earned, Role::Primary, Agreement::Silent),
        ] {
            let Joined { finding, agreement: is } = join(direct(Some(Role::Primary)), &opinion, trust);
            assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(role)), "{opinion:?} {trust:?}");
            assert_eq!((finding.facts.db_epoch, is), (Some(7), Some(agreement)));
            assert!(finding.evidence.contains("direct"), "{}", finding.evidence);
            let both = finding.evidence.contains("http") || finding.evidence.contains("hung");
            assert_eq!(both, agreement != Agreement::Agrees, "{}", finding.evidence);
        }
    }

    #[test]
    fn a_check_without_roles_takes_them_from_http() {
        for (opinion, role, epoch) in [
            (primary(), Role::Primary, Some(7)),
            (standby(), Role::Standby, Some(7)),
            (stopped(), Role::Unknown, None),
            (nothing(), Role::Unknown, None),
        ] {
            for trust in [Trust::New, Trust::Earned] {
                let Joined { finding, .. } = join(direct(None), &opinion, trust);
                assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(role)), "{opinion:?}");
                assert_eq!(finding.facts.db_epoch, epoch);
            }
        }
    }

    #[test]
    fn the_words_of_an_agreement_are_distinct() {
        let mut words: Vec<&str> = Agreement::ALL.iter().map(|agreement| agreement.as_str()).collect();
        words.dedup();
        assert_eq!(words.len(), Agreement::ALL.len());
    }
}
