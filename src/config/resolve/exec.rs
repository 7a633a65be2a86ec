//! The check `exec`: a command of the user's own.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::config::{
    exec::{ExecCheck, Word, is_legal_variable},
    file::reason,
    findings::names_secret,
    raw::{
        node::{Origin, Scalar, Value, shorten},
        reader::{Field, Keys, Section},
    },
    secret::Secret,
};

const EXEC_KEYS: Keys = Keys { known: &["command", "env", "roles", "max_lag"], planned: &[] };

const MAX_WORDS: usize = 256;
const MAX_VARIABLES: usize = 64;
/// Permission of anybody to execute.
const EXECUTABLE: u32 = 0o111;

const WANTED: &str = "a program by its absolute path, and its arguments, such as [/usr/local/bin/check-db, --quick]";

/// What `--print` shows in the place of a secret.
pub(super) const HIDDEN: &str = "***";

/// The check; `check` is what is to blame when nothing is said of it at all.
pub(super) fn exec(field: Option<Field<'_>>, check: Field<'_>) -> ExecCheck {
    let nothing = ExecCheck::new(Vec::new());
    let Some(field) = field else {
        check.error("the check `exec` needs a command", "write check: {exec: [/usr/local/bin/check-db, --quick]}");
        return nothing;
    };
    match field.value() {
        Value::List(_) => ExecCheck::new(command(field)),
        Value::Map(_) => field.map(EXEC_KEYS).map_or(nothing, from_map),
        _ => {
            field.wrong::<()>(WANTED, None);
            nothing
        }
    }
}

fn from_map(section: Section<'_>) -> ExecCheck {
    let roles = section.get("roles").and_then(Field::flag).unwrap_or(false);
    let max_lag = section.get("max_lag");
    if let Some(field) = max_lag.filter(|_| !roles) {
        field.warning("`max_lag` has no effect without `roles: true`", "only a command that tells roles tells a standby's lag");
    }
    ExecCheck {
        command: section.require("command", "[/usr/local/bin/check-db, --quick]").map(command).unwrap_or_default(),
        env: section.get("env").map(variables).unwrap_or_default(),
        roles,
        max_lag: max_lag.and_then(Field::size),
    }
}

fn command(field: Field<'_>) -> Vec<Word> {
    let words: Vec<Word> = field.list(WANTED, MAX_WORDS).unwrap_or_default().into_iter().filter_map(word).collect();
    if let Some(program) = words.first() {
        check_program(field, program.expose());
    }
    words
}

fn word(field: Field<'_>) -> Option<Word> {
    // Whatever it looks like to YAML, it is passed on as it was written.
    let scalar = field.scalar("a text; put it in quotes")?;
    if scalar.text.contains('\0') {
        field.error("an argument cannot hold the character NUL", "remove it");
        return None;
    }
    Some(hidden(scalar))
}

/// A text that is shown when all of it stands in the file.
pub(super) fn hidden(scalar: &Scalar) -> Word {
    if scalar.origin == Origin::Literal { Word::Plain(scalar.text.clone()) } else { Word::Secret(secret(scalar)) }
}

/// A text that is not shown, whatever it is; where it came from may be.
fn secret(scalar: &Scalar) -> Secret {
    match &scalar.origin {
        Origin::Variable(name) => Secret::from_variable(scalar.text.clone(), name),
        Origin::Literal | Origin::Expanded => Secret::new(scalar.text.clone()),
    }
}

/// An absolute path; that the file is not there yet is worth no more than a word.
fn check_program(field: Field<'_>, program: &str) {
    if !program.starts_with('/') {
        field.error(
            "the program of an exec check must be given by its absolute path",
            "no shell is asked and no PATH is searched; write for example [/usr/local/bin/check-db, --quick]",
        );
        return;
    }
    let fault = match fs::metadata(Path::new(program)) {
        Err(error) => reason(&error),
        Ok(meta) if !meta.is_file() => "it is not a regular file".into(),
        Ok(meta) if meta.permissions().mode() & EXECUTABLE == 0 => "it is not executable".into(),
        Ok(_) => return,
    };
    field.warning(
        format!("the program of this check cannot be run: {fault}"),
        "until it can, the check says `misconfigured` and no verdict changes (chmod +x makes a file executable)",
    );
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
            "letters, digits and _, not beginning with a digit, nor with MAINSTAY_, which the check sets itself",
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
    // PGPASSFILE and the like hold no secret but the way to one.
    if scalar.origin == Origin::Literal && names_secret(name) && !name.to_ascii_uppercase().ends_with("FILE") {
        field.error(
            "a secret must not stand in the configuration itself",
            format!("write `{name}: ${{{name}}}`, or let the command read it from a file"),
        );
        return None;
    }
    Some(secret(scalar))
}
