//! State changes in words, for the timeline of an incident.

use std::time::Duration;

use crate::{
    failover::{Cause, label::Label as _},
    route::StateEvent,
};

/// Whether a backend was withdrawn, or became active, for no reason of its own: nothing that happened to the database.
pub(crate) fn is_ordered(cause: &str) -> bool {
    [Cause::Startup, Cause::Command, Cause::Removed].iter().any(|ordered| ordered.as_str() == cause)
}

/// A length of time for people.
pub(crate) fn length(lasted: Duration) -> String {
    let seconds = lasted.as_secs();
    match seconds {
        0 => format!("{} ms", lasted.as_millis()),
        1..60 => format!("{:.1} s", lasted.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// The line of an event; `None` for one that says nothing about an incident.
pub(super) fn told(event: &StateEvent) -> Option<String> {
    let name = event.backend.as_deref().unwrap_or_default();
    let (from, to) = (event.from.unwrap_or_default(), event.to.unwrap_or_default());
    let evidence = &*event.evidence;
    let seen = if evidence.is_empty() { String::new() } else { format!(": {evidence}") };
    let cause = event.cause.map(|cause| format!(" ({cause})")).unwrap_or_default();
    Some(match event.kind {
        "health" => format!("{name}: health {from} → {to}{cause}{seen}"),
        "role" => format!("{name}: role {from} → {to}"),
        "eligibility" => format!("{name}: {from} → {to}"),
        "admin" => format!("{name}: {from} → {to}, by command"),
        "verdict" => format!("verdict: {from} → {to}"),
        "suspend" => format!("new clients of {name} wait{seen}"),
        "resume" => format!("new clients of {name} go on"),
        "pause" => format!("pause {to}"),
        "revoke" => format!("{name} is withdrawn, epoch {}{cause}{seen}", event.epoch.0),
        "abort" => format!("the sessions that were left with {name} are ended"),
        "activate" => format!("{name} is active, epoch {}{cause}: new clients go there", event.epoch.0),
        "conflict" if to == "present" => format!("more than one backend says that it is the primary{seen}"),
        "conflict" => "one primary again".to_owned(),
        "promotion_refused" => format!("no standby is promoted{seen}"),
        "operation" | "order" | "trial" => evidence.to_owned(),
        "check" | "proof" => format!("{name}: {} {to}{seen}", event.kind),
        _ => return None,
    })
}
