//! Loads a configuration from a file or a text: [`Loaded`], or all its errors.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::{
    diagnostic::{Diagnostic, Errors, Location},
    findings::Findings,
    process::Config,
    raw::{self, expand::Expander},
    resolve, source,
};

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Its warnings.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a file. `env` returns the environment variables that it names.
///
/// # Errors
/// All errors of the file at once.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Errors> {
    FileContent::read(path).load(env)
}

/// What a configuration file held when it was read: its bytes, or why they cannot be read.
pub struct FileContent {
    origin: String,
    bytes: Result<Vec<u8>, (String, Option<String>)>,
}

/// Tells one [`FileContent`] from another (SHA-256).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHash([u8; 32]);

impl FileContent {
    /// Reads the file. Blocks on the disk.
    pub fn read(path: &Path) -> Self {
        Self { origin: path.display().to_string(), bytes: source::read(path) }
    }

    /// Whether there are bytes.
    pub const fn is_readable(&self) -> bool {
        self.bytes.is_ok()
    }

    /// Alike for the same bytes, and for the same reason why there are none.
    pub fn hash(&self) -> ContentHash {
        let (kind, content) = match &self.bytes {
            Ok(bytes) => (b"0", bytes.as_slice()),
            Err((message, _)) => (b"1", message.as_bytes()),
        };
        ContentHash(Sha256::new().chain_update(kind).chain_update(content).finalize().into())
    }

    /// The configuration that it holds. `env` returns the environment variables that it names; the password files are read now.
    ///
    /// # Errors
    /// All errors of the file at once.
    pub fn load(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Errors> {
        let findings = Findings::new(&self.origin);
        match &self.bytes {
            Ok(bytes) => parse_bytes(bytes, findings, env),
            Err((message, help)) => {
                findings.error(Location::File, &"", message.clone(), help.clone());
                finish(None, findings, "")
            }
        }
    }
}

/// Reads a text, which errors call `origin`.
///
/// # Errors
/// All errors of the text at once.
pub fn parse(text: &str, origin: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Errors> {
    parse_bytes(text.as_bytes(), Findings::new(origin), env)
}

/// As [`parse`], from bytes that may not be text.
pub(crate) fn parse_any(bytes: &[u8], env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Errors> {
    parse_bytes(bytes, Findings::new("bytes"), env)
}

fn parse_bytes(bytes: &[u8], findings: Findings, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Errors> {
    let Some(text) = source::decode(bytes, &findings) else { return finish(None, findings, "") };
    let config = source::check_characters(&text, &findings)
        .then(|| raw::parse::parse(&text, Expander::new(env), &findings))
        .flatten()
        .and_then(|root| resolve::resolve(&root, &findings));
    finish(config, findings, &text)
}

pub(super) fn finish(config: Option<Config>, findings: Findings, text: &str) -> Result<Loaded, Errors> {
    let Some(config) = config else { return Err(findings.into_errors(text)) };
    findings.finish(text).map(|warnings| Loaded { config, warnings })
}
