//! `mainstay run`: serve.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
};

use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use super::exit;
use crate::{
    app::{self, Stopper},
    config::{self, Flags, Loaded},
    telemetry,
};

/// Serve: from a file, or from flags for the simplest use.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", env = "MAINSTAY_CONFIG", conflicts_with_all = ["listen", "backend"])]
    pub config: Option<PathBuf>,
    /// Where clients connect; may be repeated
    #[arg(long, value_name = "IP:PORT", env = "MAINSTAY_LISTEN", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// A node of the database, in order of preference; may be repeated
    #[arg(long, value_name = "HOST:PORT", env = "MAINSTAY_BACKEND", value_delimiter = ',')]
    pub backend: Vec<String>,
    /// How backends are checked: tcp or postgres
    #[arg(long, value_name = "KIND", env = "MAINSTAY_CHECK")]
    pub check: Option<String>,
    /// Login role of the check
    #[arg(long, value_name = "ROLE", env = "MAINSTAY_CHECK_USER")]
    pub check_user: Option<String>,
    /// File with its password
    #[arg(long, value_name = "FILE", env = "MAINSTAY_CHECK_PASSWORD_FILE")]
    pub check_password_file: Option<String>,
    /// Database it logs in to
    #[arg(long, value_name = "NAME", env = "MAINSTAY_CHECK_DATABASE")]
    pub check_database: Option<String>,
    /// off, prefer, require or verify-full
    #[arg(long, value_name = "MODE", env = "MAINSTAY_CHECK_TLS")]
    pub check_tls: Option<String>,
    /// PEM file with the authorities that verify-full trusts
    #[arg(long, value_name = "FILE", env = "MAINSTAY_CHECK_TLS_CA_FILE")]
    pub check_tls_ca_file: Option<String>,
    /// Where the admin endpoint answers [default: 127.0.0.1:8432]
    #[arg(long, value_name = "IP:PORT", env = "MAINSTAY_ADMIN", value_delimiter = ',')]
    pub admin: Vec<String>,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", env = "MAINSTAY_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// auto, text or json
    #[arg(long, value_name = "FORMAT", env = "MAINSTAY_LOG_FORMAT")]
    pub log_format: Option<String>,
    /// Where the highest database epoch is remembered over restarts
    #[arg(long, value_name = "DIR", env = "MAINSTAY_STATE_DIR")]
    pub state_dir: Option<String>,
}

impl Args {
    fn flags(&self) -> Flags {
        let Self { config: _, listen, backend, check, check_user, check_password_file, check_database, .. } = self.clone();
        let Self { check_tls, check_tls_ca_file, admin, log_level, log_format, state_dir, .. } = self.clone();
        Flags {
            listen,
            backends: backend,
            check,
            check_user,
            check_password_file,
            check_database,
            check_tls,
            check_tls_ca_file,
            admin,
            log_level,
            log_format,
            state_dir,
        }
    }
}

/// Serves until a signal ends it.
pub fn run(args: &Args) -> u8 {
    let loaded = match &args.config {
        Some(file) => config::load(file, &|name| std::env::var(name).ok()),
        None => config::from_flags(&args.flags()),
    };
    match loaded {
        Ok(loaded) => serve(&loaded),
        Err(errors) => {
            let _ = write!(io::stderr(), "{errors}");
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
    let _last_lines = telemetry::init(config.log, metrics.process.log_dropped.clone());
    telemetry::count_panics(metrics.process.panics.clone());
    for warning in warnings {
        tracing::warn!(path = %warning.path, help = warning.help.as_deref(), "{}", warning.message);
    }
    // Before anything runs: a signal that comes as soon as it serves must find somebody who listens.
    let signals = match Signals::watch() {
        Ok(signals) => signals,
        Err(error) => return failed(&format!("signals cannot be watched: {error}")),
    };
    let running = match app::start_with(config, &Arc::clone(&metrics)) {
        Ok(running) => running,
        Err(error) => return failed(&error.to_string()),
    };
    if let Err(error) = signals.forward(running.stopper()) {
        return failed(&format!("the signals thread cannot be started: {error}"));
    }
    running.join()
}

fn failed(message: &str) -> u8 {
    // Not `eprintln!`, which panics when standard error cannot be written to.
    let _ = writeln!(io::stderr(), "mainstay: {message}");
    exit::FAILED
}

/// SIGTERM and SIGINT drain; a second one ends at once. SIGHUP, SIGUSR1 and SIGUSR2, which would end the process without a
/// word, only leave one in the log.
struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// From now on none of them ends the process.
    fn watch() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let context = runtime.enter();
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let hangup = signal(SignalKind::hangup())?;
        let (user1, user2) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
        drop(context);
        Ok(Self { runtime, terminate, interrupt, hangup, user1, user2 })
    }

    /// Passes them on, on a thread of its own; also those that have come meanwhile.
    fn forward(self, stopper: Stopper) -> io::Result<()> {
        let Self { runtime, mut terminate, mut interrupt, mut hangup, mut user1, mut user2 } = self;
        let forward = async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => stopper.stop(),
                    _ = interrupt.recv() => stopper.stop(),
                    _ = hangup.recv() => tracing::warn!(signal = "SIGHUP", "this version cannot reload its configuration: restart it instead"),
                    _ = user1.recv() => tracing::warn!(signal = "SIGUSR1", "this signal means nothing here"),
                    _ = user2.recv() => tracing::warn!(signal = "SIGUSR2", "this signal means nothing here"),
                }
            }
        };
        std::thread::Builder::new().name("mainstay-signals".to_owned()).spawn(move || runtime.block_on(forward))?;
        Ok(())
    }
}
