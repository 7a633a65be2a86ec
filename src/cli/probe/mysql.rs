//! `mainstay probe mysql`: a `MySQL` or `MariaDB` server.

use std::time::Duration;

use super::{
    advice::is_about_tls,
    args::Args,
    kind::{Kind, Words},
    source::SourceAddr,
};
use crate::{
    config::{MysqlCheck, Secret},
    control::probe::Finding,
    failover::Outcome,
    net::addr::BackendAddr,
};

impl Kind for MysqlCheck {
    fn from_args(args: &Args, password: Option<Secret>) -> Result<Self, String> {
        let plain = Self::default();
        Ok(Self {
            user: args.user.clone().unwrap_or(plain.user),
            password,
            allow_cleartext_password: args.allow_cleartext_password,
            tls: args.tls.unwrap_or(plain.tls),
            tls_ca_file: args.tls_ca_file.clone(),
            tls_identity: args.tls_identity(),
            ..plain
        })
    }

    fn asked(&self, address: &BackendAddr, timeout: Duration) -> String {
        format!(
            "mysql {address}, within {timeout:?}: log in as {}, TLS {}, and ask for read_only, replication and Galera",
            self.user, self.tls
        )
    }

    fn advice(&self, finding: &Finding, source: SourceAddr) -> Option<String> {
        match finding.outcome {
            Outcome::Misconfigured if finding.evidence.contains("(1129)") => Some(
                "  The server has locked this machine out, because connections from it ended without a word (a TCP check of something else?).\n  \
                 On the server: FLUSH HOSTS; then look in its log for who it was, and raise max_connect_errors."
                    .into(),
            ),
            Outcome::Misconfigured if finding.evidence.contains("which a check cannot do") => Some(format!(
                "  Give the account a way to log in that shows no password: caching_sha2_password (MySQL), ed25519 (MariaDB) or\n  \
                 mysql_native_password, such as\n    ALTER USER {} IDENTIFIED VIA ed25519 USING PASSWORD('…');   (MariaDB)",
                account(self, source)
            )),
            Outcome::Misconfigured if finding.evidence.contains("allow_cleartext_password") => Some(
                "  Write tls: verify-full with tls_ca_file (MySQL makes ca.pem in its data directory, in a certificate that names no host:\n  \
                 sign one that does), or connect by the unix socket. Or bring the server's public_key.pem here, and name it with\n  \
                 server_public_key_file and tls: off. On a network that is trusted: allow_cleartext_password: true."
                    .into(),
            ),
            Outcome::Misconfigured if is_about_tls(finding) => Some(
                "  Turn TLS on at the server (ssl_cert, ssl_key), or set tls: prefer or tls: off for the check. With verify-full, check that\n  \
                 tls_ca_file holds the authority that signed the certificate, and that it names the host as it is written here."
                    .into(),
            ),
            Outcome::Misconfigured => Some(how_to_let_in(self, source)),
            Outcome::Saturated => Some(
                "  Every connection the server may have, or this account may have, is in use. See who holds them: SHOW PROCESSLIST;\n  \
                 Then end idle ones, lower wait_timeout, or raise max_connections (max_user_connections for the account)."
                    .into(),
            ),
            Outcome::Starting => Some(
                "  Wait: the server is starting, stopping, offline, or a Galera node that is not ready. If it stays so, its log tells why;\n  \
                 a Galera part without a quorum waits for the others (SHOW STATUS LIKE 'wsrep_cluster%')."
                    .into(),
            ),
            Outcome::Ok if finding.evidence.contains("may not see") => Some(format!(
                "  So that mainstay can tell a replica from a primary whatever its read_only says, let the account see replication:\n{}",
                grants(self, source)
            )),
            Outcome::Ok if finding.evidence.contains("although read_only is off") => Some(
                "  Set read_only = ON in the settings of every replica, so that nothing writes there by mistake. Two servers that follow each\n  \
                 other on purpose: writable_replica: primary."
                    .into(),
            ),
            Outcome::Ok if finding.facts.read_only => Some(
                "  Find out who set read_only = ON, and why (a switchover that did not finish, a full disk, a maintenance?).\n  \
                 To let it take writes again: SET GLOBAL read_only = OFF;   (MySQL: super_read_only first)"
                    .into(),
            ),
            _ => None,
        }
    }

    fn words(&self) -> Words {
        Words { epoch: "reign", hidden: None, lag: " received and not applied" }
    }

    fn epoch(&self, epoch: u64) -> String {
        format!("since transaction {epoch}, as an epoch")
    }
}

fn how_to_let_in(check: &MysqlCheck, source: SourceAddr) -> String {
    format!(
        "  The check needs an account that may see replication, and nothing else. On the primary, from where it replicates:\n    \
         CREATE USER {account} IDENTIFIED BY '…';\n{grants}\n  \
         (If it exists: ALTER USER {account} IDENTIFIED BY '…';) Give the same password with password_file.",
        account = account(check, source),
        grants = grants(check, source),
    )
}

fn grants(check: &MysqlCheck, source: SourceAddr) -> String {
    let account = account(check, source);
    format!(
        "    GRANT REPLICATION CLIENT ON *.* TO {account};   (MySQL, and MariaDB before 10.5)\n    \
         GRANT SLAVE MONITOR ON *.* TO {account};        (MariaDB from 10.5)"
    )
}

/// The account as SQL wants it.
fn account(check: &MysqlCheck, source: SourceAddr) -> String {
    let user = check.user.replace('\\', "\\\\").replace('\'', "\\'");
    let from = match source {
        SourceAddr::Address(ip) => ip.to_string(),
        SourceAddr::Unix => "localhost".into(),
        SourceAddr::Unknown => "<address of this machine>".into(),
    };
    format!("'{user}'@'{from}'")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::Facts;

    #[test]
    fn a_login_that_is_refused_gets_the_lines_to_paste() {
        let check = MysqlCheck { user: "it's".into(), ..MysqlCheck::default() };
        let finding = Finding { outcome: Outcome::Misconfigured, facts: Facts::default(), evidence: "no (1045)".into() };
        let now = check.advice(&finding, SourceAddr::Address("10.0.0.7".parse().unwrap())).unwrap();
        for line in ["CREATE USER 'it\\'s'@'10.0.0.7' IDENTIFIED BY", "GRANT SLAVE MONITOR ON *.* TO 'it\\'s'@'10.0.0.7';"] {
            assert!(now.contains(line), "{line} in {now}");
        }
        let locked = Finding { evidence: "the server says: Host is blocked (1129)".into(), ..finding };
        assert!(check.advice(&locked, SourceAddr::Unknown).unwrap().contains("FLUSH HOSTS"));
    }
}
