//! Orders for an operation, and the effects of the core that concern one.

use std::sync::Arc;

use super::{
    drain::Drain,
    operation_text,
    operations::{self, Heard, Operations, PREFLIGHT, deadline},
    orders,
    probe::Deadline,
    promotion::{Member, Occasion, Severity, Shortcoming},
    rollback,
    supervisor::Supervisor,
    unpromoted,
};
use crate::{
    failover::{
        BackendId, Command, Effect, Ending, Event, Health, Note, Operation, OperationId, OperationKind, OperationRefusal,
        OperationResult, Plan, Printable, Reason, Refused, Request, Role, Step, Time, Trial, label::Label,
    },
    route::{Done, Order, Refusal, RefusalCode, Verb},
};

impl Supervisor {
    /// Takes an order for an operation; gives any other order back.
    pub(super) fn operate(&mut self, order: Order) -> Option<Order> {
        let now = self.clock.now();
        let answer = match &order.verb {
            Verb::Switchover { to: Some(to), .. } | Verb::Trial { to: Some(to), .. }
                if self.core.active().is_some_and(|active| self.name(active) == to) =>
            {
                Ok(Done { lines: vec![format!("{to} is active already: nothing to do")], ..Done::default() })
            }
            Verb::Switchover { .. } | Verb::Trial { .. } | Verb::Rehearse | Verb::Rollback { .. } | Verb::Promote { .. } => {
                match self.plan(now, &order.verb) {
                    Ok((request, plan)) => {
                        self.prepare(order, request, &plan);
                        return None;
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Verb::AbortPresent => self.present().and_then(|id| self.abort_operation(now, id, order.dry_run)),
            Verb::Abort { id } => self.abort_operation(now, self.operations.core_id(*id), order.dry_run),
            // What the servers lack for a switchover is a part of it.
            Verb::Drill => match self.plan(now, &Verb::Switchover { to: None, force: false }) {
                Ok((request, plan)) => {
                    self.prepare(order, request, &plan);
                    return None;
                }
                Err(_) => Ok(Done { lines: self.drill(now, &[]), ..Done::default() }),
            },
            _ => return Some(order),
        };
        self.answer(order, answer);
        None
    }

    /// What a task of an operation has to say.
    pub(super) fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Prepared { order, request, missing } => {
                self.operations.is_preparing = false;
                let answer = match order.verb {
                    Verb::Drill => Ok(Done { lines: self.drill(self.clock.now(), &missing), ..Done::default() }),
                    _ => self.begin(&order, request, &missing),
                };
                self.answer(order, answer);
            }
            Heard::StepOver { id, step, result } => {
                if self.operations.said(id, step, &result)
                    && let Ok(lines) = &result
                {
                    let at = (self.clock.now(), self.core.epoch());
                    self.teller.operation_said(at, step, self.operations.shown_id(), lines);
                }
                self.step(&Event::StepDone { id, step, result: result.map(|_| ()) });
            }
            Heard::Aside { what, backend, result } => {
                self.teller.aside((self.clock.now(), self.core.epoch()), what, &backend, &result);
            }
        }
    }

    pub(super) fn answer(&mut self, order: Order, answer: Result<Done, Refusal>) {
        let at = (self.clock.now(), self.core.epoch());
        self.teller.order(at, &order, self.named(&order.verb).as_ref(), &answer);
        self.publish();
        order.answer(answer);
    }

    fn named(&self, verb: &Verb) -> Option<Arc<str>> {
        let name = rollback::wanted(verb)?;
        self.nodes.iter().map(|node| &node.config.name).find(|known| *known == name).cloned()
    }

    /// What is asked of the core, and what that would do.
    pub(super) fn plan(&self, now: Time, verb: &Verb) -> Result<(Request, Plan), Refusal> {
        if self.retired.is_cancelled() {
            return Err(orders::gone(&self.config.name));
        }
        if self.operations.is_preparing {
            let message = "another order for an operation is being looked at; order again in a moment".to_owned();
            return Err(Refusal { code: RefusalCode::Busy, message });
        }
        let to = match verb {
            Verb::Rollback { .. } => Some(self.previous()?),
            _ => rollback::wanted(verb).map(|name| orders::find(&self.nodes, &self.core, &self.config.name, name)).transpose()?,
        };
        let Some(request) = Operations::request(&self.config, verb, to, self.core.active().is_some()) else {
            return Err(Refusal { code: RefusalCode::Gone, message: "no operation".to_owned() });
        };
        let plan = self.judge(now, verb, &request)?;
        Ok((request, plan))
    }

    pub(super) fn refusal(&self, Refused { why, backend }: Refused) -> Refusal {
        let detail = if let Some(id) = backend {
            self.why_not(id)
        } else {
            let others = self.core.ids().filter(|id| Some(*id) != self.core.active());
            others.map(|id| format!("{}: {}", self.name(id), self.why_not(id))).collect::<Vec<_>>().join(", ")
        };
        if matches!(why, OperationRefusal::NoActive | OperationRefusal::PrimaryLives)
            && let Some(id) = self.kept_out()
        {
            return operation_text::kept_out(&self.config.name, why, self.name(id), &self.why_not(id));
        }
        let lives = self.living_primary().map(|id| &**self.name(id));
        operation_text::refusal(&self.config.name, why, backend.map(|id| &**self.name(id)), (&detail, lives))
    }

    /// A primary that lives and serves nobody, as it has not proven itself.
    fn kept_out(&self) -> Option<BackendId> {
        self.core
            .ids()
            .find(|id| self.core.active().is_none() && self.core.reason(*id) == Reason::Unproven && self.is_primary(*id))
    }

    /// One that may be written to now, whether it serves anybody or not.
    fn living_primary(&self) -> Option<BackendId> {
        let lives = |id: &BackendId| self.core.backend(*id).is_some_and(|state| state.health() == Health::Up);
        self.core.active().or_else(|| self.core.ids().find(|id| lives(id) && self.is_primary(*id)))
    }

    fn is_primary(&self, id: BackendId) -> bool {
        self.core.backend(id).is_some_and(|state| state.facts.role == Some(Role::Primary))
    }

    fn why_not(&self, id: BackendId) -> String {
        let lack = self.core.lack(id).map(|lack| (lack, self.amount(lack)));
        let lag = || self.core.backend(id)?.facts.lag_bytes.map(|bytes| (bytes, format!("{bytes} bytes")));
        let behind = lack.or_else(lag).filter(|(count, _)| *count > 0);
        let lag = behind.map(|(_, amount)| format!(", {amount} behind")).unwrap_or_default();
        let unproven = self.core.backend(id).filter(|backend| !backend.proof.is_good());
        let proof = unproven.map(|backend| format!(", {}: {}", backend.proof, backend.proof_what)).unwrap_or_default();
        format!("{}{lag}{proof}", self.core.reason(id).as_str())
    }

    /// Looks at the servers first: what is missing there is known before anything is done.
    fn prepare(&mut self, order: Order, request: Request, plan: &Plan) {
        let (from, to) = (plan.from.map(|id| self.member(id)), self.member(plan.to));
        let switches = request.kind == OperationKind::Switchover;
        let from = from.filter(|_| switches);
        let is_promotion = plan.steps.contains(&Step::Promote);
        let drain = plan.steps.contains(&Step::Drain).then(|| plan.from.and_then(|id| self.drain(id, Arc::default()))).flatten();
        let is_dry = order.dry_run || order.verb == Verb::Drill;
        let promoter = self.operations.promoter.clone();
        self.operations.prepare(order, request, async move {
            let mut missing = Vec::new();
            if is_promotion {
                missing = promoter.preflight(from.as_ref(), &to, Deadline::after(PREFLIGHT)).await;
            }
            if let Some(drain) = drain {
                let words = drain.preflight().await;
                missing.extend(words.into_iter().map(|words| Shortcoming { severity: Severity::Costs, words }));
            }
            let is_forbidden = missing.iter().any(|one| one.severity != Severity::Costs);
            if let Some(from) = from.filter(|_| is_promotion && !is_dry && !is_forbidden) {
                // It makes the stop shorter, and is no condition of it.
                let _ = promoter.prepare(&from, Deadline::after(PREFLIGHT)).await;
            }
            missing
        });
    }

    /// Begins an operation that was looked at.
    fn begin(&mut self, order: &Order, mut request: Box<Request>, missing: &[Shortcoming]) -> Result<Done, Refusal> {
        let now = self.clock.now();
        let plan = self.judge(now, &order.verb, &request)?;
        let of = |severity| missing.iter().filter(move |one| one.severity == severity).map(|one| &*one.words).collect::<Vec<_>>();
        let (loses, forbids) = (of(Severity::Loses).join("; "), of(Severity::Forbids).join("; "));
        if !loses.is_empty() {
            let how = operation_text::to_lose(&self.config.name, self.name(plan.to));
            return Err(Refusal { code: RefusalCode::NotStreaming, message: format!("{loses}. {how}; nothing was changed") });
        }
        if !forbids.is_empty() && !request.force {
            let message = format!("it would fail: {forbids}; nothing was changed");
            return Err(Refusal { code: RefusalCode::NotPrepared, message });
        }
        let steps = plan.steps.iter().map(|step| step.as_str()).collect::<Vec<_>>().join(", ");
        let from = plan.from.map_or_else(String::new, |id| format!(" from {}", self.name(id)));
        let mut lines = vec![format!("{}{from} to {}: {steps}", request.kind, self.name(plan.to))];
        let names = plan.from.map_or("", |id| self.name(id));
        lines.extend(rollback::afterwards(&order.verb, (names, self.name(plan.to))));
        if order.verb == Verb::Rehearse && plan.steps.contains(&Step::Promote) && self.config.promotion.rejoin.is_none() {
            lines.push(format!("missing: promotion.rejoin; {names} must become a standby in another way before it can go back"));
        }
        lines.extend(missing.iter().map(|one| format!("missing: {}", one.words)));
        if order.dry_run {
            return Ok(Done { lines, sessions: 0, operation: None });
        }
        let id = self.operations.ordered(plan, order);
        request.id = id;
        self.step(&Event::Operate(request));
        Ok(Done { lines, sessions: 0, operation: Some(id.0) })
    }

    /// The operation that runs, or the one that a trial follows.
    fn present(&self) -> Result<OperationId, Refusal> {
        let trial = || self.core.trial().map(Trial::id);
        self.core.operation().map(Operation::id).or_else(trial).ok_or_else(|| Refusal {
            code: RefusalCode::UnknownOperation,
            message: format!("no operation of pool {} is under way, and no trial", self.config.name),
        })
    }

    fn abort_operation(&mut self, now: Time, id: OperationId, is_dry: bool) -> Result<Done, Refusal> {
        let is_trial = self.core.operation().is_none_or(|running| running.id() != id);
        let mut after = self.core.clone();
        let effects = after.step(now, &Event::Command(Command::AbortOperation(id)));
        let refused = effects.iter().find_map(|effect| match effect {
            Effect::Note(Note::OperationRefused { refused, .. }) => Some(*refused),
            _ => None,
        });
        if let Some(refused) = refused {
            return Err(self.refusal(refused));
        }
        if !is_dry {
            self.core = after;
            self.carry_out(now, &effects);
        }
        let said = if is_trial { "nothing leads back by itself any more" } else { "aborted; everything is as it was" };
        Ok(Done { lines: vec![said.to_owned()], sessions: 0, operation: None })
    }

    /// What would happen now.
    fn drill(&self, now: Time, missing: &[Shortcoming]) -> Vec<String> {
        let mut lines = vec![format!("failover: {}", orders::readiness(&self.core, now))];
        for (verb, word) in [
            (Verb::Switchover { to: None, force: false }, "switchover"),
            (Verb::Promote { to: None, accept_loss: false, force: false }, "promote"),
        ] {
            let Some(request) = Operations::request(&self.config, &verb, None, true) else { continue };
            lines.push(match self.judge(now, &verb, &request) {
                Ok(_) if missing.iter().any(|one| one.severity != Severity::Costs) => format!("{word}: not now: it would fail"),
                Ok(plan) => {
                    let steps = plan.steps.iter().map(|step| step.as_str()).collect::<Vec<_>>().join(", ");
                    format!("{word}: possible, to {}: {steps}", self.name(plan.to))
                }
                Err(refusal) => format!("{word}: not now: {}", refusal.message),
            });
        }
        lines.push(format!("rollback: {}", self.rollback_words(now)));
        lines.extend(self.on_trial_words(now));
        lines.extend(missing.iter().map(|one| format!("missing for a switchover: {}", one.words)));
        lines.push(match self.core.promotion_unmet(now) {
            None => "automatic promotion: off".to_owned(),
            Some(unmet) => format!(
                "automatic promotion: on; conditions that do not hold now: {}",
                unpromoted::words(&unpromoted::essential(unmet))
            ),
        });
        lines
    }

    fn member(&self, id: BackendId) -> Member {
        Member::from(&self.nodes[id.index()])
    }

    pub(super) fn drain(&self, id: BackendId, route: Arc<crate::route::Revocation>) -> Option<Drain> {
        let node = self.nodes.get(id.index())?;
        Some(Drain {
            check: self.config.check.clone(),
            address: node.config.address.clone(),
            addresses: node.resolved.clone(),
            sessions: self.sessions.clone(),
            route,
            timeout: self.config.switchover.drain_timeout,
        })
    }

    /// The core wants a step to be carried out.
    pub(super) fn begin_step(
        &mut self,
        now: Time,
        (id, kind, step): (OperationId, OperationKind, Step),
        (from, to): (Option<BackendId>, BackendId),
    ) {
        let plan = self.core.operation().map(|operation| operation.plan().clone());
        let name = |id: BackendId| Arc::clone(&self.nodes[id.index()].config.name);
        let (old, new) = (from.map(name), name(to));
        let pool = Arc::clone(&self.config.name);
        self.operations.begin(now, &pool, (id, kind, step), plan.as_ref(), (old.as_ref(), &new));
        self.teller.operation_step((now, self.core.epoch()), (kind, step), self.operations.shown_id(), (old.as_ref(), &new));
        let (from, to) = (from.map(|id| (id, self.member(id))), self.member(to));
        let occasion = Occasion { epoch: self.core.epoch().0, cause: kind.as_str() };
        let (promoter, deadline) = (self.operations.promoter.clone(), deadline(&self.config, step));
        let one = |done: super::promotion::Done| done.map(|words| vec![words]);
        match (step, from) {
            (Step::Gate, _) => {
                let route = self.routes.revocation();
                self.operations.gate(id, route);
            }
            (Step::Drain, Some((old, _))) => {
                let gated = self.operations.gated();
                let Some(drain) = gated.and_then(|route| self.drain(old, route)) else { return };
                self.operations.spawn(id, step, |cancel| Box::pin(operations::drain(drain, cancel)));
            }
            (Step::Fence, Some((_, from))) => {
                let work = async move { one(promoter.fence(&from, &to, &occasion, deadline).await) };
                self.operations.spawn(id, step, |_| Box::pin(work));
            }
            (Step::Demote, Some((_, from))) => {
                let work = async move { one(promoter.demote(&from, &to, &occasion, deadline).await) };
                self.operations.spawn(id, step, |_| Box::pin(work));
            }
            (Step::Promote, from) => {
                let from = from.map(|(_, from)| from).filter(|_| kind == OperationKind::Switchover);
                let work = async move { one(promoter.take_over(from.as_ref(), &to, &occasion, deadline).await) };
                self.operations.spawn(id, step, |_| Box::pin(work));
            }
            // The election does it; or there is no old one to fence, drain or demote, and the step's deadline tells.
            (Step::Activate | Step::Drain | Step::Fence | Step::Demote, _) => {}
        }
    }

    /// An operation is over.
    pub(super) fn end_operation(&mut self, now: Time, kind: OperationKind, ending: &Ending) {
        let serves = self.core.active().map(|id| Arc::clone(self.name(id)));
        let Some(shown) = self.operations.names() else { return };
        let sentence = operation_text::sentence(kind, ending, (shown.0.as_deref(), &shown.1), serves.as_deref());
        let at = (now, self.clock.wall(now));
        let Some((view, demoted)) = self.operations.end(at, ending, sentence, self.core.trial()) else { return };
        self.teller.operation_end((now, self.core.epoch()), &view);
        let find = |name: &Arc<str>| self.nodes.iter().find(|node| node.config.name == *name).map(Member::from);
        let (old, new) = (view.from.as_ref().and_then(find), find(&view.to));
        let promoter = self.operations.promoter.clone();
        let occasion = Occasion { epoch: self.core.epoch().0, cause: kind.as_str() };
        match (ending.result, old, new) {
            (OperationResult::Failed, Some(old), _) if demoted => {
                let name = Arc::clone(&old.name);
                self.operations
                    .aside("undo_demote", name, async move { promoter.undo_demote(&old, Deadline::after(PREFLIGHT)).await });
            }
            (OperationResult::Done, Some(old), Some(new)) if self.config.promotion.rejoin.is_some() && old.name != new.name => {
                let (name, timeout) = (Arc::clone(&old.name), self.config.promotion.rejoin.as_ref().map(|hook| hook.timeout));
                let deadline = Deadline::after(timeout.unwrap_or(PREFLIGHT));
                self.operations.aside("rejoin", name, async move {
                    promoter.rejoin(&old, &new, &occasion, deadline).await.unwrap_or_else(|| Ok(Printable::default()))
                });
            }
            _ => {}
        }
    }
}
