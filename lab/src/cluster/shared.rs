//! What both nodes share, and what can be chosen of it.

use std::process::Command;

use super::{
    error::{ClusterError, doing},
    programs::Binaries,
};
use crate::directory::{Directory, Owner};

/// Unix socket paths end at 107 bytes; what the lab appends to its directory (`/.s.PGSQL.65535`) must fit.
const MAX_BASE_BYTES: usize = 90;

/// How TCP clients log in. The lab itself always comes in over the unix socket, which is trusted and open to its owner only.
#[derive(Clone, Default)]
pub enum Auth {
    /// Without a password.
    #[default]
    Trust,
    /// User `postgres` with this password, by SCRAM-SHA-256.
    Scram(String),
}

/// What kind of cluster to make.
#[derive(Clone, Default)]
pub struct Options {
    /// How TCP clients log in.
    pub auth: Auth,
    /// Lines for `postgresql.conf` of both nodes, such as `max_connections = 20`; they override the lab's own.
    pub settings: Vec<String>,
}

/// What both nodes share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) binaries: Binaries,
    pub(crate) owner: Owner,
    pub(crate) base: Directory,
}

impl Shared {
    /// Finds programs and user, and makes the directory.
    pub(crate) fn new() -> Result<Self, ClusterError> {
        let (binaries, owner) = (Binaries::find()?, Owner::of("postgres").ok_or(ClusterError::NoPostgresUser)?);
        let base = doing("cannot make a temporary directory", Directory::new(owner))?;
        if base.as_os_str().len() > MAX_BASE_BYTES {
            return Err(ClusterError::PathTooLong(base.to_owned()));
        }
        Ok(Self { binaries, owner, base })
    }

    /// A command of the server's, run as its owner, in the lab's directory, blind to our environment's `PG…` settings.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.command_of(None, program)
    }

    /// The same, of other programs.
    pub(crate) fn command_of(&self, programs: Option<&Binaries>, program: &str) -> Command {
        let mut command = programs.unwrap_or(&self.binaries).command(program);
        self.owner.apply(&mut command);
        command.current_dir(&*self.base).env("LC_ALL", "C");
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        command
    }
}
