//! The way back after a switchover or a failover: an operator's rollback, and trials.

use std::{sync::Arc, time::Duration};

use super::{notes::Teller, operations::Operations, orders, supervisor::Supervisor};
use crate::{
    config::CheckKind,
    failover::{
        BackendId, GuardMode, OperationId, OperationKind, OperationRefusal, Plan, Printable, Reason, Refused, Request, Time,
        Trial, TrialEnd, TrialNews,
        label::Label,
        trial::{SIGNS, WINDOW},
    },
    route::{OperationView, Refusal, RefusalCode, StateEvent, TrialView, Verb},
};

impl Supervisor {
    /// The backend that was active before the present one, or before the last one if none is active.
    pub(super) fn previous(&self) -> Result<BackendId, Refusal> {
        let name = self.memory.previous().ok_or_else(|| Refusal {
            code: RefusalCode::NoPrevious,
            message: "nothing to go back to: no other backend was active before, as far as mainstay remembers".to_owned(),
        })?;
        orders::find(&self.nodes, &self.core, &self.config.name, name)
    }

    /// What an order would do; else why it is refused.
    pub(super) fn judge(&self, now: Time, verb: &Verb, request: &Request) -> Result<Plan, Refusal> {
        let plan = match verb {
            Verb::Rollback { .. } => self.core.way_back(now, request).map_err(|refused| self.no_way_back(refused)),
            _ => self.core.preflight(now, request).map_err(|refused| self.refusal(refused)),
        }?;
        // While somebody serves there is time for it.
        let may_wait = self.core.active().is_some() && self.config.guard.mode != GuardMode::Off;
        if request.kind == OperationKind::Switchover && !request.force && may_wait && self.keeper.was_away(self.name(plan.to)) {
            let name = self.name(plan.to);
            let message = format!("{name} was away, and its print has not been read since; order again in a moment");
            return Err(Refusal { code: RefusalCode::InDoubt, message });
        }
        Ok(plan)
    }

    fn no_way_back(&self, refused: Refused) -> Refusal {
        match (refused, self.core.active()) {
            (Refused { why: OperationRefusal::Fenced | OperationRefusal::NotStreaming, backend: Some(old) }, Some(active)) => {
                Refusal { code: RefusalCode::CutOff, message: self.cut_off(old, active) }
            }
            _ => self.refusal(refused),
        }
    }

    /// From which position on the backend that was active before lacks what the active one has, and how much that is.
    fn lost(&self, old: BackendId, active: BackendId) -> (Option<u64>, Option<u64>) {
        let at = |id| Some(self.core.backend(id)?.facts.position?.get());
        // A standby of the present history says how far it came. Any other has nothing since the switch.
        if self.core.reason(old) == Reason::Standby && !self.core.is_below_fence(old) {
            return (at(old), self.core.lack(old));
        }
        let began = self.memory.began();
        (began, at(active).zip(began).map(|(at, began)| at.saturating_sub(began)))
    }

    /// So much of what positions of this database count.
    pub(super) fn amount(&self, count: u64) -> String {
        match self.config.check.kind {
            CheckKind::Mysql(_) if count == 1 => "1 transaction".to_owned(),
            CheckKind::Mysql(_) => format!("{count} transactions"),
            _ => format!("{count} bytes"),
        }
    }

    /// Two writers are worse than an order that is refused: the newer one must have stopped first.
    fn cut_off(&self, old: BackendId, active: BackendId) -> String {
        let (was, is, pool) = (self.name(old), self.name(active), &self.config.name);
        let (since, lost) = self.lost(old, active);
        let since = since.map(|position| match self.config.check.kind {
            CheckKind::Postgres(_) => format!(" since LSN {:X}/{:X}", position >> 32, position & 0xffff_ffff),
            CheckKind::Mysql(_) => format!(" since transaction {position}"),
            _ => format!(" since position {position}"),
        });
        let lost = lost.filter(|lost| *lost > 0).map(|lost| format!(" ({} so far)", self.amount(lost)));
        format!(
            "{was} is cut off{}: it does not follow {is}, and later writes would be lost{}. Make it a standby of {is}, and order it \
             again. Or, to lose them: stop {is}, so that it takes no writes, then `mainstay rollback {pool} --accept-loss`; {is} must \
             not start again as a primary",
            since.unwrap_or_default(),
            lost.unwrap_or_default(),
        )
    }

    /// What a rollback would do now, in words.
    pub(super) fn rollback_words(&self, now: Time) -> String {
        match self.planned_rollback(now) {
            Ok(plan) => match self.core.behind(plan.to).filter(|behind| *behind > 0) {
                Some(behind) => {
                    format!("lagging {}; {} would take over once it has them", self.amount(behind), self.name(plan.to))
                }
                None => format!("ready, to {}", self.name(plan.to)),
            },
            Err(refusal) => format!("not now: {}", refusal.message),
        }
    }

    /// The trial that runs, in words.
    pub(super) fn on_trial_words(&self, now: Time) -> Option<String> {
        let trial = self.core.trial()?;
        let (old, new) = trial.backends();
        Some(format!("trial: {}", begun(Some(trial), (self.name(old), self.name(new)), now)))
    }

    fn planned_rollback(&self, now: Time) -> Result<Plan, Refusal> {
        let verb = Verb::Rollback { accept_loss: false };
        let request = Operations::request(&self.config, &verb, Some(self.previous()?), self.core.active().is_some());
        match request {
            Some(request) => self.judge(now, &verb, &request),
            None => Err(Refusal { code: RefusalCode::Gone, message: "no operation".to_owned() }),
        }
    }

    /// Shows in the metrics what a rollback would do.
    pub(super) fn measure_rollback(&self, now: Time) {
        let planned = self.planned_rollback(now);
        let cut_off = matches!(planned, Err(Refusal { code: RefusalCode::CutOff, .. }));
        let both = self.previous().ok().zip(self.core.active()).filter(|_| cut_off);
        let lost = both.and_then(|(old, active)| self.lost(old, active).1);
        self.teller.metrics.rollback_ready.set(i64::from(planned.is_ok()));
        self.teller.metrics.rollback_lost.set(i64::try_from(lost.unwrap_or(0)).unwrap_or(i64::MAX));
    }

    /// Something is told of the trial that follows an operation.
    pub(super) fn on_trial(&mut self, now: Time, id: OperationId, news: &TrialNews) {
        let Some(view) = self.operations.shown(id.0) else { return };
        let (old, new) = (view.from.as_deref().unwrap_or_default(), &*view.to);
        let returns = view.trial.as_ref().is_some_and(|trial| trial.returns);
        let before = view.trial.as_ref().map(|trial| &*trial.sentence).unwrap_or_default();
        let sentence = match news {
            TrialNews::Begun => begun(self.core.trial(), (old, new), now),
            TrialNews::Failed(evidence) => {
                format!("the trial of {new} has failed: {evidence}; back to {old} as soon as nothing would be lost")
            }
            TrialNews::Waits(refused) => format!("{new} stays for now: {}", self.no_way_back(*refused).message),
            TrialNews::Ended(TrialEnd::Passed) => format!("the trial has passed: {new} stays"),
            TrialNews::Ended(TrialEnd::WentBack) if returns => format!("going back to {old}"),
            TrialNews::Ended(TrialEnd::WentBack) => {
                format!("going back to {old}: the trial has failed, and {old} has all that {new} wrote")
            }
            TrialNews::Ended(TrialEnd::Stayed) => format!("the time to go back to {old} is over. {before}"),
            TrialNews::Ended(TrialEnd::Ordered) => format!("nothing leads back to {old} by itself any more, by order"),
            TrialNews::Ended(TrialEnd::Lost) => {
                format!("nothing leads back to {old} by itself any more: {new} is not active, or {old} was taken out")
            }
        };
        let at = (now, self.core.epoch());
        let view = self.operations.tried(view, news, sentence.into());
        self.teller.trial(at, &view, news);
    }
}

fn begun(trial: Option<&Trial>, (old, new): (&str, &str), now: Time) -> String {
    let Some(trial) = trial else { return String::new() };
    let time = span(trial.until().since(now));
    if trial.returns() {
        format!("{new} serves until {old} follows it; then back to {old}, within {time}")
    } else {
        let window = span(WINDOW);
        format!(
            "{new} is on trial for {time}; if it fails, back to {old}: after {SIGNS} signs of trouble within {window}, and only if nothing \
             would be lost"
        )
    }
}

impl Teller {
    fn trial(&self, at: (Time, crate::failover::Epoch), view: &OperationView, news: &TrialNews) {
        let Some(TrialView { sentence, .. }) = &view.trial else { return };
        let (pool, to) = (
            &*self.pool,
            match news {
                TrialNews::Begun => "begun",
                TrialNews::Failed(_) => "failed",
                TrialNews::Waits(_) => "waits",
                TrialNews::Ended(end) => end.as_str(),
            },
        );
        let operation = view.id;
        match news {
            TrialNews::Begun | TrialNews::Ended(TrialEnd::Passed | TrialEnd::Ordered) => {
                tracing::info!(pool, operation, trial = to, %sentence, "trial");
            }
            _ => tracing::warn!(pool, operation, trial = to, %sentence, "trial"),
        }
        let evidence = Printable::from(format!("operation {operation}: {sentence}"));
        self.events.push(StateEvent { to: Some(to), evidence, ..self.event(at, Some(&view.to), "trial") });
    }
}

/// What follows a switchover that is not meant to stay, for the answer to its order.
pub(super) fn afterwards(verb: &Verb, plan: (&str, &str)) -> Option<String> {
    match verb {
        Verb::Trial { time, .. } => {
            Some(format!("then {} is on trial for {}; if it fails, back to {}", plan.1, span(*time), plan.0))
        }
        Verb::Rehearse => Some(format!("then back to {}, as soon as it follows {}", plan.0, plan.1)),
        _ => None,
    }
}

/// A time in the greatest unit, rounded up.
fn span(time: Duration) -> String {
    match time.as_millis().div_ceil(1000) {
        seconds if seconds > 0 && seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        seconds if seconds > 600 || seconds.is_multiple_of(60) => format!("{}m", seconds.div_ceil(60)),
        seconds => format!("{seconds}s"),
    }
}

/// The name of the candidate in an order.
pub(super) fn wanted(verb: &Verb) -> Option<&Arc<str>> {
    match verb {
        Verb::Switchover { to, .. } | Verb::Promote { to, .. } | Verb::Trial { to, .. } => to.as_ref(),
        _ => None,
    }
}
