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
//! * **I10** no eligible backend → none active within the step · **I11** every change took a legal edge and carries a cause
//! * **I14** a reader is ready, up, serving, of this cluster and in no doubt: a standby, the active one, or without roles any
//!   backend · **I15** lag takes a reader out above `max_lag` and brings it back at half of it, and never otherwise
//! * **I16** sessions are left to a server's last words only while no backend is active, and only while it says that it accepts no
//!   clients, or is gone after it said so or closed the check's session with FIN
//! * **I17** while a pool is paused, its active backend is suspended; a pause ends at its time at the latest, and before only by a
//!   command · **I18** a drain or maintenance without force never leaves a pool without an active backend that had one
//! * **I19** at most one operation; its end is told once · **I20** no session stays gated after its end, and new clients are then
//!   held only by a pause or a doubt; while it holds clients nobody takes them · **I21** a demoted backend is revoked before the
//!   candidate is promoted, and before the candidate is active · **I22** the fence never sinks without `accept_loss`
//! * **I23** while an operation runs, automation begins nothing, and an automatic promotion begins only when nobody is active ·
//!   **I24** one that ends before its point of no return leaves the active backend and the epoch as they were · **I25** every
//!   operation ends within the sum of its deadlines
//! * **I26** a trial has the active backend it began with, and runs beside no operation; it begins one switchover at most, back to
//!   the backend it came from, which says that it follows and lacks nothing
//! * **I27** with `guard.mode: off` proofs change nothing. With `warn` they change no eligibility, and not whether a backend is
//!   active; they decide only which of several is chosen that may serve equally, which one is promoted, that a failback waits, what
//!   is refused to an operation that is not forced or ends it before its point of no return, and that a trial fails
//! * **I28** with `enforce` a backend that is activated is good; or a forced operation activates it; or it was active last and has
//!   been eligible since; or the last resort is `serve`, its quick proofs are over, and none that may serve and no standby is good
//! * **I29** the active backend is not revoked by its own proof, whatever that is, nor by one of another backend that is not good

use std::collections::VecDeque;

use super::{
    backend::BackendState,
    event::{Command, Effect, Event, Note},
    operation::{Operation, OperationKind},
    policy::Policy,
    time::Time,
    trial::Trial,
    vocabulary::{Admin, BackendId, Cause, Epoch, Health, Outcome, Pace, Reason, RevokeMode, Verdict},
};

/// A backend that an operator chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pin {
    pub(super) backend: BackendId,
    /// The highest database epoch that claimed to be primary when the choice was made.
    pub(super) ceiling: Option<u64>,
}

/// Where new clients go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Serving {
    /// None is active.
    Nobody,
    /// None is active; the sessions of the last one go on until it ends them.
    LastWords,
    /// New clients go to the active one.
    Active(BackendId),
    /// One is active, but new clients are held: until a new login has finished, by command, or by an operation.
    Suspended(BackendId),
}

/// One pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    pub(super) policy: Policy,
    pub(super) backends: Vec<BackendState>,
    pub(super) serving: Serving,
    pub(super) epoch: Epoch,
    /// The last active backend, also while none is active.
    pub(super) last_active: Option<BackendId>,
    /// Why it was revoked.
    pub(super) last_revoke: Option<Cause>,
    /// The highest database epoch that was ever served.
    pub(super) fence: Option<u64>,
    /// Identity of the cluster this pool holds, learned from the first backend that served.
    pub(super) system_id: Option<u64>,
    /// Chosen by an operator; stays while it may serve.
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
    /// New clients are held until then, by command.
    pub(super) paused: Option<Time>,
    pub(super) operation: Option<Operation>,
    /// What follows the last switchover.
    pub(super) trial: Option<Trial>,
    /// Since when nobody is active; kept where a standby is promoted automatically.
    pub(super) idle_since: Option<Time>,
    /// Candidates that could not be promoted since a primary was active or an operator acted.
    pub(super) tried: Vec<BackendId>,
    /// Operations that mainstay itself has begun.
    pub(super) promotions: u64,
}

impl Pool {
    /// A pool of `count` backends without any result, at `now`.
    pub fn new(policy: Policy, count: u16, now: Time) -> Self {
        let count = usize::from(count);
        let settle_by = if count == 0 { now } else { now + policy.settle };
        Self {
            settle_by,
            wake: Some(settle_by),
            backends: vec![BackendState::new(now); count],
            policy,
            serving: Serving::Nobody,
            epoch: Epoch::default(),
            last_active: None,
            last_revoke: None,
            fence: None,
            system_id: None,
            pinned: None,
            switches: VecDeque::new(),
            settled: false,
            verdict: Verdict::Settling,
            conflict: false,
            paused: None,
            operation: None,
            trial: None,
            idle_since: None,
            tried: Vec::new(),
            promotions: 0,
        }
    }

    /// Restores the state of an earlier process: the highest database epoch it served, and its cluster.
    pub fn restore_fence(&mut self, fence: Option<u64>, system_id: Option<u64>) {
        self.fence = self.fence.max(fence);
        self.system_id = self.system_id.or(system_id);
    }

    /// Restores which backend was active when an earlier process ended. Without roles, the list order alone would bring back a
    /// backend with old data that was failed over from; so the last one is preferred while it may serve.
    pub fn restore_active(&mut self, active: BackendId) {
        self.last_active = Some(active).filter(|id| id.index() < self.backends.len()).or(self.last_active);
    }

    /// Restores an administrative state of an earlier process.
    pub fn restore_admin(&mut self, id: BackendId, admin: Admin) {
        if let Some(backend) = self.backends.get_mut(id.index()) {
            backend.admin = admin;
        }
    }

    /// Takes one event and says what to do.
    pub fn step(&mut self, now: Time, event: &Event) -> Vec<Effect> {
        #[cfg(debug_assertions)]
        let before = self.clone();
        let effects = self.advance(now, event);
        #[cfg(debug_assertions)]
        self.check_invariants(&before, now, event, &effects);
        effects
    }

    /// [`Pool::step`] without a check of what must hold after it.
    pub(super) fn advance(&mut self, now: Time, event: &Event) -> Vec<Effect> {
        let (mut effects, mut told) = (Vec::new(), Vec::new());
        match event {
            Event::Probe(backend, report) => self.on_report(now, *backend, report, &mut effects),
            Event::Passive(backend, what) => self.on_passive(now, *backend, *what, &mut effects),
            Event::Command(command) => self.on_command(now, command, &mut effects, &mut told),
            Event::Operate(request) => self.on_operate(now, request, &mut effects, &mut told),
            Event::StepDone { id, step, result } => self.on_step_done((*id, *step), result, &mut effects, &mut told),
            Event::Proof { backend, proof, what } => self.on_proof(now, (*backend, *proof), what, &mut effects),
            Event::CannotCommit { backend, evidence } => self.on_cannot_commit(*backend, evidence, &mut effects),
            Event::Configure(configuration) => self.on_configure(now, configuration, &mut effects, &mut told),
            Event::Tick => {}
        }
        self.reconsider(now, &mut effects, told);
        effects
    }

    /// When the core needs an [`Event::Tick`], if nothing else happens; `now` when that moment has already passed.
    pub fn next_deadline(&self, now: Time) -> Option<Time> {
        self.wake.map(|at| at.max(now))
    }

    fn on_command(&mut self, now: Time, command: &Command, effects: &mut Vec<Effect>, told: &mut Vec<Effect>) {
        match *command {
            Command::SetAdmin { backend: id, .. } if id.index() >= self.backends.len() => {
                effects.push(Effect::Note(Note::UnknownBackend(id)));
            }
            Command::SetAdmin { backend: id, to, force } => {
                if !force && to != Admin::Ready && self.active() == Some(id) && !self.is_replaced_without(now, id) {
                    return effects.push(Effect::Note(Note::NobodyTakesOver(id)));
                }
                let from = std::mem::replace(&mut self.backends[id.index()].admin, to);
                if from != to {
                    self.tried.clear();
                    effects.push(Effect::Note(Note::AdminSet { backend: id, from, to }));
                }
            }
            Command::Pause { until } => self.pause(Some(until).filter(|until| *until > now), effects),
            Command::Resume => self.pause(None, effects),
            Command::AbortOperation(id) => self.on_abort(id, effects, told),
        }
    }

    fn pause(&mut self, until: Option<Time>, effects: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.paused, until) != until {
            effects.push(Effect::Note(Note::Pause(until)));
        }
    }

    /// Elects, and orders what follows from it.
    fn reconsider(&mut self, now: Time, effects: &mut Vec<Effect>, mut told: Vec<Effect>) {
        if self.paused.is_some_and(|until| until <= now) {
            self.pause(None, effects);
        }
        self.settled = self.settled || !self.is_settling(now);
        self.refresh_reasons(now, effects);
        self.drive_operation(now, &mut told);
        // The operation may have accepted a lower epoch.
        self.refresh_reasons(now, effects);
        self.drop_pin();
        let choice = self.elect(now);
        if choice.verdict != self.verdict {
            effects.push(Effect::Note(Note::Verdict { from: self.verdict, to: choice.verdict }));
            self.verdict = choice.verdict;
        }
        if choice.active != self.active() {
            if let Some(old) = self.active() {
                let cause = self.revoke_cause(old, choice.cause);
                let mode = self.revoke_mode(old, cause);
                let cause = if self.is_demoted_by_order(old, cause) { Cause::Command } else { cause };
                self.last_revoke = Some(cause);
                self.serving = if mode == RevokeMode::LastWords { Serving::LastWords } else { Serving::Nobody };
                effects.push(Effect::Revoke { epoch: self.epoch, backend: old, mode, cause });
            }
            if let Some(new) = choice.active {
                self.activate(now, new, effects);
                // A switch is an event, not a state: after it, the new backend stays.
                self.verdict = Verdict::Keep;
                // The epoch and the cluster that are now served may disqualify others.
                self.refresh_reasons(now, effects);
            }
        }
        self.ask_for_proofs(now, effects);
        let is_idle = self.active().is_none() && self.policy.promotion.is_some() && self.epoch != Epoch::default();
        self.idle_since = is_idle.then(|| self.idle_since.unwrap_or(now));
        self.drive_trial(now, &mut told);
        self.settle_operation(now, &mut told);
        self.promote_by_itself(now, &mut told);
        self.end_last_words(effects);
        self.refresh_conflict(effects);
        self.refresh_suspension(effects);
        // Clients are held before a step begins, and are let through after the end.
        effects.append(&mut told);
        self.refresh_read_eligibility(effects);
        self.refresh_paces(effects);
        self.wake = self.wake_after(now);
    }

    fn activate(&mut self, now: Time, new: BackendId, effects: &mut Vec<Effect>) {
        let by_hand = |operation: &Operation| operation.is_due(new) && operation.kind != OperationKind::Failover;
        let cause = match self.last_revoke {
            _ if self.epoch == Epoch::default() => Cause::Startup,
            _ if self.operation.as_ref().is_some_and(by_hand) => Cause::Command,
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
        self.serving = Serving::Active(new);
        self.tried.clear();
        self.last_active = Some(new);
        effects.push(Effect::Activate { epoch: self.epoch, backend: new, cause });
    }

    /// Aborts the sessions that were left to a server which accepts no clients, once it is no longer such a server.
    fn end_last_words(&mut self, effects: &mut Vec<Effect>) {
        let Some(backend) = self.last_active.filter(|_| self.serving == Serving::LastWords) else { return };
        let cause = self.revoke_cause(backend, None);
        if self.revoke_mode(backend, cause) == RevokeMode::Abort {
            self.serving = Serving::Nobody;
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
        let Some(active) = self.active() else { return };
        let is_held = self.operation.as_ref().is_some_and(Operation::holds);
        let suspended = self.paused.is_some() || is_held || self.is_in_doubt(active);
        if suspended != self.suspended() {
            self.serving = if suspended { Serving::Suspended(active) } else { Serving::Active(active) };
            effects.push(if suspended { Effect::Suspend { epoch: self.epoch } } else { Effect::Resume { epoch: self.epoch } });
        }
    }

    /// New clients wait for another answer of it.
    pub(super) fn is_in_doubt(&self, active: BackendId) -> bool {
        self.backends[active.index()].signs.in_doubt || self.awaits_a_word()
    }

    fn revoke_cause(&self, old: BackendId, switch: Option<Cause>) -> Cause {
        match self.reason(old) {
            Reason::Eligible => switch.unwrap_or(Cause::Conflict),
            Reason::Unproven => Cause::Unproven,
            Reason::Maint | Reason::Drain => Cause::Command,
            Reason::Down | Reason::Unknown | Reason::Misconfigured => Cause::Down,
            Reason::Starting => Cause::Starting,
            Reason::Standby | Reason::RoleUnknown | Reason::ReadOnly => Cause::Demoted,
            Reason::WrongCluster | Reason::Fenced => Cause::Fenced,
        }
    }

    fn revoke_mode(&self, old: BackendId, cause: Cause) -> RevokeMode {
        match cause {
            Cause::Command if self.reason(old) == Reason::Drain => RevokeMode::Drain,
            Cause::Down if self.policy.on_down == RevokeMode::Drain => RevokeMode::Drain,
            Cause::Down if self.backends[old.index()].has_left() => RevokeMode::LastWords,
            // A server that is shutting down lets its clients finish; one that is starting up has none.
            Cause::Starting => RevokeMode::LastWords,
            _ => RevokeMode::Abort,
        }
    }

    fn refresh_paces(&mut self, effects: &mut Vec<Effect>) {
        let doubted = self.active().filter(|active| self.is_in_doubt(*active));
        let operation = self.operation.as_ref();
        for (index, backend) in self.backends.iter_mut().enumerate() {
            let is_awaited = operation.is_some_and(|operation| operation.awaits(BackendId::at(index)));
            let clients_wait = match self.serving {
                Serving::Nobody | Serving::LastWords => true,
                // The clients of a paused pool wait for no probe.
                Serving::Active(_) | Serving::Suspended(_) => is_awaited || doubted == Some(BackendId::at(index)),
            };
            let pace = if backend.last_outcome == Some(Outcome::Misconfigured) {
                // More logins do not correct a password; they fill the server's log and may lock the account or the host out.
                Pace::Normal
            } else if clients_wait && backend.admin != Admin::Maint {
                Pace::Urgent
            } else if backend.is_pending()
                || backend.is_starting()
                || backend.signs.in_doubt
                || backend.health() == Health::Unknown
            {
                Pace::Fast
            } else {
                Pace::Normal
            };
            if std::mem::replace(&mut backend.pace, pace) != pace {
                effects.push(Effect::Pace(BackendId::at(index), pace));
            }
        }
    }
}
