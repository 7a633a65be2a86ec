//! What the check `exchange` says and expects.

use std::{fmt, path::PathBuf};

use super::{
    secret::SecretSource,
    tls::{TlsIdentity, TlsMode},
};

/// Steps of an exchange at most.
pub const MAX_STEPS: usize = 32;

/// Bytes of one message at most. Bounds what has to be compared when an answer is shown.
pub const MAX_MESSAGE_BYTES: usize = 1024;

/// How the check `exchange` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeCheck {
    /// What is said and expected, in order. Something is expected, here or by `roles`.
    pub steps: Vec<Step>,
    /// The last step, when it tells the role.
    pub roles: Option<RoleTexts>,
    /// Transport security: never `prefer`, because nothing is known of the protocol.
    pub tls: TlsMode,
    /// PEM file with the authorities to trust; required for `verify-full`.
    pub tls_ca_file: Option<PathBuf>,
    /// What the check shows of itself, where the server asks.
    pub tls_identity: Option<TlsIdentity>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Say this.
    Send(Message),
    /// Wait until this has come, anywhere in what came since the last one.
    Expect(Message),
}

/// By which text a role is known. Neither contains the other, so the first to come decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleTexts {
    /// Comes from a primary.
    pub primary: Message,
    /// Comes from a standby.
    pub standby: Message,
}

/// Bytes of an exchange.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
    /// How they were written.
    form: Form,
    /// A variable is part of it, so it is never shown.
    secret: Option<SecretSource>,
}

/// How a message was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As text.
    Text,
    /// In hexadecimal digits.
    Hex,
}

impl Message {
    /// A message that may be shown.
    pub const fn new(bytes: Vec<u8>, form: Form) -> Self {
        Self { bytes, form, secret: None }
    }

    /// A message that must not be.
    pub const fn secret(bytes: Vec<u8>, form: Form, source: SecretSource) -> Self {
        Self { bytes, form, secret: Some(source) }
    }

    /// The bytes; for the one place that sends or waits for them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How it was written.
    pub const fn form(&self) -> Form {
        self.form
    }

    /// Where it came from, when it must not be shown.
    pub const fn source(&self) -> Option<&SecretSource> {
        self.secret.as_ref()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.secret.is_some() { f.write_str("***") } else { write!(f, "\"{}\"", self.bytes.escape_ascii()) }
    }
}

/// What is wrong with an exchange as a whole, and what would be right.
pub type Flaw = (&'static str, &'static str);

impl ExchangeCheck {
    /// What is wrong with it as a whole.
    pub fn flaw(&self) -> Option<Flaw> {
        let expects = self.roles.is_some() || self.steps.iter().any(|step| matches!(step, Step::Expect(_)));
        if !expects {
            return Some((
                "nothing is expected, so everything that listens would pass",
                "add what a healthy server answers, such as {expect: \"+PONG\"}",
            ));
        }
        let RoleTexts { primary, standby } = self.roles.as_ref()?;
        let (a, b) = (primary.bytes(), standby.bytes());
        let contains = |long: &[u8], short: &[u8]| long.windows(short.len().max(1)).any(|part| part == short);
        if contains(a, b) || contains(b, a) {
            return Some((
                "the texts of `primary` and `standby` cannot be told apart: one contains the other",
                "write more of both, such as \"role:master\" and \"role:slave\"",
            ));
        }
        None
    }
}

/// The bytes that hexadecimal digits stand for; blanks between them mean nothing. `None` when they are something else.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().filter(|c| *c != ' ').map(|c| c.to_digit(16)).collect::<Option<Vec<_>>>()?;
    let byte = |pair: &[u32]| u8::try_from(pair[0] << 4 | pair[1]).ok();
    if digits.len() % 2 == 0 { digits.chunks(2).map(byte).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Message {
        Message::new(text.as_bytes().to_vec(), Form::Text)
    }

    #[test]
    fn hexadecimal_digits_come_in_pairs() {
        assert_eq!(from_hex("00 0aFF"), Some(vec![0, 10, 255]));
        assert_eq!(from_hex(""), Some(vec![]));
        for bad in ["0", "0g", "0x00", "00:01", "+1", "é0"] {
            assert_eq!(from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_cannot_work_is_a_flaw() {
        let check = |steps: Vec<Step>, roles: Option<(&str, &str)>| ExchangeCheck {
            steps,
            roles: roles.map(|(primary, standby)| RoleTexts { primary: text(primary), standby: text(standby) }),
            tls: TlsMode::Off,
            tls_ca_file: None,
            tls_identity: None,
        };
        assert!(check(vec![], None).flaw().is_some());
        assert!(check(vec![Step::Send(text("x"))], None).flaw().is_some());
        assert!(check(vec![Step::Expect(text("x"))], None).flaw().is_none());
        assert!(check(vec![], Some(("role:master", "role:slave"))).flaw().is_none());
        for pair in [("a", "a"), ("ro", "wrong"), ("read-write", "read")] {
            assert!(check(vec![], Some(pair)).flaw().is_some(), "{pair:?}");
        }
    }

    #[test]
    fn a_secret_message_is_not_shown() {
        let message = Message::secret(b"hunter2".to_vec(), Form::Text, SecretSource::Program);
        assert_eq!(format!("{message:?} {:?}", text("a\n")), "*** \"a\\n\"");
    }
}
