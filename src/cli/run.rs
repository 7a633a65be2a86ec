//! `mainstay run`: runs the proxy.

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
};

use clap::{ArgMatches, parser::ValueSource};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use super::exit;
use crate::{
    app::{self, Reloader, Stopper},
    config::{self, Diagnostic, Flags, Loaded},
    metrics::Metrics,
    reason::ReloadResult,
    telemetry,
};

/// Run the proxy: from a file, or from flags for simple use.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", env = "MAINSTAY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Where clients connect; may be repeated
    #[arg(long, value_name = "IP:PORT", env = "MAINSTAY_LISTEN", value_delimiter = ',')]
    pub listen: Vec<String>,
    /// A node of the database, in order of preference; may be repeated
    #[arg(long, value_name = "HOST:PORT", env = "MAINSTAY_BACKEND", value_delimiter = ',')]
    pub backend: Vec<String>,
    /// How backends are checked: tcp, postgres, mysql, redis or http
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
    /// PEM file with the CAs that verify-full trusts
    #[arg(long, value_name = "FILE", env = "MAINSTAY_CHECK_TLS_CA_FILE")]
    pub check_tls_ca_file: Option<String>,
    /// Address of the admin endpoint [default: 127.0.0.1:8432]
    #[arg(long, value_name = "IP:PORT", env = "MAINSTAY_ADMIN", value_delimiter = ',')]
    pub admin: Vec<String>,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", env = "MAINSTAY_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// auto, text or json
    #[arg(long, value_name = "FORMAT", env = "MAINSTAY_LOG_FORMAT")]
    pub log_format: Option<String>,
    /// Directory for the state that survives a restart
    #[arg(long, value_name = "DIR", env = "MAINSTAY_STATE_DIR")]
    pub state_dir: Option<String>,
}

/// Names arguments that contradict each other, as they were written: a file, and flags that replace it.
pub(super) fn contradiction(matches: &ArgMatches) -> Option<String> {
    let written = |id: &str, flag: &str, variable: &str| match matches.value_source(id)? {
        ValueSource::EnvVariable => Some((format!("the environment variable {variable}"), format!("unset {variable}"))),
        _ => Some((flag.to_owned(), format!("leave out {flag}"))),
    };
    let (file, _) = written("config", "--config FILE", "MAINSTAY_CONFIG")?;
    let (other, help) =
        written("listen", "--listen", "MAINSTAY_LISTEN").or_else(|| written("backend", "--backend", "MAINSTAY_BACKEND"))?;
    Some(format!("{file} and {other} cannot be used together: the file says where to listen and who the backends are; {help}"))
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

impl Args {
    fn load(&self) -> Result<Loaded, config::Errors> {
        match &self.config {
            Some(file) => config::load(file, &|name| std::env::var(name).ok()),
            None => config::from_flags(&self.flags()),
        }
    }
}

/// Serves until a signal ends it.
pub fn run(args: &Args) -> u8 {
    match args.load() {
        Ok(loaded) => serve(args, &loaded),
        Err(errors) => {
            let _ = write!(io::stderr(), "{errors}");
            exit::BAD_CONFIGURATION
        }
    }
}

fn serve(args: &Args, loaded: &Loaded) -> u8 {
    let Loaded { config, warnings } = loaded;
    let metrics = match app::metrics() {
        Ok(metrics) => metrics,
        Err(error) => return failed(&error.to_string()),
    };
    let _last_lines = telemetry::init(config.log, metrics.process.log_dropped.clone());
    telemetry::count_panics(metrics.process.panics.clone());
    warn(warnings);
    // Before anything runs: a signal may come as soon as mainstay serves.
    let signals = match Signals::watch() {
        Ok(signals) => signals,
        Err(error) => return failed(&format!("signals cannot be watched: {error}")),
    };
    let running = match app::start_with(config, &Arc::clone(&metrics)) {
        Ok(running) => running,
        Err(error) => return failed(&error.to_string()),
    };
    let reload = Reload { args: args.clone(), reloader: running.reloader(), metrics };
    if let Err(error) = reload.on_request().and_then(|requests| signals.forward(running.stopper(), requests)) {
        return failed(&format!("the signals thread cannot be started: {error}"));
    }
    running.join()
}

fn failed(message: &str) -> u8 {
    // Not `eprintln!`, which panics when standard error cannot be written to.
    let _ = writeln!(io::stderr(), "mainstay: {message}");
    exit::FAILED
}

fn warn(warnings: &[Diagnostic]) {
    for warning in warnings {
        tracing::warn!(path = %warning.path, help = warning.help.as_deref(), "{}", warning.message);
    }
}

/// Reloads the configuration on request.
struct Reload {
    args: Args,
    reloader: Reloader,
    metrics: Arc<Metrics>,
}

/// Requests a reload. Requests that come while one waits to begin are merged with it.
type ReloadRequests = SyncSender<()>;

impl Reload {
    /// Starts the reload thread: a file on a slow disk must not delay a signal to stop.
    fn on_request(self) -> io::Result<ReloadRequests> {
        let (requests, requested) = sync_channel(1);
        let reload = move || requested.iter().for_each(|()| self.once());
        std::thread::Builder::new().name("mainstay-reload".to_owned()).spawn(reload)?;
        Ok(requests)
    }

    fn once(&self) {
        let result = match self.args.load() {
            Ok(Loaded { config, warnings }) => {
                warn(&warnings);
                self.reloader.reload(&config).map_err(|error| error.to_string())
            }
            Err(errors) => Err(complain(&errors)),
        };
        let process = &self.metrics.process;
        match result {
            Ok(changes) => {
                process.reloaded(ReloadResult::Success);
                tracing::info!(%changes, "the configuration was loaded again");
            }
            Err(error) => {
                process.reloaded(ReloadResult::Failure);
                tracing::error!(%error, "the configuration was not loaded again: mainstay keeps the one in use");
            }
        }
    }
}

/// A log line for each error; returns the summary.
fn complain(errors: &config::Errors) -> String {
    for error in errors.errors() {
        let (file, line) = (&*error.origin, error.place.line());
        tracing::error!(file, line, path = %error.path, help = error.help.as_deref(), "{}", error.message);
    }
    match errors.errors().count() {
        1 => "the file has an error".to_owned(),
        count => format!("the file has {count} errors"),
    }
}

/// SIGTERM and SIGINT drain; a second one ends at once. SIGHUP reloads. SIGUSR1 and SIGUSR2, which would silently end the process,
/// are only logged.
struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// From now on none of these signals ends the process.
    fn watch() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let context = runtime.enter();
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let hangup = signal(SignalKind::hangup())?;
        let (user1, user2) = (signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?);
        drop(context);
        Ok(Self { runtime, terminate, interrupt, hangup, user1, user2 })
    }

    /// Forwards them on a separate thread, including those that came before.
    fn forward(self, stopper: Stopper, requests: ReloadRequests) -> io::Result<()> {
        let Self { runtime, mut terminate, mut interrupt, mut hangup, mut user1, mut user2 } = self;
        let forward = async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => stopper.stop(),
                    _ = interrupt.recv() => stopper.stop(),
                    _ = hangup.recv() => drop(requests.try_send(())),
                    _ = user1.recv() => tracing::warn!(signal = "SIGUSR1", "this signal has no effect"),
                    _ = user2.recv() => tracing::warn!(signal = "SIGUSR2", "this signal has no effect"),
                }
            }
        };
        std::thread::Builder::new().name("mainstay-signals".to_owned()).spawn(move || runtime.block_on(forward))?;
        Ok(())
    }
}
