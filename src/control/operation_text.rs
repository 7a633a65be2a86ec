//! What operators read about operations: why one is refused, and how one ended.

use std::fmt::Display;

use crate::{
    failover::{Ending, OperationKind, OperationRefusal, OperationResult, Printable, label::Label},
    route::Refusal,
};

/// Why an operation is not begun, and what to do. `lives` is a primary that may be written to now.
pub(super) fn refusal(
    pool: &str,
    why: OperationRefusal,
    backend: Option<&str>,
    (detail, lives): (&str, Option<&str>),
) -> Refusal {
    let name = backend.unwrap_or("the backend");
    let message = match why {
        OperationRefusal::Busy => "another operation of this pool is under way; wait for it, or abort it".to_owned(),
        OperationRefusal::Settling => {
            "mainstay has just started, and not every backend has answered yet; order again in a moment".to_owned()
        }
        OperationRefusal::UnknownBackend => "the pool has no such backend".to_owned(),
        OperationRefusal::NoActive => {
            "no backend is active, so there is nothing to switch from; `mainstay promote` makes a standby the primary".to_owned()
        }
        OperationRefusal::PrimaryLives => format!(
            "{name} is the primary: `mainstay switchover` moves the clients without loss; if it is not to be trusted, stop it first"
        ),
        OperationRefusal::NoCandidate => format!("no other backend could take over: {detail}"),
        OperationRefusal::NotEligible => format!("{name} may not take over: {detail}"),
        OperationRefusal::InDoubt => {
            format!("there is a sign that {name} has failed, and it has not answered since; order again in a moment")
        }
        OperationRefusal::NoPromoter => no_promoter(name, lives),
        OperationRefusal::Lag => {
            format!("{name} is too far behind: {detail}; wait, or order it with --force (promote: --accept-loss)")
        }
        OperationRefusal::LagUnknown => format!(
            "nobody knows what {name} lacks of what the old primary had: {detail}; --accept-loss promotes it all the same"
        ),
        OperationRefusal::Fenced => format!(
            "the history of {name} ended before one that was already served: its clients would lose what was written since; \
             --accept-loss takes it all the same"
        ),
        OperationRefusal::NotStreaming => format!(
            "{name} is not connected to its primary, so it would lack what was written last: look at its log and at its replication \
             settings. {}",
            to_lose(pool, name)
        ),
        OperationRefusal::Unproven => format!(
            "{name} has changed and has not proven itself: {detail}; `mainstay prove` runs its proofs, `mainstay approve` accepts it as it \
             is, and --force takes it all the same"
        ),
        OperationRefusal::Automatic => "only mainstay itself begins this".to_owned(),
        OperationRefusal::UnknownOperation => "no operation of this number is under way".to_owned(),
        OperationRefusal::PointOfNoReturn => {
            "the operation has passed its point of no return: the old primary was told to stop; wait for its end".to_owned()
        }
    };
    Refusal { code: why.into(), message }
}

/// What to do while mainstay may promote nobody. Two writers are worse than none, so the old primary comes first.
fn no_promoter(name: &str, lives: Option<&str>) -> String {
    let first = match lives {
        Some(primary) => format!("stop {primary}, which is a primary, and only then promote {name} yourself"),
        None => format!("make sure that the old primary has stopped, and only then promote {name} yourself"),
    };
    format!(
        "{name} is a standby, and mainstay may not promote it: write `promotion: {{how: sql}}` (or patroni, or exec); or {first}; mainstay \
         follows"
    )
}

/// Two primaries are worse than one that serves nobody: another one takes over once this one has stopped.
pub(super) fn kept_out(pool: &str, why: OperationRefusal, name: &str, detail: &str) -> Refusal {
    let message = format!(
        "{name} is the primary, and serves nobody since it has not proven itself: {detail}. To serve from it as it is: `mainstay approve \
         {pool}/{name} --reason WHY`. To serve from another one: `mainstay switchover {pool}` stops this one first; without a promoter that can, stop the server \
         of {name}, then `mainstay promote {pool}`"
    );
    Refusal { code: why.into(), message }
}

/// How to take a standby all the same that does not follow the primary. Two writers are worse than an order that is refused.
pub(super) fn to_lose(pool: &str, name: &str) -> String {
    format!("To lose that: stop the primary, then `mainstay promote {pool} --to {name} --accept-loss`")
}

/// What was ordered, by whom and why.
pub(super) fn ordered(what: impl Display, by: &Printable, reason: &Printable) -> String {
    let because = if reason.is_empty() { String::new() } else { format!(", because: {reason}") };
    format!("{what} by {by}{because}")
}

/// How an operation ended, for people.
pub(super) fn sentence(
    kind: OperationKind,
    ending: &Ending,
    (from, to): (Option<&str>, &str),
    serves: Option<&str>,
) -> Printable {
    let old = from.unwrap_or("the old one");
    let now =
        serves.map_or_else(|| "no backend is active, and new clients wait".to_owned(), |serves| format!("{serves} is active"));
    let said = if ending.evidence.is_empty() { String::new() } else { format!(": {}", ending.evidence) };
    let step = ending.step.as_str();
    match ending.result {
        OperationResult::Done => format!("{to} is active; {kind} done"),
        OperationResult::Aborted => {
            format!("{kind} aborted in step {step} ({}){said}; everything is as it was: {now}", ending.why)
        }
        OperationResult::Failed => format!(
            "{kind} failed in step {step} ({}){said}; {now}. Look at {old} and {to}: exactly one of them must be the primary",
            ending.why
        ),
    }
    .into()
}
