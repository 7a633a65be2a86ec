//! What mainstay would do with a backend that answers like this, and what a person should do now.

mod mysql;

use super::{exchange, exec, origin::Origin};
use crate::{
    config::{CheckKind, HttpCheck, PostgresCheck, RedisCheck, TlsMode},
    control::probe::Finding,
    failover::{Outcome, Role},
};

/// Two answers for people.
pub(super) struct Advice {
    /// What mainstay would do with this backend.
    pub(super) mainstay: String,
    /// What to do now; nothing when all is well.
    pub(super) now: Option<String>,
}

/// The advice for a finding; `None` when this machine could not ask.
pub(super) fn advice(kind: &CheckKind, finding: Option<&Finding>, origin: Origin) -> Advice {
    let Some(finding) = finding else {
        return Advice {
            mainstay: "Would not judge this backend: the failure is on this machine. It keeps its last verdict and asks again."
                .into(),
            now: Some(match kind {
                CheckKind::Exec(_) => exec::NO_VERDICT.into(),
                _ => "  This machine ran out of ports, file descriptors or memory. Look at `ss -s`, `ulimit -n` and `free -m`."
                    .into(),
            }),
        };
    };
    let now = match kind {
        CheckKind::Tcp => of_any_server(finding.outcome),
        CheckKind::Postgres(check) => of_postgres(check, finding, origin).or_else(|| of_any_server(finding.outcome)),
        CheckKind::Mysql(check) => mysql::advice(check, finding, origin).or_else(|| of_any_server(finding.outcome)),
        CheckKind::Redis(check) => of_redis(check, finding).or_else(|| of_any_server(finding.outcome)),
        CheckKind::Http(check) => of_http(check, finding).or_else(|| of_any_server(finding.outcome)),
        CheckKind::Exec(check) => exec::advice(check, finding),
        CheckKind::Exchange(check) => exchange::advice(check, finding).or_else(|| of_any_server(finding.outcome)),
    };
    Advice { mainstay: treatment(finding).into(), now }
}

fn treatment(finding: &Finding) -> &'static str {
    match (finding.outcome, finding.facts.role) {
        (Outcome::Ok, None) => "Counts it as healthy. This check knows no roles: the first healthy backend of the list is used.",
        (Outcome::Ok, Some(Role::Primary)) if finding.facts.read_only => {
            "Healthy, but not used for writes: it is no standby, yet it refuses writes."
        }
        (Outcome::Ok, Some(Role::Primary)) => "Healthy and a primary: clients may be sent to it.",
        (Outcome::Ok, Some(Role::Unknown)) => "Healthy, but not used: what it is cannot be told from its answer.",
        (Outcome::Ok, Some(_)) => "Healthy and a standby: it takes over only after somebody or something promotes it.",
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
        (Outcome::Starting, _) => "Alive, but not serving: no client is sent to it; it is asked often until it serves.",
        (Outcome::Saturated, _) => "Alive: its verdict stays as it is, an alert is raised, and nothing fails over because of it.",
        (Outcome::Misconfigured, _) => {
            "The check cannot do its work: the last verdict stays as it is and an alert is raised. Without an earlier verdict no \
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
        Outcome::Unreachable => "  There is no way to that host. Check the name, the address, routes and firewalls.",
        Outcome::ConnectTimeout => "  The host does not answer at all. Is it up? Does a firewall drop packets to this port?",
        Outcome::Timeout => {
            "  Something accepts connections but does not answer in time. The server hangs or is overloaded: look at its processes,\n  \
             its disk and its log. To try with more patience: --timeout 5s."
        }
        Outcome::Closed => "  The server hung up in the middle. Its log says why.",
        Outcome::ProtocolError => "  Something else listens on this port. Check address and port.",
        Outcome::WrongCluster => "  Check the address: this server was not made from the same base backup as the others.",
    };
    Some(text.into())
}

fn of_postgres(check: &PostgresCheck, finding: &Finding, origin: Origin) -> Option<String> {
    let seen = |word: &str| finding.evidence.contains(word);
    match finding.outcome {
        Outcome::Misconfigured if seen("allow_cleartext_password") || seen("require_auth") || seen("a check cannot do") => {
            Some(how_to_prove(check))
        }
        Outcome::Misconfigured if seen("rounds of SCRAM") => Some(format!(
            "  Give the check more time (`timeout`, here --timeout), or store the password again with fewer rounds\n  \
             (PostgreSQL 16 and later; before, it is 4096): SET scram_iterations = 4096; ALTER ROLE {} PASSWORD '…';",
            identifier(&check.user)
        )),
        Outcome::Misconfigured if is_about_tls(finding) => Some(of_tls(check)),
        Outcome::Misconfigured => Some(how_to_let_in(check, origin)),
        Outcome::Saturated => Some(
            "  Every connection the server may have is in use. See who holds them:\n    \
             SELECT usename, state, count(*) FROM pg_stat_activity GROUP BY 1, 2 ORDER BY 3 DESC;\n  \
             Then end idle ones, raise max_connections, or give the check a reserved place\n  \
             (PostgreSQL 16 and later: reserved_connections, GRANT pg_use_reserved_connections TO the check's role)."
                .into(),
        ),
        Outcome::Starting => Some(
            "  Wait: the server is starting, stopping or recovering, and will say when it is done. If it stays so, its log tells\n  \
             which WAL it is replaying or waiting for. A standby that never opens has hot_standby = off."
                .into(),
        ),
        Outcome::Ok if finding.evidence.contains("WAL functions") => Some(format!(
            "  Without them there is no timeline, so an old primary that returns is not told apart. As a superuser:\n    \
             GRANT EXECUTE ON FUNCTION pg_current_wal_lsn(), pg_walfile_name(pg_lsn), pg_last_wal_receive_lsn(),\n    \
             pg_last_wal_replay_lsn(), pg_stat_get_wal_receiver() TO {};   (then restart mainstay)\n  \
             A server that has them only by name (Amazon Aurora) cannot be helped.",
            identifier(&check.user)
        )),
        Outcome::Ok if finding.facts.system_id.is_none() => Some(format!(
            "  Optional: without the control file a wrong cluster cannot be noticed. As a superuser:\n    \
             GRANT EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint(), pg_control_recovery() TO {};",
            identifier(&check.user)
        )),
        Outcome::Ok if finding.facts.read_only => Some(
            "  Find out who set default_transaction_read_only = on, and why (a full disk, a maintenance?):\n    \
             SELECT setting, source, sourcefile FROM pg_settings WHERE name = 'default_transaction_read_only';"
                .into(),
        ),
        _ => None,
    }
}

fn of_redis(check: &RedisCheck, finding: &Finding) -> Option<String> {
    match finding.outcome {
        Outcome::Misconfigured if is_about_tls(finding) && check.tls == TlsMode::VerifyFull => Some(
            "  Check that tls_ca_file holds the authority that signed the server's certificate (tls-cert-file), that the\n  \
             certificate names the host as it is written here, and that it has not expired."
                .into(),
        ),
        Outcome::Misconfigured if finding.evidence.contains("Sentinel") => {
            Some("  Give the address of the server that holds the data; a Sentinel only watches it.".into())
        }
        Outcome::Misconfigured => {
            let user = check.user.as_deref().unwrap_or("mainstay");
            let plain = !user.is_empty() && user.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
            let user = if plain { user } else { "mainstay" };
            Some(format!(
                "  The check needs a user that may PING and ask for INFO, and nothing else. On every server:\n    \
                 ACL SETUSER {user} reset on >PASSWORD +ping +info\n    \
                 ACL SAVE   (or CONFIG REWRITE, where users stand in redis.conf)\n  \
                 Give the same password with password_file, and the user's name with user."
            ))
        }
        Outcome::Saturated => Some(
            "  Every connection the server may have is in use, or a script keeps it busy. See who holds them: CLIENT LIST\n  \
             Then end idle ones, or raise maxclients; a script that only reads is ended by SCRIPT KILL."
                .into(),
        ),
        Outcome::Starting => Some(
            "  Wait: the server reads its data into memory, and will say when it is done (INFO persistence: loading_eta_seconds).".into(),
        ),
        _ => None,
    }
}

fn of_http(check: &HttpCheck, finding: &Finding) -> Option<String> {
    let seen = |word: &str| finding.evidence.contains(word);
    let text = match finding.outcome {
        Outcome::Misconfigured if seen("tls_cert_file") || seen("tls_key_file") => {
            "  Check that both files can be read by mainstay, that the key belongs to the certificate, and that it is not encrypted."
        }
        Outcome::Misconfigured if seen("alert") => {
            "  The server refused the handshake. If it asks for a certificate (Patroni: verify_client: required), give one with\n  \
             tls_cert_file and tls_key_file, signed by an authority that it trusts (Patroni: restapi.cafile)."
        }
        Outcome::Misconfigured if is_about_tls(finding) => {
            "  Check that tls_ca_file holds the authority that signed the endpoint's certificate, that the certificate names the host\n  \
             as it is written here (or write `host`), and that it has not expired."
        }
        Outcome::Misconfigured if seen("redirects") => {
            "  Give the address, port and path that it redirects to. https:// there means: tls: verify-full (or require)."
        }
        Outcome::Misconfigured if seen("401") || seen("403") => {
            "  Give user and password_file, or a certificate. Patroni asks for neither on GET unless verify_client: required is set;\n  \
             a proxy in front of it may."
        }
        Outcome::Misconfigured if seen("404") => {
            "  Check path and port. Patroni answers at /primary (before version 2.1 only at /master), usually at port 8008."
        }
        Outcome::Misconfigured => "  The endpoint is alive, but refuses this request: check path, host and port.",
        Outcome::Starting => {
            "  PostgreSQL does not run there, or Patroni cannot reach it. Look at `patronictl list` and at PostgreSQL's log."
        }
        Outcome::Closed | Outcome::ProtocolError if check.tls == TlsMode::Off => {
            "  What listens there does not answer HTTP. Check the port (Patroni: 8008, not PostgreSQL's), and if it is https, write\n  \
             tls: verify-full (or require)."
        }
        Outcome::ProtocolError => "  What listens there does not answer HTTP over TLS. Check the port, or write tls: off.",
        Outcome::Ok if seen("is not the leader") => {
            "  Patroni runs this as a primary without the leader's lock: it was restarted a moment ago, or is about to demote it.\n  \
             `patronictl list` shows who the leader is."
        }
        _ => return None,
    };
    Some(text.into())
}

fn is_about_tls(finding: &Finding) -> bool {
    ["TLS", "certificate", "tls_ca_file"].iter().any(|word| finding.evidence.contains(word))
}

fn of_tls(check: &PostgresCheck) -> String {
    let verify = "  Check that tls_ca_file holds the authority that signed the server's certificate (ssl_cert_file), that the\n  \
                  certificate names the host as it is written here, and that it has not expired.";
    match check.tls {
        TlsMode::VerifyFull => verify.into(),
        TlsMode::Off | TlsMode::Prefer | TlsMode::Require => {
            "  Turn TLS on at the server (ssl = on, ssl_cert_file, ssl_key_file), or set tls: prefer or tls: off for the check."
                .into()
        }
    }
}

/// What lets the check prove who it is without showing its password.
fn how_to_prove(check: &PostgresCheck) -> String {
    let user = identifier(&check.user);
    format!(
        "  Let the server ask for SCRAM, in which nobody learns the password: scram-sha-256 as the method in pg_hba.conf, then\n  \
         SELECT pg_reload_conf(); and store the password again, so that it fits:\n    \
         SET password_encryption = 'scram-sha-256'; ALTER ROLE {user} PASSWORD '…';\n  \
         Where it has to be in clear text (ldap, pam, radius): tls: verify-full with tls_ca_file, so that only the server gets it."
    )
}

/// What lets the check in, whichever part of it is missing.
fn how_to_let_in(check: &PostgresCheck, origin: Origin) -> String {
    let user = identifier(&check.user);
    let database = identifier(&check.database);
    let from = match origin {
        Origin::Address(ip) => format!("host  {database}  {user}  {ip}/{}", if ip.is_ipv6() { 128 } else { 32 }),
        Origin::Unknown => format!("host  {database}  {user}  <address of this machine>/32"),
        Origin::Unix => format!("local  {database}  {user}"),
    };
    format!(
        "  The check needs a role that may log in to database {database}. On the primary, as a superuser:\n    \
         CREATE ROLE {user} LOGIN PASSWORD '…';\n    \
         GRANT pg_monitor TO {user};\n  \
         (If it exists: ALTER ROLE {user} LOGIN PASSWORD '…';) Give the same password with password_file.\n  \
         On every server, above other entries of pg_hba.conf, then SELECT pg_reload_conf():\n    \
         {from}  scram-sha-256",
    )
}

/// A name as SQL and `pg_hba.conf` want it.
fn identifier(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain && !name.is_empty() { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::{Facts, label::Label};

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
            let advice = advice(&kind, Some(&finding(outcome, "x")), Origin::Unknown);
            assert_eq!(advice.now.is_none(), outcome == Outcome::Ok, "{outcome}");
        }
        assert!(advice(&kind, None, Origin::Unknown).now.is_some());
    }

    #[test]
    fn whatever_an_endpoint_does_has_advice() {
        let kind = CheckKind::Http(HttpCheck::default());
        // An endpoint is never full, nor of another cluster.
        for &outcome in Outcome::ALL.iter().filter(|outcome| **outcome != Outcome::Saturated) {
            let advice = advice(&kind, Some(&finding(outcome, "x")), Origin::Unknown);
            assert_eq!(advice.now.is_none(), outcome == Outcome::Ok, "{outcome}");
        }
        for (evidence, word) in [
            ("GET /primary said 301: it redirects to \"https://a/\"", "verify-full"),
            ("GET /primary said 401: it wants another user", "password_file"),
            ("GET /primary said 404: it knows no such path", "8008"),
            ("the TLS handshake failed: received fatal alert: CertificateRequired", "tls_cert_file"),
            ("the server's certificate is not trusted: UnknownIssuer", "tls_ca_file"),
        ] {
            let now = advice(&kind, Some(&finding(Outcome::Misconfigured, evidence)), Origin::Unknown).now.unwrap();
            assert!(now.contains(word), "{word} in {now}");
        }
        let denied = Finding {
            facts: Facts { role: Some(Role::Unknown), ..Facts::default() },
            ..finding(Outcome::Ok, "Patroni runs a primary that is not the leader (GET /primary said 503)")
        };
        let denied = advice(&kind, Some(&denied), Origin::Unknown);
        assert!(denied.now.is_some_and(|now| now.contains("patronictl list")) && denied.mainstay.contains("not used"));
    }

    #[test]
    fn checks_of_the_users_own_have_advice_for_what_they_find() {
        use crate::config::{ExchangeCheck, ExecCheck};
        let exec = CheckKind::Exec(ExecCheck::new(Vec::new()));
        for outcome in [Outcome::Timeout, Outcome::Closed, Outcome::ProtocolError, Outcome::Starting, Outcome::Misconfigured] {
            let now = advice(&exec, Some(&finding(outcome, "x")), Origin::Unknown).now.unwrap();
            assert!(!now.contains("connections") && !now.contains("listens"), "{outcome}: {now}");
        }
        let tls = TlsMode::Off;
        let exchange =
            CheckKind::Exchange(ExchangeCheck { steps: Vec::new(), roles: None, tls, tls_ca_file: None, tls_identity: None });
        for outcome in [Outcome::Refused, Outcome::Timeout, Outcome::Closed, Outcome::ProtocolError, Outcome::Misconfigured] {
            assert!(advice(&exchange, Some(&finding(outcome, "x")), Origin::Unknown).now.is_some(), "{outcome}");
        }
        for kind in [exec, exchange] {
            assert!(advice(&kind, Some(&finding(Outcome::Ok, "x")), Origin::Unknown).now.is_none());
        }
    }

    #[test]
    fn a_login_that_is_refused_gets_the_lines_to_paste() {
        let origin = Origin::Address("10.0.0.7".parse().unwrap());
        let kind = CheckKind::Postgres(check("mainstay"));
        let now = advice(&kind, Some(&finding(Outcome::Misconfigured, "no entry")), origin).now.unwrap();
        for line in [
            "CREATE ROLE mainstay LOGIN PASSWORD",
            "GRANT pg_monitor TO mainstay;",
            "host  postgres  mainstay  10.0.0.7/32  scram-sha-256",
        ] {
            assert!(now.contains(line), "{line} in {now}");
        }
        let odd = CheckKind::Postgres(check("a\"b; DROP"));
        let now = advice(&odd, Some(&finding(Outcome::Misconfigured, "no entry")), origin).now.unwrap();
        assert!(now.contains("CREATE ROLE \"a\"\"b; DROP\" LOGIN"));
    }

    #[test]
    fn tls_trouble_is_not_answered_with_a_role() {
        let kind = CheckKind::Postgres(check("mainstay"));
        let now = advice(&kind, Some(&finding(Outcome::Misconfigured, "the server offers no TLS")), Origin::Unknown).now.unwrap();
        assert!(now.contains("ssl = on") && !now.contains("CREATE ROLE"));
    }
}
