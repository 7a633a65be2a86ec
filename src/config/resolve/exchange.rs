//! The check `exchange`: bytes that are sent, and bytes that are expected.

use super::{
    exec::HIDDEN,
    tls::{authorities, identity},
};
use crate::config::{
    exchange::{ExchangeCheck, Form, MAX_MESSAGE_BYTES, MAX_STEPS, Message, RoleTexts, Step, from_hex},
    raw::{
        node::{Origin, Value},
        reader::{Field, Keys, Section},
    },
    secret::SecretSource,
    tls::TlsMode,
};

const EXCHANGE_KEYS: Keys = Keys { known: &["steps", "tls", "tls_ca_file", "tls_cert_file", "tls_key_file"], planned: &[] };
const STEP_KEYS: Keys = Keys { known: &["send", "send_hex", "expect", "expect_hex", "primary", "standby"], planned: &[] };

const WANTED: &str = "a list of steps, such as [{send: \"PING\\r\\n\"}, {expect: \"+PONG\"}]";

/// The check; `check` is what is to blame when nothing is said of it at all.
pub(super) fn exchange(field: Option<Field<'_>>, check: Field<'_>) -> ExchangeCheck {
    let mut exchange = ExchangeCheck { steps: Vec::new(), roles: None, tls: TlsMode::Off, tls_ca_file: None, tls_identity: None };
    let Some(field) = field else {
        check.error(
            "the check `exchange` needs its steps",
            "write check: {exchange: [{send: \"PING\\r\\n\"}, {expect: \"+PONG\"}]}",
        );
        return exchange;
    };
    match field.value() {
        Value::List(_) => steps(field, &mut exchange),
        Value::Map(_) => {
            let Some(section) = field.map(EXCHANGE_KEYS) else { return exchange };
            exchange.tls = transport(section);
            exchange.tls_ca_file = authorities(section, exchange.tls);
            exchange.tls_identity = identity(section, exchange.tls);
            if let Some(field) = section.require("steps", "[{send: \"PING\\r\\n\"}, {expect: \"+PONG\"}]") {
                steps(field, &mut exchange);
            }
        }
        _ => {
            field.wrong::<()>(WANTED, None);
        }
    }
    exchange
}

fn transport(section: Section<'_>) -> TlsMode {
    let tls = section.word("tls", TlsMode::Off);
    if let Some(field) = section.get("tls").filter(|_| tls == TlsMode::Prefer) {
        field.error(
            "an exchange cannot ask a server whether it encrypts: nothing is known of its protocol",
            "write `off`, `require` or `verify-full`",
        );
        return TlsMode::Off;
    }
    tls
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
    // What is missing may stand in a step that could not be read.
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
                "a step that tells the role needs both texts, or one role could not be told from silence",
                "write {primary: \"role:master\", standby: \"role:slave\"}",
            );
            None
        }
        // What is in it is unknown, and was reported.
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
    Some(match &scalar.origin {
        Origin::Literal => Message::new(bytes, form),
        Origin::Variable(name) => Message::secret(bytes, form, SecretSource::Variable(name.clone())),
        Origin::Expanded => Message::secret(bytes, form, SecretSource::Program),
    })
}

/// `'PING\r\n'` ends in four characters, none of which is a line end: YAML knows escapes in double quotes only.
fn warn_of_backslashes(field: Field<'_>, text: &str) {
    if ["\\r", "\\n", "\\t", "\\x", "\\0"].iter().any(|escape| text.contains(escape)) {
        field.warning(
            "this holds a backslash and a letter, not the character they stand for",
            "put the text in double quotes: \"PING\\r\\n\"; if the backslash itself is meant, all is well",
        );
    }
}
