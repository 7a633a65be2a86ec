//! The result of a probe: on one screen, or as one JSON object.

use std::time::Duration;

use super::{advice, kind, source::SourceAddr};
use crate::{
    config::CheckKind,
    control::{
        probe::Finding,
        promotion::{Severity, Shortcoming},
    },
    failover::{MultiPrimary, Printable, label::Label},
    net::addr::BackendAddr,
};

/// One probe and its result.
pub(super) struct Told<'a> {
    pub(super) address: &'a BackendAddr,
    pub(super) check: &'a CheckKind,
    pub(super) timeout: Duration,
    pub(super) took: Duration,
    /// The finding, or why this machine could not probe.
    pub(super) result: &'a Result<Finding, Printable>,
    /// What the check's role lacks for a switchover that breaks no transaction.
    pub(super) lacks: &'a [Printable],
    /// What it lacks for a promotion by mainstay.
    pub(super) rights: &'a [Shortcoming],
}

pub(super) fn screen(told: &Told<'_>) -> String {
    let mut rows = vec![("asked", kind::kind(told.check).asked(told.address, told.timeout))];
    match told.result {
        Ok(finding) => {
            rows.push(("outcome", finding.outcome.to_string()));
            rows.push(("evidence", finding.evidence.to_string()));
            rows.extend(facts(told.check, finding));
        }
        Err(evidence) => rows.extend([("outcome", "no verdict".into()), ("evidence", evidence.to_string())]),
    }
    rows.push(("took", format!("{:.1} ms", told.took.as_secs_f64() * 1000.0)));
    let advice = advice::advice(told.check, told.result.as_ref().ok(), SourceAddr::towards(told.address));
    rows.push(("mainstay", advice.mainstay));
    let mut text: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<10}{value}")).collect();
    if let Some(now) = advice.now {
        text.push(format!("\nDo now:\n{now}"));
    }
    if !told.lacks.is_empty() {
        text.push("\nOnly for a switchover that breaks no transaction:".to_owned());
        text.extend(told.lacks.iter().map(|lack| format!("  {lack}")));
    }
    let of = |is_needed: bool| told.rights.iter().filter(move |one| (one.severity != Severity::Costs) == is_needed);
    for (is_needed, title) in [
        (
            true,
            "Only for a promotion or a switchover by mainstay (promotion.how: sql), which are refused without it; a failover that follows \
             a promotion by others needs none of it:",
        ),
        (false, "Only to make such a switchover shorter:"),
    ] {
        if of(is_needed).next().is_some() {
            text.push(format!("\n{title}"));
            text.extend(of(is_needed).map(|one| format!("  {}", one.words)));
        }
    }
    text.join("\n")
}

fn facts(check: &CheckKind, finding: &Finding) -> Vec<(&'static str, String)> {
    let (kind, facts) = (kind::kind(check), &finding.facts);
    let Some(role) = facts.role else { return Vec::new() };
    let role = match (facts.read_only, facts.multi_primary) {
        (true, _) => format!("{role}, but refuses writes"),
        (false, MultiPrimary::No) => role.to_string(),
        (false, MultiPrimary::Synced) => format!("{role}, one of many"),
        (false, MultiPrimary::Behind) => format!("{role}, one of many, and behind them"),
    };
    let words = kind.words();
    let hidden = words.hidden.map(str::to_owned);
    let epoch = facts.db_epoch.map(|epoch| kind.epoch(epoch)).or_else(|| hidden.clone());
    let system_id = facts.system_id.map(|id| id.to_string()).or(hidden);
    let lag = facts.lag_bytes.map(|lag| format!("{lag} bytes{}", words.lag));
    let primary = facts.hears_primary.map(|hears| if hears { "connected" } else { "not connected" }.to_owned());
    let version = facts.version.as_deref().map(str::to_owned);
    let rows = [
        ("role", Some(role)),
        (words.epoch, epoch),
        ("system id", system_id),
        ("primary", primary),
        ("lag", lag),
        ("version", version),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

pub(super) fn json(told: &Told<'_>) -> String {
    let finding = told.result.as_ref().ok();
    let facts = finding.map(|finding| &finding.facts);
    let advice = advice::advice(told.check, finding, SourceAddr::towards(told.address));
    serde_json::json!({
        "check": told.check.name(),
        "address": told.address.to_string(),
        "outcome": finding.map_or("no_verdict", |finding| finding.outcome.as_str()),
        "evidence": finding.map_or_else(|| told.result.as_ref().err().map(AsRef::as_ref), |finding| Some(&*finding.evidence)),
        "role": facts.and_then(|facts| facts.role).map(Label::as_str),
        "read_only": facts.filter(|facts| facts.role.is_some()).map(|facts| facts.read_only),
        "timeline": facts.and_then(|facts| facts.db_epoch),
        // As text: JSON numbers are exact only up to 2^53.
        "system_id": facts.and_then(|facts| facts.system_id).map(|id| id.to_string()),
        "lag_bytes": facts.and_then(|facts| facts.lag_bytes),
        "position": facts.and_then(|facts| facts.position),
        "hears_primary": facts.and_then(|facts| facts.hears_primary),
        "version": facts.and_then(|facts| facts.version.as_deref()),
        "took_ms": told.took.as_secs_f64() * 1000.0,
        "mainstay": advice.mainstay,
        "advice": advice.now,
        "switchover_lacks": told.lacks.iter().map(AsRef::as_ref).collect::<Vec<&str>>(),
        "promotion_lacks": told.rights.iter().map(|one| &*one.words).collect::<Vec<&str>>(),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{HttpCheck, MysqlCheck, PostgresCheck, RedisCheck, Secret},
        failover::{Facts, Outcome, Role},
    };

    fn names(kind: &CheckKind, facts: Facts) -> Vec<&'static str> {
        let finding = Finding { outcome: Outcome::Ok, facts, evidence: "seen".into() };
        super::facts(kind, &finding).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn each_kind_shows_what_is_known_in_its_own_words() {
        let known = || Facts {
            role: Some(Role::Primary),
            db_epoch: Some(2),
            system_id: Some(7),
            lag_bytes: Some(0),
            version: Some("1".into()),
            ..Facts::default()
        };
        for (kind, epoch) in [
            (CheckKind::Postgres(PostgresCheck::default()), "timeline"),
            (CheckKind::Http(HttpCheck::default()), "timeline"),
            (CheckKind::Mysql(MysqlCheck::default()), "reign"),
            (CheckKind::Redis(RedisCheck::default()), "epoch"),
        ] {
            assert_eq!(names(&kind, known()), ["role", epoch, "system id", "lag", "version"], "{kind:?}");
            let bare = Facts { role: Some(Role::Standby), ..Facts::default() };
            let expected: &[&str] = if epoch == "timeline" && !matches!(kind, CheckKind::Http(_)) {
                &["role", "timeline", "system id"]
            } else {
                &["role"]
            };
            assert_eq!(names(&kind, bare), expected, "{kind:?}");
            assert!(names(&kind, Facts::default()).is_empty(), "without a role nothing is known");
        }
    }

    #[test]
    fn a_screen_tells_everything_and_no_secret() {
        let kind = CheckKind::Postgres(PostgresCheck {
            user: "mainstay".into(),
            password: Some(Secret::new("hunter2".into())),
            ..PostgresCheck::default()
        });
        let address: BackendAddr = "127.0.0.1:5432".parse().unwrap();
        for &outcome in Outcome::ALL {
            let result = Ok(Finding { outcome, facts: Facts::default(), evidence: "seen".into() });
            let told = Told {
                address: &address,
                check: &kind,
                timeout: Duration::from_secs(1),
                took: Duration::ZERO,
                result: &result,
                lacks: &["grant".into()],
                rights: &[Shortcoming { severity: Severity::Forbids, words: "promote".into() }],
            };
            let (screen, json) = (screen(&told), json(&told));
            for word in [outcome.as_str(), "seen", "mainstay", "asked", "grant", "promote"] {
                assert!(screen.contains(word), "{word} in {screen}");
            }
            assert!(json.contains(outcome.as_str()));
            assert!(!screen.contains("hunter2") && !json.contains("hunter2"));
        }
    }
}
