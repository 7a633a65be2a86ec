//! `mainstay notify --test`: sends a test message to every receiver of a configuration.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Instant,
};

use serde_json::json;

use super::exit;
use crate::{config, failover::label::Label as _, notify};

/// Send a test message to every receiver of the configuration
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", env = "MAINSTAY_CONFIG", default_value = "/etc/mainstay/mainstay.yaml")]
    pub config: PathBuf,
    /// Send it; without this nothing is sent
    #[arg(long, required = true)]
    pub test: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Tells every receiver, one after the other, each with one try. Exit codes: [`exit::DONE`] when all have taken it,
/// [`exit::FAILED`], or [`exit::BAD_CONFIGURATION`]. No running mainstay is needed, or asked.
pub fn run(args: &Args) -> u8 {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    let loaded = match config::load(&args.config, &|name| std::env::var(name).ok()) {
        Ok(loaded) => loaded,
        Err(errors) => {
            let _ = write!(err, "{errors}");
            return exit::BAD_CONFIGURATION;
        }
    };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return exit::FAILED };
    let receivers = &loaded.config.notify;
    if receivers.is_empty() {
        let _ = writeln!(err, "mainstay: {} has no receiver: add one to `notify`", args.config.display());
        return exit::FAILED;
    }
    let mut all_took_it = true;
    let mut results = Vec::new();
    for (position, receiver) in receivers.iter().enumerate() {
        let began = Instant::now();
        let (kind, result) = runtime.block_on(notify::test(receiver));
        let (kind, took_ms) = (kind.as_str(), began.elapsed().as_millis());
        all_took_it &= result.is_ok();
        if args.json {
            results.push(json!({"receiver": format!("notify[{position}]"), "kind": kind, "ok": result.is_ok(), "took_ms": took_ms, "error": result.err()}));
            continue;
        }
        // A reader that closed the pipe early has seen enough; the exit code still shows the result.
        let _ = match result {
            Ok(()) => writeln!(out, "notify[{position}] {kind}: told in {took_ms} ms"),
            Err(why) => writeln!(out, "notify[{position}] {kind}: FAILED: {why}"),
        };
    }
    if args.json {
        let _ = writeln!(out, "{:#}", json!({"ok": all_took_it, "receivers": results}));
    }
    // A reader of a file, or a lookup of a name, may hang.
    runtime.shutdown_background();
    if all_took_it { exit::DONE } else { exit::FAILED }
}
