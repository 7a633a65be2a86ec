//! `mainstay probe redis`.

use std::time::Duration;

use super::{advice::is_about_tls, args::Args, kind::Kind, source::SourceAddr};
use crate::{
    config::{RedisCheck, Secret, TlsMode},
    control::probe::Finding,
    failover::Outcome,
    net::addr::BackendAddr,
};

impl Kind for RedisCheck {
    fn from_args(args: &Args, password: Option<Secret>) -> Result<Self, String> {
        if args.tls == Some(TlsMode::Prefer) {
            return Err("--tls prefer: a Redis port either uses TLS or does not; write off or require".into());
        }
        if args.user.is_some() && password.is_none() {
            return Err("--user needs --password-file: Redis has no login without a password".into());
        }
        let plain = Self::default();
        Ok(Self {
            user: args.user.clone(),
            password,
            tls: args.tls.unwrap_or(plain.tls),
            tls_ca_file: args.tls_ca_file.clone(),
            tls_identity: args.tls_identity(),
            ..plain
        })
    }

    fn asked(&self, address: &BackendAddr, timeout: Duration) -> String {
        let login = match (&self.user, &self.password) {
            (Some(user), _) => format!("log in as {user}"),
            (None, Some(_)) => "log in as the default user".into(),
            (None, None) => "no login".into(),
        };
        format!("redis {address}, within {timeout:?}: {login}, TLS {}, PING, and INFO for the role", self.tls)
    }

    fn advice(&self, finding: &Finding, _: SourceAddr) -> Option<String> {
        match finding.outcome {
            Outcome::Misconfigured if is_about_tls(finding) && self.tls == TlsMode::VerifyFull => Some(
                "  Check that tls_ca_file holds the authority that signed the server's certificate (tls-cert-file), that the\n  \
                 certificate names the host as it is written here, and that it has not expired."
                    .into(),
            ),
            Outcome::Misconfigured if finding.evidence.contains("Sentinel") => {
                Some("  Give the address of the server that holds the data; a Sentinel only watches it.".into())
            }
            Outcome::Misconfigured => {
                let user = self.user.as_deref().unwrap_or("mainstay");
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
}
