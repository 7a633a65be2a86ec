//! `mainstay completions`: what a shell completes behind `mainstay`.

use std::io::{self, Write};

use clap::{Command, ValueEnum};
use clap_complete::{Shell, generate};

use super::exit;

/// For which shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Of {
    Bash,
    Zsh,
    Fish,
}

/// Print what a shell completes
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Of,
}

/// Prints it for this command line. Exit codes: [`exit::DONE`], or [`exit::FAILED`] when it cannot be written.
pub fn run(args: Args, mut command: Command) -> u8 {
    let shell = match args.shell {
        Of::Bash => Shell::Bash,
        Of::Zsh => Shell::Zsh,
        Of::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut command, "mainstay", &mut script);
    if io::stdout().lock().write_all(&script).is_ok() { exit::DONE } else { exit::FAILED }
}
