//! Observations of a backend: reports of probes, and passive signals from the byte path and the standing session.

use super::{
    backend::{BackendState, Readiness, Signs},
    event::{Effect, Finding, Note, Passive, Report},
    facts::{Facts, Role},
    health::Transition,
    policy::{Election, Policy},
    pool::Pool,
    text::Printable,
    time::Time,
    vocabulary::{BackendId, Cause, Class, Epoch, Health, Outcome},
};

impl Pool {
    /// The outcome as this pool counts it: an answer from another cluster is not a success.
    fn assess(&self, finding: &Finding) -> Outcome {
        let is_foreign = self.system_id.zip(finding.facts.system_id).is_some_and(|(own, its)| own != its);
        if finding.outcome == Outcome::Ok && is_foreign { Outcome::WrongCluster } else { finding.outcome }
    }

    /// What was found in words, and why that is not enough: it is of another cluster, or says what cannot be, or has not
    /// answered often enough yet for one that keeps going down.
    fn evidence(&self, now: Time, id: BackendId, report: &Report, outcome: Outcome) -> Printable {
        let Finding { facts, evidence, .. } = &report.finding;
        let (plain, backend) = (evidence.clone(), &self.backends[id.index()]);
        if let (Outcome::WrongCluster, Some(own), Some(found)) = (outcome, self.system_id, facts.system_id) {
            let whence = if self.epoch == Epoch::default() { "remembered from an earlier run" } else { "served by this pool" };
            return format!("{plain}; its system identifier is {found}, expected is {own}, {whence}").into();
        }
        if let Some(known) = self.absurdly_above(id, facts).filter(|_| outcome == Outcome::Ok) {
            return format!("{plain}; that cannot be: the highest database epoch this pool has shown is {known}").into();
        }
        let counts = outcome == Outcome::Ok && (report.fresh || !backend.fresh_failed);
        let (seen, needed) = (backend.health.against() + 1, backend.successes_needed(now, &self.policy));
        if backend.health() == Health::Down && counts && seen < needed && needed > self.policy.rise {
            format!("{plain}; success {seen} of the {needed} in a row that it needs, because it keeps going down").into()
        } else {
            plain
        }
    }

    pub(super) fn on_report(&mut self, now: Time, id: BackendId, report: &Report, effects: &mut Vec<Effect>) {
        match self.backends.get(id.index()) {
            None => return effects.push(Effect::Note(Note::UnknownBackend(id))),
            Some(backend) if report.seq <= backend.last_seq => return,
            Some(_) => {}
        }
        let outcome = self.assess(&report.finding);
        let evidence = self.evidence(now, id, report, outcome);
        let claimed = self.says_primary(id);
        let (backend, policy) = (&mut self.backends[id.index()], &self.policy);
        backend.last_seq = report.seq;
        backend.last_outcome = Some(outcome);
        backend.asked = false;
        backend.outdated &= outcome.class() == Class::Failure;
        backend.evidence = evidence.clone();
        let before = (backend.health(), backend.facts.role.unwrap_or(Role::Unknown));
        let alert_before = backend.alert;
        let mut cause = Cause::Probe;
        let transition = match outcome.class() {
            Class::Success if backend.fresh_failed && !report.fresh => {
                backend.believe_against_itself(&report.finding.facts);
                backend.ask(id, effects);
                Transition::Unchanged
            }
            Class::Success => {
                backend.learn(&report.finding.facts);
                backend.foreign = false;
                backend.readiness = Readiness::Serving;
                backend.trouble_since = None;
                backend.answered(report);
                if report.fresh {
                    backend.alert = None;
                }
                backend.health.success(backend.successes_needed(now, policy))
            }
            Class::Failure => {
                let transition;
                (transition, cause) = backend.failed(now, report, policy.fall);
                transition
            }
            Class::NotServing => {
                backend.trouble_since.get_or_insert(now);
                backend.readiness = Readiness::Starting;
                backend.signs = Signs { session_lost: backend.signs.session_lost, ..Signs::default() };
                backend.health.interrupt();
                Transition::Unchanged
            }
            Class::Neutral => {
                backend.lives(report, outcome);
                Transition::Unchanged
            }
        };
        if transition == Transition::Changed {
            backend.settle_health(now, policy);
        }
        backend.note_changes(id, before, cause, effects);
        if backend.alert != alert_before {
            effects.push(Effect::Note(Note::CheckAlert { backend: id, outcome, evidence }));
        }
        if !claimed && self.says_primary(id) {
            self.ask_older_claims(id, effects);
        }
        self.raise_fence(id, outcome);
        if outcome != Outcome::Ok {
            self.note_trouble(now, id);
        }
    }

    /// Another backend says that it is a primary now. Those that said so before may have been demoted since: they are asked at
    /// once, and until they answer there is no conflict. Reports during the settling time count as simultaneous.
    fn ask_older_claims(&mut self, newer: BackendId, effects: &mut Vec<Effect>) {
        let claimants = self.claimants();
        if !self.settled || self.conflict || self.share_writes(&claimants) {
            return;
        }
        for older in claimants.into_iter().filter(|id| *id != newer) {
            let backend = &mut self.backends[older.index()];
            backend.outdated = true;
            backend.evidence = "another backend says that it is the primary now".into();
            backend.ask(older, effects);
        }
    }

    /// The fence is the highest database epoch that was *served*: the epoch of the active backend while it may accept writes.
    fn raise_fence(&mut self, id: BackendId, outcome: Outcome) {
        let backend = &self.backends[id.index()];
        let claims = backend.health() == Health::Up && self.says_primary(id);
        let serves = self.policy.election == Election::ByOrder || claims;
        if self.active() == Some(id) && outcome == Outcome::Ok && serves {
            self.fence = self.fence.max(backend.facts.db_epoch);
        }
    }

    pub(super) fn on_passive(&mut self, now: Time, id: BackendId, what: Passive, effects: &mut Vec<Effect>) {
        let Some(backend) = self.backends.get_mut(id.index()) else {
            return effects.push(Effect::Note(Note::UnknownBackend(id)));
        };
        if backend.health() != Health::Up {
            return;
        }
        let before = (backend.health(), backend.facts.role.unwrap_or(Role::Unknown));
        backend.signs.refused |= what == Passive::DialRefused;
        backend.signs.session_lost |= !matches!(what, Passive::DialRefused | Passive::DialFailed);
        let evidence = match what {
            Passive::DialRefused => Some("a client's connect was refused"),
            Passive::StandingLost if backend.readiness != Readiness::ShuttingDown => Some("the standing session was lost"),
            Passive::DialFailed | Passive::SessionLost | Passive::StandingLost => None,
            Passive::StandingClosed => Some("the standing session was closed"),
            Passive::StandingShutdown => {
                Some("the server ended the check's session, as it does when it shuts down or an administrator ends it")
            }
            Passive::StandingOrphaned => Some("the server's main process is gone, says a child of it"),
        };
        if matches!(what, Passive::StandingClosed | Passive::StandingShutdown | Passive::StandingOrphaned) {
            backend.takes_leave(Readiness::Serving);
        }
        if let Some(evidence) = evidence {
            backend.evidence = evidence.into();
        }
        let is_first = backend.trouble_since.is_none() && what != Passive::SessionLost;
        backend.trouble_since.get_or_insert(now);
        if backend.signs.are_proof() {
            backend.evidence = "session lost and connect refused".into();
            if backend.health.force_down() == Transition::Changed {
                backend.settle_health(now, &self.policy);
            }
            backend.note_changes(id, before, Cause::TwoSignals, effects);
            return;
        }
        // A client's session may end for many reasons; only the check's own session, or a refused connect, causes new clients to be
        // held.
        backend.signs.in_doubt |= !matches!(what, Passive::SessionLost | Passive::DialFailed);
        backend.ask(id, effects);
        if is_first {
            self.note_trouble(now, id);
        }
    }
}

impl BackendState {
    /// Orders a new login, once until a report comes: a thousand clients may notice the same thing at the same moment.
    pub(super) fn ask(&mut self, id: BackendId, effects: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.asked, true) {
            effects.push(Effect::ProbeNow(id));
        }
    }

    /// A failed probe: counted, or the second of two signals.
    fn failed(&mut self, now: Time, report: &Report, fall: u32) -> (Transition, Cause) {
        self.trouble_since.get_or_insert(now);
        self.fresh_failed |= report.fresh;
        self.signs.refused |= report.finding.outcome == Outcome::Refused;
        let (transition, cause) = if self.signs.are_proof() {
            (self.health.force_down(), Cause::TwoSignals)
        } else {
            (self.health.failure(fall), Cause::Probe)
        };
        if self.health() == Health::Down {
            self.takes_leave(Readiness::Starting);
        }
        if transition == Transition::Unchanged {
            self.count_silence(report.finding.outcome, fall);
        }
        (transition, cause)
    }

    /// If even the kernel no longer refuses, nothing on that side will end a session.
    fn count_silence(&mut self, outcome: Outcome, fall: u32) {
        self.silent = if self.has_left() && outcome != Outcome::Refused { self.silent + 1 } else { 0 };
        if self.silent >= fall {
            self.silent = 0;
            self.signs.refused = false;
        }
    }

    /// It is shutting down, if its word was this one so far: a server that is starting or stopping, and silent then, has gone.
    fn takes_leave(&mut self, so_far: Readiness) {
        if self.readiness == so_far {
            self.readiness = Readiness::ShuttingDown;
        }
    }

    fn learn(&mut self, facts: &Facts) {
        let before = self.facts.position.filter(|_| self.facts.history == facts.history);
        self.earlier = before.or(facts.position);
        self.facts = facts.clone();
    }

    /// A server answered, so every sign of its death is cancelled. Only a new login proves that one is possible.
    fn answered(&mut self, report: &Report) {
        self.signs = Signs::default();
        if self.readiness == Readiness::ShuttingDown {
            self.readiness = Readiness::Serving;
        }
        self.fresh_failed &= !report.fresh;
    }

    /// It answered, but not as it should.
    fn lives(&mut self, report: &Report, outcome: Outcome) {
        self.answered(report);
        self.alert = Some(outcome);
        self.alert_evidence = self.evidence.clone();
        self.foreign |= outcome == Outcome::WrongCluster;
        self.health.interrupt();
    }

    /// An old session that still answers while new logins fail proves no health. But if it reports that the server is a standby
    /// now, or refuses writes, that counts at once.
    fn believe_against_itself(&mut self, facts: &Facts) {
        if facts.role != Some(Role::Primary) || facts.read_only {
            self.facts = facts.clone();
        }
    }

    fn settle_health(&mut self, now: Time, policy: &Policy) {
        self.since = now;
        if self.health() == Health::Down {
            let again = if self.failed_within(now, policy) { self.relapses + 1 } else { 0 };
            self.relapses = again.min(policy.relapse_max);
            self.last_down = Some(now);
            self.signs.in_doubt = false;
            self.takes_leave(Readiness::Starting);
            self.silent = 0;
            self.facts.role = self.facts.role.map(|_| Role::Unknown);
            self.facts.read_only = false;
            self.outdated = false;
            self.facts.lag_bytes = None;
            self.facts.lag_time = None;
        }
    }

    fn note_changes(&self, backend: BackendId, before: (Health, Role), cause: Cause, effects: &mut Vec<Effect>) {
        let (from, to) = (before.0, self.health());
        if from != to {
            effects.push(Effect::Note(Note::Health { backend, from, to, cause, evidence: self.evidence.clone() }));
        }
        let (from, to) = (before.1, self.facts.role.unwrap_or(Role::Unknown));
        if from != to {
            effects.push(Effect::Note(Note::Role { backend, from, to }));
        }
    }
}
