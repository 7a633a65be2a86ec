//! A pool in plain words, for somebody who was woken up: what is, why, and what to do.

use std::fmt::Write as _;

use crate::{
    config::ListenerRoute,
    failover::{FailoverReady, Health, Reading, Reason, Role, Verdict},
    route::{BackendView, Snapshot},
};

/// The pool in one or a few sentences, without its name. `held` is the number of clients that wait.
pub(super) fn summary(pool: &Snapshot, held: i64) -> String {
    let mut text = match pool.active.and_then(|id| pool.backends.get(id.index())) {
        Some(active) if pool.suspended => {
            format!("{} is in doubt: new clients wait for a second opinion, running sessions go on.", active.name)
        }
        Some(active) => format!("Clients go to {}. {}", active.name, outlook(pool.failover_ready)),
        None => nobody(pool),
    };
    if held > 0 {
        let waiting = if held == 1 { "1 client waits.".to_owned() } else { format!("{held} clients wait.") };
        let _ = write!(text, " {waiting}");
    }
    if pool.conflict && pool.active.is_some() {
        let _ = write!(text, " WARNING: more than one backend says it is the primary ({}): stop the wrong one.", claimants(pool));
    }
    for backend in &pool.backends {
        if let Some(alert) = backend.alert {
            let _ = write!(text, " The check of {} cannot do its work ({alert}{}).", backend.name, evidence(backend));
        }
    }
    text
}

/// Who is read, for a pool that has listeners which lead to readers; one more sentence, with the blank before it.
pub(super) fn reading(pool: &Snapshot, routes: &[ListenerRoute]) -> String {
    if routes.iter().all(|route| *route == ListenerRoute::Primary) {
        return String::new();
    }
    let any = routes.contains(&ListenerRoute::Any);
    let is_read = |backend: &&BackendView| backend.reading == Reading::Reader || (any && backend.reading == Reading::Active);
    let readers: Vec<&str> = pool.backends.iter().filter(is_read).map(|backend| &*backend.name).collect();
    if readers.is_empty() {
        let each: Vec<String> = pool.backends.iter().map(|backend| format!("{} is {}", backend.name, backend.reading)).collect();
        format!(" NO REPLICA MAY BE READ: {}.", each.join("; "))
    } else {
        format!(" Reads go to {}.", readers.join(", "))
    }
}

/// Why a backend may or may not be active: the word, and for trouble what was seen.
pub(super) fn reason(backend: &BackendView) -> String {
    match backend.reason {
        Reason::Down
        | Reason::Starting
        | Reason::Misconfigured
        | Reason::WrongCluster
        | Reason::Unknown
        | Reason::RoleUnknown => {
            format!("{}{}", backend.reason, evidence(backend))
        }
        reason => reason.to_string(),
    }
}

fn evidence(backend: &BackendView) -> String {
    match &backend.last_probe {
        Some(probe) if !probe.evidence.is_empty() => format!(": {}", probe.evidence),
        _ => String::new(),
    }
}

/// What would happen if the active backend died now.
const fn outlook(ready: FailoverReady) -> &'static str {
    match ready {
        FailoverReady::Yes => "Another backend is ready to take over.",
        FailoverReady::SingleBackend => "It is the only one: if it dies, nobody can take over.",
        FailoverReady::NoCandidate => "No other backend is healthy: if it dies, nobody can take over.",
        FailoverReady::Lag => "Every other backend is too far behind to take over without losing data.",
        FailoverReady::Budget => "There were many failovers lately: mainstay will not move again to a backend that failed.",
        FailoverReady::NoActive => "Whether another could take over is not known yet.",
    }
}

fn nobody(pool: &Snapshot) -> String {
    match pool.verdict {
        Verdict::Settling => "Just started: the first checks are not finished, new clients wait.".to_owned(),
        Verdict::SplitBrain => format!(
            "NO BACKEND SERVES: more than one says it is the primary ({}) and nothing tells which one is right. \
             Stop the wrong one, or make it a standby.",
            claimants(pool)
        ),
        Verdict::HoldDown => format!(
            "NO BACKEND SERVES: there were too many failovers in a short time, and all that could take over failed lately. {} \
             Find out why they fail; mainstay tries again by itself later.",
            listed(pool)
        ),
        Verdict::NoEligible | Verdict::Keep | Verdict::Switch => {
            format!("NO BACKEND MAY SERVE. {} {}", listed(pool), advice(pool))
        }
    }
}

/// Every backend with its reason, as a sentence.
fn listed(pool: &Snapshot) -> String {
    let each: Vec<String> = pool.backends.iter().map(|backend| format!("{} is {}", backend.name, reason(backend))).collect();
    format!("{}.", each.join("; "))
}

fn claimants(pool: &Snapshot) -> String {
    let claims = |b: &&BackendView| b.health == Health::Up && b.facts.role == Some(Role::Primary);
    let names: Vec<&str> = pool.backends.iter().filter(claims).map(|backend| &*backend.name).collect();
    names.join(", ")
}

/// What to do, from the reason that is nearest to serving.
fn advice(pool: &Snapshot) -> &'static str {
    let any = |reason: Reason| pool.backends.iter().any(|backend| backend.reason == reason);
    if any(Reason::Starting) {
        "One is starting: wait for it, or look into its log."
    } else if any(Reason::ReadOnly) {
        "A primary refuses writes: make it writable again, or promote a standby."
    } else if any(Reason::Fenced) {
        "An old primary came back: rebuild it as a standby and start the newer primary, or it would lose what was written since."
    } else if any(Reason::Standby) {
        "Start the primary, or promote the standby that has the newest data."
    } else if any(Reason::RoleUnknown) {
        "What says it is the primary is not confirmed: look at its database, and at what its HTTP endpoint says of it."
    } else if any(Reason::Misconfigured) {
        "The check cannot see what the database is: correct its user, password, database or permissions."
    } else if any(Reason::WrongCluster) {
        "A backend belongs to another cluster: correct its address."
    } else if any(Reason::Maint) || any(Reason::Drain) {
        "An operator took backends out: put one back."
    } else if let [_] = &pool.backends[..] {
        "Start it."
    } else {
        "Start one of them."
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        failover::{Admin, BackendId, Facts, Outcome, Time},
        route::LastProbe,
    };

    fn backend(name: &str, health: Health, role: Option<Role>, reason: Reason, evidence: &str) -> BackendView {
        let probe =
            LastProbe { outcome: Outcome::Ok, evidence: evidence.into(), at: Time::ZERO, took: std::time::Duration::ZERO };
        BackendView {
            name: name.into(),
            address: "x:1".into(),
            resolved: [].into(),
            health,
            pending: false,
            admin: Admin::Ready,
            reason,
            reading: Reading::Reader,
            facts: Facts { role, ..Facts::default() },
            alert: None,
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
             Start the primary, or promote the standby that has the newest data. 1 client waits."
        );
    }

    #[test]
    fn who_is_down_is_to_be_started() {
        let down = |name| backend(name, Health::Down, None, Reason::Down, "connect refused");
        assert!(summary(&pool(Verdict::NoEligible, vec![down("a")]), 0).ends_with("a is down: connect refused. Start it."));
        assert!(summary(&pool(Verdict::NoEligible, vec![down("a"), down("b")]), 0).ends_with("Start one of them."));
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
        assert_eq!(
            summary(&doubtful, 3),
            "a is in doubt: new clients wait for a second opinion, running sessions go on. 3 clients wait. \
             The check of a cannot do its work (misconfigured: password refused)."
        );
    }

    #[test]
    fn readers_are_told_of_where_somebody_is_led_to_them() {
        use ListenerRoute::{Any, Primary, Replica};
        let mut pool =
            pool(Verdict::Keep, ["a", "b", "c"].map(|name| backend(name, Health::Up, None, Reason::Eligible, "")).into());
        pool.backends[0].reading = Reading::Active;
        assert_eq!(reading(&pool, &[Primary]), "");
        assert_eq!(reading(&pool, &[Primary, Replica]), " Reads go to b, c.");
        assert_eq!(reading(&pool, &[Any]), " Reads go to a, b, c.");
        (pool.backends[1].reading, pool.backends[2].reading) = (Reading::Lag, Reading::Down);
        assert_eq!(reading(&pool, &[Replica]), " NO REPLICA MAY BE READ: a is active; b is lag; c is down.");
    }

    #[test]
    fn no_state_is_without_words() {
        for verdict in
            [Verdict::Settling, Verdict::Keep, Verdict::Switch, Verdict::NoEligible, Verdict::SplitBrain, Verdict::HoldDown]
        {
            for active in [None, Some(BackendId(0)), Some(BackendId(9))] {
                let mut pool = pool(verdict, vec![backend("a", Health::Unknown, None, Reason::Unknown, "")]);
                pool.active = active;
                assert!(summary(&pool, 0).ends_with('.'), "{verdict} {active:?}");
            }
        }
    }
}
