//! Carries out the steps of an operation on the servers, beside the supervisor, which hears of each end. What operators see of an
//! operation is kept up to date on the way.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    drain::{Drain, Drained},
    operation_text,
    probe::Deadline,
    promotion::{Done, Promoter, Shortcoming},
};
use crate::{
    config::{CheckKind, PoolConfig, PromotionHow},
    failover::{
        Afterwards, BackendId, Ending, How, OperationId, OperationKind, OperationResult, Plan, Printable, Request, Step, Time,
        Trial, TrialEnd, TrialNews,
    },
    metrics::PoolMetrics,
    route::{EndView, OperationLog, OperationView, Order, Revocation, StepView, TrialView, Verb},
};

/// For looking at the servers before an operation.
pub(super) const PREFLIGHT: Duration = Duration::from_secs(3);

/// How long a rehearsal waits for the way back, besides the time of the hook that makes a standby of the old primary.
const REHEARSAL: Duration = Duration::from_mins(1);

/// What a task beside the supervisor has to say.
pub(super) enum Heard {
    /// The servers were looked at for an order.
    Prepared { order: Order, request: Box<Request>, missing: Vec<Shortcoming> },
    /// A step is over.
    StepOver { id: OperationId, step: Step, result: Result<Vec<Printable>, Printable> },
    /// What is done after an operation, and how it went.
    Aside { what: &'static str, backend: Arc<str>, result: Done },
}

/// What a step said when it was over, or why it failed.
pub(super) type StepResult = Result<Vec<Printable>, Printable>;

/// The operation of a pool, as it is carried out.
pub(super) struct Operations {
    log: Arc<OperationLog>,
    metrics: Arc<PoolMetrics>,
    pub(super) promoter: Promoter,
    sender: mpsc::UnboundedSender<Heard>,
    heard: mpsc::UnboundedReceiver<Heard>,
    /// An order is being looked at.
    pub(super) is_preparing: bool,
    /// The operation that begins next: what was planned, who ordered it, and why.
    ordered: Option<(OperationId, Plan, Printable, Printable)>,
    /// The operation that begins next leads back from this one.
    back_from: Option<OperationView>,
    running: Option<Running>,
}

struct Running {
    id: OperationId,
    view: OperationView,
    /// The route whose gate is closed.
    gated: Option<Arc<Revocation>>,
    /// Ends the task of the present step.
    step: Option<DropGuard>,
    demoted: bool,
    /// It ends a rehearsal.
    rehearsed: bool,
}

impl Operations {
    pub(super) fn new(pool: &PoolConfig, log: Arc<OperationLog>, metrics: Arc<PoolMetrics>) -> Self {
        let (sender, heard) = mpsc::unbounded_channel();
        let promoter = Promoter::new(pool);
        Self { log, metrics, promoter, sender, heard, is_preparing: false, ordered: None, back_from: None, running: None }
    }

    /// The next thing that a task says.
    pub(super) async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }

    /// What the core is to be asked for. It has no number until it begins.
    pub(super) fn request(config: &PoolConfig, verb: &Verb, to: Option<BackendId>, is_served: bool) -> Option<Request> {
        let (kind, force, accept_loss) = match (verb, is_served) {
            (Verb::Switchover { force, .. } | Verb::Trial { force, .. }, _) => (OperationKind::Switchover, *force, false),
            (Verb::Rehearse, _) | (Verb::Rollback { .. }, true) => (OperationKind::Switchover, false, false),
            (Verb::Rollback { accept_loss }, false) => (OperationKind::Promote, false, *accept_loss),
            (Verb::Promote { accept_loss, force, .. }, _) => (OperationKind::Promote, *force, *accept_loss),
            _ => return None,
        };
        let afterwards = match verb {
            Verb::Trial { time, .. } => Afterwards::Trial(*time),
            Verb::Rehearse => {
                Afterwards::Return(REHEARSAL + config.promotion.rejoin.as_ref().map(|hook| hook.timeout).unwrap_or_default())
            }
            _ => Afterwards::Stay,
        };
        Some(Request {
            id: OperationId(0),
            kind,
            to,
            force,
            accept_loss,
            max_lag: config.promotion.max_lag,
            how: how(config),
            limits: config.limits(),
            afterwards,
        })
    }

    /// The number of the core for the one that operators see.
    pub(super) fn core_id(&self, shown: u64) -> OperationId {
        let running = self.running.as_ref().filter(|running| running.view.id == shown);
        running.map_or(OperationId(shown), |running| running.id)
    }

    /// The number that operators see of the one that runs.
    pub(super) fn shown_id(&self) -> Option<u64> {
        self.running.as_ref().map(|running| running.view.id)
    }

    /// The old primary, if there is one, and the candidate.
    pub(super) fn names(&self) -> Option<(Option<Arc<str>>, Arc<str>)> {
        let view = &self.running.as_ref()?.view;
        Some((view.from.clone(), Arc::clone(&view.to)))
    }

    /// The operation that runs, and who ordered it.
    pub(super) fn by_whom(&self) -> Option<Printable> {
        let OperationView { id, kind, by, reason, .. } = &self.running.as_ref()?.view;
        Some(format!("operation {id}: {}", operation_text::ordered(kind, by, reason)).into())
    }

    /// The next operation was ordered by somebody. Returns its number.
    pub(super) fn ordered(&mut self, plan: Plan, order: &Order) -> OperationId {
        let id = OperationId(self.log.next_id());
        self.ordered = Some((id, plan, order.by.clone(), order.reason.clone()));
        id
    }

    /// Works beside the supervisor.
    pub(super) fn aside(&self, what: &'static str, backend: Arc<str>, work: impl Future<Output = Done> + Send + 'static) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let _ = sender.send(Heard::Aside { what, backend, result: work.await });
        });
    }

    /// Looks at the servers before an operation begins.
    pub(super) fn prepare(
        &mut self,
        order: Order,
        request: Request,
        look: impl Future<Output = Vec<Shortcoming>> + Send + 'static,
    ) {
        self.is_preparing = true;
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let missing = look.await;
            let _ = sender.send(Heard::Prepared { order, request: Box::new(request), missing });
        });
    }

    /// A step begins, perhaps the first. `names` are of the active backend and of the candidate. There is no `plan` when the
    /// operation is over in the same step of the core.
    pub(super) fn begin(
        &mut self,
        now: Time,
        pool: &Arc<str>,
        (id, kind, step): (OperationId, OperationKind, Step),
        plan: Option<&Plan>,
        names: (Option<&Arc<str>>, &Arc<str>),
    ) {
        if self.running.as_ref().is_none_or(|running| running.id != id) {
            let ordered = self.ordered.take().filter(|(ordered, ..)| *ordered == id);
            let Some(plan) = plan.or(ordered.as_ref().map(|(_, plan, ..)| plan)).cloned() else { return };
            let shown = if ordered.is_some() { id.0 } else { self.log.next_id() };
            let first = self.back_from.take().filter(|_| ordered.is_none());
            let rehearsed = first.as_ref().and_then(|first| first.trial.as_ref()).is_some_and(|trial| trial.returns);
            let why = first.as_ref().map(|first| format!("after operation {}", first.id).into());
            if let Some(mut first) = first {
                first.trial.iter_mut().for_each(|trial| trial.back = Some(shown));
                self.log.show(first);
            }
            let (by, reason) = ordered.map_or_else(|| ("mainstay".into(), why.unwrap_or_default()), |one| (one.2, one.3));
            let step = |step: &Step| StepView { step: *step, since: None, took: None, lines: Vec::new() };
            let view = OperationView {
                id: shown,
                pool: Arc::clone(pool),
                kind,
                from: names.0.cloned(),
                to: Arc::clone(names.1),
                by,
                reason,
                at: now,
                steps: plan.steps.iter().map(step).collect(),
                can_abort: true,
                end: None,
                trial: None,
            };
            self.running = Some(Running { id, view, gated: None, step: None, demoted: false, rehearsed });
        }
        let Some(running) = &mut self.running else { return };
        running.leave_step(step);
        running.end_step(now, &self.metrics);
        running.demoted |= step == Step::Demote || step == Step::Promote && kind == OperationKind::Switchover;
        running.view.can_abort = !step.is_past_no_return();
        if let Some(shown) = running.view.steps.iter_mut().find(|shown| shown.step == step) {
            shown.since = Some(now);
        }
        self.log.show(running.view.clone());
    }

    /// Closes the gate of a route, and keeps it for the drain.
    pub(super) fn gate(&mut self, id: OperationId, route: Option<Arc<Revocation>>) {
        if let Some(running) = &mut self.running {
            running.gated = route.inspect(|route| route.gate());
        }
        let _ = self.sender.send(Heard::StepOver { id, step: Step::Gate, result: Ok(Vec::new()) });
    }

    /// The route whose gate is closed.
    pub(super) fn gated(&self) -> Option<Arc<Revocation>> {
        self.running.as_ref()?.gated.clone()
    }

    /// The sessions go on.
    pub(super) fn ungate(&mut self) {
        if let Some(route) = self.running.as_mut().and_then(|running| running.gated.take()) {
            route.ungate();
        }
    }

    /// Carries out a step. Its task ends with the step, also with one that ends early.
    pub(super) fn spawn(
        &mut self,
        id: OperationId,
        step: Step,
        work: impl FnOnce(CancellationToken) -> std::pin::Pin<Box<dyn Future<Output = StepResult> + Send>>,
    ) {
        let (sender, cancel) = (self.sender.clone(), CancellationToken::new());
        let work = work(cancel.clone());
        let over = cancel.clone();
        tokio::spawn(async move {
            let result = tokio::select! {
                result = work => result,
                () = over.cancelled() => return,
            };
            let _ = sender.send(Heard::StepOver { id, step, result });
        });
        if let Some(running) = &mut self.running {
            running.step = Some(cancel.drop_guard());
        }
    }

    /// What a step says that is over. Returns whether it is of the operation that runs.
    pub(super) fn said(&mut self, id: OperationId, step: Step, result: &StepResult) -> bool {
        let Some(running) = self.running.as_mut().filter(|running| running.id == id) else { return false };
        if let Some(shown) = running.view.steps.iter_mut().find(|shown| shown.step == step) {
            shown.lines.extend(result.clone().unwrap_or_else(|why| vec![why]));
        }
        self.log.show(running.view.clone());
        true
    }

    /// An operation as operators see it.
    pub(super) fn shown(&self, id: u64) -> Option<OperationView> {
        self.log.get(id)
    }

    /// Something is told of the trial that follows an operation.
    pub(super) fn tried(&mut self, mut view: OperationView, news: &TrialNews, sentence: Printable) -> OperationView {
        if let Some(trial) = &mut view.trial {
            trial.sentence = sentence;
            if let TrialNews::Ended(end) = news {
                trial.end = Some(*end);
            }
        }
        if *news == TrialNews::Ended(TrialEnd::WentBack) {
            self.back_from = Some(view.clone());
        }
        self.log.show(view.clone());
        view
    }

    /// The operation is over. Returns how it is shown, and whether its old primary was told to stop.
    pub(super) fn end(
        &mut self,
        (now, wall): (Time, SystemTime),
        ending: &Ending,
        sentence: Printable,
        trial: Option<&Trial>,
    ) -> Option<(OperationView, bool)> {
        let mut running = self.running.take()?;
        if ending.result == OperationResult::Done {
            running.leave_step(ending.step);
        }
        running.end_step(now, &self.metrics);
        let mut view = running.view;
        view.can_abort = false;
        view.end = Some(EndView { at: now, result: ending.result, why: ending.why, sentence });
        // Whoever sees the end sees that something follows.
        view.trial = trial.filter(|trial| trial.id() == running.id).map(|trial| TrialView {
            returns: trial.returns(),
            until: trial.until(),
            end: None,
            sentence: Printable::default(),
            back: None,
        });
        self.metrics.operations.get(view.kind).get(ending.result).inc();
        if running.rehearsed && ending.result == OperationResult::Done {
            self.metrics.drill_success.set(wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        }
        if view.steps.iter().any(|step| step.step == Step::Promote && step.since.is_some()) {
            self.metrics.promotions.get(ending.result).inc();
        }
        self.log.show(view.clone());
        Some((view, running.demoted))
    }
}

impl Drop for Operations {
    /// Nobody carries the operation on: its sessions are not left behind a gate.
    fn drop(&mut self) {
        self.ungate();
    }
}

impl Running {
    /// The task of the step before ends. A promoter that has more to do than to make the candidate active finishes that.
    fn leave_step(&mut self, next: Step) {
        if let Some(task) = self.step.take().filter(|_| next == Step::Activate || next == Step::Promote) {
            task.disarm();
        }
    }

    fn end_step(&mut self, now: Time, metrics: &PoolMetrics) {
        let kind = self.view.kind;
        for step in &mut self.view.steps {
            let Some(since) = step.since.filter(|_| step.took.is_none()) else { continue };
            let took = *step.took.insert(now.since(since));
            metrics.operation_steps.get(kind).get(step.step).set(took.as_secs_f64());
        }
    }
}

/// Which steps can be carried out.
pub(super) fn how(config: &PoolConfig) -> How {
    let promotion = &config.promotion;
    let promotes = promotion.how != PromotionHow::None;
    // Patroni does both in one, and so does Redis.
    let demotes = match promotion.how {
        PromotionHow::None | PromotionHow::Patroni => false,
        PromotionHow::Sql => !matches!(config.check.kind, CheckKind::Redis(_)),
        PromotionHow::Exec(_) => promotion.demote.is_some(),
    };
    How { fence: config.fence(), demote: demotes, promote: promotes }
}

/// The deadline of a driver in a step.
pub(super) fn deadline(config: &PoolConfig, step: Step) -> Deadline {
    Deadline::after(config.driver_limit(step))
}

/// What became of the sessions, in words.
pub(super) async fn drain(drain: Drain, cancel: CancellationToken) -> StepResult {
    let Drained { ended, broken, left, notes } = drain.run(&cancel).await;
    let sessions = if ended == 1 { "session" } else { "sessions" };
    let mut lines = vec![format!("{ended} {sessions} ended at a boundary").into()];
    if broken > 0 {
        lines.push(format!("{broken} were ended in the middle of something, after switchover.drain_timeout").into());
    }
    if left > 0 {
        lines.push(format!("{left} are left: they end with their server").into());
    }
    lines.extend(notes);
    Ok(lines)
}
