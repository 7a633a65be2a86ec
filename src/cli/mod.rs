//! One file a command: arguments in, exit code out.

pub mod demo;
pub mod probe;
pub mod status;
pub mod wait;
