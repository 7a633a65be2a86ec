//! `mainstay probe http`.

use std::time::Duration;

use super::{
    advice::is_about_tls,
    args::Args,
    kind::{Kind, Words},
    source::SourceAddr,
};
use crate::{
    config::{HttpCheck, HttpLogin, Secret, TlsMode},
    control::probe::Finding,
    failover::Outcome,
    net::addr::BackendAddr,
};

impl Kind for HttpCheck {
    fn from_args(args: &Args, password: Option<Secret>) -> Result<Self, String> {
        let plain = Self::default();
        if args.tls == Some(TlsMode::Prefer) {
            return Err("--tls prefer: an HTTP port either uses TLS or does not; write off or require".into());
        }
        if !args.path.starts_with('/') {
            return Err("--path begins with a slash, as in /primary".into());
        }
        let login = match (args.user.clone(), password) {
            (Some(user), Some(password)) => Some(HttpLogin { user, password }),
            (None, None) => None,
            _ => return Err("--user and --password-file belong together".into()),
        };
        Ok(Self {
            port: args.port,
            path: args.path.clone().into(),
            expect: if args.status.is_empty() { plain.expect } else { args.status.clone() },
            host: args.host.clone(),
            tls: args.tls.unwrap_or(plain.tls),
            tls_ca_file: args.tls_ca_file.clone(),
            tls_identity: args.tls_identity(),
            login,
            max_lag: None,
        })
    }

    fn asked(&self, address: &BackendAddr, timeout: Duration) -> String {
        let port = self.port.map_or(String::new(), |port| format!(" at port {port}"));
        let login = self.login.as_ref().map_or(String::new(), |login| format!(" as {}", login.user));
        let statuses: Vec<String> = self.expect.iter().map(u16::to_string).collect();
        let (path, tls, expect) = (self.path.shown(), self.tls, statuses.join(" or "));
        format!("http {address}{port}, within {timeout:?}: GET {path}{login}, TLS {tls}; {expect} means primary")
    }

    fn advice(&self, finding: &Finding, _: SourceAddr) -> Option<String> {
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
            Outcome::Closed | Outcome::ProtocolError if self.tls == TlsMode::Off => {
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

    fn words(&self) -> Words {
        Words { epoch: "timeline", hidden: None, lag: " received and not applied" }
    }
}
