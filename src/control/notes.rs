//! Tells people what the core noted: one log line, one event, one count each.

use std::sync::Arc;

use super::{probe::agreement::Stance, supervisor::Supervisor};
use crate::{
    failover::{BackendId, Health, Note, Outcome, Time, Verdict, label::Label},
    net::endpoint::Endpoint,
    route::StateEvent,
};

pub(super) fn tell(supervisor: &Supervisor, now: Time, note: &Note) {
    match note {
        Note::Verdict { from, to } => tell_verdict(supervisor, now, *from, *to),
        Note::Conflict { present, claimants } => tell_conflict(supervisor, now, claimants, *present),
        _ => tell_of_backend(supervisor, now, note),
    }
}

fn tell_of_backend(supervisor: &Supervisor, now: Time, note: &Note) {
    let pool = &*supervisor.config.name;
    match note {
        // Told by the caller.
        Note::Verdict { .. } | Note::Conflict { .. } => {}
        Note::Health { backend, from, to, cause, evidence } => {
            let name = supervisor.name(*backend);
            supervisor.nodes[backend.index()].metrics.transitions.get(*to).get(*cause).inc();
            if *to == Health::Down {
                tracing::warn!(pool, backend = %name, from = from.as_str(), to = to.as_str(), cause = cause.as_str(), %evidence, "health changed");
            } else {
                tracing::info!(pool, backend = %name, from = from.as_str(), to = to.as_str(), cause = cause.as_str(), %evidence, "health changed");
            }
            push(
                supervisor,
                now,
                Some(*backend),
                "health",
                Some(from.as_str()),
                Some(to.as_str()),
                Some(cause.as_str()),
                evidence,
            );
        }
        Note::Role { backend, from, to } => {
            tracing::info!(pool, backend = %supervisor.name(*backend), from = from.as_str(), to = to.as_str(), "role changed");
            push(supervisor, now, Some(*backend), "role", Some(from.as_str()), Some(to.as_str()), None, "");
        }
        Note::Eligibility { backend, from, to } => {
            tracing::info!(pool, backend = %supervisor.name(*backend), from = from.as_str(), to = to.as_str(), "eligibility changed");
            push(supervisor, now, Some(*backend), "eligibility", Some(from.as_str()), Some(to.as_str()), None, "");
        }
        Note::CheckAlert { backend, outcome, evidence } => {
            let name = supervisor.name(*backend);
            match outcome {
                Outcome::Ok => tracing::info!(pool, backend = %name, "the check works again"),
                _ => {
                    tracing::error!(pool, backend = %name, outcome = outcome.as_str(), %evidence, "the check cannot do its work; the verdict stays as it is");
                }
            }
            push(supervisor, now, Some(*backend), "check", None, Some(outcome.as_str()), None, evidence);
        }
        Note::UnknownBackend(id) => tracing::warn!(pool, backend = id.0, "an event names a backend this pool does not have"),
        Note::CommandRefused { backend, reason } => {
            tracing::warn!(pool, backend = %supervisor.name(*backend), reason = reason.as_str(), "the command was refused");
        }
        Note::AdminSet { backend, from, to } => {
            tracing::info!(pool, backend = %supervisor.name(*backend), from = from.as_str(), to = to.as_str(), "administrative state set");
            push(supervisor, now, Some(*backend), "admin", Some(from.as_str()), Some(to.as_str()), None, "");
        }
    }
}

/// The endpoint of a backend fell silent, contradicts its database, or is in order again. What the database says decides about
/// health, so this is no change of state of the backend.
pub(super) fn tell_second_opinion(supervisor: &Supervisor, backend: BackendId, stance: Stance, evidence: &str) {
    let (pool, name) = (&*supervisor.config.name, supervisor.name(backend));
    match stance {
        Stance::Agrees => tracing::info!(pool, backend = %name, "the HTTP check gives a second opinion again"),
        Stance::Silent => {
            tracing::warn!(pool, backend = %name, evidence, "the HTTP check gives no second opinion; the other check decides alone");
        }
        Stance::Contradicts => {
            tracing::warn!(pool, backend = %name, evidence, "the HTTP check contradicts the database, which says it is the primary");
        }
    }
    push(supervisor, supervisor.clock.now(), Some(backend), "second_opinion", None, Some(stance.as_str()), None, evidence);
}

fn tell_verdict(supervisor: &Supervisor, now: Time, from: Verdict, to: Verdict) {
    let pool = &*supervisor.config.name;
    let (before, verdict) = (from.as_str(), to.as_str());
    match to {
        Verdict::SplitBrain => {
            tracing::error!(pool, before, verdict, "more than one primary and no rule to tell them apart: fence one of them");
        }
        Verdict::HoldDown => tracing::error!(
            pool,
            before,
            verdict,
            "the failover budget is used up and every candidate failed lately: repair a backend; this ends by itself when the budget's window has passed"
        ),
        Verdict::NoEligible => tracing::warn!(pool, before, verdict, "no backend may serve: new clients are held"),
        _ => tracing::debug!(pool, before, verdict, "verdict changed"),
    }
    // That the active backend stays, or that another took over, is told by `activate` and `revoke`.
    if !matches!((from, to), (Verdict::Keep | Verdict::Switch | Verdict::Settling, Verdict::Keep | Verdict::Switch)) {
        push(supervisor, now, None, "verdict", Some(before), Some(verdict), None, "");
    }
}

fn tell_conflict(supervisor: &Supervisor, now: Time, claimants: &[BackendId], present: bool) {
    let pool = &*supervisor.config.name;
    let names: Vec<&str> = claimants.iter().map(|id| &**supervisor.name(*id)).collect();
    let claimants = names.join(", ");
    if present {
        tracing::error!(pool, claimants, "more than one backend says it is the primary: shut down or rebuild the wrong one");
    } else {
        tracing::info!(pool, "one primary again");
    }
    push(supervisor, now, None, "conflict", None, Some(if present { "present" } else { "gone" }), None, &claimants);
}

/// The name of a backend stands for `addresses` now.
pub(super) fn tell_addresses(supervisor: &Supervisor, backend: BackendId, addresses: &[Endpoint]) {
    let pool = &*supervisor.config.name;
    let node = &supervisor.nodes[backend.index()];
    let name = &*node.config.name;
    if !node.resolved.is_empty() {
        tracing::info!(pool, backend = name, was = ?node.resolved, is = ?addresses, "the backend's name stands for other addresses now");
    }
    let others = supervisor.nodes.iter().zip(supervisor.core.ids()).filter(|(_, id)| *id != backend);
    for (other, _) in others {
        if let Some(address) = other.resolved.iter().find(|address| addresses.contains(address)) {
            tracing::warn!(pool, backend = name, other = %other.config.name, %address, "two backends stand for one address: a server cannot take over from itself");
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "the fields of an event, each of another kind")]
pub(super) fn push(
    supervisor: &Supervisor,
    at: Time,
    backend: Option<BackendId>,
    kind: &'static str,
    from: Option<&'static str>,
    to: Option<&'static str>,
    cause: Option<&'static str>,
    evidence: &str,
) {
    supervisor.events.push(StateEvent {
        id: 0,
        at,
        pool: Arc::clone(&supervisor.config.name),
        backend: backend.map(|backend| Arc::clone(supervisor.name(backend))),
        kind,
        from,
        to,
        epoch: supervisor.core.epoch(),
        cause,
        evidence: evidence.into(),
    });
}
