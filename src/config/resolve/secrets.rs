//! Secrets come from a file or a variable, never from the configuration itself.

use std::{os::unix::fs::PermissionsExt, path::Path};

use crate::config::{
    raw::{
        node::{Source, Value},
        reader::{Field, Section},
    },
    secret::{EMPTY, Secret},
};

/// Read permission for everybody.
const WORLD_READABLE: u32 = 0o004;

/// The password of a login. A key of the pool itself overrides both keys of `defaults`.
pub(in crate::config) fn password(section: Section<'_>) -> Option<Secret> {
    password_as(section, "password", "password_file")
}

/// The same, with other names of the keys.
pub(in crate::config) fn password_as(section: Section<'_>, key: &str, file_key: &str) -> Option<Secret> {
    let own = (section.own(key), section.own(file_key));
    match own {
        (Some(_), Some(file)) => {
            file.error(format!("`{key}` and `{file_key}` cannot stand together"), "keep one of them");
            None
        }
        (Some(variable), None) => from_variable(variable, key, file_key),
        (None, Some(file)) => from_file(file),
        (None, None) => match (section.get(key), section.get(file_key)) {
            (_, Some(file)) => from_file(file),
            (Some(variable), None) => from_variable(variable, key, file_key),
            (None, None) => None,
        },
    }
}

fn from_variable(field: Field<'_>, key: &str, file_key: &str) -> Option<Secret> {
    let advice = format!("put it in a file and write `{file_key}: /path`, or write `{key}: ${{VARIABLE}}`");
    let scalar = match field.value() {
        Value::Scalar(scalar) => scalar,
        Value::Invalid => return None,
        Value::Null | Value::List(_) | Value::Map(_) => {
            field.error(format!("`{key}` has no value, or its variable is empty"), advice);
            return None;
        }
    };
    match &scalar.source {
        Source::Variable(name) if scalar.text.is_empty() => {
            field.error(format!("the environment variable {name} is empty"), format!("set it, or remove `{key}`"));
            None
        }
        Source::Variable(name) => Some(Secret::from_variable(scalar.text.clone(), name)),
        Source::Literal | Source::Expanded => {
            field.error("a password must not stand in the configuration itself", advice);
            None
        }
    }
}

fn from_file(field: Field<'_>) -> Option<Secret> {
    let path = Path::new(field.text("the path of a file that holds the password")?);
    // The value may be the password itself, so only what is clearly a path is shown.
    let literal = matches!(field.value(), Value::Scalar(scalar) if scalar.source == Source::Literal);
    let shown = if literal && path.has_root() { path.display().to_string() } else { "the password file".into() };
    let secret = match Secret::read(path) {
        Ok(secret) => secret,
        Err(reason) if reason == EMPTY => {
            field.error(format!("{shown} is empty"), "write the password into it");
            return None;
        }
        Err(reason) => {
            field.error(
                format!("{shown} cannot be read: {reason}"),
                "give the path of a file that holds the password and nothing else",
            );
            return None;
        }
    };
    warn_if_readable(field, path, &shown);
    Some(secret)
}

/// A file with a secret that other users can read, too.
pub(in crate::config) fn warn_if_readable(field: Field<'_>, path: &Path, shown: &str) {
    if std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & WORLD_READABLE != 0) {
        field.warning(
            format!("{shown} can be read by every user of this machine"),
            "remove that permission (chmod o-r), and let mainstay's user own the file",
        );
    }
}
