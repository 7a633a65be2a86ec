//! What the judge knows of trials (I26): what counts as a sign, how one ends, and when it goes back.

use super::{operation::Run as Operating, *};

const SIGNS: usize = 3;
const WINDOW: Duration = Duration::from_mins(1);

/// As the judge remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Trial {
    id: OperationId,
    from: BackendId,
    to: BackendId,
    rests: Time,
    until: Time,
    how: How,
    limits: Limits,
    signs: Vec<Time>,
    failed: bool,
    returns: bool,
}

impl Judge {
    pub(super) fn tries_out(&self, id: OperationId) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.id == id)
    }

    /// A sign of trouble of the one on trial.
    pub(super) fn note_sign(&mut self, was: &Self, step: &Step, accepted: bool) {
        let Some(trial) = self.trial.as_ref().filter(|trial| accepted && !trial.returns) else { return };
        let is_sign = match step.event {
            Event::Probe(id, _) => *id == trial.to && self.node(*id).last != Some(Outcome::Ok),
            Event::Passive(id, what) => {
                let is_first = step.before.backend(*id).is_some_and(|backend| backend.trouble_since.is_none());
                *id == trial.to && was.node(*id).verdict == Health::Up && *what != Passive::SessionLost && is_first
            }
            _ => false,
        };
        if let Some(trial) = self.trial.as_mut().filter(|_| is_sign) {
            trial.signs.retain(|at| step.now.since(*at) < WINDOW);
            trial.signs.push(step.now);
        }
    }

    /// The one on trial has failed a proof, or cannot commit.
    pub(super) fn fail_trial(&mut self, id: BackendId) {
        self.trial.iter_mut().filter(|trial| trial.to == id).for_each(|trial| trial.failed = true);
    }

    pub(super) fn begin_trial(&mut self, run: &Operating, now: Time) -> Vec<TrialNews> {
        let Some((from, (returns, time))) = run.from.zip(run.wanted_after()) else { return Vec::new() };
        if self.node(from).admin != Admin::Ready {
            return vec![TrialNews::Begun, TrialNews::Ended(TrialEnd::Lost)];
        }
        let (id, to, how, limits) = (run.id, run.to, run.how, run.limits);
        let (rests, until) = (now + Duration::from_secs(1), now + time);
        self.trial = Some(Trial { id, from, to, rests, until, how, limits, signs: Vec::new(), failed: false, returns });
        vec![TrialNews::Begun]
    }

    /// After the election; what must be told, but for the reasons to wait.
    pub(super) fn try_out(&mut self, step: &Step, told: &mut Vec<Effect>) -> Vec<TrialNews> {
        let Some(mut trial) = self.trial.take() else { return Vec::new() };
        let aborted = matches!(step.event, Event::Command(Command::AbortOperation(id)) if *id == trial.id);
        let gone = self.active != Some(trial.to) || self.node(trial.from).admin != Admin::Ready;
        let end = match (aborted || self.operation.is_some(), gone, step.now >= trial.until) {
            (true, ..) => Some(TrialEnd::Ordered),
            (_, true, _) => Some(TrialEnd::Lost),
            (.., true) => Some(if trial.returns { TrialEnd::Stayed } else { TrialEnd::Passed }),
            _ => None,
        };
        if let Some(end) = end {
            return vec![TrialNews::Ended(end)];
        }
        let mut news = Vec::new();
        if !trial.returns && (trial.failed || trial.signs.len() >= SIGNS) {
            trial.returns = true;
            news.push(TrialNews::Failed(Printable::default()));
        }
        let back = Request {
            id: OperationId(1 << 63),
            accept_loss: false,
            how: trial.how,
            limits: trial.limits,
            ..switchover(trial.from)
        };
        match self.plan(&back, step.now) {
            Ok(plan) if trial.returns && step.now >= trial.rests && self.loses_nothing(step, trial.from) => {
                news.push(TrialNews::Ended(TrialEnd::WentBack));
                let id = step.after.operation().map_or(back.id, Operation::id);
                self.start(&Request { id, ..back }, plan, step.now, told);
            }
            _ => self.trial = Some(trial),
        }
        news
    }

    fn loses_nothing(&self, step: &Step, to: BackendId) -> bool {
        let shares = || self.active.is_some_and(|active| !self.by_role() || self.share_writes(&[active, to]));
        (self.eligible(to) && shares())
            || (!self.eligible(to) && self.node(to).hears == Some(true) && step.after.behind(to).unwrap_or(0) == 0)
    }
}

pub(super) fn i26_news(step: &Step, should: &[TrialNews]) -> Result<(), String> {
    let says: Vec<_> = step
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Note(Note::Trial(_, TrialNews::Failed(_))) => Some(TrialNews::Failed(Printable::default())),
            Effect::Note(Note::Trial(_, TrialNews::Waits(_))) => None,
            Effect::Note(Note::Trial(_, news)) => Some(news.clone()),
            _ => None,
        })
        .collect();
    rule!(says == should, "I26: of the trial was told {says:?}, the rules say {should:?}");
    Ok(())
}
