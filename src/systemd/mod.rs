//! What systemd is told, and what it gives.
//!
//! | file | what it holds |
//! |---|---|
//! | [`environment`] | its variables |
//! | [`notify`] | messages to the service manager (`sd_notify(3)`) |
//! | [`watchdog`] | how often it wants a sign of life |
//! | [`follow`] | keeps it informed while mainstay runs |
//! | [`status`] | all pools in one line |
//! | [`activation`] | listening sockets that it has opened (`sd_listen_fds(3)`) |
//!
//! Everything comes from the environment. Without its variables nothing here runs.

pub mod activation;
mod environment;
mod follow;
pub mod notify;
mod status;
mod watchdog;

pub use environment::Variable;
pub use follow::Followed;
pub use notify::Manager;
pub use watchdog::Watchdog;
