//! What a kind of check is to the rest of the program. Each implements this for its own part of the configuration.

use super::{single::Single, standing::Login};
use crate::net::addr::BackendAddr;

/// A kind of check, as configured.
pub trait Kind {
    /// The check of one backend.
    fn of(&self, address: &BackendAddr) -> Check;

    /// Descriptors that it holds at most, besides those of every check.
    fn descriptors(&self) -> usize;
}

/// A check of one backend.
#[derive(Debug)]
pub enum Check {
    /// Something new each time.
    Single(Box<dyn Single>),
    /// A login, and questions over a session.
    Login(Box<dyn Login>),
}
