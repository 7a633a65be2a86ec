//! What the tests share.

pub mod config;
pub mod echo;
pub mod front;
pub mod wait;
