//! A value that must never be printed.

use std::path::{Path, PathBuf};

use super::file;

/// What is wrong with a file that holds no secret.
pub(super) const EMPTY: &str = "it is empty";

/// A secret. It has no `Debug` that shows it, no `Display`, no `Serialize`; whoever needs it says so with [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    source: SecretSource,
}

/// Where a secret came from; this is no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Nowhere that could be named: made by the program itself, or part of a longer text.
    Program,
    /// Read from a file.
    File(PathBuf),
    /// The value of an environment variable.
    Variable(String),
}

impl Secret {
    /// Wraps a secret.
    pub fn new(value: String) -> Self {
        Self { value, source: SecretSource::Program }
    }

    /// Wraps a secret that was read from a file.
    pub fn from_file(value: String, path: &Path) -> Self {
        Self { value, source: SecretSource::File(path.to_owned()) }
    }

    /// Reads a secret from a file that holds nothing else, without the line's end. Blocks while a disk does.
    ///
    /// # Errors
    /// Why not, in words that do not repeat what the file holds.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = file::read_text(path)?;
        let secret = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
        if secret.is_empty() { Err(EMPTY.into()) } else { Ok(Self::from_file(secret.to_owned(), path)) }
    }

    /// Wraps a secret that an environment variable holds.
    pub fn from_variable(value: String, name: &str) -> Self {
        Self { value, source: SecretSource::Variable(name.to_owned()) }
    }

    /// The secret itself; for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// Where it came from, so that a configuration can be printed without it.
    pub const fn source(&self) -> &SecretSource {
        &self.source
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
