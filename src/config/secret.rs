//! A value that must never be printed.

use std::path::{Path, PathBuf};

use super::file;

/// The error for a file without a secret.
pub(super) const EMPTY: &str = "it is empty";

/// A secret. It has no `Debug` that shows it, no `Display`, no `Serialize`; the only way to it is [`Secret::expose`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: String,
    source: SecretSource,
}

/// Where a secret came from; this is not secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// No source to name: made by the program itself, or part of a longer text.
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

    /// Reads a secret from a file that holds nothing else, without the newline at its end. Blocks on the disk.
    ///
    /// # Errors
    /// Why not, without any of the file's content.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = file::read_text(path)?;
        let secret = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
        if secret.is_empty() { Err(EMPTY.into()) } else { Ok(Self::from_file(secret.to_owned(), path)) }
    }

    /// Wraps a secret that an environment variable holds.
    pub fn from_variable(value: String, name: &str) -> Self {
        Self { value, source: SecretSource::Variable(name.to_owned()) }
    }

    /// The secret itself; only for sending it.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// Where it came from, for printing a configuration without it.
    pub const fn source(&self) -> &SecretSource {
        &self.source
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
