//! Why a case could not be measured. A bound that was missed is no failure but a result.

use std::{fmt, io};

use mainstay::cli::{
    client::Unreachable,
    demo::{cluster::ClusterError, session::SessionError},
};

/// Why a case could not be measured.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The user pressed Ctrl-C.
    Interrupted,
    /// Everything else, in words.
    Said(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted"),
            Self::Said(what) => f.write_str(what),
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

impl From<Unreachable> for Failure {
    fn from(error: Unreachable) -> Self {
        Self::Said(error.to_string())
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Said(format!("an answer of mainstay is not the JSON it should be: {error}"))
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Said(error.to_string())
    }
}
