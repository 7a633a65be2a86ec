//! Reports operations, promotions and orders: a log line, an event and a count for each.

use std::sync::Arc;

use super::{
    notes::{Moment, Teller, millis},
    orders, unpromoted,
};
use crate::{
    failover::{Cause, OperationEnd, OperationKind, OperationResult, Printable, PromotionCondition, Step, label::Label as _},
    route::{Done, EndView, OperationView, Order, Refusal, StateEvent},
};

impl Teller {
    /// A step of an operation begins.
    pub(super) fn operation_step(
        &self,
        at: Moment,
        (kind, step): (OperationKind, Step),
        id: Option<u64>,
        (from, to): (Option<&Arc<str>>, &Arc<str>),
    ) {
        let pool = &*self.pool;
        let (kind, step, from) = (kind.as_str(), step.as_str(), from.map_or("", |from| &**from));
        tracing::info!(pool, operation = id, kind, step, from, %to, "operation: step begins");
        let old = if from.is_empty() { String::new() } else { format!(" from {from}") };
        let evidence = format!("operation {}: {kind}{old} to {to}: step {step} begins", id.unwrap_or_default()).into();
        self.events.push(StateEvent { to: Some(step), cause: Some(kind), evidence, ..self.event(at, Some(to), "operation") });
    }

    /// What a step said when it was over. The end of an operation tells why one failed.
    pub(super) fn operation_said(&self, at: Moment, step: Step, id: Option<u64>, lines: &[Printable]) {
        if lines.is_empty() {
            return;
        }
        let (pool, step) = (&*self.pool, step.as_str());
        let said = Printable::from(lines.iter().map(|line| &**line).collect::<Vec<_>>().join("; "));
        tracing::info!(pool, operation = id, step, %said, "operation: step over");
        let evidence = format!("operation {}: step {step} over: {said}", id.unwrap_or_default()).into();
        self.events.push(StateEvent { from: Some(step), to: Some("over"), evidence, ..self.event(at, None, "operation") });
    }

    /// An operation is over.
    pub(super) fn operation_end(&self, at: Moment, view: &OperationView) {
        let Some(EndView { result, why, sentence, .. }) = &view.end else { return };
        let (pool, kind, to) = (&*self.pool, view.kind.as_str(), &view.to);
        let took_ms = millis(at.0.since(view.at));
        let is_wanted = *result == OperationResult::Done || *why == OperationEnd::Command;
        let (result, why) = (result.as_str(), why.as_str());
        if is_wanted {
            tracing::warn!(pool, operation = view.id, kind, result, why, %to, took_ms, %sentence, "operation: over");
        } else {
            tracing::error!(pool, operation = view.id, kind, result, why, %to, took_ms, %sentence, "operation: over");
        }
        let evidence = format!("operation {}: {sentence}", view.id).into();
        self.events.push(StateEvent { to: Some(result), cause: Some(kind), evidence, ..self.event(at, Some(to), "operation") });
    }

    /// An earlier process ended in the middle of an operation: nobody carries it on.
    pub(super) fn interrupted(&self, at: Moment, operation: &str) {
        let pool = &*self.pool;
        tracing::error!(
            pool,
            operation,
            "an operation was interrupted by the end of mainstay and is not carried on: see which backend is the primary, and order it again"
        );
        let evidence = format!("interrupted by the end of mainstay, and not carried on: {operation}").into();
        self.events.push(StateEvent { to: Some("interrupted"), evidence, ..self.event(at, None, "operation") });
    }

    /// No standby is promoted, although it is time to.
    pub(super) fn unpromoted(&self, at: Moment, old: Option<&Arc<str>>, unmet: &[PromotionCondition]) {
        let (pool, conditions) = (&*self.pool, unpromoted::words(unmet));
        tracing::error!(pool, old = old.map(|old| &**old), %conditions, "no standby is promoted: these conditions do not hold");
        for one in unmet {
            self.metrics.promotions_refused.get(*one).inc();
        }
        let to = unmet.first().map(|one| one.as_str());
        self.events.push(StateEvent { to, evidence: conditions.into(), ..self.event(at, old, "promotion_refused") });
    }

    /// What was done after an operation.
    pub(super) fn aside(&self, at: Moment, what: &'static str, backend: &Arc<str>, result: &Result<Printable, Printable>) {
        let pool = &*self.pool;
        let (to, said) = match result {
            Ok(said) => ("done", said),
            Err(said) => ("failed", said),
        };
        if result.is_ok() {
            tracing::info!(pool, %backend, what, %said, "operation: afterwards");
        } else {
            tracing::error!(pool, %backend, what, %said, "operation: afterwards");
        }
        let evidence = format!("{what}: {said}").into();
        self.events.push(StateEvent { to: Some(to), evidence, ..self.event(at, Some(backend), "operation") });
    }

    /// What an operator ordered, and the answer; also a refused order.
    pub(super) fn order(&self, at: Moment, order: &Order, backend: Option<&Arc<str>>, answer: &Result<Done, Refusal>) {
        let (pool, what, Order { by, reason, .. }) = (&*self.pool, orders::words(&order.verb), order);
        let (result, said) = match answer {
            Ok(done) => (if order.dry_run { "dry_run" } else { "done" }, done.lines.join("; ")),
            Err(refusal) => (refusal.code.as_str(), refusal.message.clone()),
        };
        let said = Printable::from(said);
        tracing::warn!(pool, order = %what, %by, %reason, result, %said, "ordered");
        let why = if reason.is_empty() { String::new() } else { format!(" because: {reason};") };
        let evidence = format!("{what} by {by};{why} {said}").into();
        let cause = Some(Cause::Command.as_str());
        self.events.push(StateEvent { to: Some(result), cause, evidence, ..self.event(at, backend, "order") });
    }
}
