//! A pool in plain words, for a person on call: what is the state, why, and what to do.

use std::fmt::Write as _;

use crate::{
    config::ListenerRoute,
    failover::{
        Admin, Class, FailoverReady, Health, OperationKind, Outcome, ReadEligibility, Reason, Role, Time, Verdict, label::Label,
    },
    route::{BackendView, OperationView, Snapshot},
};

const PAUSED: &str =
    "PAUSED by an operator: new clients wait, and sessions stop between two transactions, where the check can tell.";

/// The operation that is under way in a pool.
pub(super) fn under_way(operation: &OperationView, now: Time) -> String {
    let what = match operation.kind {
        OperationKind::Switchover => "SWITCHOVER to",
        OperationKind::Promote => "PROMOTION by an operator of",
        OperationKind::Failover => "AUTOMATIC PROMOTION of",
    };
    let step = operation.step().map_or_else(String::new, |step| {
        let seconds = now.since(step.since.unwrap_or(operation.at)).as_secs_f64();
        format!(" (step {}, {seconds:.1} s)", step.step)
    });
    let bound = if operation.can_abort { "" } else { ", past its point of no return" };
    format!("{what} {} under way{step}{bound}: new clients wait.", operation.to)
}

/// The pool in one or a few sentences, without its name. `held` is the number of clients that wait, `under_way` tells of the
/// operation that runs.
pub(super) fn summary(pool: &Snapshot, held: u64, under_way: Option<String>) -> String {
    let mut text = match (under_way, pool.active.and_then(|id| pool.backends.get(id.index()))) {
        (Some(under_way), _) if pool.paused => format!("{under_way} {PAUSED}"),
        (Some(under_way), _) => under_way,
        (None, _) if pool.paused => PAUSED.to_owned(),
        (None, Some(active)) if pool.suspended => {
            format!("{} is in doubt: new clients wait until it is checked again, running sessions go on.", active.name)
        }
        (None, Some(active)) => format!("Clients go to {}. {}", active.name, outlook(pool.failover_ready)),
        (None, None) => nobody(pool),
    };
    if held > 0 {
        let waiting = if held == 1 { "1 client waits.".to_owned() } else { format!("{held} clients wait.") };
        let _ = write!(text, " {waiting}");
    }
    if pool.conflict && pool.active.is_some() {
        let _ = write!(text, " WARNING: more than one backend says it is the primary ({}): stop the wrong one.", claimants(pool));
    }
    for backend in &pool.backends {
        let name = &backend.name;
        let _ = match backend.admin {
            Admin::Ready => Ok(()),
            Admin::Drain => write!(text, " {name} gets no new sessions: an operator drains it."),
            Admin::Maint => write!(text, " {name} is in maintenance: an operator took it out."),
        };
    }
    for backend in &pool.backends {
        let (name, because) = (&backend.name, because(&backend.alert_evidence));
        let _ = match backend.alert {
            // Shown with its reason.
            Some(alert) if pool.active.is_none() && backend.reason.as_str() == alert.as_str() => Ok(()),
            Some(Outcome::WrongCluster) => write!(text, " {name} belongs to another cluster ({}).", backend.alert_evidence),
            Some(alert) => write!(text, " The check of {name} does not work ({alert}{because})."),
            None => Ok(()),
        };
    }
    text
}

/// Which backends are read, for a pool with listeners for readers; one more sentence, with a leading space.
pub(super) fn reading(pool: &Snapshot, routes: &[ListenerRoute]) -> String {
    if routes.iter().all(|route| *route == ListenerRoute::Primary) {
        return String::new();
    }
    let any = routes.contains(&ListenerRoute::Any);
    let is_read = |backend: &&BackendView| {
        backend.read_eligibility == ReadEligibility::Reader || (any && backend.read_eligibility == ReadEligibility::Active)
    };
    let readers: Vec<&str> = pool.backends.iter().filter(is_read).map(|backend| &*backend.name).collect();
    if readers.is_empty() {
        let each: Vec<String> =
            pool.backends.iter().map(|backend| format!("{} is {}", backend.name, backend.read_eligibility)).collect();
        format!(" NO REPLICA MAY BE READ: {}.", each.join("; "))
    } else {
        format!(" Reads go to {}.", readers.join(", "))
    }
}

/// Why a backend may or may not be active: the reason, and the evidence if there is a problem.
pub(super) fn reason(pool: &Snapshot, backend: &BackendView) -> String {
    let reason = backend.reason;
    let seen = backend.last_probe.as_ref().map_or("", |probe| &probe.evidence);
    match reason {
        Reason::Down if last(backend) == Some(Class::Success) => {
            format!("{reason}: it answers again, but not often enough yet{}", because(seen))
        }
        Reason::Misconfigured | Reason::WrongCluster if backend.alert.is_some() => {
            format!("{reason}{}", because(&backend.alert_evidence))
        }
        Reason::Down
        | Reason::Starting
        | Reason::Unknown
        | Reason::RoleUnknown
        | Reason::Misconfigured
        | Reason::WrongCluster => format!("{reason}{}", because(seen)),
        Reason::Fenced => match backend.facts.db_epoch.zip(pool.fence) {
            Some((own, fence)) => {
                format!("{reason}: its database epoch (PostgreSQL: timeline) is {own}, and {fence} was served already")
            }
            None => reason.to_string(),
        },
        Reason::Eligible | Reason::Maint | Reason::Drain | Reason::Standby | Reason::ReadOnly | Reason::Unproven => {
            reason.to_string()
        }
    }
}

fn because(seen: &str) -> String {
    if seen.is_empty() { String::new() } else { format!(": {seen}") }
}

/// What the last probe of a backend says about its health.
fn last(backend: &BackendView) -> Option<Class> {
    backend.last_probe.as_ref().map(|probe| probe.outcome.class())
}

/// What would happen if the active backend died now.
const fn outlook(ready: FailoverReady) -> &'static str {
    match ready {
        FailoverReady::Yes => "Another backend is ready to take over.",
        FailoverReady::SingleBackend => "It is the only one: if it dies, no other can take over.",
        FailoverReady::NoCandidate => "No other backend is healthy: if it dies, no other can take over.",
        FailoverReady::Lag => "Every other backend is too far behind to take over without losing data.",
        FailoverReady::Witness => {
            "No standby says whether it hears its primary, so mainstay would promote none of them: look at the rights of the check."
        }
        FailoverReady::Budget => "There were many failovers recently: mainstay will not switch again to a backend that failed.",
        FailoverReady::Unproven => "Every other backend that could take over has changed and has not proven itself.",
        FailoverReady::NoActive => "Whether another could take over is not known yet.",
    }
}

fn nobody(pool: &Snapshot) -> String {
    match pool.verdict {
        Verdict::Settling => "Just started: the first checks are not finished, new clients wait.".to_owned(),
        Verdict::SplitBrain => format!(
            "NO BACKEND SERVES: more than one says it is the primary ({}) and nothing tells which one is right. {}",
            claimants(pool),
            advice(pool)
        ),
        Verdict::HoldDown => format!(
            "NO BACKEND SERVES: there were too many failovers in a short time, and all candidates failed recently. {} {}",
            listed(pool),
            advice(pool)
        ),
        Verdict::NoEligible | Verdict::NoProvenNode | Verdict::Keep | Verdict::Switch => {
            format!("NO BACKEND MAY SERVE. {} {}", listed(pool), advice(pool))
        }
    }
}

/// What to do so that a pool serves again: the part of its summary that says it.
pub(super) fn to_do(pool: &Snapshot) -> Option<String> {
    let goes_on = pool.paused || pool.operation.is_some() || pool.active.is_some() || pool.verdict == Verdict::Settling;
    (!goes_on).then(|| advice(pool))
}

/// Every backend with its reason, as a sentence.
fn listed(pool: &Snapshot) -> String {
    let each: Vec<String> =
        pool.backends.iter().map(|backend| format!("{} is {}", backend.name, reason(pool, backend))).collect();
    format!("{}.", each.join("; "))
}

fn claimants(pool: &Snapshot) -> String {
    let claims = |b: &&BackendView| b.health == Health::Up && b.facts.role == Some(Role::Primary);
    let names: Vec<&str> = pool.backends.iter().filter(claims).map(|backend| &*backend.name).collect();
    names.join(", ")
}

/// What to do: after an election without a winner by its verdict, else from the reason that is nearest to serving.
fn advice(pool: &Snapshot) -> String {
    match pool.verdict {
        Verdict::SplitBrain => "Stop the wrong one, or make it a standby.".to_owned(),
        Verdict::HoldDown => "Find out why they fail; mainstay tries again by itself later.".to_owned(),
        _ => from_reasons(pool),
    }
}

fn from_reasons(pool: &Snapshot) -> String {
    let any = |reason: Reason| pool.backends.iter().any(|backend| backend.reason == reason);
    let last_of = |class: Class| {
        let unsettled = |backend: &&BackendView| matches!(backend.reason, Reason::Down | Reason::Unknown);
        pool.backends.iter().filter(unsettled).any(|backend| last(backend) == Some(class))
    };
    let words = if any(Reason::Unproven) {
        "One has changed and has not proven itself: look at its proofs, and approve it if it may serve."
    } else if last_of(Class::Success) {
        "One answers again: it is used as soon as it has answered often enough."
    } else if any(Reason::Starting) || last_of(Class::NotServing) {
        "One is starting: wait for it, or look into its log."
    } else if any(Reason::ReadOnly) {
        "A primary refuses writes: make it writable again; or stop it, and then promote a standby."
    } else if any(Reason::Fenced) {
        return format!(
            "An old primary came back, or one that was restored: rebuild it as a standby and start the newer primary, or it would lose \
             what was written since. If the newer one is lost for good: {}.",
            forget(pool)
        );
    } else if any(Reason::Standby) {
        "Start the primary; or make sure that it has stopped, and then promote the standby that has the newest data."
    } else if any(Reason::RoleUnknown) {
        "A backend says it is the primary, but this is not confirmed: check its database, and what its HTTP endpoint says."
    } else if any(Reason::Misconfigured) {
        "The check cannot see the role of the database: correct its user, password, database or permissions."
    } else if any(Reason::WrongCluster) {
        return format!(
            "A backend belongs to another cluster: correct its address. If this cluster was restored or rebuilt to replace \
             the old one: {}.",
            forget(pool)
        );
    } else if last_of(Class::Neutral) {
        "One is alive, but has no free connection for the check: end sessions that are idle, or raise its limit."
    } else if any(Reason::Maint) || any(Reason::Drain) {
        "An operator took backends out: put one back."
    } else if !any(Reason::Down) {
        "Wait for the first answers."
    } else if let [_] = &pool.backends[..] {
        "Start it."
    } else {
        "Start one of them."
    };
    words.to_owned()
}

/// How mainstay forgets which cluster and which database epoch it served.
fn forget(pool: &Snapshot) -> String {
    match &pool.state_file {
        Some(file) => format!("stop mainstay, remove {file}, and start it again"),
        None => "restart mainstay, which then follows the primary that it finds".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        failover::{Admin, BackendId, Facts, Outcome, Proof, Step},
        route::{LastProbe, StepView},
    };

    fn summary(pool: &Snapshot, held: u64) -> String {
        super::summary(pool, held, None)
    }

    fn backend(name: &str, health: Health, role: Option<Role>, reason: Reason, evidence: &str) -> BackendView {
        let outcome = if reason == Reason::Down { Outcome::Refused } else { Outcome::Ok };
        let probe = LastProbe { outcome, evidence: evidence.into(), at: Time::ZERO, took: std::time::Duration::ZERO };
        BackendView {
            name: name.into(),
            address: "x:1".into(),
            resolved: [].into(),
            health,
            pending: false,
            admin: Admin::Ready,
            reason,
            read_eligibility: ReadEligibility::Reader,
            proof: Proof::Proven,
            proof_what: "".into(),
            facts: Facts { role, ..Facts::default() },
            alert: None,
            alert_evidence: "".into(),
            since: Time::ZERO,
            last_probe: Some(probe),
            silent_since: None,
        }
    }

    fn pool(verdict: Verdict, backends: Vec<BackendView>) -> Snapshot {
        Snapshot { verdict, backends, ..Snapshot::default() }
    }

    #[test]
    fn a_standby_without_a_primary_is_to_be_promoted() {
        let down = backend("a", Health::Down, None, Reason::Down, "connect refused");
        let standby = backend("b", Health::Up, Some(Role::Standby), Reason::Standby, "answered");
        assert_eq!(
            summary(&pool(Verdict::NoEligible, vec![down, standby]), 1),
            "NO BACKEND MAY SERVE. a is down: connect refused; b is standby. \
             Start the primary; or make sure that it has stopped, and then promote the standby that has the newest \
             data. 1 client waits."
        );
    }

    #[test]
    fn who_is_down_is_to_be_started() {
        let down = |name| backend(name, Health::Down, None, Reason::Down, "connect refused");
        assert!(summary(&pool(Verdict::NoEligible, vec![down("a")]), 0).ends_with("a is down: connect refused. Start it."));
        assert!(summary(&pool(Verdict::NoEligible, vec![down("a"), down("b")]), 0).ends_with("Start one of them."));
    }

    #[test]
    fn an_operation_is_told_before_all_else() {
        let step = |step, since| StepView { step, since, took: None, lines: Vec::new() };
        let mut operation = OperationView {
            id: 3,
            pool: "p".into(),
            kind: OperationKind::Switchover,
            from: Some("a".into()),
            to: "b".into(),
            by: "".into(),
            reason: "".into(),
            at: Time::ZERO,
            steps: vec![
                step(Step::Gate, Some(Time::ZERO)),
                step(Step::Drain, Some(Time::from_millis(100))),
                step(Step::Activate, None),
            ],
            can_abort: true,
            end: None,
            trial: None,
        };
        let text = |operation: &OperationView| under_way(operation, Time::from_millis(400));
        let told = text(&operation);
        assert_eq!(told, "SWITCHOVER to b under way (step drain, 0.3 s): new clients wait.");
        let mut doubtful = pool(Verdict::Keep, vec![backend("a", Health::Up, None, Reason::Eligible, "")]);
        (doubtful.active, doubtful.suspended) = (Some(BackendId(0)), true);
        assert_eq!(super::summary(&doubtful, 2, Some(told.clone())), format!("{told} 2 clients wait."), "nobody doubts a");
        doubtful.paused = true;
        assert_eq!(super::summary(&doubtful, 0, Some(told.clone())), format!("{told} {PAUSED}"));
        (operation.can_abort, operation.kind) = (false, OperationKind::Failover);
        operation.steps[2].since = Some(Time::from_millis(400));
        assert_eq!(
            text(&operation),
            "AUTOMATIC PROMOTION of b under way (step activate, 0.0 s), past its point of no return: new clients wait."
        );
    }

    #[test]
    fn two_primaries_are_named() {
        let claim = |name| backend(name, Health::Up, Some(Role::Primary), Reason::Eligible, "");
        let mut split = pool(Verdict::SplitBrain, vec![claim("a"), claim("b")]);
        split.conflict = true;
        assert!(summary(&split, 0).contains("more than one says it is the primary (a, b)"));
        split.active = Some(BackendId(0));
        let text = summary(&split, 0);
        assert!(text.starts_with("Clients go to a.") && text.contains("WARNING") && text.contains("(a, b)"), "{text}");
    }

    #[test]
    fn doubt_and_broken_checks_are_told() {
        let mut doubtful = pool(Verdict::Keep, vec![backend("a", Health::Up, None, Reason::Eligible, "password refused")]);
        (doubtful.active, doubtful.suspended) = (Some(BackendId(0)), true);
        doubtful.backends[0].alert = Some(Outcome::Misconfigured);
        doubtful.backends[0].alert_evidence = "password refused".into();
        // The check's old session still answers, which is no reason for the alert.
        doubtful.backends[0].last_probe.as_mut().unwrap().evidence = "primary, timeline 1".into();
        assert_eq!(
            summary(&doubtful, 3),
            "a is in doubt: new clients wait until it is checked again, running sessions go on. 3 clients wait. \
             The check of a does not work (misconfigured: password refused)."
        );
    }

    #[test]
    fn readers_are_told_of_where_somebody_is_led_to_them() {
        use ListenerRoute::{Any, Primary, Replica};
        let mut pool =
            pool(Verdict::Keep, ["a", "b", "c"].map(|name| backend(name, Health::Up, None, Reason::Eligible, "")).into());
        pool.backends[0].read_eligibility = ReadEligibility::Active;
        assert_eq!(reading(&pool, &[Primary]), "");
        assert_eq!(reading(&pool, &[Primary, Replica]), " Reads go to b, c.");
        assert_eq!(reading(&pool, &[Any]), " Reads go to a, b, c.");
        (pool.backends[1].read_eligibility, pool.backends[2].read_eligibility) = (ReadEligibility::Lag, ReadEligibility::Down);
        assert_eq!(reading(&pool, &[Replica]), " NO REPLICA MAY BE READ: a is active; b is lag; c is down.");
    }

    #[test]
    fn only_who_does_not_answer_is_to_be_started() {
        for &health in Health::ALL {
            for &reason in Reason::ALL {
                for &outcome in Outcome::ALL {
                    let mut one = backend("a", health, Some(Role::Primary), reason, "seen");
                    one.last_probe.as_mut().unwrap().outcome = outcome;
                    if outcome.class() == Class::Neutral {
                        (one.alert, one.alert_evidence) = (Some(outcome), "found".into());
                    }
                    let text = summary(&pool(Verdict::NoEligible, vec![one]), 0);
                    let is_dead = reason == Reason::Down && outcome.class() == Class::Failure;
                    assert_eq!(text.contains("Start it."), is_dead, "{health} {reason} {outcome}: {text}");
                    let words = |class, word| outcome.class() != class || reason != Reason::Down || text.contains(word);
                    assert!(words(Class::Success, "answers again"), "{text}");
                    assert!(words(Class::NotServing, "is starting: wait"), "{text}");
                    assert!(outcome.class() != Class::Neutral || text.contains("found"), "{health} {reason} {outcome}: {text}");
                }
            }
        }
    }

    #[test]
    fn another_cluster_and_an_older_one_are_told_with_both_numbers_and_the_file_to_remove() {
        let mut foreign = backend("a", Health::Down, None, Reason::WrongCluster, "primary, timeline 1");
        (foreign.alert, foreign.alert_evidence) = (Some(Outcome::WrongCluster), "found is 8, expected is 7".into());
        let mut fenced = backend("a", Health::Up, Some(Role::Primary), Reason::Fenced, "primary, timeline 1");
        fenced.facts.db_epoch = Some(1);
        for (view, reason) in [
            (foreign, "a is wrong_cluster: found is 8, expected is 7."),
            (fenced, "a is fenced: its database epoch (PostgreSQL: timeline) is 1, and 5 was served already."),
        ] {
            let mut pool = pool(Verdict::NoEligible, vec![view]);
            (pool.fence, pool.state_file) = (Some(5), Some("/var/lib/mainstay/orders.state.json".into()));
            let text = summary(&pool, 0);
            assert!(text.contains(reason), "{text}");
            assert!(text.ends_with(": stop mainstay, remove /var/lib/mainstay/orders.state.json, and start it again."), "{text}");
            pool.state_file = None;
            assert!(summary(&pool, 0).contains("restart mainstay"), "{text}");
        }
    }

    #[test]
    fn no_state_is_without_words() {
        for &verdict in Verdict::ALL {
            for active in [None, Some(BackendId(0)), Some(BackendId(9))] {
                let mut pool = pool(verdict, vec![backend("a", Health::Unknown, None, Reason::Unknown, "")]);
                pool.active = active;
                assert!(summary(&pool, 0).ends_with('.'), "{verdict} {active:?}");
            }
        }
    }
}
