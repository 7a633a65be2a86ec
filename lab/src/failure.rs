//! Why something could not be measured. A bound that was missed is no failure but a result.

use std::{fmt, io};

use crate::{cluster::ClusterError, session::SessionError, transactions::Failed};

/// Why something could not be measured.
#[derive(Debug)]
pub enum Failure {
    /// The user pressed Ctrl-C.
    Interrupted,
    /// The load did not keep its own schedule, so that its numbers say nothing; to be repeated.
    Disturbed(String),
    /// Everything else, in words.
    Said(String),
}

impl Failure {
    /// Adds what was being done; an interruption stays one.
    #[must_use]
    pub fn during(self, what: &str) -> Self {
        match self {
            Self::Interrupted => Self::Interrupted,
            Self::Disturbed(why) => Self::Disturbed(format!("{what}: {why}")),
            Self::Said(why) => Self::Said(format!("{what}: {why}")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted"),
            Self::Disturbed(what) | Self::Said(what) => f.write_str(what),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Said(error.to_string())
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        Self::Said(error.to_string())
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        Self::Said(error.to_string())
    }
}

impl From<Failed> for Failure {
    fn from(failed: Failed) -> Self {
        Self::Said(format!("{failed:?}"))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Said(format!("an answer is not the JSON it should be: {error}"))
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Said(error.to_string())
    }
}
