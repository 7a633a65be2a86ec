//! The check `exchange`: bytes that are sent, and bytes that are expected.

use std::{
    fmt::{self, Write},
    path::PathBuf,
};

use serde_json::{Map, Value as Json, json};

use super::{
    exec::HIDDEN,
    kind::{Kind, KindKeys},
};
use crate::config::{
    raw::{
        node::{Source, Value},
        reader::{Field, KnownKeys, Section},
    },
    resolve::tls,
    secret::SecretSource,
    shape::{self, rule::Rule},
    table::{Table, table},
    tls::{TlsIdentity, TlsMode},
    tree::{self, Tree},
};

/// Steps of an exchange at most.
pub const MAX_STEPS: usize = 32;

/// Bytes of one message at most. Bounds what has to be compared when an answer is shown.
pub const MAX_MESSAGE_BYTES: usize = 1024;

const STEP_KEYS: KnownKeys =
    KnownKeys { known: &["send", "send_hex", "expect", "expect_hex", "primary", "standby"], planned: &[] };

const WANTED: &str = "a list of steps, such as [{send: \"PING\\r\\n\"}, {expect: \"+PONG\"}]";

/// How the check `exchange` asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

table! {
    /// `exchange` of a check.
    EXCHANGE: ExchangeCheck, rules &[
        Rule::Needs("tls_cert_file", &["tls_key_file"]),
        Rule::Needs("tls_key_file", &["tls_cert_file"]),
        Rule::WordNeeds("tls", "verify-full", "tls_ca_file"),
    ];
    "steps": custom(
        |_| "a list of steps".into(), "required", steps,
        |check| Some(check.steps.iter().map(print).chain(check.roles.iter().map(print_roles)).collect())
    ) is steps_shape(), "What to send and what to expect; see [exchange.md](exchange.md).";
    "tls": encryption(tls, "`prefer` is not possible with an exchange: mainstay does not know how its protocol starts TLS"),
        "Transport security.";
    "tls_ca_file": ca_file(), "The authority to trust; `verify-full` needs it.";
    "tls_cert_file": cert_file(), "A certificate to show to a server that asks for one.";
    "tls_key_file": key_file(), "Its key.";
}

/// The steps in the schema. That the role comes last, and that its texts differ, only `check` knows.
fn steps_shape() -> Json {
    let text = json!({"allOf": [shape::text(), {"not": {"const": HIDDEN}}]});
    // Without quotes, digits alone are a number to YAML.
    let hex = json!({"anyOf": [shape::matching("(?: *[0-9A-Fa-f] *[0-9A-Fa-f] *)+"), {"type": "number"}]});
    let shape_of = |key: &str| if key.ends_with("_hex") { hex.clone() } else { text.clone() };
    let properties: Map<String, Json> = STEP_KEYS.known.iter().map(|key| ((*key).to_owned(), shape_of(key))).collect();
    let alone = ["send", "send_hex", "expect", "expect_hex"].map(|key| json!({"required": [key], "maxProperties": 1}));
    let roles = json!({"required": ["primary", "standby"], "maxProperties": 2});
    let mut step = shape::map(properties, &[], &[]);
    step["oneOf"] = alone.into_iter().chain([roles]).collect();
    let mut steps = shape::list(step, MAX_STEPS);
    steps["contains"] = shape::any_of(["expect", "expect_hex", "primary"].map(|key| json!({"required": [key]})));
    steps
}

impl KindKeys for ExchangeCheck {
    const KEYS: Table<Self> = EXCHANGE;
    const LOGS_IN: bool = false;
    const NEEDS_SECTION: bool = true;

    fn schema() -> Json {
        shape::or_null(shape::or_list(EXCHANGE.schema(&Self::default()), steps_shape()))
    }

    fn read(section: Option<Field<'_>>, check: Field<'_>) -> Self {
        let mut exchange = Self::default();
        let Some(field) = section.and_then(Field::or_beneath) else {
            check.error(
                "the check `exchange` needs its steps",
                "write check: {exchange: [{send: \"PING\\r\\n\"}, {expect: \"+PONG\"}]}",
            );
            return exchange;
        };
        match field.value() {
            Value::List(_) => steps(field, &mut exchange),
            Value::Map(_) => return field.map(EXCHANGE.keys()).map(Self::from_section).unwrap_or_default(),
            _ => {
                field.wrong::<()>(WANTED, None);
            }
        }
        exchange
    }

    fn complete(&mut self, section: Section<'_>) {
        section.require("steps", "[{send: \"PING\\r\\n\"}, {expect: \"+PONG\"}]");
        (self.tls_ca_file, self.tls_identity) = tls::files(section, self.tls);
    }
}

impl Kind for ExchangeCheck {
    fn knows_roles(&self) -> bool {
        self.roles.is_some()
    }
}

fn print(step: &Step) -> Tree {
    let (key, message) = match step {
        Step::Send(message) if message.form() == Form::Hex => ("send_hex", message),
        Step::Send(message) => ("send", message),
        Step::Expect(message) if message.form() == Form::Hex => ("expect_hex", message),
        Step::Expect(message) => ("expect", message),
    };
    Tree::Map(vec![(key, shown(message))])
}

fn print_roles(roles: &RoleTexts) -> Tree {
    Tree::Map(vec![("primary", shown(&roles.primary)), ("standby", shown(&roles.standby))])
}

fn shown(message: &Message) -> Tree {
    if let Some(source) = message.source() {
        return tree::hidden(source);
    }
    Tree::Text(match message.form() {
        Form::Text => String::from_utf8_lossy(message.bytes()).into_owned(),
        Form::Hex => message.bytes().iter().fold(String::new(), |mut digits, byte| {
            // Writing to a String cannot fail.
            let _ = write!(digits, "{byte:02x}");
            digits
        }),
    })
}

fn steps(field: Field<'_>, exchange: &mut ExchangeCheck) {
    let Some(fields) = field.list(WANTED, MAX_STEPS) else { return };
    let (count, mut all_good) = (fields.len(), true);
    for (position, field) in fields.into_iter().enumerate() {
        match step(field) {
            Some(Parsed::Step(step)) => exchange.steps.push(step),
            Some(Parsed::Roles(_)) if position + 1 < count => {
                field.error("the step that tells the role must be the last", "move it to the end of `steps`");
                all_good = false;
            }
            Some(Parsed::Roles(roles)) => exchange.roles = Some(roles),
            None => all_good = false,
        }
    }
    // A missing step may be one that could not be read.
    if let Some((message, help)) = exchange.flaw().filter(|_| all_good) {
        field.error(message, help);
    }
}

enum Parsed {
    Step(Step),
    Roles(RoleTexts),
}

fn step(field: Field<'_>) -> Option<Parsed> {
    let section = field.map(STEP_KEYS)?;
    let own: Vec<&str> = STEP_KEYS.known.iter().copied().filter(|key| section.own(key).is_some()).collect();
    match own[..] {
        ["send"] => message(section.own("send")?, Form::Text).map(Step::Send).map(Parsed::Step),
        ["send_hex"] => message(section.own("send_hex")?, Form::Hex).map(Step::Send).map(Parsed::Step),
        ["expect"] => message(section.own("expect")?, Form::Text).map(Step::Expect).map(Parsed::Step),
        ["expect_hex"] => message(section.own("expect_hex")?, Form::Hex).map(Step::Expect).map(Parsed::Step),
        ["primary", "standby"] => {
            let (primary, standby) = (section.own("primary")?, section.own("standby")?);
            let texts = message(primary, Form::Text).zip(message(standby, Form::Text));
            texts.map(|(primary, standby)| Parsed::Roles(RoleTexts { primary, standby }))
        }
        ["primary" | "standby"] => {
            field.error(
                "a step that tells the role needs both texts, `primary` and `standby`",
                "write {primary: \"role:master\", standby: \"role:slave\"}",
            );
            None
        }
        // Its content is unknown, and was reported.
        [] if matches!(field.value(), Value::Map(entries) if !entries.is_empty()) => None,
        [] => field.wrong("one of {send: …}, {send_hex: …}, {expect: …}, {expect_hex: …}, {primary: …, standby: …}", None),
        _ => {
            field.error("a step does one thing", "make two steps of it");
            None
        }
    }
}

fn message(field: Field<'_>, form: Form) -> Option<Message> {
    let scalar = match form {
        Form::Text => {
            field.text("a text, best in double quotes: \"PING\\r\\n\"")?;
            field.scalar("a text")?
        }
        Form::Hex => field.scalar("hexadecimal digits, such as 0a0b")?,
    };
    if scalar.text == HIDDEN {
        field.error("`***` is what --print shows in the place of a text", "write the text itself, or ${VARIABLE}");
        return None;
    }
    let bytes = match form {
        Form::Text => scalar.text.clone().into_bytes(),
        Form::Hex => match from_hex(&scalar.text).filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => bytes,
            None => return field.wrong("hexadecimal digits, two for each byte, such as 0a0b", None),
        },
    };
    if bytes.len() > MAX_MESSAGE_BYTES {
        return field.wrong(&format!("at most {MAX_MESSAGE_BYTES} bytes"), None);
    }
    warn_of_backslashes(field, &scalar.text);
    Some(match &scalar.source {
        Source::Literal => Message::new(bytes, form),
        Source::Variable(name) => Message::secret(bytes, form, SecretSource::Variable(name.clone())),
        Source::Expanded => Message::secret(bytes, form, SecretSource::Program),
    })
}

/// `'PING\r\n'` ends in four characters, none of which is a line end: YAML knows escapes only in double quotes.
fn warn_of_backslashes(field: Field<'_>, text: &str) {
    if ["\\r", "\\n", "\\t", "\\x", "\\0"].iter().any(|escape| text.contains(escape)) {
        field.warning(
            "this holds a backslash and a letter, not the character they stand for",
            "put the text in double quotes: \"PING\\r\\n\"; if the backslash itself is meant, all is well",
        );
    }
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
