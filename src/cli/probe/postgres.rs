//! `mainstay probe postgres`.

use std::time::Duration;

use super::{
    advice::is_about_tls,
    args::Args,
    kind::{Kind, Words},
    source::SourceAddr,
};
use crate::{
    config::{PostgresCheck, Secret, TlsMode},
    control::probe::Finding,
    failover::Outcome,
    net::addr::BackendAddr,
};

impl Kind for PostgresCheck {
    fn from_args(args: &Args, password: Option<Secret>) -> Result<Self, String> {
        let plain = Self::default();
        Ok(Self {
            user: args.user.clone().unwrap_or(plain.user),
            password,
            database: args.database.clone(),
            allow_cleartext_password: args.allow_cleartext_password,
            tls: args.tls.unwrap_or(plain.tls),
            tls_ca_file: args.tls_ca_file.clone(),
            tls_identity: args.tls_identity(),
            ..plain
        })
    }

    fn asked(&self, address: &BackendAddr, timeout: Duration) -> String {
        format!(
            "postgres {address}, within {timeout:?}: log in as {} to database {}, TLS {}, and ask for the role",
            self.user, self.database, self.tls
        )
    }

    fn advice(&self, finding: &Finding, source: SourceAddr) -> Option<String> {
        let seen = |word: &str| finding.evidence.contains(word);
        match finding.outcome {
            Outcome::Misconfigured if seen("allow_cleartext_password") || seen("require_auth") || seen("a check cannot do") => {
                Some(how_to_prove(self))
            }
            Outcome::Misconfigured if seen("rounds of SCRAM") => Some(format!(
                "  Give the check more time (`timeout`, here --timeout), or store the password again with fewer rounds\n  \
                 (PostgreSQL 16 and later; before, it is 4096): SET scram_iterations = 4096; ALTER ROLE {} PASSWORD '…';",
                identifier(&self.user)
            )),
            Outcome::Misconfigured if is_about_tls(finding) => Some(of_tls(self)),
            Outcome::Misconfigured => Some(how_to_let_in(self, source)),
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
                identifier(&self.user)
            )),
            Outcome::Ok if finding.facts.system_id.is_none() => Some(format!(
                "  Optional: without the control file a wrong cluster cannot be noticed. As a superuser:\n    \
                 GRANT EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint(), pg_control_recovery() TO {};",
                identifier(&self.user)
            )),
            Outcome::Ok if finding.facts.read_only => Some(
                "  Find out who set default_transaction_read_only = on, and why (a full disk, a maintenance?):\n    \
                 SELECT setting, source, sourcefile FROM pg_settings WHERE name = 'default_transaction_read_only';"
                    .into(),
            ),
            _ => None,
        }
    }

    fn words(&self) -> Words {
        Words { epoch: "timeline", hidden: Some("not visible to this role"), lag: "" }
    }
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
fn how_to_let_in(check: &PostgresCheck, source: SourceAddr) -> String {
    let user = identifier(&check.user);
    let database = identifier(&check.database);
    let from = match source {
        SourceAddr::Address(ip) => format!("host  {database}  {user}  {ip}/{}", if ip.is_ipv6() { 128 } else { 32 }),
        SourceAddr::Unknown => format!("host  {database}  {user}  <address of this machine>/32"),
        SourceAddr::Unix => format!("local  {database}  {user}"),
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
