//! The check `exchange` in the words of the file.

use std::fmt::Write;

use super::{Tree, hidden, identity, security};
use crate::config::exchange::{ExchangeCheck, Form, Message, RoleTexts, Step};

pub(super) fn exchange(check: &ExchangeCheck) -> Tree {
    let one = |key, message: &Message| Tree::Map(vec![(key, shown(message))]);
    let step = |step: &Step| match step {
        Step::Send(message) if message.form() == Form::Hex => one("send_hex", message),
        Step::Send(message) => one("send", message),
        Step::Expect(message) if message.form() == Form::Hex => one("expect_hex", message),
        Step::Expect(message) => one("expect", message),
    };
    let roles = |roles: &RoleTexts| Tree::Map(vec![("primary", shown(&roles.primary)), ("standby", shown(&roles.standby))]);
    let steps = check.steps.iter().map(step).chain(check.roles.iter().map(roles)).collect();
    let security = security(check.tls, check.tls_ca_file.as_deref(), None).chain(identity(check.tls_identity.as_ref()));
    Tree::Map([("steps", steps)].into_iter().chain(security).collect())
}

fn shown(message: &Message) -> Tree {
    if let Some(source) = message.source() {
        return hidden(source);
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
