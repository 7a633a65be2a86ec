//! What the tests share.

pub mod config;
pub mod echo;
pub mod wait;
