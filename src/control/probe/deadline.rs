//! The one moment by which a whole probe must be over.

use std::time::Duration;

use tokio::time::Instant;

use crate::net::proxy_protocol::Version;

/// The one moment by which a whole probe must be over. It goes with the probe through all of its steps, and so carries the other
/// thing that is said to all of it: the header that must come before everything else.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    timeout: Duration,
    header: Option<Version>,
}

impl Deadline {
    /// A deadline `timeout` from now.
    pub fn after(timeout: Duration) -> Self {
        Self { at: Instant::now() + timeout, timeout, header: None }
    }

    /// The same for a backend that wants a PROXY header first: it is told that the check speaks for itself.
    #[must_use]
    pub const fn with_header(self, header: Option<Version>) -> Self {
        Self { header, ..self }
    }

    /// What must be sent before anything else.
    pub(super) const fn header(self) -> Option<&'static [u8]> {
        match self.header {
            Some(version) => Some(version.own()),
            None => None,
        }
    }

    /// How long files may be read for: a part of the whole, so that a disk that hangs is told from a server that does.
    pub(super) fn for_files(self) -> Duration {
        self.timeout / 4
    }

    /// The moment itself.
    pub const fn at(self) -> Instant {
        self.at
    }

    /// The time the probe was given, for evidence.
    pub const fn timeout(self) -> Duration {
        self.timeout
    }
}
