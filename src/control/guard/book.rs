//! What is known of one backend's print, and what follows from it. Pure: prints, results and time go in.
//!
//! | it was | what happens | it is |
//! |---|---|---|
//! | never seen | a print is read | `proven`: first sight is trusted |
//! | anything | the print that was proven is read again | `proven` |
//! | anything | the print that was approved is read | `approved` |
//! | anything | another print is read | `unproven` |
//! | `unproven` | proofs begin | `proving`; one that failed stays so until they passed |
//! | `proving` | a proof failed, and not on the active one | `failed` |
//! | `proving` | a proof failed on both | `inconclusive` |
//! | `proving` | none failed, and `soak` passed without a failed probe | `proven`, or waits for an approval |
//! | `proving` | a proof had no answer | `unproven`; they are run again later |
//! | not good | the quick proofs passed while clients waited | told as `proven`, until the others were run |
//! | anything | an operator approved it, or rejected it | `approved`, `failed`: for this print |

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::proofs::{ProofResult, Proved, Scope};
use crate::{
    failover::{Printable, Proof, Time, label::Label},
    route::{Difference, Print},
};

/// How many differences are named.
const NAMED: usize = 3;

/// Proofs that failed are tried again after this time: what they found may have been mended without a change of the print.
const AGAIN: Duration = Duration::from_mins(1);

/// How a book is kept.
#[derive(Clone, Copy, Debug)]
pub(in crate::control) struct Rules<'a> {
    /// Names of items that do not count.
    pub(in crate::control) ignored: &'a [String],
    /// How long it must last.
    pub(in crate::control) soak: Duration,
    /// An operator has to approve it.
    pub(in crate::control) is_manual: bool,
}

/// What outlives the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::control) struct Kept {
    /// The print that was proven.
    proven: Option<Print>,
    /// The print that an operator approved, who and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    approved: Option<(Print, String)>,
    /// The print that an operator rejected, who and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rejected: Option<(Print, String)>,
    /// The print that was seen last, if it is not good, and what was said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    open: Option<Open>,
}

/// A print that is not good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    print: Print,
    failed: bool,
    what: String,
}

/// One backend.
#[derive(Debug, Default)]
pub(in crate::control) struct Book {
    kept: Kept,
    present: Option<Arc<Print>>,
    proof: Proof,
    what: Printable,
    /// Of the proofs that were run last.
    results: Vec<Proved>,
    /// Proofs are to be run from this time on.
    due: Option<Time>,
    /// Since when nothing spoke against it, once its proofs have passed.
    lasts_since: Option<Time>,
    /// It was away, and what it is now has not been read.
    is_doubtful: bool,
    /// Its quick proofs passed, and the others have not been run.
    is_provisional: bool,
}

impl Book {
    /// As an earlier process left it.
    pub(in crate::control) fn restore(kept: Kept) -> Self {
        let (proof, what) = match &kept.open {
            Some(open) => (if open.failed { Proof::Failed } else { Proof::Unproven }, Printable::from(open.what.clone())),
            None => (Proof::default(), Printable::default()),
        };
        let present = kept.open.as_ref().map(|open| Arc::new(open.print.clone()));
        let mut book = Self { kept, present, proof, what, ..Self::default() };
        book.due = book.kept.open.as_ref().filter(|_| !book.is_rejected()).map(|_| Time::ZERO);
        book
    }

    /// What outlives the process.
    pub(in crate::control) const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The state, and what is to be said of it.
    pub(in crate::control) fn proof(&self) -> (Proof, Printable) {
        if self.is_doubtful && self.proof.is_good() {
            return (Proof::Unproven, "it was away, and has not been looked at since".into());
        }
        if self.is_provisional {
            return (Proof::Proven, "its quick proofs passed while clients waited; the others follow".into());
        }
        (self.proof, self.what.clone())
    }

    /// The print that was read last.
    pub(in crate::control) const fn present(&self) -> Option<&Arc<Print>> {
        self.present.as_ref()
    }

    /// The print that was proven.
    pub(in crate::control) const fn proven(&self) -> Option<&Print> {
        self.kept.proven.as_ref()
    }

    /// Of the proofs that were run last.
    pub(in crate::control) fn results(&self) -> &[Proved] {
        &self.results
    }

    /// It was away: nothing is known of what it is now.
    pub(in crate::control) fn doubt(&mut self) {
        self.is_doubtful = self.kept.proven.is_some();
    }

    /// It is taken for what it was.
    pub(in crate::control) const fn trust(&mut self) {
        self.is_doubtful = false;
    }

    /// It only was away, which is no change.
    pub(in crate::control) const fn is_doubtful(&self) -> bool {
        self.is_doubtful && self.proof.is_good()
    }

    /// Its proofs passed, and it has to last.
    pub(in crate::control) const fn lasts(&self) -> bool {
        self.lasts_since.is_some()
    }

    /// A person rejected what it is now.
    pub(in crate::control) fn is_rejected(&self) -> bool {
        let present = self.present.as_deref();
        self.kept.rejected.as_ref().is_some_and(|(rejected, _)| Some(rejected) == present)
    }

    /// Its print was read. Of what a standby gets from its primary by replication, the print of the active one has the latest. Returns
    /// whether it is another one than before.
    pub(in crate::control) fn read(&mut self, print: Print, active: Option<&Print>, now: Time, rules: Rules<'_>) -> bool {
        self.is_doubtful = false;
        let is = |other: &Print| other.differences(&print, rules.ignored).is_empty();
        let is_new = !self.present.as_deref().is_some_and(is);
        let Some(proven) = &self.kept.proven else {
            self.kept.proven = Some(print.clone());
            self.present = Some(Arc::new(print));
            self.good(Proof::Proven);
            return false;
        };
        let rejected = self.kept.rejected.as_ref().filter(|(rejected, _)| is(rejected)).map(|(_, by)| by.clone());
        let differences = proven.differences(&print, rules.ignored);
        let copied = |difference: &Difference| active.is_some_and(|active| difference.is_replicated() && active.has(difference));
        let differences: Vec<_> = differences.into_iter().filter(|difference| !copied(difference)).collect();
        let is_approved = self.kept.approved.as_ref().is_some_and(|(approved, _)| is(approved));
        let sees_more = print.len() > proven.len();
        self.present = Some(Arc::new(print));
        if let Some(by) = rejected {
            self.due = None;
            self.open(Proof::Failed, format!("rejected {by}").into());
        } else if differences.is_empty() {
            if sees_more {
                self.kept.proven = self.present.as_deref().cloned();
            }
            self.good(Proof::Proven);
        } else if is_approved {
            self.good(Proof::Approved);
        } else if is_new || (self.proof.is_good() && !self.is_provisional) {
            let named = differences.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let rest = differences.len().saturating_sub(NAMED);
            let what = if rest > 0 { format!("{named}; and {rest} more") } else { named };
            self.results.clear();
            self.is_provisional = false;
            self.due = Some(now);
            self.open(Proof::Unproven, what.into());
        }
        is_new
    }

    /// Whether its proofs are to be run.
    pub(in crate::control) fn is_due(&self, now: Time) -> bool {
        !self.is_doubtful && !self.proof.is_good() && !self.is_rejected() && self.due.is_some_and(|due| due <= now)
    }

    /// Its proofs begin. One that failed before has failed until they passed.
    pub(in crate::control) fn begin(&mut self) {
        self.due = None;
        self.lasts_since = None;
        if self.proof == Proof::Unproven {
            self.proof = Proof::Proving;
        }
    }

    /// They were given up in the middle.
    pub(in crate::control) fn interrupted(&mut self, now: Time) {
        if self.proof == Proof::Proving {
            self.proof = Proof::Unproven;
        }
        if !self.proof.is_good() {
            self.due = Some(now);
        }
    }

    /// Somebody asks for its proofs.
    pub(in crate::control) fn ask(&mut self, now: Time) {
        self.due = Some(now);
    }

    /// Its proofs are over.
    pub(in crate::control) fn proved(&mut self, results: Vec<Proved>, scope: Scope, now: Time, rules: Rules<'_>) {
        if self.proof.is_good() || self.is_rejected() {
            return;
        }
        let of = |result: ProofResult| results.iter().find(|proved| proved.result == result);
        let is_same =
            |proved: &Proved| self.results.iter().any(|before| before.name == proved.name && before.result == proved.result);
        let told = |proved: &Proved| (Printable::from(format!("{}: {}", proved.name, proved.evidence)), is_same(proved));
        let verdict = if let Some(failed) = of(ProofResult::Failed) {
            Some((Proof::Failed, told(failed)))
        } else if let Some(open) = of(ProofResult::Inconclusive) {
            Some((Proof::Inconclusive, told(open)))
        } else {
            of(ProofResult::Unanswered).map(|open| (Proof::Unproven, told(open)))
        };
        let before = self.proof;
        self.results = results;
        match verdict {
            Some((proof, (what, is_same))) => {
                self.due = Some(now + AGAIN);
                self.is_provisional = false;
                // The same failure is no news, whatever time it took.
                let what = if is_same && proof == before { self.what.clone() } else { what };
                self.open(proof, what);
            }
            None if scope == Scope::Quick => {
                self.is_provisional = true;
                self.due = Some(now);
            }
            None => {
                self.proof = Proof::Proving;
                self.lasts_since = Some(now);
                self.tick(now, rules);
            }
        }
    }

    /// A probe failed, or it lost its primary: it has to last from now on.
    pub(in crate::control) fn disturbed(&mut self, now: Time) {
        if let Some(since) = &mut self.lasts_since {
            *since = now;
        }
    }

    /// Time passed. Returns whether it is proven now.
    pub(in crate::control) fn tick(&mut self, now: Time, rules: Rules<'_>) -> bool {
        let Some(since) = self.lasts_since.filter(|_| self.proof == Proof::Proving) else { return false };
        let left = rules.soak.saturating_sub(now.since(since));
        if !left.is_zero() {
            self.what = "its proofs passed; it has to last for guard.soak".into();
        } else if rules.is_manual {
            self.what = "its proofs passed; it waits for mainstay approve".into();
        } else {
            self.kept.proven = self.present.as_deref().cloned().or_else(|| self.kept.proven.take());
            self.good(Proof::Proven);
            return true;
        }
        false
    }

    /// An operator approved what it is now. `None` while nothing was read.
    pub(in crate::control) fn approve(&mut self, by: &str) -> Option<()> {
        let present = self.present.as_deref()?;
        self.kept.approved = Some((present.clone(), by.to_owned()));
        self.kept.rejected = None;
        self.is_doubtful = false;
        self.good(Proof::Approved);
        Some(())
    }

    /// An operator rejected what it is now. `None` while nothing was read.
    pub(in crate::control) fn reject(&mut self, by: &str) -> Option<()> {
        let present = self.present.as_deref()?;
        self.kept.rejected = Some((present.clone(), by.to_owned()));
        self.kept.approved = None;
        (self.due, self.is_doubtful, self.is_provisional) = (None, false, false);
        self.open(Proof::Failed, format!("rejected {by}").into());
        Some(())
    }

    fn good(&mut self, proof: Proof) {
        self.kept.open = None;
        (self.proof, self.what, self.due, self.lasts_since) = (proof, Printable::default(), None, None);
        self.is_provisional = false;
        if proof == Proof::Approved
            && let Some((_, by)) = &self.kept.approved
        {
            self.what = format!("approved {by}").into();
        }
    }

    fn open(&mut self, proof: Proof, what: Printable) {
        if let Some(print) = self.present.as_deref() {
            self.kept.open = Some(Open { print: print.clone(), failed: proof == Proof::Failed, what: what.to_string() });
        }
        (self.proof, self.what, self.lasts_since) = (proof, what, None);
    }
}

/// A line for operators: the state and what is said of it.
pub(in crate::control) fn told((proof, what): &(Proof, Printable)) -> String {
    if what.is_empty() { proof.as_str().to_owned() } else { format!("{proof}: {what}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{PrintGroup, PrintItem};

    const RULES: Rules<'_> = Rules { ignored: &[], soak: Duration::from_mins(1), is_manual: false };

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn print(version: &str, work_mem: &str) -> Print {
        let item = |value: &str| PrintItem { value: value.into(), ..PrintItem::default() };
        let mut print = Print::default();
        print.add(PrintGroup::Version, "server", item(version));
        print.add(PrintGroup::Setting, "work_mem", item(work_mem));
        print
    }

    fn proved(name: &str, result: ProofResult) -> Proved {
        Proved { name: name.into(), result, took: Duration::ZERO, evidence: "asked".into() }
    }

    fn updated() -> Book {
        let mut book = Book::default();
        book.read(print("15.17", "4MB"), None, at(0), RULES);
        assert_eq!(book.proof().0, Proof::Proven, "first sight is trusted");
        book.read(print("15.18", "4MB"), None, at(10), RULES);
        assert_eq!(book.proof().0, Proof::Unproven);
        assert!(book.proof().1.contains("15.18"), "{}", book.proof().1);
        assert!(book.is_due(at(10)));
        book
    }

    #[test]
    fn an_update_is_proven_when_its_proofs_passed_and_it_lasted() {
        let mut book = updated();
        book.begin();
        assert!(!book.is_due(at(11)), "never more than one at a time");
        book.proved(
            vec![proved("extensions", ProofResult::Passed), proved("hba", ProofResult::Skipped)],
            Scope::All,
            at(20),
            RULES,
        );
        assert_eq!(book.proof().0, Proof::Proving);
        book.disturbed(at(50));
        book.tick(at(100), RULES);
        assert_eq!(book.proof().0, Proof::Proving, "a failed probe begins the soak again");
        book.tick(at(110), RULES);
        assert_eq!(book.proof().0, Proof::Proven);
        book.read(print("15.17", "4MB"), None, at(120), RULES);
        assert_eq!(book.proof().0, Proof::Unproven, "the way back is a change as well");
    }

    #[test]
    fn a_failed_proof_is_told_and_tried_again() {
        let mut book = updated();
        book.begin();
        book.proved(vec![proved("top", ProofResult::Failed), proved("x", ProofResult::Inconclusive)], Scope::All, at(20), RULES);
        assert_eq!(book.proof(), (Proof::Failed, "top: asked".into()));
        book.read(print("15.18", "4MB"), None, at(30), RULES);
        assert_eq!(book.proof().0, Proof::Failed, "the same print is no change");
        assert!(!book.is_due(at(79)) && book.is_due(at(80)));
        book.begin();
        book.proved(vec![proved("x", ProofResult::Inconclusive)], Scope::All, at(90), RULES);
        assert_eq!(book.proof().0, Proof::Inconclusive);
        // Tried again, it has failed until it passed, and says the same.
        let before = book.proof();
        book.begin();
        assert_eq!(book.proof(), before);
        let slower = Proved { evidence: "asked, and it took longer".into(), ..proved("x", ProofResult::Inconclusive) };
        book.proved(vec![slower], Scope::All, at(200), RULES);
        assert_eq!(book.proof(), before);
    }

    #[test]
    fn no_answer_proves_nothing() {
        for scope in [Scope::All, Scope::Quick] {
            let mut book = updated();
            book.begin();
            book.proved(vec![proved("x", ProofResult::Unanswered), proved("y", ProofResult::Passed)], scope, at(20), RULES);
            assert_eq!(book.proof(), (Proof::Unproven, "x: asked".into()));
            assert!(!book.is_due(at(79)) && book.is_due(at(80)));
        }
    }

    #[test]
    fn what_replication_brings_is_no_change_of_a_standby() {
        let extension = |version: &str| {
            let mut print = print("15.17", "4MB");
            let item = PrintItem { value: version.into(), ..PrintItem::default() };
            print.add(PrintGroup::Extension, "hstore", item);
            print
        };
        let mut book = Book::default();
        book.read(print("15.17", "4MB"), None, at(0), RULES);
        book.read(extension("1.8"), Some(&extension("1.8")), at(10), RULES);
        assert_eq!(book.proof().0, Proof::Proven);
        book.read(extension("1.9"), Some(&extension("1.8")), at(20), RULES);
        assert_eq!(book.proof().0, Proof::Unproven, "the active one has another one");
        let (own, active) = (print("15.18", "4MB"), print("15.18", "4MB"));
        let mut book = Book::default();
        book.read(print("15.17", "4MB"), None, at(0), RULES);
        book.read(own, Some(&active), at(10), RULES);
        assert_eq!(book.proof().0, Proof::Unproven, "a version is not replicated");
    }

    #[test]
    fn the_quick_proofs_are_enough_for_one_that_clients_wait_for() {
        let mut book = updated();
        book.begin();
        book.proved(vec![proved("x", ProofResult::Passed)], Scope::Quick, at(11), RULES);
        assert_eq!(book.proof().0, Proof::Proven);
        assert!(book.is_due(at(11)), "all of its proofs follow");
        assert_eq!(Book::restore(book.kept().clone()).proof().0, Proof::Unproven, "nothing is proven for good");
        book.read(print("15.18", "4MB"), None, at(12), RULES);
        assert_eq!(book.proof().0, Proof::Proven, "the same print is no change");
        book.begin();
        assert_eq!(book.proof().0, Proof::Proven);
        book.proved(vec![proved("x", ProofResult::Failed)], Scope::All, at(20), RULES);
        assert_eq!(book.proof().0, Proof::Failed);
    }

    #[test]
    fn who_rejects_what_was_proven_is_heard() {
        let mut book = Book::default();
        book.read(print("15.17", "4MB"), None, at(0), RULES);
        book.reject("by root: slow").unwrap();
        book.read(print("15.17", "4MB"), None, at(10), RULES);
        assert_eq!(book.proof(), (Proof::Failed, "rejected by root: slow".into()));
        let mut book = Book::restore(book.kept().clone());
        book.read(print("15.17", "4MB"), None, at(20), RULES);
        assert_eq!(book.proof().0, Proof::Failed);
        book.ask(at(30));
        book.proved(vec![proved("x", ProofResult::Passed)], Scope::All, at(40), RULES);
        assert_eq!(book.proof().0, Proof::Failed, "a late result changes nothing");
    }

    #[test]
    fn ignored_items_and_an_undone_change_are_no_change() {
        let ignored = ["work_mem".to_owned()];
        let rules = Rules { ignored: &ignored, ..RULES };
        let mut book = Book::default();
        book.read(print("15.17", "4MB"), None, at(0), rules);
        book.read(print("15.17", "64MB"), None, at(1), rules);
        assert_eq!(book.proof().0, Proof::Proven);
        book.read(print("15.17", "64MB"), None, at(2), RULES);
        assert_eq!(book.proof().0, Proof::Unproven, "no longer ignored");
        book.read(print("15.17", "4MB"), None, at(3), RULES);
        assert_eq!(book.proof().0, Proof::Proven);
    }

    #[test]
    fn approval_and_rejection_hold_for_one_print() {
        let mut book = Book::default();
        assert!(book.approve("by root").is_none() && book.reject("by root").is_none());
        let mut book = updated();
        book.reject("by root: no").unwrap();
        assert_eq!(book.proof(), (Proof::Failed, "rejected by root: no".into()));
        book.read(print("15.18", "4MB"), None, at(20), RULES);
        assert_eq!(book.proof().0, Proof::Failed);
        assert!(!book.is_due(at(1000)), "nobody tries what a person rejected");
        assert!(!Book::restore(book.kept().clone()).is_due(at(1000)), "nor after a restart");
        book.approve("by root: yes").unwrap();
        assert_eq!(book.proof(), (Proof::Approved, "approved by root: yes".into()));
        book.read(print("15.19", "4MB"), None, at(30), RULES);
        assert_eq!(book.proof().0, Proof::Unproven);
        book.read(print("15.18", "4MB"), None, at(40), RULES);
        assert_eq!(book.proof().0, Proof::Approved);
    }

    #[test]
    fn manual_approval_waits_for_a_person() {
        let rules = Rules { is_manual: true, ..RULES };
        let mut book = updated();
        book.begin();
        book.proved(Vec::new(), Scope::All, at(20), rules);
        book.tick(at(1000), rules);
        assert_eq!(book.proof().0, Proof::Proving);
        assert!(book.proof().1.contains("mainstay approve"));
    }

    #[test]
    fn what_was_away_is_looked_at_before_it_is_trusted_again() {
        let mut book = Book::default();
        book.doubt();
        assert_eq!(book.proof().0, Proof::Proven, "nothing is known of it");
        book.read(print("15.17", "4MB"), None, at(0), RULES);
        book.doubt();
        assert_eq!(book.proof().0, Proof::Unproven);
        book.read(print("15.17", "4MB"), None, at(1), RULES);
        assert_eq!(book.proof().0, Proof::Proven);
    }

    #[test]
    fn a_restart_of_mainstay_forgets_nothing() {
        let mut book = updated();
        book.begin();
        book.proved(vec![proved("top", ProofResult::Failed)], Scope::All, at(20), RULES);
        let kept: Kept = serde_json::from_str(&serde_json::to_string(book.kept()).unwrap()).unwrap();
        let mut book = Book::restore(kept);
        assert_eq!(book.proof(), (Proof::Failed, "top: asked".into()));
        assert!(book.is_due(at(0)));
        book.read(print("15.17", "4MB"), None, at(1), RULES);
        assert_eq!(book.proof().0, Proof::Proven);
        let book = Book::restore(book.kept().clone());
        assert_eq!(book.proof().0, Proof::Proven);
    }
}
