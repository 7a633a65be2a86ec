//! `mainstay schema`: the JSON schema of the configuration file, for editors and pipelines.

use std::io::{self, Write};

use super::exit;
use crate::config;

/// Prints it. Exit codes: [`exit::DONE`], or [`exit::FAILED`] when it cannot be written.
pub fn run() -> u8 {
    match writeln!(io::stdout().lock(), "{:#}", config::schema()) {
        Ok(()) => exit::DONE,
        Err(_) => exit::FAILED,
    }
}
