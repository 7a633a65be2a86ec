//! How mainstay would judge a backend with this answer, and what a person should do.

use super::{kind, source::SourceAddr};
use crate::{
    config::CheckKind,
    control::probe::Finding,
    failover::{Outcome, Role},
};

/// Two answers for people.
pub(super) struct Advice {
    /// What mainstay would do with this backend.
    pub(super) mainstay: String,
    /// What to do; nothing when all is well.
    pub(super) now: Option<String>,
}

/// The advice for a finding; `None` when this machine could not probe.
pub(super) fn advice(check: &CheckKind, finding: Option<&Finding>, source: SourceAddr) -> Advice {
    let kind = kind::kind(check);
    let Some(finding) = finding else {
        return Advice {
            mainstay: "Does not judge this backend: the failure is on this machine. The last verdict stays, and it tries again."
                .into(),
            now: Some(kind.no_verdict().into()),
        };
    };
    let now = kind.advice(finding, source).or_else(|| of_any_server(finding.outcome));
    Advice { mainstay: treatment(finding).into(), now }
}

fn treatment(finding: &Finding) -> &'static str {
    match (finding.outcome, finding.facts.role) {
        (Outcome::Ok, None) => "Counts it as healthy. This check knows no roles: the first healthy backend of the list is used.",
        (Outcome::Ok, Some(Role::Primary)) if finding.facts.read_only => {
            "Healthy, but not used for writes: it is not a standby, but refuses writes."
        }
        (Outcome::Ok, Some(Role::Primary)) => "Healthy and a primary: clients may be sent to it.",
        (Outcome::Ok, Some(Role::Unknown)) => "Healthy, but not used: its answer does not tell its role.",
        (Outcome::Ok, Some(_)) => "Healthy and a standby: it takes over only after it was promoted.",
        (
            Outcome::Refused
            | Outcome::Unreachable
            | Outcome::ConnectTimeout
            | Outcome::Timeout
            | Outcome::Closed
            | Outcome::ProtocolError,
            _,
        ) => {
            "Counts this as a failure. After `fall` failures in a row the backend is down: its sessions are closed and clients move on."
        }
        (Outcome::Starting, _) => "Alive, but not serving: no client is sent to it; it is probed often until it serves.",
        (Outcome::Saturated, _) => "Alive: its health stays as it is, an alert is raised, and there is no failover.",
        (Outcome::Misconfigured, _) => {
            "The check does not work: the last verdict stays as it is and an alert is raised. Without an earlier verdict no \
             client is sent to it."
        }
        (Outcome::WrongCluster, _) => "Never used: it belongs to another cluster than the rest of the pool.",
    }
}

fn of_any_server(outcome: Outcome) -> Option<String> {
    let text = match outcome {
        Outcome::Ok | Outcome::Saturated | Outcome::Starting | Outcome::Misconfigured => return None,
        Outcome::Refused => {
            "  Nothing listens there. Is the server running, on this port (or at this path), and on this address (not only on\n  localhost)?"
        }
        Outcome::Unreachable => "  There is no route to that host. Check the name, the address, routes and firewalls.",
        Outcome::ConnectTimeout => "  The host does not answer at all. Is it up? Does a firewall drop packets to this port?",
        Outcome::Timeout => {
            "  Something accepts connections but does not answer in time. The server hangs or is overloaded: look at its processes,\n  \
             its disk and its log. To wait longer: --timeout 5s."
        }
        Outcome::Closed => "  The server closed the connection during the check. Its log says why.",
        Outcome::ProtocolError => "  Something else listens on this port. Check address and port.",
        Outcome::WrongCluster => "  Check the address: this server does not come from the same base backup as the others.",
    };
    Some(text.into())
}

/// It concerns encryption.
pub(super) fn is_about_tls(finding: &Finding) -> bool {
    ["TLS", "certificate", "tls_ca_file"].iter().any(|word| finding.evidence.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{HttpCheck, PostgresCheck, TlsMode},
        failover::{Facts, label::Label},
    };

    fn check(user: &str) -> PostgresCheck {
        PostgresCheck { user: user.into(), tls: TlsMode::Require, ..PostgresCheck::default() }
    }

    fn finding(outcome: Outcome, evidence: &str) -> Finding {
        Finding { outcome, facts: Facts { system_id: Some(1), ..Facts::default() }, evidence: evidence.into() }
    }

    #[test]
    fn whatever_is_wrong_has_advice() {
        let kind = CheckKind::Postgres(check("mainstay"));
        for &outcome in Outcome::ALL {
            let advice = advice(&kind, Some(&finding(outcome, "x")), SourceAddr::Unknown);
            assert_eq!(advice.now.is_none(), outcome == Outcome::Ok, "{outcome}");
        }
        assert!(advice(&kind, None, SourceAddr::Unknown).now.is_some());
    }

    #[test]
    fn whatever_an_endpoint_does_has_advice() {
        let kind = CheckKind::Http(HttpCheck::default());
        // An endpoint is never full, nor of another cluster.
        for &outcome in Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::Saturated) {
            let advice = advice(&kind, Some(&finding(outcome, "x")), SourceAddr::Unknown);
            assert_eq!(advice.now.is_none(), outcome == Outcome::Ok, "{outcome}");
        }
        for (evidence, word) in [
            ("GET /primary said 301: it redirects to \"https://a/\"", "verify-full"),
            ("GET /primary said 401: it wants another user", "password_file"),
            ("GET /primary said 404: it knows no such path", "8008"),
            ("the TLS handshake failed: received fatal alert: CertificateRequired", "tls_cert_file"),
            ("the server's certificate is not trusted: UnknownIssuer", "tls_ca_file"),
        ] {
            let now = advice(&kind, Some(&finding(Outcome::Misconfigured, evidence)), SourceAddr::Unknown).now.unwrap();
            assert!(now.contains(word), "{word} in {now}");
        }
        let denied = Finding {
            facts: Facts { role: Some(Role::Unknown), ..Facts::default() },
            ..finding(Outcome::Ok, "Patroni runs a primary that is not the leader (GET /primary said 503)")
        };
        let denied = advice(&kind, Some(&denied), SourceAddr::Unknown);
        assert!(denied.now.is_some_and(|now| now.contains("patronictl list")) && denied.mainstay.contains("not used"));
    }

    #[test]
    fn checks_of_the_users_own_have_advice_for_what_they_find() {
        use crate::config::{ExchangeCheck, ExecCheck};
        let exec = CheckKind::Exec(ExecCheck::new(Vec::new()));
        for outcome in [Outcome::Timeout, Outcome::Closed, Outcome::ProtocolError, Outcome::Starting, Outcome::Misconfigured] {
            let now = advice(&exec, Some(&finding(outcome, "x")), SourceAddr::Unknown).now.unwrap();
            assert!(!now.contains("connections") && !now.contains("listens"), "{outcome}: {now}");
        }
        let tls = TlsMode::Off;
        let exchange =
            CheckKind::Exchange(ExchangeCheck { steps: Vec::new(), roles: None, tls, tls_ca_file: None, tls_identity: None });
        for outcome in [Outcome::Refused, Outcome::Timeout, Outcome::Closed, Outcome::ProtocolError, Outcome::Misconfigured] {
            assert!(advice(&exchange, Some(&finding(outcome, "x")), SourceAddr::Unknown).now.is_some(), "{outcome}");
        }
        for kind in [exec, exchange] {
            assert!(advice(&kind, Some(&finding(Outcome::Ok, "x")), SourceAddr::Unknown).now.is_none());
        }
    }

    #[test]
    fn a_login_that_is_refused_gets_the_lines_to_paste() {
        let source = SourceAddr::Address("10.0.0.7".parse().unwrap());
        let kind = CheckKind::Postgres(check("mainstay"));
        let now = advice(&kind, Some(&finding(Outcome::Misconfigured, "no entry")), source).now.unwrap();
        for line in [
            "CREATE ROLE mainstay LOGIN PASSWORD",
            "GRANT pg_monitor TO mainstay;",
            "host  postgres  mainstay  10.0.0.7/32  scram-sha-256",
        ] {
            assert!(now.contains(line), "{line} in {now}");
        }
        let odd = CheckKind::Postgres(check("a\"b; DROP"));
        let now = advice(&odd, Some(&finding(Outcome::Misconfigured, "no entry")), source).now.unwrap();
        assert!(now.contains("CREATE ROLE \"a\"\"b; DROP\" LOGIN"));
    }

    #[test]
    fn tls_trouble_is_not_answered_with_a_role() {
        let kind = CheckKind::Postgres(check("mainstay"));
        let now =
            advice(&kind, Some(&finding(Outcome::Misconfigured, "the server offers no TLS")), SourceAddr::Unknown).now.unwrap();
        assert!(now.contains("ssl = on") && !now.contains("CREATE ROLE"));
    }
}
