//! The state machine of one pool.
//!
//! [`Pool::step`] is total and deterministic. After every step these hold (checked in debug builds, by the exhaustive walk and
//! by the simulation):
//!
//! * **I1** at most one backend is active · **I2** the active one was eligible at the step that activated it · **I3** the epoch
//!   rises by one with every activation and never repeats · **I4** in one list of effects `Revoke(old)` precedes
//!   `Activate(new)`
//! * **I5** Down exactly after `fall` consecutive failures or two signals, Up exactly after `rise` successes, doubled per relapse
//!   (one at the start)
//! * **I6** no activation against the budget unless forced by a command · **I7** failback only under its rule
//! * **I8** a late or repeated report changes nothing · **I9** two primaries give the named verdict, never a silent choice
//! * **I10** nobody eligible → nobody active within the step · **I11** every change took a legal edge and carries a cause
//! * **I12** a tick before the deadline has no effects · **I13** same inputs, same outputs
//! * **I14** who may be read is ready, up, serving, of this cluster and in no doubt: a standby, the active one, or without roles
//!   anybody · **I15** lag takes a reader out above `max_lag` and brings it back at half of it, and never otherwise
//! * **I16** sessions are left to a server's last words only while nobody is active, and only while it says that it takes nobody in,
//!   or is gone after it said so or ended the check's session in order

use std::{collections::VecDeque, time::Duration};

use super::{
    backend::{AdminState, BackendState, Reason},
    elect::{Pin, Verdict},
    event::{Admin, BackendId, Cause, Command, Effect, Epoch, Event, Health, Note, Outcome, Pace, RevokeMode},
    inspect::id,
    lag::MaxLag,
    readers::Reading,
    time::Time,
};
use crate::labels;

/// How the active backend is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Election {
    /// The one that says it is primary.
    ByRole,
    /// The first healthy one in list order, then sticky.
    ByOrder,
}

labels! {
    /// What to do when more than one backend says it is primary.
    pub enum OnConflict {
        /// The one with the higher database epoch; on a tie the present one if it is among them, else nobody.
        Newest = "newest",
        /// The present one if it is among them, else nobody.
        Keep = "keep",
        /// Nobody.
        Refuse = "refuse",
    }
}

/// The rules of the decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Consecutive successes until Up; at least 1. Doubled with each relapse: a Down within `budget_within` of the one before.
    pub rise: u32,
    /// How many relapses count; 0: `rise` always suffices.
    pub relapse_max: u32,
    /// Consecutive failures until Down; at least 1.
    pub fall: u32,
    /// How the active backend is found.
    pub election: Election,
    /// What to do with two primaries.
    pub on_conflict: OnConflict,
    /// Role-less: return to a preferred backend once it was eligible for this long; `None` never.
    pub failback_after: Option<Duration>,
    /// Switches at most within `budget_within`.
    pub budget_max: u32,
    /// The window of the failover budget, and of relapses.
    pub budget_within: Duration,
    /// At the start, elect nobody before every backend was heard of or this has passed.
    pub settle: Duration,
    /// What becomes of the sessions of a backend that goes down: `Abort` or `Drain`.
    pub on_down: RevokeMode,
    /// A standby that lags by more is not ready to take over, and is not read until it lags by half of it. Never a choice of
    /// who is active.
    pub max_lag: Option<MaxLag>,
    /// How far a database epoch may be above all that the pool has shown; `None` for a database whose epochs jump.
    pub max_epoch_step: Option<u64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            rise: 2,
            relapse_max: 5,
            fall: 2,
            election: Election::ByOrder,
            on_conflict: OnConflict::Newest,
            failback_after: None,
            budget_max: 3,
            budget_within: Duration::from_mins(10),
            settle: Duration::from_secs(1),
            on_down: RevokeMode::Abort,
            max_lag: None,
            max_epoch_step: None,
        }
    }
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts of the pool")]
pub struct Pool {
    pub(super) policy: Policy,
    pub(super) backends: Vec<BackendState>,
    pub(super) active: Option<BackendId>,
    pub(super) epoch: Epoch,
    /// New clients are held although somebody is active: a second opinion is awaited.
    pub(super) suspended: bool,
    /// Who was active last, also while nobody is.
    pub(super) last_active: Option<BackendId>,
    /// Why it was revoked.
    pub(super) last_revoke: Option<Cause>,
    /// Its sessions go on until it ends them.
    pub(super) last_words: bool,
    /// The highest database epoch that was ever served.
    pub(super) fence: Option<u64>,
    /// Identity of the cluster this pool holds, learned from the first backend that served.
    pub(super) system_id: Option<u64>,
    /// Chosen by an operator; stands while it may serve.
    pub(super) pinned: Option<Pin>,
    /// When the active backend changed, for the budget.
    pub(super) switches: VecDeque<Time>,
    /// End of the settling time.
    pub(super) settle_by: Time,
    /// The settling time is over.
    pub(super) settled: bool,
    /// When time alone will change something, as of the last step.
    pub(super) wake: Option<Time>,
    pub(super) verdict: Verdict,
    pub(super) conflict: bool,
    pub(super) reasons: Vec<Reason>,
    pub(super) readings: Vec<Reading>,
    pub(super) paces: Vec<Pace>,
}

impl Pool {
    /// A pool of `count` backends that nothing is known about, at `now`.
    pub fn new(policy: Policy, count: u16, now: Time) -> Self {
        let count = usize::from(count);
        let settle_by = if count == 0 { now } else { now + policy.settle };
        Self {
            settle_by,
            wake: Some(settle_by),
            backends: vec![BackendState { since: now, ..BackendState::default() }; count],
            reasons: vec![Reason::Unknown; count],
            readings: vec![Reading::Unknown; count],
            paces: vec![Pace::Urgent; count],
            policy,
            active: None,
            epoch: Epoch::default(),
            suspended: false,
            last_active: None,
            last_revoke: None,
            last_words: false,
            fence: None,
            system_id: None,
            pinned: None,
            switches: VecDeque::new(),
            settled: false,
            verdict: Verdict::Settling,
            conflict: false,
        }
    }

    /// Restores what an earlier process knew: the highest database epoch it served, and of which cluster.
    pub fn restore_fence(&mut self, fence: Option<u64>, system_id: Option<u64>) {
        self.fence = self.fence.max(fence);
        self.system_id = self.system_id.or(system_id);
    }

    /// Restores who was active when an earlier process ended. Without roles the list order alone would bring back a backend
    /// that was failed over from, with all its old data; so the last one is preferred while it may serve.
    pub fn restore_active(&mut self, active: BackendId) {
        self.last_active = Some(active).filter(|id| id.index() < self.backends.len()).or(self.last_active);
    }

    /// Takes one event and says what to do.
    pub fn step(&mut self, now: Time, event: &Event) -> Vec<Effect> {
        #[cfg(debug_assertions)]
        let before = self.clone();
        let mut effects = Vec::new();
        match event {
            Event::Probe(report) => self.on_report(now, report, &mut effects),
            Event::Passive(backend, what) => self.on_passive(now, *backend, *what, &mut effects),
            Event::Command(command) => self.on_command(now, command, &mut effects),
            Event::Configure(configuration) => self.on_configure(now, configuration, &mut effects),
            Event::Tick => {}
        }
        self.reconsider(now, &mut effects);
        #[cfg(debug_assertions)]
        self.check_invariants(&before, now, event, &effects);
        effects
    }

    /// When the core wants a [`Event::Tick`], if nothing else happens; `now` when that moment has passed already.
    pub fn next_deadline(&self, now: Time) -> Option<Time> {
        self.wake.map(|at| at.max(now))
    }

    fn on_command(&mut self, now: Time, command: &Command, effects: &mut Vec<Effect>) {
        let (Command::SetAdmin(id, _) | Command::Switchover(id)) = command;
        if id.index() >= self.backends.len() {
            return effects.push(Effect::Note(Note::UnknownBackend(*id)));
        }
        match *command {
            Command::SetAdmin(id, to) => {
                let from = std::mem::replace(&mut self.backends[id.index()].admin, AdminState(to)).0;
                if from != to {
                    effects.push(Effect::Note(Note::AdminSet { backend: id, from, to }));
                }
            }
            Command::Switchover(id) => {
                let reason = self.reason_of(id);
                if self.is_settling(now) || !matches!(reason, Reason::Eligible | Reason::Fenced) {
                    return effects.push(Effect::Note(Note::CommandRefused { backend: id, reason }));
                }
                if reason == Reason::Fenced {
                    self.fence = self.backends[id.index()].facts.db_epoch;
                }
                self.pinned = Some(Pin { backend: id, ceiling: self.highest_claim() });
            }
        }
    }

    /// Elects anew and orders what follows from it.
    fn reconsider(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.settled = self.settled || !self.is_settling(now);
        self.refresh_reasons(now, effects);
        self.drop_pin();
        let choice = self.elect(now);
        if choice.verdict != self.verdict {
            effects.push(Effect::Note(Note::Verdict { from: self.verdict, to: choice.verdict }));
            self.verdict = choice.verdict;
        }
        if choice.active != self.active {
            if let Some(old) = self.active.take() {
                let cause = self.revoke_cause(old, choice.cause);
                let mode = self.revoke_mode(old, cause);
                self.suspended = false;
                self.last_revoke = Some(cause);
                self.last_words = mode == RevokeMode::LastWords;
                effects.push(Effect::Revoke { epoch: self.epoch, backend: old, mode, cause });
            }
            if let Some(new) = choice.active {
                self.activate(now, new, effects);
                // A switch is an event, not a state: what stands after it is that the new one stays.
                self.verdict = Verdict::Keep;
                // The epoch and the cluster that are served now may disqualify others.
                self.refresh_reasons(now, effects);
            }
        }
        self.end_last_words(effects);
        self.refresh_conflict(effects);
        self.refresh_suspension(effects);
        self.refresh_readings(effects);
        self.refresh_paces(effects);
        self.wake = self.wake_after(now);
    }

    fn activate(&mut self, now: Time, new: BackendId, effects: &mut Vec<Effect>) {
        let cause = match self.last_revoke {
            _ if self.epoch == Epoch::default() => Cause::Startup,
            cause => cause.unwrap_or(Cause::Eligible),
        };
        self.epoch = self.epoch.next();
        if self.last_active.is_some_and(|last| last != new) && cause != Cause::Command {
            self.switches.push_back(now);
            while self.switches.len() > self.policy.budget_max as usize {
                self.switches.pop_front();
            }
        }
        let facts = &self.backends[new.index()].facts;
        self.fence = self.fence.max(facts.db_epoch);
        self.system_id = self.system_id.or(facts.system_id);
        self.active = Some(new);
        self.last_active = Some(new);
        self.last_words = false;
        effects.push(Effect::Activate { epoch: self.epoch, backend: new, cause });
    }

    /// Aborts the sessions that were left to a server which takes nobody in, when it no longer is one.
    fn end_last_words(&mut self, effects: &mut Vec<Effect>) {
        let Some(backend) = self.last_active.filter(|_| self.last_words) else { return };
        let cause = self.revoke_cause(backend, None);
        if self.revoke_mode(backend, cause) == RevokeMode::Abort {
            self.last_words = false;
            effects.push(Effect::Abort { epoch: self.epoch, backend, cause });
        }
    }

    fn refresh_conflict(&mut self, effects: &mut Vec<Effect>) {
        let claimants = self.claimants();
        let present = self.is_conflict(&claimants);
        if present != self.conflict {
            self.conflict = present;
            effects.push(Effect::Note(Note::Conflict { present, claimants }));
        }
    }

    fn refresh_suspension(&mut self, effects: &mut Vec<Effect>) {
        let suspended = self.active.is_some_and(|id| self.backends[id.index()].in_doubt) || self.awaits_a_word();
        if suspended != self.suspended {
            self.suspended = suspended;
            effects.push(if suspended { Effect::Suspend { epoch: self.epoch } } else { Effect::Resume { epoch: self.epoch } });
        }
    }

    fn revoke_cause(&self, old: BackendId, switch: Option<Cause>) -> Cause {
        match self.reason_of(old) {
            Reason::Eligible => switch.unwrap_or(Cause::Conflict),
            Reason::Maint | Reason::Drain => Cause::Command,
            Reason::Down | Reason::Unknown | Reason::Misconfigured => Cause::Down,
            Reason::Starting => Cause::Starting,
            Reason::Standby | Reason::RoleUnknown | Reason::ReadOnly => Cause::Demoted,
            Reason::WrongCluster | Reason::Fenced => Cause::Fenced,
        }
    }

    fn revoke_mode(&self, old: BackendId, cause: Cause) -> RevokeMode {
        match cause {
            Cause::Command if self.reason_of(old) == Reason::Drain => RevokeMode::Drain,
            Cause::Down if self.policy.on_down == RevokeMode::Drain => RevokeMode::Drain,
            Cause::Down if self.backends[old.index()].has_left() => RevokeMode::LastWords,
            // A server that is shutting down lets its clients finish; one that is starting up has none.
            Cause::Starting => RevokeMode::LastWords,
            _ => RevokeMode::Abort,
        }
    }

    pub(super) fn refresh_reasons(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let by_role = self.policy.election == Election::ByRole;
        let absurd: Vec<bool> =
            self.ids().map(|id| self.absurdly_above(id, &self.backends[id.index()].facts).is_some()).collect();
        for (index, backend) in self.backends.iter_mut().enumerate() {
            let reason = backend.reason(by_role, absurd[index], self.fence, self.system_id);
            if reason == Reason::Eligible {
                backend.eligible_since.get_or_insert(now);
            } else {
                backend.eligible_since = None;
            }
            let from = std::mem::replace(&mut self.reasons[index], reason);
            if from != reason {
                effects.push(Effect::Note(Note::Eligibility { backend: id(index), from, to: reason }));
            }
        }
    }

    fn refresh_paces(&mut self, effects: &mut Vec<Effect>) {
        for (index, backend) in self.backends.iter().enumerate() {
            let pace = if backend.last_outcome == Some(Outcome::Misconfigured) {
                // Hurry mends no password, but fills the server's log and may lock the account or the host out.
                Pace::Normal
            } else if self.active.is_none_or(|id| self.suspended && id.index() == index) && backend.admin() != Admin::Maint {
                Pace::Urgent
            } else if backend.is_pending() || backend.starting || backend.in_doubt || backend.health() == Health::Unknown {
                Pace::Fast
            } else {
                Pace::Normal
            };
            if std::mem::replace(&mut self.paces[index], pace) != pace {
                effects.push(Effect::Pace(id(index), pace));
            }
        }
    }
}
