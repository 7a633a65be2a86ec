//! The check `exec`: a command of the user.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value as Json, json};

use super::kind::{Kind, KindKeys};
use crate::{
    config::{
        file::reason,
        findings::names_secret,
        raw::{
            node::{Scalar, Source, Value, shorten},
            reader::{Field, Section},
        },
        secret::Secret,
        shape,
        table::{Table, table},
        tree::{self, Tree, text},
    },
    failover::MaxLag,
};

pub(in crate::config) const MAX_WORDS: usize = 256;
const MAX_VARIABLES: usize = 64;
/// Execute permission for anybody.
const EXECUTABLE: u32 = 0o111;

const WANTED: &str = "a program by its absolute path, and its arguments, such as [/usr/local/bin/check-db, --quick]";

/// What `--print` shows instead of a secret.
pub(super) const HIDDEN: &str = "***";

/// How the check `exec` asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecCheck {
    /// The program, by an absolute path, and its arguments. Never empty in a configuration that can be used.
    pub command: Vec<Word>,
    /// Variables that the command finds besides those of every check.
    pub env: Vec<(String, Secret)>,
    /// It tells the role of the backend.
    pub roles: bool,
    /// A standby that lags by more bytes is not ready to take over (told by `failover_ready`).
    pub max_lag: Option<u64>,
}

/// A word of a command, or another text that a secret may be part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// As it stands in the configuration.
    Plain(String),
    /// A variable is part of it.
    Secret(Secret),
}

impl Word {
    /// The word itself; for the one place that passes it on.
    pub fn expose(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(secret) => secret.expose(),
        }
    }

    /// The word as it may be shown.
    pub fn shown(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Secret(_) => "***",
        }
    }
}

impl<T: Into<String>> From<T> for Word {
    fn from(text: T) -> Self {
        Self::Plain(text.into())
    }
}

impl ExecCheck {
    /// Runs these words; nothing else is said.
    pub const fn new(command: Vec<Word>) -> Self {
        Self { command, env: Vec::new(), roles: false, max_lag: None }
    }

    /// The program as messages may show it.
    pub fn program(&self) -> &str {
        match self.command.first() {
            Some(Word::Plain(path)) => path,
            _ => "the command",
        }
    }

    /// All that must not be shown to anybody.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        let words = self.command.iter().filter(|word| matches!(word, Word::Secret(_))).map(Word::expose);
        self.env.iter().map(|(_, value)| value.expose()).chain(words)
    }
}

/// Whether a variable may have this name: it is one to every shell, and none that the check sets itself.
pub fn is_legal_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with("MAINSTAY_")
}

table! {
    /// `exec` of a check.
    EXEC: ExecCheck;
    "command": custom(
        |_| "a list: the program by its absolute path, and its arguments".into(), "required",
        |field, check| check.command = command(field),
        |check| Some(check.command.iter().map(shown).collect())
    ) is shape::program(1..=MAX_WORDS), "What to run; see [exec.md](exec.md).";
    "env": custom(
        |_| "a map (`NAME: value`)".into(), "none",
        |field, check| check.env = variables(field),
        |check| (!check.env.is_empty()).then(|| {
            Tree::Named(check.env.iter().map(|(name, value)| (name.clone(), tree::hidden(value.source()))).collect())
        })
    ) is variables_shape(), "Variables for the command, besides those of every check.";
    "roles": flag(roles), "The command tells the role, as the first word that it writes.";
    "max_lag": bytes(max_lag), "A standby further behind is not ready to take over, and is not read; only with `roles: true`.";
}

/// Variables for the command in the schema. What looks like a secret, only `check` knows.
fn variables_shape() -> Json {
    json!({
        "type": "object", "maxProperties": MAX_VARIABLES,
        "propertyNames": {"pattern": "^(?!MAINSTAY_)[A-Za-z_][A-Za-z0-9_]*$"},
        "additionalProperties": {"allOf": [shape::scalar(), {"not": {"const": HIDDEN}}]},
    })
}

impl KindKeys for ExecCheck {
    const KEYS: Table<Self> = EXEC;
    const LOGS_IN: bool = false;
    const NEEDS_SECTION: bool = true;

    fn schema() -> Json {
        shape::or_null(shape::or_list(EXEC.schema(&Self::default()), shape::program(1..=MAX_WORDS)))
    }

    fn read(section: Option<Field<'_>>, check: Field<'_>) -> Self {
        let Some(field) = section.and_then(Field::or_beneath) else {
            check.error("the check `exec` needs a command", "write check: {exec: [/usr/local/bin/check-db, --quick]}");
            return Self::default();
        };
        match field.value() {
            Value::List(_) => Self::new(command(field)),
            Value::Map(_) => field.map(EXEC.keys()).map(Self::from_section).unwrap_or_default(),
            _ => field.wrong(WANTED, None).unwrap_or_default(),
        }
    }

    fn complete(&mut self, section: Section<'_>) {
        section.require("command", "[/usr/local/bin/check-db, --quick]");
        if let Some(field) = section.get("max_lag").filter(|_| !self.roles) {
            field.warning(
                "`max_lag` has no effect without `roles: true`",
                "only a command that tells roles tells a standby's lag",
            );
        }
    }
}

impl Kind for ExecCheck {
    fn knows_roles(&self) -> bool {
        self.roles
    }

    fn max_lag(&self) -> Option<MaxLag> {
        self.max_lag.map(MaxLag::Bytes)
    }
}

/// A word in `--print`.
pub(in crate::config) fn shown(word: &Word) -> Tree {
    match word {
        Word::Plain(plain) => text(plain),
        Word::Secret(secret) => tree::hidden(secret.source()),
    }
}

fn command(field: Field<'_>) -> Vec<Word> {
    let words = words(field);
    if let Some(program) = words.first() {
        check_program(field, program.expose());
    }
    words
}

/// A program and its arguments, as written.
pub(in crate::config) fn words(field: Field<'_>) -> Vec<Word> {
    field.list(WANTED, MAX_WORDS).unwrap_or_default().into_iter().filter_map(word).collect()
}

fn word(field: Field<'_>) -> Option<Word> {
    // Whatever YAML takes it for, it is passed on as written.
    let scalar = field.scalar("a text; put it in quotes")?;
    if scalar.text.contains('\0') {
        field.error("an argument cannot hold the character NUL", "remove it");
        return None;
    }
    Some(hidden(scalar))
}

/// A text that is shown if all of it is in the file.
pub(in crate::config) fn hidden(scalar: &Scalar) -> Word {
    if scalar.source == Source::Literal { Word::Plain(scalar.text.clone()) } else { Word::Secret(secret(scalar)) }
}

/// A text that is never shown; its source may be.
fn secret(scalar: &Scalar) -> Secret {
    match &scalar.source {
        Source::Variable(name) => Secret::from_variable(scalar.text.clone(), name),
        Source::Literal | Source::Expanded => Secret::new(scalar.text.clone()),
    }
}

/// An absolute path. A missing file is only a warning.
fn check_program(field: Field<'_>, program: &str) {
    if !program.starts_with('/') {
        field.error(
            "the program of an exec check must be given by its absolute path",
            "no shell runs it and no PATH is searched; write for example [/usr/local/bin/check-db, --quick]",
        );
        return;
    }
    if let Some(fault) = fault(program) {
        field.warning(
            format!("the program of this check cannot be run: {fault}"),
            "until then the check is `misconfigured` and no verdict changes (chmod +x makes a file executable)",
        );
    }
}

/// Why this file cannot be run. Blocks on the disk.
pub fn fault(program: &str) -> Option<String> {
    match fs::metadata(Path::new(program)) {
        Err(error) => Some(reason(&error)),
        Ok(meta) if !meta.is_file() => Some("it is not a regular file".into()),
        Ok(meta) if meta.permissions().mode() & EXECUTABLE == 0 => Some("it is not executable".into()),
        Ok(_) => None,
    }
}

fn variables(field: Field<'_>) -> Vec<(String, Secret)> {
    let Value::Map(entries) = field.value() else {
        field.wrong::<()>("a map (NAME: value)", None);
        return Vec::new();
    };
    if entries.len() > MAX_VARIABLES {
        field.error(format!("`env` has {} entries; {MAX_VARIABLES} are possible", entries.len()), "give the command a file");
        return Vec::new();
    }
    let entries = entries.iter().map(|(key, node)| (&*key.name, Field::new(node, field.findings())));
    entries.filter_map(|(name, field)| Some((name.to_owned(), variable(name, field)?))).collect()
}

fn variable(name: &str, field: Field<'_>) -> Option<Secret> {
    if !is_legal_variable(name) {
        field.error(
            format!("`{}` cannot be the name of a variable here", shorten(name)),
            "use letters, digits and _; it must not begin with a digit, or with MAINSTAY_, which the check sets itself",
        );
        return None;
    }
    let scalar = field.scalar("a text")?;
    if scalar.text.contains('\0') {
        field.error("a variable cannot hold the character NUL", "remove it");
        return None;
    }
    if scalar.text == HIDDEN {
        field.error("`***` is what --print shows in the place of a value", "write the value itself, or ${VARIABLE}");
        return None;
    }
    // PGPASSFILE and the like hold a path, not the secret itself.
    if scalar.source == Source::Literal && names_secret(name) && !name.to_ascii_uppercase().ends_with("FILE") {
        field.error(
            "a secret must not stand in the configuration itself",
            format!("write `{name}: ${{{name}}}`, or let the command read it from a file"),
        );
        return None;
    }
    Some(secret(scalar))
}
