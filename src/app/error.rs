//! Why mainstay could not start.

use std::{fmt, io};

/// Why mainstay could not start, in one line.
#[derive(Debug)]
pub struct StartError(pub String);

impl StartError {
    pub(super) fn thread(plane: &str, error: &io::Error) -> Self {
        Self(format!("the {plane} thread cannot be started: {error}"))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}
