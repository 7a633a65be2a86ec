//! New descriptors of the process. A listener that has none left can withhold them from dials.

use std::{
    io,
    sync::{PoisonError, RwLock},
};

use socket2::{Domain, Type};

/// One lock for the descriptors of the process. A listener holds it while its reserve descriptor is closed, so that no dial takes
/// that descriptor for the length of a session.
#[derive(Debug, Default)]
pub(super) struct Descriptors(RwLock<()>);

impl Descriptors {
    /// No dial takes a descriptor until the guard is dropped.
    pub(super) fn withhold(&self) -> impl Drop + '_ {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn socket(&self, domain: Domain) -> io::Result<socket2::Socket> {
        let _allowed = self.0.read().unwrap_or_else(PoisonError::into_inner);
        socket2::Socket::new(domain, Type::STREAM.nonblocking().cloexec(), None)
    }
}
