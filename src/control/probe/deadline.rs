//! The deadline of a whole probe.

use std::time::Duration;

use tokio::time::Instant;

use crate::net::proxy_protocol::Version;

/// The deadline of a whole probe. It passes through all steps of the probe, together with the header that must be sent first.
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

    /// The same for a backend that needs a PROXY header first: it says that the check speaks for itself.
    #[must_use]
    pub const fn with_header(self, header: Option<Version>) -> Self {
        Self { header, ..self }
    }

    /// The header that must be sent first.
    pub(in crate::control) const fn version(self) -> Option<Version> {
        self.header
    }

    /// What must be sent first.
    pub(super) const fn header(self) -> Option<&'static [u8]> {
        match self.header {
            Some(version) => Some(version.own()),
            None => None,
        }
    }

    /// How long reading files may take: a part of the whole, so that a hung disk can be told from a hung server.
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
