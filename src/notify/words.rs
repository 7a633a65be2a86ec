//! What is told, in words for a person who was just woken: what happened, why, what mainstay did, what to do now.

use std::{sync::Arc, time::Duration};

use super::notice::{Alert, Felt, Notice, Stage};
use crate::{
    failover::{Health, Proof, Reason, Time, Verdict},
    incidents::length,
    route::{BackendView, Snapshot},
};

/// One failover, and those that came with it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Takeover {
    pub(super) from: Arc<str>,
    pub(super) to: Arc<str>,
    /// The rule, a word of the runbook's table.
    pub(super) cause: &'static str,
    pub(super) evidence: String,
    /// While no backend was active.
    pub(super) gap: Duration,
    /// Sessions that it closed, where that is known.
    pub(super) sessions: Option<u64>,
    /// Earlier ones that were not told.
    pub(super) earlier: u32,
}

fn notice(alert: Alert, stage: Stage, pool: &Arc<str>, at: Time, texts: [String; 4]) -> Notice {
    let [summary, why, did, now] = texts;
    Notice { alert, stage, pool: Arc::clone(pool), at, summary, why, did, now, felt: None }
}

/// A notice that says that it is none.
pub(crate) fn test(at: Time) -> Notice {
    let texts = [
        "This is a test of mainstay's notifications. Nothing has happened.",
        "Somebody has run `mainstay notify --test`.",
        "Nothing.",
        "Nothing: whoever reads this will also be told of an outage.",
    ];
    notice(Alert::Test, Stage::Happened, &"".into(), at, texts.map(str::to_owned))
}

pub(super) fn outage(at: Time, pool: &Snapshot, is_for_writing: bool) -> Notice {
    let name = &pool.pool;
    let summary = if is_for_writing {
        format!("Pool {name}: no database serves.")
    } else {
        format!("Pool {name}: no database may be read.")
    };
    let did = match pool.verdict {
        Verdict::SplitBrain => {
            "More than one backend says that it is the primary, and no rule tells which one is right, so none is used."
        }
        Verdict::HoldDown => {
            "The failover budget is used up: every candidate has failed lately, so none is tried until the budget's time has passed."
        }
        Verdict::NoProvenNode => {
            "Whoever could serve has changed and has not proven itself, so it is held back (guard.mode: enforce)."
        }
        _ if pool.operation.is_some() => {
            "It closed what led to the dead backend, holds new clients, and is promoting another backend now."
        }
        _ => {
            "It closed what led to the dead backend, holds new clients, asks every backend every 20 ms, and goes on with the first that may serve."
        }
    };
    let now = "Run `mainstay status`: its first line names the reason and what to do. Do not start an old primary before you know which \
               backend has the newest data.";
    notice(Alert::Outage, Stage::Begun, name, at, [summary, each(pool, |_| true), did.to_owned(), now.to_owned()])
}

pub(super) fn outage_over(at: Time, pool: &Snapshot, lasted: Duration, returned: u32, felt: Felt) -> Notice {
    let name = &pool.pool;
    let who = active(pool).map_or_else(|| "another backend".to_owned(), |backend| backend.name.to_string());
    let summary = format!("Pool {name}: served again, by {who}, after {}.", length(lasted));
    let why = match returned {
        0 => format!("{who} may serve."),
        _ => format!("{who} may serve. In between a backend came back and was lost again, {returned} times."),
    };
    let did = format!("It sends every client to {who}. {}", clients(felt));
    let now = "See that the applications are well, and find out why it happened. Bring back what is missing: `mainstay status`.";
    let mut notice = notice(Alert::Outage, Stage::Over(lasted), name, at, [summary, why, did, now.to_owned()]);
    notice.felt = Some(felt);
    notice
}

pub(super) fn failover(at: Time, pool: &Snapshot, takeover: &Takeover, felt: Felt) -> Notice {
    let Takeover { from, to, cause, evidence, gap, sessions, earlier } = takeover;
    let name = &pool.pool;
    let gap = length(*gap);
    let summary = if from == to {
        format!("Pool {name}: {to} was lost for {gap} and serves again.")
    } else {
        format!("Pool {name} failed over from {from} to {to} within {gap}.")
    };
    let why = if evidence.is_empty() { format!("{from}: {cause}.") } else { format!("{from}: {cause} ({evidence}).") };
    let closed = sessions.map_or_else(String::new, |sessions| format!("It closed {sessions} sessions with {from}. "));
    let before = match earlier {
        0 => String::new(),
        _ => format!(" Since the last message there were {earlier} more."),
    };
    let did = format!("{closed}It sends every client to {to}. {}{before}", clients(felt));
    let now = if from == to {
        format!("Clients work. Find out why {to} was lost: its log, its host, the network.")
    } else {
        format!("Clients work. Find out why {from} was lost, and bring it back as a standby (`mainstay status`).")
    };
    let mut notice = notice(Alert::Failover, Stage::Happened, name, at, [summary, why, did, now]);
    notice.felt = Some(felt);
    notice
}

pub(super) fn conflict(at: Time, pool: &Snapshot) -> Notice {
    let name = &pool.pool;
    let primaries = pool.backends.iter().filter(|backend| backend.facts.role == Some(crate::failover::Role::Primary));
    let primaries: Vec<&str> = primaries.map(|backend| &*backend.name).collect();
    let summary = format!("Pool {name}: two backends say that they are the primary.");
    let why = format!("Each accepts writes: {}.", primaries.join(", "));
    let did = match active(pool) {
        Some(active) => format!("It sends every client to {}. What others write to the other one is lost.", active.name),
        None => "No rule tells which one is right, so it sends clients to none and holds them.".to_owned(),
    };
    let now = "Run `mainstay status`, find out which one is right, and stop the other one.";
    notice(Alert::Conflict, Stage::Begun, name, at, [summary, why, did, now.to_owned()])
}

pub(super) fn unproven(at: Time, pool: &Snapshot) -> Notice {
    let name = &pool.pool;
    let (active, is_bad) = (active(pool), |backend: &BackendView| is_unproven(backend, true));
    let serving = active.filter(|active| is_bad(active));
    let others = || pool.backends.iter().filter(|backend| backend.proof == Proof::Failed).map(|backend| &*backend.name);
    let summary = match serving {
        Some(active) => format!("Pool {name}: {} serves, has changed, and has not proven itself.", active.name),
        None => format!("Pool {name}: a proof fails on {}.", others().collect::<Vec<_>>().join(", ")),
    };
    let bad = pool.backends.iter().filter(|backend| !backend.proof.is_good());
    let why = bad.map(|backend| format!("{}: {} ({})", backend.name, backend.proof, backend.proof_what)).collect::<Vec<_>>();
    let did = match serving {
        Some(_) => "It lets it serve: either the guard only warns, or there is no other.",
        None => "It refuses planned switchovers to it; with guard.mode: enforce it does not let it serve, either.",
    };
    let now = format!(
        "Run `mainstay diff {name}` to see what has changed, and `mainstay status` for the proofs. Do not update the next backend. If \
         another backend is good: `mainstay rollback {name} --dry-run`."
    );
    notice(Alert::Unproven, Stage::Begun, name, at, [summary, why.join("; "), did.to_owned(), now])
}

pub(super) fn check_broken(at: Time, pool: &Snapshot) -> Notice {
    let name = &pool.pool;
    let broken = pool.backends.iter().filter(|backend| is_check_broken(backend)).map(|backend| &*backend.name);
    let summary = format!("Pool {name}: the check of {} does not work.", broken.collect::<Vec<_>>().join(", "));
    let did = "It left everything as it was: a check that does not work is no sign of death. That backend cannot take over.";
    let now =
        "Run `mainstay status`, which shows what the server said, and try the check by hand: `mainstay check --connect -c FILE`.";
    notice(Alert::CheckBroken, Stage::Begun, name, at, [summary, each(pool, is_check_broken), did.to_owned(), now.to_owned()])
}

/// That it is over, of what is no outage.
pub(super) fn over(at: Time, pool: &Snapshot, alert: Alert, lasted: Duration) -> Notice {
    let name = &pool.pool;
    let (lasted_for, stage) = (length(lasted), Stage::Over(lasted));
    let summary = match alert {
        Alert::Conflict => format!("Pool {name}: one primary again, after {lasted_for}."),
        Alert::Unproven => format!("Pool {name}: nothing unproven serves any more, after {lasted_for}."),
        _ => format!("Pool {name}: every check works again, after {lasted_for}."),
    };
    let now = if alert == Alert::Conflict {
        "Compare the data of both: what was written to the wrong one is not in the other."
    } else {
        "Nothing."
    };
    notice(alert, stage, name, at, [summary, "The reason is gone.".to_owned(), "Nothing more.".to_owned(), now.to_owned()])
}

/// That a pool which had this is no longer configured.
pub(super) fn removed(at: Time, pool: &Arc<str>, alert: Alert) -> Notice {
    let texts = [
        format!("Pool {pool} was removed from the configuration; nothing more is told of it."),
        "The configuration was loaded again.".to_owned(),
        "It takes no more clients for this pool.".to_owned(),
        "Nothing, if that was meant.".to_owned(),
    ];
    notice(alert, Stage::Over(Duration::ZERO), pool, at, texts)
}

pub(super) fn is_check_broken(backend: &BackendView) -> bool {
    let reasons = [Reason::Misconfigured, Reason::WrongCluster, Reason::Fenced, Reason::RoleUnknown];
    backend.alert.is_some() || reasons.contains(&backend.reason)
}

pub(super) fn is_unproven(backend: &BackendView, is_active: bool) -> bool {
    backend.proof == Proof::Failed || (is_active && !backend.proof.is_good())
}

pub(super) fn active(pool: &Snapshot) -> Option<&BackendView> {
    pool.backends.get(pool.active?.index())
}

/// Each of these backends with what is known of it.
fn each(pool: &Snapshot, of: impl Fn(&BackendView) -> bool) -> String {
    let each = pool.backends.iter().filter(|backend| of(backend)).map(|backend| {
        let (name, reason) = (&backend.name, backend.reason);
        let seen = match (&backend.alert, &backend.last_probe) {
            (Some(outcome), _) => format!("{outcome}: {}", backend.alert_evidence),
            (None, Some(probe)) if backend.health != Health::Up || reason != Reason::Eligible => probe.evidence.to_string(),
            _ => String::new(),
        };
        if seen.is_empty() { format!("{name}: {reason}") } else { format!("{name}: {reason} ({seen})") }
    });
    each.collect::<Vec<_>>().join("; ")
}

fn clients(felt: Felt) -> String {
    let Felt { held, late, turned_away, waited } = felt;
    if held + turned_away == 0 {
        return "No client had to wait, and none was turned away.".to_owned();
    }
    format!("Clients: {held} waited ({waited:.1} s in all), {late} of them were served late, {turned_away} were turned away.")
}
