//! The command line: one file for each command, arguments in, exit code out.

pub mod check;
pub mod client;
pub mod completions;
pub mod demo;
pub mod diff;
pub mod exit;
pub mod incidents;
mod live;
pub mod man;
pub mod notify;
mod operation;
pub mod order;
pub mod probe;
pub mod run;
pub mod schema;
pub mod status;
mod terminal;
pub mod top;
pub mod wait;

use std::{ffi::OsStr, path::PathBuf};

use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand, builder::Resettable, error::ErrorKind};

use crate::net;

/// TCP failover proxy for databases: moves every client to the node that takes over.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, about, max_term_width = 110, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file; `mainstay -c FILE` is short for `mainstay run -c FILE`
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch a failover: embedded backends, or with --postgres a real primary and standby.
    Demo(demo::Args),
    /// Run the proxy.
    Run(run::Args),
    /// Show every error of a configuration; with --connect also what each backend answers.
    Check(check::Args),
    /// Probe one backend once and show how mainstay judges it.
    Probe(probe::Args),
    /// Show pools, backends, sessions and the last failover of a running mainstay.
    Status(status::Args),
    /// Show which sessions move the most bytes, or are the oldest.
    Top(top::Args),
    /// Show what differs between the backends of a pool: versions, settings, extensions.
    Diff(diff::Args),
    /// Show the last incidents: what happened, and what clients felt.
    Incidents(incidents::Args),
    /// Show one incident; with --markdown as a post-mortem.
    Incident(incidents::OneArgs),
    /// Send a test message to every receiver of notifications.
    Notify(notify::Args),
    /// Wait until a running mainstay has started, or is ready.
    Wait(wait::Args),
    /// Print the JSON schema of the configuration file, for editors.
    Schema,
    /// Print what a shell completes: bash, zsh or fish.
    Completions(completions::Args),
    /// Print the manual, or with --dir write all of its pages.
    Man(man::Args),
}

/// Parses the arguments of the process and runs the command; returns the exit code.
pub fn main() -> u8 {
    net::names::without_modules();
    let cli = match parse() {
        Ok(Parsed::Order(order)) => return order::run(&order),
        Ok(Parsed::Other(cli)) => *cli,
        Err(error) => {
            // Help and version are no errors; if printing them fails, nothing can be done.
            let _ = error.print();
            return if error.use_stderr() { exit::USAGE } else { exit::DONE };
        }
    };
    match cli.command {
        Some(Command::Demo(args)) => demo::run(args),
        Some(Command::Run(args)) => run::run(&args),
        Some(Command::Check(args)) => check::run(&args, &probe::connect),
        Some(Command::Probe(args)) => probe::run(&args),
        Some(Command::Status(args)) => status::run(&args),
        Some(Command::Top(args)) => top::run(&args),
        Some(Command::Diff(args)) => diff::run(&args),
        Some(Command::Incidents(args)) => incidents::run(&args),
        Some(Command::Incident(args)) => incidents::run_one(&args),
        Some(Command::Notify(args)) => notify::run(&args),
        Some(Command::Wait(args)) => wait::run(&args),
        Some(Command::Schema) => schema::run(),
        Some(Command::Completions(args)) => completions::run(args, command()),
        Some(Command::Man(args)) => man::run(&args, command()),
        None => run_without_a_word(cli.config),
    }
}

/// What was typed.
enum Parsed {
    /// A command of [`order::COMMANDS`].
    Order(order::Order),
    /// Any other.
    Other(Box<Cli>),
}

/// The whole command line.
fn command() -> clap::Command {
    Cli::command().subcommands(order::commands())
}

fn parse() -> Result<Parsed, clap::Error> {
    let command = command();
    // An empty variable counts as unset: that is how a systemd unit or a compose file unsets one.
    let command = command.mut_subcommands(|command| command.mut_args(without_empty_variable));
    let mut matches = command.try_get_matches()?;
    if let Some((name, order)) = matches.subcommand()
        && let Some(order) = order::read(name, order)?
    {
        return Ok(Parsed::Order(order));
    }
    if let Some(("run", run)) = matches.subcommand()
        && let Some(why) = run::contradiction(run)
    {
        return Err(Cli::command().error(ErrorKind::ArgumentConflict, why));
    }
    Cli::from_arg_matches_mut(&mut matches).map(|cli| Parsed::Other(Box::new(cli)))
}

fn without_empty_variable(argument: Arg) -> Arg {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    if argument.get_env().is_some_and(is_empty) { argument.env(Resettable::Reset) } else { argument }
}

fn run_without_a_word(config: Option<PathBuf>) -> u8 {
    let variable = || std::env::var_os("MAINSTAY_CONFIG").filter(|value| !value.is_empty());
    let config = config.or_else(|| variable().map(PathBuf::from));
    if config.is_some() {
        return run::run(&run::Args { config, ..run::Args::default() });
    }
    let _ = command().print_help();
    exit::USAGE
}
