//! `mainstay check`: shows every error of a configuration at once, before it is used.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use serde_json::json;

use super::exit;
use crate::config::{self, Config, Errors, Loaded};

/// Check a configuration and report all of its errors
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", env = "MAINSTAY_CONFIG", default_value = "/etc/mainstay/mainstay.yaml")]
    pub config: PathBuf,
    /// Probe every backend, too
    #[arg(long)]
    pub connect: bool,
    /// Print the effective configuration, without secrets
    #[arg(long)]
    pub print: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Checks the file. `connect` probes every backend of the configuration for `--connect` and gives the exit code.
///
/// Exit codes: [`exit::DONE`], [`exit::BAD_CONFIGURATION`], or that of `connect`.
pub fn run(args: &Args, connect: &dyn Fn(&Config) -> u8) -> u8 {
    run_to(args, connect, &|name| std::env::var(name).ok(), &mut io::stdout().lock(), &mut io::stderr().lock())
}

/// [`run`] with given outputs: the answer goes to `out`, errors and warnings for people to `err`.
pub fn run_to(
    args: &Args,
    connect: &dyn Fn(&Config) -> u8,
    env: &dyn Fn(&str) -> Option<String>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let loaded = config::load(&args.config, env);
    // A reader that closed the pipe early has seen enough; the exit code still shows the result.
    let _ = if args.json { write_json(args, &loaded, out) } else { write_text(args, &loaded, out, err) };
    match loaded {
        Err(_) => exit::BAD_CONFIGURATION,
        Ok(loaded) if args.connect => connect(&loaded.config),
        Ok(_) => exit::DONE,
    }
}

fn write_json(args: &Args, loaded: &Result<Loaded, Errors>, out: &mut dyn Write) -> io::Result<()> {
    let answer = match loaded {
        Ok(loaded) => {
            let warnings: Vec<_> = loaded.warnings.iter().map(config::Diagnostic::to_json).collect();
            let mut answer = json!({ "ok": true, "file": args.config, "diagnostics": warnings });
            if args.print {
                answer["config"] = loaded.config.to_json();
            }
            answer
        }
        Err(errors) => json!({ "ok": false, "file": args.config, "diagnostics": errors.to_json() }),
    };
    writeln!(out, "{answer:#}")
}

fn write_text(args: &Args, loaded: &Result<Loaded, Errors>, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<()> {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => return write!(err, "{errors}"),
    };
    for warning in &loaded.warnings {
        writeln!(err, "{warning}")?;
    }
    if args.print {
        return write!(out, "{}", loaded.config.to_yaml());
    }
    let pools = &loaded.config.pools;
    let backends: usize = pools.iter().map(|pool| pool.backends.len()).sum();
    writeln!(
        out,
        "{}: the configuration is valid ({} {}, {backends} {})",
        args.config.display(),
        pools.len(),
        plural(pools.len(), "pool"),
        plural(backends, "backend")
    )
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}
