//! What is said of an incident in both forms. Nothing here is escaped: each form does that in its own way.

use std::time::Duration;

use crate::incidents::{Incident, Kind, Moment, Summary, length};

/// Seconds for people: milliseconds while they matter.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        0.0..10.0 => format!("{seconds:.3} s"),
        10.0..60.0 => format!("{seconds:.1} s"),
        _ => length(Duration::try_from_secs_f64(seconds).unwrap_or_default()),
    }
}

/// Whether and when it was over, in one word or two.
pub(super) fn state(summary: &Summary) -> &'static str {
    match (summary.open, summary.interrupted) {
        (true, _) => "open",
        (_, true) => "interrupted",
        _ => "over",
    }
}

/// What happened, with each name written by `name`.
pub(super) fn title(incident: &Incident, name: impl Fn(&str) -> String) -> String {
    let Summary { pool, kind, from, to, .. } = &incident.summary;
    let (pool, from, to) = (name(pool), from.as_deref().map(&name), to.as_deref().map(&name));
    match (kind, from, to) {
        (Kind::Failover, Some(from), Some(to)) => format!("pool {pool} failed over from {from} to {to}"),
        (Kind::Conflict, ..) => format!("more than one primary in pool {pool}"),
        (Kind::Planned, Some(from), Some(to)) if from != to => format!("pool {pool} was moved from {from} to {to} by order"),
        (Kind::Planned, Some(from), _) => format!("{from} of pool {pool} was taken out of service by order"),
        (_, Some(from), Some(_)) => format!("pool {pool} was without {from} until it came back"),
        (_, Some(from), None) => format!("pool {pool} lost {from}, and none took over"),
        _ => format!("no backend of pool {pool} could serve"),
    }
}

/// How long it was, and whether that is known.
pub(super) fn span(summary: &Summary) -> String {
    let began = summary.began;
    match summary.ended {
        Some(ended) => format!("From {began} to {ended}"),
        None if summary.open => format!("Since {began}; it goes on"),
        None => format!("Since {began}. mainstay ended in the middle of it: when it was over is not known"),
    }
}

/// What clients felt, one sentence each.
pub(super) fn felt(incident: &Incident) -> Vec<String> {
    let Summary { felt_seconds, sessions_aborted, clients, interrupted, .. } = &incident.summary;
    if *sessions_aborted + clients.held + clients.turned_away == 0 {
        return vec!["No session was lost, no client had to wait, and none was turned away.".to_owned()];
    }
    let least = if *interrupted { "at least " } else { "" };
    let count =
        |number: u64, one: &str, several: &str| if number == 1 { format!("1 {one}") } else { format!("{number} {several}") };
    vec![
        format!("Clients felt it for {least}{}.", seconds(*felt_seconds)),
        format!("{} lost.", count(*sessions_aborted, "session was", "sessions were")),
        format!(
            "{} waited, at most {}; {} served late. {} turned away.",
            count(clients.held, "client", "clients"),
            seconds(clients.longest_wait_seconds),
            count(clients.served_late, "was", "were"),
            count(clients.turned_away, "client was", "clients were"),
        ),
    ]
}

/// What became of transactions that the old backend had and the new one may lack.
pub(super) fn unknown(incident: &Incident) -> String {
    match incident.unknown_bytes {
        Some(0) => "as far as both have told, the new backend lacks nothing".to_owned(),
        Some(bytes) => format!("at least {bytes} bytes that the old backend had written are not on the new one"),
        None => "not known".to_owned(),
    }
}

/// The steps, in order, with the time since the first sign.
pub(super) fn steps(incident: &Incident) -> Vec<(&'static str, Option<Moment>, Option<Duration>)> {
    let first = incident.first_sign;
    let steps = [
        ("first sign", first),
        ("detected", incident.detected),
        ("revoked", incident.revoked),
        ("activated", incident.activated),
        ("first session", incident.first_session),
    ];
    steps.map(|(step, at)| (step, at, at.zip(first).map(|(at, first)| at.since(first)))).to_vec()
}
