//! `mainstay run`: runs the proxy.

mod upgrade;

use std::{
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
};

use clap::{ArgMatches, parser::ValueSource};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use super::exit;
use crate::{
    admin::{ProcessOrder, ProcessOrderReceiver, ProcessRefusal, ProcessVerb},
    app::{self, Changes, Predecessor, Program, Reloader, Stopper},
    config::{self, Diagnostic, Flags, Loaded},
    lifecycle::Deadlines,
    metrics::Metrics,
    net::inherited::Inherited,
    reason::ReloadResult,
    route::Done,
    telemetry,
};

/// Reloads that may wait.
const RELOADS: usize = 4;

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
    // Named as it is now: the file may be replaced while it runs.
    let program = std::env::current_exe().map(|path| Program { path, arguments: std::env::args_os().skip(1).collect() });
    let (mut predecessor, mut inherited) = match Predecessor::meet() {
        Ok(found) => found.map_or_else(Default::default, |(predecessor, inherited)| (Some(predecessor), inherited)),
        Err(error) => return failed(&error.to_string()),
    };
    let loaded = match args.load() {
        Ok(loaded) => loaded,
        Err(errors) => {
            let _ = write!(io::stderr(), "{errors}");
            if let Some(predecessor) = &mut predecessor {
                predecessor.failed(&format!("its configuration is not valid:\n{errors}"));
            }
            return exit::BAD_CONFIGURATION;
        }
    };
    let served = serve((args, program), &loaded, &mut inherited, predecessor);
    served.unwrap_or_else(|error| failed(&error))
}

fn serve(
    (args, program): (&Args, io::Result<Program>),
    loaded: &Loaded,
    inherited: &mut Inherited,
    mut predecessor: Option<Predecessor>,
) -> Result<u8, String> {
    let Loaded { config, warnings } = loaded;
    let metrics = app::metrics().map_err(|error| error.to_string())?;
    let _last_lines = telemetry::init(config.log, metrics.process.log_dropped.clone());
    telemetry::count_panics(metrics.process.panics.clone());
    warn(warnings);
    // Before anything runs: a signal may come as soon as mainstay serves.
    let signals = Signals::watch().map_err(|error| format!("signals cannot be watched: {error}"))?;
    let started = app::start_with(config, &metrics, inherited, predecessor.as_mut());
    // What nobody has taken is closed.
    *inherited = Inherited::default();
    let mut running = started.map_err(|error| {
        if let Some(predecessor) = &mut predecessor {
            predecessor.failed(&error.to_string());
        }
        error.to_string()
    })?;
    let orders = running.take_process_orders();
    let reload = Reload {
        args: args.clone(),
        reloader: running.reloader(),
        stopper: running.stopper(),
        program,
        metrics: Arc::clone(&metrics),
    };
    let shutdown = Shutdown { stopper: running.stopper(), deadlines: config.shutdown, metrics };
    let forwarded = reload.on_request().and_then(|requests| signals.forward(shutdown, requests, orders));
    forwarded.map_err(|error| format!("the signals thread cannot be started: {error}"))?;
    if let Some(predecessor) = predecessor {
        running.take_over(predecessor).map_err(|error| error.to_string())?;
    }
    Ok(running.join())
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
    stopper: Stopper,
    /// What an upgrade starts.
    program: io::Result<Program>,
    metrics: Arc<Metrics>,
}

/// Requests a reload. Signals that come while a reload waits to begin are merged with it; orders are not, since each has its answer.
#[derive(Clone)]
struct ReloadRequests {
    has_signal: Arc<AtomicBool>,
    queue: SyncSender<Option<ProcessOrder>>,
}

impl ReloadRequests {
    /// As SIGHUP asks.
    fn signal(&self) {
        self.has_signal.store(true, Ordering::Release);
        // A full queue: whatever comes out of it next finds the signal.
        let _ = self.queue.try_send(None);
    }

    /// As an operator orders.
    fn order(&self, order: ProcessOrder) {
        if let Err(TrySendError::Full(Some(order)) | TrySendError::Disconnected(Some(order))) = self.queue.try_send(Some(order)) {
            order.answer(Err(ProcessRefusal::Busy));
        }
    }
}

impl Reload {
    /// Starts the reload thread: a file on a slow disk must not delay a signal to stop.
    fn on_request(self) -> io::Result<ReloadRequests> {
        let (queue, requested) = sync_channel(RELOADS);
        let has_signal = Arc::new(AtomicBool::new(false));
        let requests = ReloadRequests { has_signal: Arc::clone(&has_signal), queue };
        let reload = move || {
            for order in requested {
                if has_signal.swap(false, Ordering::AcqRel) {
                    // Its result is in the log and in the metrics.
                    let _ = self.once();
                }
                if let Some(order) = order {
                    let (by, reason, dry_run) = (&order.by, &order.reason, order.dry_run);
                    let answer = if order.verb == ProcessVerb::Upgrade {
                        tracing::info!(%by, %reason, dry_run, "an upgrade was ordered");
                        self.upgrade(dry_run)
                    } else {
                        tracing::info!(%by, %reason, dry_run, "a reload was ordered");
                        if dry_run { self.preview() } else { self.once() }
                    };
                    order.answer(answer);
                }
            }
        };
        std::thread::Builder::new().name("mainstay-reload".to_owned()).spawn(reload)?;
        Ok(requests)
    }

    fn once(&self) -> Result<Done, ProcessRefusal> {
        let result = match self.args.load() {
            Ok(Loaded { config, warnings }) => {
                warn(&warnings);
                self.reloader.reload(&config).map(|changes| (changes, warnings)).map_err(|error| {
                    let error = error.to_string();
                    (error.clone(), ProcessRefusal::Refused(error))
                })
            }
            Err(errors) => Err((complain(&errors), ProcessRefusal::Invalid(errors))),
        };
        let process = &self.metrics.process;
        match result {
            Ok((changes, warnings)) => {
                process.reloaded(ReloadResult::Success);
                tracing::info!(%changes, "the configuration was loaded again");
                Ok(told("the configuration was loaded again", &changes, &warnings))
            }
            Err((error, refusal)) => {
                process.reloaded(ReloadResult::Failure);
                tracing::error!(%error, "the configuration was not loaded again: mainstay keeps the one in use");
                Err(refusal)
            }
        }
    }

    /// What [`Reload::once`] would do.
    fn preview(&self) -> Result<Done, ProcessRefusal> {
        let Loaded { config, warnings } = self.args.load().map_err(ProcessRefusal::Invalid)?;
        let changes = self.reloader.preview(&config).map_err(|error| ProcessRefusal::Refused(error.to_string()))?;
        Ok(told("the configuration would be loaded again", &changes, &warnings))
    }
}

fn told(what: &str, changes: &Changes, warnings: &[Diagnostic]) -> Done {
    let changes = if *changes == Changes::default() { "no differences".to_owned() } else { changes.to_string() };
    told_lines(format!("{what} ({changes})"), warnings)
}

fn told_lines(first: String, warnings: &[Diagnostic]) -> Done {
    let warnings = warnings.iter().map(|warning| format!("warning: {} ({})", warning.message, warning.path));
    Done { lines: [first].into_iter().chain(warnings).collect(), ..Done::default() }
}

/// Stops mainstay as an operator orders.
struct Shutdown {
    stopper: Stopper,
    deadlines: Deadlines,
    metrics: Arc<Metrics>,
}

impl Shutdown {
    fn order(&self, order: ProcessOrder, force: bool) {
        let sessions = self.metrics.sessions();
        let Deadlines { delay, timeout } = self.deadlines;
        let stops = if order.dry_run { "would stop" } else { "stops" };
        let clients = if delay.is_zero() { "no new clients".to_owned() } else { format!("new clients for {delay:?} more") };
        let line = match (self.stopper.is_stopping(), force) {
            (_, true) => format!("mainstay {stops} at once: sessions are cut (open: {sessions})"),
            (false, false) => {
                format!("mainstay {stops}: it takes {clients}, then sessions may go on for {timeout:?} (open: {sessions})")
            }
            (true, false) => format!("mainstay is stopping already (open sessions: {sessions}); `force` cuts them"),
        };
        let (by, reason) = (&order.by, &order.reason);
        tracing::info!(%by, %reason, force, dry_run = order.dry_run, "a shutdown was ordered");
        // A second stop, unlike a second order, cuts the sessions.
        let stops = match (order.dry_run, self.stopper.is_stopping(), force) {
            (true, ..) | (_, true, false) => 0,
            (false, false, false) | (false, true, true) => 1,
            (false, false, true) => 2,
        };
        order.answer(Ok(Done { lines: vec![line], sessions: if force { sessions } else { 0 }, operation: None }));
        (0..stops).for_each(|_| self.stopper.stop());
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

    /// Forwards them, and the orders of operators, on a separate thread, including those that came before.
    fn forward(self, shutdown: Shutdown, requests: ReloadRequests, orders: Option<ProcessOrderReceiver>) -> io::Result<()> {
        let Self { runtime, mut terminate, mut interrupt, mut hangup, mut user1, mut user2 } = self;
        let mut orders = orders;
        let forward = async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => shutdown.stopper.stop(),
                    _ = interrupt.recv() => shutdown.stopper.stop(),
                    _ = hangup.recv() => requests.signal(),
                    Some(order) = next(&mut orders) => match order.verb {
                        ProcessVerb::Reload | ProcessVerb::Upgrade => requests.order(order),
                        ProcessVerb::Shutdown { force } => shutdown.order(order, force),
                    },
                    _ = user1.recv() => tracing::warn!(signal = "SIGUSR1", "this signal has no effect"),
                    _ = user2.recv() => tracing::warn!(signal = "SIGUSR2", "this signal has no effect"),
                }
            }
        };
        std::thread::Builder::new().name("mainstay-signals".to_owned()).spawn(move || runtime.block_on(forward))?;
        Ok(())
    }
}

async fn next(orders: &mut Option<ProcessOrderReceiver>) -> Option<ProcessOrder> {
    Some(orders.as_mut()?.next().await)
}
