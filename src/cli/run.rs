//! `mainstay run`: serve.

use std::{path::PathBuf, sync::Arc};

use clap::Args as ClapArgs;
use tokio::signal::unix::{SignalKind, signal};

use super::exit;
use crate::{
    app::{self, Stopper},
    config::{self, Flags, Loaded},
    telemetry,
};

/// Serve: from a file, or from flags for the simplest use.
#[derive(Debug, Default, ClapArgs)]
pub struct Args {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE", env = "MAINSTAY_CONFIG", conflicts_with_all = ["listen", "backend"])]
    pub config: Option<PathBuf>,
    /// The pool, its check and its backends, without a file.
    #[command(flatten)]
    pub flags: Flags,
}

/// Serves until a signal ends it.
pub fn run(args: &Args) -> u8 {
    let env = |name: &str| std::env::var(name).ok();
    let loaded = match &args.config {
        Some(file) => config::load(file, &env),
        None => config::from_flags(&args.flags),
    };
    match loaded {
        Ok(loaded) => serve(&loaded),
        Err(errors) => {
            eprint!("{errors}");
            exit::BAD_CONFIGURATION
        }
    }
}

fn serve(loaded: &Loaded) -> u8 {
    let Loaded { config, warnings } = loaded;
    let metrics = match app::metrics(config) {
        Ok(metrics) => metrics,
        Err(error) => return failed(&error.to_string()),
    };
    telemetry::init(config.log, metrics.process.log_dropped.clone());
    telemetry::count_panics(metrics.process.panics.clone());
    for warning in warnings {
        tracing::warn!("{}", warning.summary());
    }
    let running = match app::start_with(config, &Arc::clone(&metrics)) {
        Ok(running) => running,
        Err(error) => return failed(&error.to_string()),
    };
    if let Err(error) = stop_on_signals(running.stopper()) {
        return failed(&format!("signals cannot be watched: {error}"));
    }
    running.join()
}

fn failed(message: &str) -> u8 {
    eprintln!("mainstay: {message}");
    exit::FAILED
}

/// SIGTERM and SIGINT drain; a second one ends at once.
fn stop_on_signals(stopper: Stopper) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _context = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let forward = async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stopper.stop();
        }
    };
    std::thread::Builder::new().name("mainstay-signals".to_owned()).spawn(move || runtime.block_on(forward))?;
    Ok(())
}
