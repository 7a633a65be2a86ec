//! Loads a configuration from a file or a text: [`Loaded`], or all its errors.

use std::path::Path;

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
    let origin = path.display().to_string();
    let findings = Findings::new(&origin);
    match source::read(path) {
        Ok(bytes) => parse_bytes(&bytes, findings, env),
        Err((message, help)) => {
            findings.error(Location::File, &"", message, help);
            finish(None, findings, "")
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
