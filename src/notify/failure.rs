//! Why a receiver was not told.

use std::time::Duration;

/// Why a try failed. The text is for the log: it has no secret, and nothing that the receiver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) why: String,
    /// Another try may do better.
    pub(super) may_pass: bool,
    /// The receiver asked for this pause.
    pub(super) pause: Option<Duration>,
}

impl Failure {
    pub(super) fn again(why: impl Into<String>) -> Self {
        Self { why: why.into(), may_pass: true, pause: None }
    }

    pub(super) fn never(why: impl Into<String>) -> Self {
        Self { why: why.into(), may_pass: false, pause: None }
    }
}
