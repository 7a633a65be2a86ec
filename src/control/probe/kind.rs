//! The interface of a kind of check. Each kind implements it for its own part of the configuration.

use super::{single::Single, standing::Login};
use crate::net::addr::BackendAddr;

/// A kind of check, as configured.
pub trait Kind {
    /// The check of one backend.
    fn of(&self, address: &BackendAddr) -> Check;

    /// Most descriptors that it holds, besides those of every check.
    fn descriptors(&self) -> usize;
}

/// A check of one backend.
#[derive(Debug)]
pub enum Check {
    /// A new connection or run each time.
    Single(Box<dyn Single>),
    /// A login, then queries over a session.
    Login(Box<dyn Login>),
}
