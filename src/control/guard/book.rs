//! What is known of one backend's print, and what follows from it. Pure: prints, results and time go in.
//!
//! | it was | what happens | it is |
//! |---|---|---|
//! | never seen | a print is read | `proven`: first sight is trusted |
//! | anything | the print that was proven is read again | `proven` |
//! | anything | the print that was approved is read | `approved` |
//! | anything | another print is read | `unproven` |
//! | good | it is in doubt what it is | `unproven` until its print is read |
//! | `unproven` | proofs begin for the first time | `proving`, also while they are interrupted |
//! | not good | a proof failed, and not on the active one | `failed`, until they passed |
//! | not good | a proof failed on both | `inconclusive`, until they passed |
//! | not good | a proof had no answer | `unproven`, until they passed; they are run again later |
//! | not good | none failed | `proving`; after `soak` without a failed probe, once the same print is read again, `proven`, or it waits for an approval |
//! | not good | the quick proofs passed while clients waited | told as `proven`, until the others were run |
//! | anything | an operator approved it, or rejected it | `approved`, `failed`: for this print |

use std::{sync::Arc, time::Duration};

use super::{
    known::{Kept, Open, renew},
    proofs::{ProofResult, Proved, Scope},
};
use crate::{
    config::{Approval, GuardConfig},
    failover::{Printable, Proof, Time, label::Label},
    route::{Difference, Print},
};

/// How many differences are named.
const NAMED: usize = 3;

/// Proofs that failed are tried again after this time: what they found may have been mended without a change of the print.
const AGAIN: Duration = Duration::from_mins(1);

const LASTS: &str = "its proofs passed; it has to last for guard.soak";
const WAITS: &str = "its proofs passed; it waits for mainstay approve";
const QUICK: &str = "its quick proofs passed while clients waited; the others follow";

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

impl<'a> Rules<'a> {
    pub(in crate::control) fn of(guard: &'a GuardConfig) -> Self {
        Self { ignored: &guard.ignore, soak: guard.soak, is_manual: guard.approve == Approval::Manual }
    }
}

/// One backend.
#[derive(Debug, Default)]
pub(in crate::control) struct Book {
    kept: Kept,
    present: Option<Arc<Print>>,
    /// When that was.
    read_at: Time,
    state: State,
    /// Of the proofs that were run last.
    results: Vec<Proved>,
    doubt: Option<Doubt>,
}

/// What is known of the present print.
#[derive(Debug)]
enum State {
    /// It is proven or approved, and what is said of that.
    Good(Proof, Printable),
    Changed(Change),
}

impl Default for State {
    fn default() -> Self {
        Self::Good(Proof::Proven, Printable::default())
    }
}

/// A print that is not good.
#[derive(Debug)]
struct Change {
    /// What the last proofs came to.
    verdict: Proof,
    what: Printable,
    stage: Stage,
    /// Its quick proofs passed, and the others have not been run.
    is_provisional: bool,
}

/// What happens to a print that is not good.
#[derive(Debug)]
enum Stage {
    /// Its proofs are to be run from this time on.
    Due(Time),
    Running,
    /// They passed; nothing spoke against it since then; what it waits for.
    Passed(Time, &'static str),
    /// An operator rejected it: nothing is tried.
    Rejected,
}

/// Why it is not known what a backend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) enum Doubt {
    /// It was away, and its print has not been read since.
    Away,
    /// Its print cannot be read.
    Unread(Printable),
}

impl Doubt {
    const AWAY: &'static str = "it was away, and its print has not been read since";

    fn told(&self) -> Printable {
        match self {
            Self::Away => Self::AWAY.into(),
            Self::Unread(why) => format!("its print cannot be read: {why}").into(),
        }
    }

    /// Whether this is said of a backend that only was away.
    pub(in crate::control) fn is_away(what: &Printable) -> bool {
        **what == *Self::AWAY
    }
}

impl Book {
    /// As an earlier process left it.
    pub(super) fn restore(kept: Kept) -> Self {
        let mut book = Self { kept, ..Self::default() };
        if let Some(Open { print, failed, what }) = book.kept.open.take() {
            let is_rejected = book.kept.rejected.as_ref().is_some_and(|(rejected, _)| *rejected == print);
            book.present = Some(print);
            let verdict = if failed { Proof::Failed } else { Proof::Unproven };
            book.change(verdict, what.into(), if is_rejected { Stage::Rejected } else { Stage::Due(Time::ZERO) });
        }
        book
    }

    /// What outlives the process.
    pub(super) fn kept(&self) -> Kept {
        let open = self.present.clone().zip(self.changed()).map(|(print, change)| Open {
            print,
            failed: change.verdict == Proof::Failed,
            what: change.what.to_string(),
        });
        Kept { open, ..self.kept.clone() }
    }

    /// The state, and what is to be said of it.
    pub(in crate::control) fn proof(&self) -> (Proof, Printable) {
        match (&self.state, &self.doubt) {
            (State::Good(..), Some(doubt)) => (Proof::Unproven, doubt.told()),
            (State::Good(proof, what), None) => (*proof, what.clone()),
            (State::Changed(Change { is_provisional: true, .. }), _) => (Proof::Proven, QUICK.into()),
            (State::Changed(Change { stage: Stage::Passed(_, what), .. }), _) => (Proof::Proving, (*what).into()),
            (State::Changed(change), _) => (change.verdict, change.what.clone()),
        }
    }

    /// The print that was read last.
    pub(in crate::control) const fn present(&self) -> Option<&Arc<Print>> {
        self.present.as_ref()
    }

    /// The print that was proven.
    pub(in crate::control) const fn proven(&self) -> Option<&Arc<Print>> {
        self.kept.proven.as_ref()
    }

    /// Of the proofs that were run last.
    pub(in crate::control) fn results(&self) -> &[Proved] {
        &self.results
    }

    /// It is not known what it is now. What a person approved is not doubted because it cannot be read.
    pub(in crate::control) fn doubt(&mut self, doubt: Doubt) {
        let is_approved = matches!(self.state, State::Good(Proof::Approved, _));
        if self.kept.proven.is_some() && !(is_approved && matches!(doubt, Doubt::Unread(_))) {
            self.doubt = Some(doubt);
        }
    }

    /// One that only was away is taken for what it was.
    pub(in crate::control) fn trust(&mut self) {
        self.doubt.take_if(|doubt| *doubt == Doubt::Away);
    }

    /// It is only in doubt, which is no change.
    pub(in crate::control) const fn is_doubtful(&self) -> bool {
        self.doubt.is_some() && self.changed().is_none()
    }

    /// Its proofs passed, and it has to last.
    pub(in crate::control) const fn lasts(&self) -> bool {
        matches!(self.changed(), Some(Change { stage: Stage::Passed(..), .. }))
    }

    /// A person rejected what it is now.
    pub(in crate::control) const fn is_rejected(&self) -> bool {
        matches!(self.changed(), Some(Change { stage: Stage::Rejected, .. }))
    }

    /// Its print was read. Of what a standby gets from its primary by replication, the print of the active one has the latest. Returns
    /// whether it is another one than before.
    pub(in crate::control) fn read(&mut self, print: Print, active: Option<&Arc<Print>>, now: Time, rules: Rules<'_>) -> bool {
        (self.doubt, self.read_at) = (None, now);
        let print = self.share(print, active);
        let is = |other: &Arc<Print>| other.differences(&print, rules.ignored).is_empty();
        let is_new = !self.present.as_ref().is_some_and(is);
        let Some(proven) = &self.kept.proven else {
            (self.kept.proven, self.present) = (Some(print.clone()), Some(print));
            self.good(Proof::Proven);
            return false;
        };
        let mut differences = proven.differences(&print, rules.ignored);
        let copied = |difference: &Difference| active.is_some_and(|active| difference.is_replicated() && active.has(difference));
        differences.retain(|difference| !copied(difference));
        let is_approved = self.kept.approved.as_ref().is_some_and(|(approved, _)| is(approved));
        let rejected = self.kept.rejected.as_ref().filter(|(rejected, _)| is(rejected)).map(|(_, by)| by.clone());
        self.present = Some(print.clone());
        if let Some(by) = rejected {
            self.kept.rejected = Some((print, by.clone()));
            self.change(Proof::Failed, format!("rejected {by}").into(), Stage::Rejected);
        } else if differences.is_empty() {
            renew(self.kept.proven.as_mut(), &print);
            self.good(Proof::Proven);
        } else if is_approved {
            renew(self.kept.approved.as_mut().map(|(approved, _)| approved), &print);
            self.good(Proof::Approved);
        } else if is_new || self.changed().is_none() {
            let named = differences.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let rest = differences.len().saturating_sub(NAMED);
            let what = if rest > 0 { format!("{named}; and {rest} more") } else { named };
            self.results.clear();
            self.change(Proof::Unproven, what.into(), Stage::Due(now));
        }
        is_new
    }

    /// The same print where it is held already.
    fn share(&mut self, print: Print, active: Option<&Arc<Print>>) -> Arc<Print> {
        let held = [active, self.present(), self.proven()].into_iter().flatten().find(|held| ***held == print);
        let print = held.cloned().unwrap_or_else(|| Arc::new(print));
        if let Some(proven) = self.kept.proven.as_mut().filter(|proven| **proven == print) {
            *proven = print.clone();
        }
        print
    }

    /// Whether its proofs are to be run.
    pub(in crate::control) fn is_due(&self, now: Time) -> bool {
        self.doubt.is_none() && matches!(self.changed(), Some(Change { stage: Stage::Due(due), .. }) if *due <= now)
    }

    /// Its proofs begin. What they came to before holds until they passed.
    pub(in crate::control) fn begin(&mut self) {
        let is_first = self.results.is_empty();
        if let State::Changed(change) = &mut self.state {
            change.stage = Stage::Running;
            if is_first && change.verdict == Proof::Unproven {
                change.verdict = Proof::Proving;
            }
        }
    }

    /// They were given up in the middle.
    pub(in crate::control) fn interrupted(&mut self, now: Time) {
        if let State::Changed(Change { stage: stage @ Stage::Running, .. }) = &mut self.state {
            *stage = Stage::Due(now);
        }
    }

    /// It answers again: proofs that it could not answer are run again at once.
    pub(in crate::control) fn is_back(&mut self, now: Time) {
        if let State::Changed(Change { verdict: Proof::Unproven, stage: Stage::Due(due), .. }) = &mut self.state {
            *due = now.min(*due);
        }
    }

    /// Somebody asks for its proofs.
    pub(in crate::control) fn ask(&mut self, now: Time) {
        if let State::Changed(Change { stage: stage @ (Stage::Due(_) | Stage::Passed(..)), .. }) = &mut self.state {
            *stage = Stage::Due(now);
        }
    }

    /// Its proofs are over.
    pub(in crate::control) fn proved(&mut self, results: Vec<Proved>, scope: Scope, now: Time, rules: Rules<'_>) {
        let State::Changed(change @ Change { stage: Stage::Running, .. }) = &mut self.state else { return };
        let of = |result: ProofResult| results.iter().find(|proved| proved.result == result);
        let verdicts = [
            (ProofResult::Failed, Proof::Failed),
            (ProofResult::Inconclusive, Proof::Inconclusive),
            (ProofResult::Unanswered, Proof::Unproven),
        ];
        let worst = verdicts.into_iter().find_map(|(result, verdict)| Some((of(result)?, verdict)));
        if let Some((proved, verdict)) = worst {
            let is_same = |before: &Proved| before.name == proved.name && before.result == proved.result;
            // The same failure is no news, whatever time it took.
            if verdict != change.verdict || !self.results.iter().any(is_same) {
                change.what = format!("{}: {}", proved.name, proved.evidence).into();
            }
            *change = Change { verdict, what: change.what.clone(), stage: Stage::Due(now + AGAIN), is_provisional: false };
        } else if scope == Scope::Quick {
            (change.is_provisional, change.stage) = (true, Stage::Due(now));
        } else {
            (change.verdict, change.stage) = (Proof::Proving, Stage::Passed(now, LASTS));
        }
        self.results = results;
        self.tick(now, rules);
    }

    /// A probe failed, or it lost its primary: it has to last from now on.
    pub(in crate::control) fn disturbed(&mut self, now: Time) {
        if let State::Changed(Change { stage: Stage::Passed(since, _), .. }) = &mut self.state {
            *since = now;
        }
    }

    /// Time passed. Returns whether it is proven now.
    pub(in crate::control) fn tick(&mut self, now: Time, rules: Rules<'_>) -> bool {
        let State::Changed(Change { stage: Stage::Passed(since, waits_for), .. }) = &mut self.state else { return false };
        // Nobody knows what it is between two reads.
        let has_lasted = now.since(*since) >= rules.soak && self.read_at.since(*since) >= rules.soak;
        *waits_for = if has_lasted { WAITS } else { LASTS };
        if !has_lasted || rules.is_manual {
            return false;
        }
        self.kept.proven = self.present.clone().or_else(|| self.kept.proven.take());
        self.good(Proof::Proven);
        true
    }

    /// It has lasted, if it is still the same.
    pub(in crate::control) fn is_to_be_read(&self, now: Time, rules: Rules<'_>) -> bool {
        let Some(Change { stage: Stage::Passed(since, _), .. }) = self.changed() else { return false };
        now.since(*since) >= rules.soak && self.read_at.since(*since) < rules.soak
    }

    /// An operator approved what it is now. `None` while nothing was read.
    pub(in crate::control) fn approve(&mut self, by: &str) -> Option<()> {
        self.kept.approved = Some((self.present.clone()?, by.to_owned()));
        (self.kept.rejected, self.doubt) = (None, None);
        self.good(Proof::Approved);
        Some(())
    }

    /// An operator rejected what it is now. `None` while nothing was read.
    pub(in crate::control) fn reject(&mut self, by: &str) -> Option<()> {
        self.kept.rejected = Some((self.present.clone()?, by.to_owned()));
        (self.kept.approved, self.doubt) = (None, None);
        self.change(Proof::Failed, format!("rejected {by}").into(), Stage::Rejected);
        Some(())
    }

    const fn changed(&self) -> Option<&Change> {
        if let State::Changed(change) = &self.state { Some(change) } else { None }
    }

    fn good(&mut self, proof: Proof) {
        let by = self.kept.approved.as_ref().filter(|_| proof == Proof::Approved);
        self.state = State::Good(proof, by.map(|(_, by)| format!("approved {by}").into()).unwrap_or_default());
    }

    fn change(&mut self, verdict: Proof, what: Printable, stage: Stage) {
        self.state = State::Changed(Change { verdict, what, stage, is_provisional: false });
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
        assert!(!book.is_to_be_read(at(109), RULES));
        assert!(!book.tick(at(110), RULES) && book.is_to_be_read(at(110), RULES), "it may be another one by now");
        book.read(print("15.18", "4MB"), None, at(111), RULES);
        assert!(!book.is_to_be_read(at(111), RULES) && book.tick(at(111), RULES));
        assert_eq!(book.proof().0, Proof::Proven);
        book.read(print("15.17", "4MB"), None, at(120), RULES);
        assert_eq!(book.proof().0, Proof::Unproven, "the way back is a change as well");
    }

    #[test]
    fn one_that_changes_before_its_soak_is_over_is_not_proven() {
        let mut book = updated();
        for (release, now) in [("15.19", 200), ("15.20", 400), ("15.21", 600)] {
            book.begin();
            book.proved(Vec::new(), Scope::All, at(now - 100), RULES);
            assert!(!book.tick(at(now - 1), RULES), "{release}");
            assert!(book.read(print(release, "4MB"), None, at(now), RULES));
            assert!(!book.tick(at(now), RULES));
            assert_eq!(book.proof().0, Proof::Unproven);
        }
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
            book.is_back(at(30));
            assert!(book.is_due(at(30)), "it was asked while it went");
        }
        let mut book = updated();
        book.begin();
        book.proved(vec![proved("x", ProofResult::Failed)], Scope::All, at(20), RULES);
        book.is_back(at(30));
        assert!(!book.is_due(at(30)), "an answer stays one");
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
        book.read(extension("1.8"), Some(&Arc::new(extension("1.8"))), at(10), RULES);
        assert_eq!(book.proof().0, Proof::Proven);
        book.read(extension("1.9"), Some(&Arc::new(extension("1.8"))), at(20), RULES);
        assert_eq!(book.proof().0, Proof::Unproven, "the active one has another one");
        let (own, active) = (print("15.18", "4MB"), Arc::new(print("15.18", "4MB")));
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
        assert_eq!(Book::restore(book.kept()).proof().0, Proof::Unproven, "nothing is proven for good");
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
        let mut book = Book::restore(book.kept());
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
        assert!(!Book::restore(book.kept()).is_due(at(1000)), "nor after a restart");
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
        book.read(print("15.18", "4MB"), None, at(1000), rules);
        book.tick(at(1000), rules);
        assert_eq!(book.proof().0, Proof::Proving);
        assert!(book.proof().1.contains("mainstay approve"));
    }

    #[test]
    fn what_was_away_is_looked_at_before_it_is_trusted_again() {
        let mut book = Book::default();
        book.doubt(Doubt::Away);
        assert_eq!(book.proof().0, Proof::Proven, "nothing is known of it");
        book.read(print("15.17", "4MB"), None, at(0), RULES);
        book.doubt(Doubt::Away);
        assert_eq!(book.proof().0, Proof::Unproven);
        book.read(print("15.17", "4MB"), None, at(1), RULES);
        assert_eq!(book.proof().0, Proof::Proven);
    }

    #[test]
    fn a_restart_of_mainstay_forgets_nothing() {
        let mut book = updated();
        book.begin();
        book.proved(vec![proved("top", ProofResult::Failed)], Scope::All, at(20), RULES);
        let kept: Kept = serde_json::from_str(&serde_json::to_string(&book.kept()).unwrap()).unwrap();
        let mut book = Book::restore(kept);
        assert_eq!(book.proof(), (Proof::Failed, "top: asked".into()));
        assert!(book.is_due(at(0)));
        book.read(print("15.17", "4MB"), None, at(1), RULES);
        assert_eq!(book.proof().0, Proof::Proven);
        let book = Book::restore(book.kept());
        assert_eq!(book.proof().0, Proof::Proven);
    }

    #[test]
    fn one_that_only_was_away_is_told_apart_from_one_that_cannot_be_read() {
        let mut book = Book::default();
        book.read(print("15.17", "4MB"), None, at(0), RULES);
        book.doubt(Doubt::Away);
        assert!(book.is_doubtful() && Doubt::is_away(&book.proof().1));
        book.doubt(Doubt::Unread("more than anybody would read".into()));
        let (proof, what) = book.proof();
        assert!(proof == Proof::Unproven && !Doubt::is_away(&what) && what.contains("more than anybody"), "{what}");
        book.trust();
        assert!(book.is_doubtful(), "only an absence is forgotten");
        book.approve("by root").unwrap();
        book.doubt(Doubt::Unread("it still cannot".into()));
        assert_eq!(book.proof().0, Proof::Approved, "a person knows");
        let mut book = updated();
        book.doubt(Doubt::Away);
        assert!(!book.is_doubtful() && !book.is_due(at(99)), "first it is looked at");
        assert!(book.proof().1.contains("15.18"));
    }

    #[test]
    fn what_interrupts_the_proofs_is_no_news() {
        let mut book = updated();
        book.begin();
        let told = book.proof();
        assert_eq!(told.0, Proof::Proving);
        for now in 11..100 {
            book.interrupted(at(now));
            assert!(book.proof() == told && book.is_due(at(now)));
            book.begin();
            assert_eq!(book.proof(), told);
        }
        // Neither is a proof that has no answer again and again.
        let unanswered = || vec![proved("x", ProofResult::Unanswered)];
        book.proved(unanswered(), Scope::All, at(100), RULES);
        let told = book.proof();
        for _ in 0..10 {
            book.begin();
            assert_eq!(book.proof(), told);
            book.proved(unanswered(), Scope::All, at(100), RULES);
            assert_eq!(book.proof(), told);
        }
    }

    #[test]
    fn a_rejected_print_stays_so_when_something_ignored_changes() {
        let ignored = ["work_mem".to_owned()];
        let rules = Rules { ignored: &ignored, ..RULES };
        let mut book = updated();
        book.reject("by root: slow").unwrap();
        book.read(print("15.18", "64MB"), None, at(20), rules);
        assert!(book.is_rejected());
        book.ask(at(30));
        assert!(!book.is_due(at(30)), "nothing is tried");
        assert!(Book::restore(book.kept()).is_rejected());
    }

    #[test]
    fn a_print_is_held_once() {
        let (mut a, mut b) = (Book::default(), Book::default());
        a.read(print("15.17", "4MB"), None, at(0), RULES);
        a.read(print("15.17", "4MB"), None, at(10), RULES);
        b.read(print("15.17", "4MB"), a.present(), at(10), RULES);
        let mut b = Book::restore(serde_json::from_str(&serde_json::to_string(&b.kept()).unwrap()).unwrap());
        b.read(print("15.17", "4MB"), a.present(), at(20), RULES);
        let held = a.present().unwrap();
        assert!([a.proven(), b.present(), b.proven()].into_iter().all(|print| Arc::ptr_eq(print.unwrap(), held)));
    }

    #[test]
    fn another_key_is_no_change_and_the_next_change_is_seen() {
        let of = |key: &str, fingerprint: &str, count: usize| {
            let value = format!("(fingerprint {fingerprint})");
            let mut print = Print { key: key.into(), ..print("15.17", "4MB") };
            for n in 0..count {
                let item = PrintItem { value: value.clone(), ..PrintItem::default() };
                print.add(PrintGroup::Setting, &format!("app.{n}"), item);
            }
            print
        };
        // As an earlier version has kept it, which did not know of keys.
        let old = serde_json::to_value(of("", "0123456789ab", 1)).unwrap();
        assert!(old.get("key").is_none());
        let kept = serde_json::json!({"proven": old, "approved": [of("", "0123456789ab", 2), "by root"], "rejected": [of("", "0123456789ab", 3), "by root"]});
        for (count, is, then) in
            [(1, Proof::Proven, Proof::Unproven), (2, Proof::Approved, Proof::Unproven), (3, Proof::Failed, Proof::Unproven)]
        {
            let mut book = Book::restore(serde_json::from_value(kept.clone()).unwrap());
            book.read(of("k", "ba9876543210", count), None, at(0), RULES);
            assert_eq!(book.proof().0, is);
            book.read(of("k", "ba987654321f", count), None, at(10), RULES);
            assert_eq!(book.proof().0, then, "{count}");
        }
    }
}
