//! What both nodes share, and what can be chosen of it.

use std::{path::PathBuf, process::Command};

use super::programs::{Binaries, Owner};
use crate::config::Secret;

/// How TCP clients log in. The lab itself always comes in over the unix socket, which is trusted and open to its owner only.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Without a password.
    #[default]
    Trust,
    /// User `postgres` with this password, by SCRAM-SHA-256.
    Scram(Secret),
}

/// What kind of cluster to make.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How TCP clients log in.
    pub auth: Auth,
    /// Lines for `postgresql.conf` of both nodes, such as `max_connections = 20`; they override the lab's own.
    pub settings: Vec<String>,
}

/// What both nodes share.
#[derive(Debug)]
pub(super) struct Lab {
    pub(super) binaries: Binaries,
    pub(super) owner: Owner,
    pub(super) base: PathBuf,
}

impl Lab {
    /// A command of the server's, run as its owner, in the lab's directory, blind to our environment's `PG…` settings.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = self.binaries.command(program);
        self.owner.apply(&mut command);
        command.current_dir(&self.base).env("LC_ALL", "C");
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        command
    }
}
