//! The meaning of an answer: its status, and its body if it is Patroni's.

use super::{
    super::{finding::Finding, socket::io_error},
    facts::{self, Body, Patroni},
    session::Answer,
};
use crate::{
    config::{HttpCheck, Word},
    failover::{Facts, Outcome, Role},
};

/// The finding, and its weight beside another check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) finding: Finding,
    /// Whether it counts as a denial. A server that fails, or Patroni that cannot reach its own `PostgreSQL`, does not count.
    pub(super) in_order: bool,
}

impl Judgement {
    fn of(outcome: Outcome, evidence: String) -> Self {
        Self { finding: Finding::new(outcome, evidence), in_order: false }
    }

    fn role(role: Role, evidence: String, facts: Facts) -> Self {
        let facts = Facts { role: Some(role), ..facts };
        Self { finding: Finding { outcome: Outcome::Ok, facts, evidence: evidence.into() }, in_order: true }
    }
}

/// Judges a complete answer. An expected status takes precedence over all other rules for statuses.
pub(super) fn judge(check: &HttpCheck, answer: &Answer) -> Judgement {
    let mut judgement = judge_openly(check, answer);
    // A redirect, or a body, may repeat the request.
    if let Word::Secret(path) = &check.path {
        let hidden = path.expose().split('?').filter(|part| part.len() > 1);
        let evidence = &mut judgement.finding.evidence;
        *evidence = hidden.fold(evidence.to_string(), |text, part| text.replace(part, "***")).into();
    }
    judgement
}

fn judge_openly(check: &HttpCheck, answer: &Answer) -> Judgement {
    let expected = check.expect.contains(&answer.status);
    let said = format!("GET {} said {}", check.path.shown(), answer.status);
    if !expected && !matches!(answer.status, 200..=299 | 500..=599) {
        return refused(answer, &said);
    }
    match answer.body.as_deref().map_or(Body::Other, facts::read) {
        Body::Patroni(patroni) => of_patroni(*patroni, expected, &said),
        // A process that dies during its answer: the rest is not known.
        Body::Torn => Judgement { finding: io_error(&std::io::ErrorKind::UnexpectedEof.into()), in_order: false },
        Body::Other if expected => Judgement::role(Role::Primary, format!("primary: {said}"), Facts::default()),
        Body::Other => Judgement {
            in_order: !matches!(answer.status, 500..=599) || answer.status == 503,
            ..Judgement::role(Role::Standby, format!("not the primary: {said}"), Facts::default())
        },
    }
}

/// Patroni has answered 200 while `PostgreSQL` did not run, so its body is checked as well (its issue 2756).
fn of_patroni(patroni: Patroni, expected: bool, said: &str) -> Judgement {
    let Patroni { state, role, paused, facts } = patroni;
    let paused = if paused { ", paused" } else { "" };
    if state != "running" {
        // `unknown`: PostgreSQL ran when Patroni last checked, and does not answer Patroni now.
        let in_order = state != "unknown";
        let finding = Finding::new(Outcome::Starting, format!("Patroni says that PostgreSQL is \"{state}\" ({said}{paused})"));
        return Judgement { finding, in_order };
    }
    let role = match (facts::role(&role), expected) {
        (Role::Primary, true) => Role::Primary,
        (Role::Primary, false) => {
            let evidence = format!("Patroni runs a primary that is not the leader ({said}{paused})");
            return Judgement::role(Role::Unknown, evidence, facts);
        }
        (Role::Unknown, _) => {
            return Judgement::role(Role::Unknown, format!("Patroni names the role \"{role}\" ({said}{paused})"), facts);
        }
        (Role::Standby, _) => Role::Standby,
    };
    let mut evidence = role.to_string();
    evidence.extend(facts.db_epoch.map(|timeline| format!(", timeline {timeline}")));
    evidence.extend(facts.lag_bytes.map(|lag| format!(", {lag} bytes behind")));
    Judgement::role(role, format!("{evidence} ({said}{paused})"), facts)
}

/// Alive, but refuses this request.
fn refused(answer: &Answer, said: &str) -> Judgement {
    let why = match answer.status {
        300..=399 => {
            let target = answer.location.as_deref().unwrap_or("nowhere");
            format!("it redirects to \"{target}\"; a check follows no redirects")
        }
        401 | 403 => "it wants another user, password or certificate".into(),
        404 => "it knows no such path".into(),
        400..=499 => "it refuses this request".into(),
        _ => return Judgement::of(Outcome::ProtocolError, format!("{said}, which is no answer")),
    };
    Judgement::of(Outcome::Misconfigured, format!("{said}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement(status: u16, body: &str) -> Judgement {
        let answer = Answer { status, location: Some("http://a/\\x1b".into()), body: Some(body.to_owned().into()) };
        judge(&HttpCheck::default(), &answer)
    }

    fn patroni(state: &str, role: &str) -> String {
        format!("{{\"state\":\"{state}\",\"role\":\"{role}\",\"timeline\":2,\"patroni\":{{\"version\":\"3.0.2\"}}}}")
    }

    #[test]
    fn a_timeline_that_cannot_be_is_no_role_and_no_epoch() {
        for (timeline, role) in [("4294967295", Some(Role::Primary)), ("4294967296", None), ("9223372036854775807", None)] {
            let body = patroni("running", "primary").replace("\"timeline\":2", &format!("\"timeline\":{timeline}"));
            let finding = judgement(200, &body).finding;
            assert_eq!(finding.facts.role, role.or(Some(Role::Unknown)), "{}", finding.evidence);
            assert_eq!(finding.facts.db_epoch.is_some(), role.is_some(), "{}", finding.evidence);
            assert!(finding.evidence.contains(timeline), "{}", finding.evidence);
        }
    }

    #[test]
    fn a_path_with_a_variable_in_it_is_in_no_evidence() {
        let secret = "/db?token=hunter2".to_owned();
        let check = HttpCheck { path: Word::Secret(crate::config::Secret::new(secret.clone())), ..HttpCheck::default() };
        for status in [200, 204, 301, 404, 500, 600] {
            let answer = Answer { status, location: Some(format!("https://a{secret}")), body: None };
            let evidence = judge(&check, &answer).finding.evidence;
            assert!(evidence.contains("GET *** said") && !evidence.contains("hunter2"), "{evidence}");
        }
    }

    #[test]
    fn every_status_without_a_known_body_has_its_meaning() {
        for (status, outcome, role, in_order) in [
            (200, Outcome::Ok, Some(Role::Primary), true),
            (204, Outcome::Ok, Some(Role::Standby), true),
            (503, Outcome::Ok, Some(Role::Standby), true),
            (500, Outcome::Ok, Some(Role::Standby), false),
            (502, Outcome::Ok, Some(Role::Standby), false),
            (302, Outcome::Misconfigured, None, false),
            (401, Outcome::Misconfigured, None, false),
            (403, Outcome::Misconfigured, None, false),
            (404, Outcome::Misconfigured, None, false),
            (429, Outcome::Misconfigured, None, false),
            (101, Outcome::ProtocolError, None, false),
            (999, Outcome::ProtocolError, None, false),
        ] {
            for body in ["", "anything", "{}", "[1]"] {
                let Judgement { finding, in_order: counts } = judgement(status, body);
                assert_eq!((finding.outcome, finding.facts.role, counts), (outcome, role, in_order), "{status} {body}");
                assert!(finding.evidence.contains(&status.to_string()), "{}", finding.evidence);
            }
        }
        assert!(judgement(302, "").finding.evidence.contains("http://a/\\x1b"));
    }

    #[test]
    fn patronis_body_decides_beside_the_status() {
        for (status, state, role, outcome, is) in [
            (200, "running", "master", Outcome::Ok, Some(Role::Primary)),
            (200, "running", "primary", Outcome::Ok, Some(Role::Primary)),
            (503, "running", "master", Outcome::Ok, Some(Role::Unknown)),
            (503, "running", "replica", Outcome::Ok, Some(Role::Standby)),
            // The lock is taken before PostgreSQL is promoted.
            (200, "running", "replica", Outcome::Ok, Some(Role::Standby)),
            (200, "running", "standby_leader", Outcome::Ok, Some(Role::Standby)),
            (200, "running", "uninitialized", Outcome::Ok, Some(Role::Unknown)),
            (200, "start failed", "master", Outcome::Starting, None),
            (503, "stopped", "demoted", Outcome::Starting, None),
            (200, "starting", "primary", Outcome::Starting, None),
        ] {
            let Judgement { finding, in_order } = judgement(status, &patroni(state, role));
            assert_eq!((finding.outcome, finding.facts.role), (outcome, is), "{status} {state} {role}");
            assert!(in_order);
        }
        let unknown = judgement(200, &patroni("unknown", "master"));
        assert_eq!((unknown.finding.outcome, unknown.in_order), (Outcome::Starting, false));
        let primary = judgement(200, &patroni("running", "master")).finding;
        assert_eq!((primary.facts.db_epoch, &*primary.evidence), (Some(2), "primary, timeline 2 (GET /primary said 200)"));
    }

    #[test]
    fn half_an_answer_is_none_and_an_expected_status_needs_no_body() {
        let torn = judgement(200, "{\"state\": \"runni");
        assert_eq!((torn.finding.outcome, torn.in_order), (Outcome::Closed, false));
        let long = Answer { status: 200, location: None, body: None };
        assert_eq!(judge(&HttpCheck::default(), &long).finding.facts.role, Some(Role::Primary));
        let check = HttpCheck { expect: vec![204, 429], path: "/health".into(), ..HttpCheck::default() };
        for (status, role) in [(204, Some(Role::Primary)), (429, Some(Role::Primary)), (200, Some(Role::Standby)), (404, None)] {
            let answer = Answer { status, location: None, body: None };
            assert_eq!(judge(&check, &answer).finding.facts.role, role, "{status}");
        }
    }
}
