//! What the check `exec` runs.

use super::secret::Secret;

/// How the check `exec` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
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
