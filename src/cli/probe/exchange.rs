//! `mainstay probe exchange`.

use std::{path::PathBuf, time::Duration};

use super::{
    args::{Args, Steps},
    kind::Kind,
    source::SourceAddr,
};
use crate::{
    config::{
        ExchangeCheck, Secret, TlsIdentity, TlsMode,
        exchange::{Form, MAX_MESSAGE_BYTES, MAX_STEPS, Message, RoleTexts, Step, from_hex},
    },
    control::probe::Finding,
    failover::Outcome,
    net::addr::BackendAddr,
};

impl Kind for ExchangeCheck {
    fn from_args(args: &Args, _: Option<Secret>) -> Result<Self, String> {
        check(&args.steps, args.tls, args.tls_ca_file.clone(), args.tls_identity())
    }

    /// Without what is sent, which may hold a password.
    fn asked(&self, address: &BackendAddr, timeout: Duration) -> String {
        let count = self.steps.len() + usize::from(self.roles.is_some());
        let (steps, role) =
            (if count == 1 { "step" } else { "steps" }, if self.roles.is_some() { ", the last for the role" } else { "" });
        format!("exchange with {address}, within {timeout:?}: {count} {steps}{role}, TLS {}", self.tls)
    }

    fn advice(&self, finding: &Finding, _: SourceAddr) -> Option<String> {
        let text = match finding.outcome {
            Outcome::Timeout | Outcome::Closed | Outcome::ProtocolError => {
                "  The server did not say what was expected; above stands what it said instead, with * for what it repeats of the check.\n  \
                 Is the check right? Lines of most protocols end with \\r\\n, and nothing is sent that is not in the steps.\n  \
                 Is it the right port, and does it want TLS (--tls require)? If all that is right, the server is not well."
            }
            Outcome::Misconfigured if self.tls == TlsMode::VerifyFull => {
                "  Check that --tls-ca-file holds the authority that signed the server's certificate, that the certificate names the host\n  \
                 as it is written here, and that it has not expired."
            }
            Outcome::Misconfigured => "  The server does not encrypt as it should. Without TLS: --tls off.",
            _ => return None,
        };
        Some(text.into())
    }
}

/// The check of the arguments.
fn check(
    steps: &Steps,
    tls: Option<TlsMode>,
    tls_ca_file: Option<PathBuf>,
    tls_identity: Option<TlsIdentity>,
) -> Result<ExchangeCheck, String> {
    let tls = tls.unwrap_or(TlsMode::Off);
    if tls == TlsMode::Prefer {
        return Err("--tls prefer: mainstay does not know how this protocol starts TLS; write off or require".into());
    }
    if steps.0.len() > MAX_STEPS {
        return Err(format!("{MAX_STEPS} steps are possible"));
    }
    let (mut exchange, mut primary, mut standby) =
        (ExchangeCheck { steps: Vec::new(), roles: None, tls, tls_ca_file, tls_identity }, None, None);
    for (name, text) in &steps.0 {
        let message = message(name, text)?;
        match *name {
            "primary" if primary.replace(message.clone()).is_none() => {}
            "standby" if standby.replace(message.clone()).is_none() => {}
            "primary" | "standby" => return Err(format!("--{name} may be given once")),
            _ if primary.is_some() || standby.is_some() => return Err("--primary and --standby are the last step".into()),
            name if name.starts_with("send") => exchange.steps.push(Step::Send(message)),
            _ => exchange.steps.push(Step::Expect(message)),
        }
    }
    exchange.roles = match (primary, standby) {
        (Some(primary), Some(standby)) => Some(RoleTexts { primary, standby }),
        (None, None) => None,
        _ => return Err("--primary and --standby belong together".into()),
    };
    match exchange.flaw() {
        Some((what, help)) => Err(format!("{what}; {help}")),
        None => Ok(exchange),
    }
}

fn message(name: &str, text: &str) -> Result<Message, String> {
    let (bytes, form) = if name.ends_with("hex") {
        (from_hex(text).ok_or_else(|| format!("--{name}: write two hexadecimal digits for each byte, such as 0a0b"))?, Form::Hex)
    } else {
        (unescape(text).ok_or_else(|| format!("--{name}: after a backslash r, n, t, 0, \\ or xHH is understood"))?, Form::Text)
    };
    if bytes.is_empty() || bytes.len() > MAX_MESSAGE_BYTES {
        return Err(format!("--{name}: from 1 to {MAX_MESSAGE_BYTES} bytes are possible"));
    }
    Ok(Message::new(bytes, form))
}

/// Decodes the escapes of a text.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        bytes.extend(plain.as_bytes());
        let mut chars = escaped.chars();
        let byte = match chars.next()? {
            'r' => b'\r',
            'n' => b'\n',
            't' => b'\t',
            '0' => 0,
            '\\' => b'\\',
            'x' => {
                let digits: String = chars.by_ref().take(2).collect();
                *from_hex(&digits)?.first()?
            }
            _ => return None,
        };
        bytes.push(byte);
        rest = chars.as_str();
    }
    bytes.extend(rest.as_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches};

    use super::*;

    fn parsed(words: &[&str]) -> Result<ExchangeCheck, String> {
        let command = Steps::augment_args(Command::new("probe"));
        let matches = command.try_get_matches_from([&["probe"], words].concat()).map_err(|error| error.to_string())?;
        check(&Steps::from_arg_matches(&matches).unwrap(), None, None, None)
    }

    #[test]
    fn steps_keep_their_order() {
        let check = parsed(&["--expect", "220", "--send", "EHLO\\r\\n", "--expect-hex", "323530", "--send", "-x"]).unwrap();
        let steps: Vec<String> = check.steps.iter().map(|step| format!("{step:?}")).collect();
        assert_eq!(steps, ["Expect(\"220\")", "Send(\"EHLO\\r\\n\")", "Expect(\"250\")", "Send(\"-x\")"]);
        let check = parsed(&["--send", "INFO\\n", "--standby", "slave", "--primary", "master"]).unwrap();
        assert_eq!(check.roles.unwrap().primary.bytes(), b"master");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for words in [
            &[][..],
            &["--send", "x"],
            &["--expect", ""],
            &["--expect", "a\\q"],
            &["--expect-hex", "0"],
            &["--primary", "a"],
            &["--primary", "a", "--standby", "ab"],
            &["--primary", "a", "--standby", "b", "--expect", "c"],
            &["--primary", "a", "--standby", "b", "--primary", "c"],
        ] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn escapes_are_understood() {
        assert_eq!(unescape("a\\r\\n\\t\\0\\\\\\x7fé"), Some(b"a\r\n\t\0\\\x7f\xc3\xa9".to_vec()));
        for bad in ["\\", "\\x", "\\x1", "\\xg0", "\\u0041"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }
}
