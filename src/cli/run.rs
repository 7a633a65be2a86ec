//! `mainstay run`: runs the proxy.

mod args;
mod reload;
mod service;
mod upgrade;
mod watch;

use std::{
    io::{self, Write},
    sync::Arc,
};

pub use args::Args;
pub(super) use args::contradiction;
use reload::{Reload, ReloadRequests, warn};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};
use watch::FileWatch;

use super::exit;
use crate::{
    admin::{ProcessOrder, ProcessOrderReceiver, ProcessVerb},
    app::{self, Predecessor, Program, Stopper},
    config::{ContentHash, FileContent, Loaded},
    lifecycle::Deadlines,
    metrics::Metrics,
    net::inherited::Inherited,
    route::Done,
    systemd::{self, activation::PassedSocket},
    telemetry,
};

/// Serves until a signal ends it.
pub fn run(args: &Args) -> u8 {
    // Before anything else has a descriptor.
    let passed = match systemd::activation::passed(&|name| std::env::var_os(name)) {
        Ok(passed) => passed,
        Err(error) => return failed(&error),
    };
    // Named as it is now: the file may be replaced while it runs.
    let program = std::env::current_exe().map(|path| Program { path, arguments: std::env::args_os().skip(1).collect() });
    let (mut predecessor, inherited) = match Predecessor::meet() {
        Ok(found) => found.map_or_else(Default::default, |(predecessor, inherited)| (Some(predecessor), inherited)),
        Err(error) => return failed(&error.to_string()),
    };
    let written = args.written();
    let loaded = match written.load() {
        Ok(loaded) => loaded,
        Err(errors) => {
            let _ = write!(io::stderr(), "{errors}");
            if let Some(predecessor) = &mut predecessor {
                predecessor.failed(&format!("its configuration is not valid:\n{errors}"));
            }
            return exit::BAD_CONFIGURATION;
        }
    };
    let file = written.file().map(FileContent::hash);
    serve((args, program), (file, &loaded), (passed, inherited), predecessor).unwrap_or_else(|error| failed(&error))
}

fn serve(
    (args, program): (&Args, io::Result<Program>),
    (file, loaded): (Option<ContentHash>, &Loaded),
    (passed, mut inherited): (Vec<PassedSocket>, Inherited),
    mut predecessor: Option<Predecessor>,
) -> Result<u8, String> {
    let Loaded { config, warnings } = loaded;
    let metrics = app::metrics().map_err(|error| error.to_string())?;
    let _last_lines = telemetry::init(config.log, metrics.process.log_dropped.clone());
    telemetry::count_panics(metrics.process.panics.clone());
    warn(warnings);
    // Before anything runs: a signal may come as soon as mainstay serves.
    let signals = Signals::watch().map_err(|error| format!("signals cannot be watched: {error}"))?;
    if let Err(error) = systemd::activation::inherit(passed, config, &mut inherited) {
        return Ok(failed_with(exit::BAD_CONFIGURATION, &error));
    }
    let started = app::start_with(config, &metrics, &mut inherited, predecessor.as_mut());
    // What nobody has taken is closed.
    drop(inherited);
    let mut running = started.map_err(|error| {
        if let Some(predecessor) = &mut predecessor {
            predecessor.failed(&error.to_string());
        }
        error.to_string()
    })?;
    let orders = running.take_process_orders();
    let (manager, followed) = (service::manager(), service::followed(&running, config.shutdown));
    let reload = Reload {
        args: args.clone(),
        reloader: running.reloader(),
        stopper: running.stopper(),
        program,
        manager: manager.clone(),
        metrics: Arc::clone(&metrics),
        watch: file.map(|hash| FileWatch::new(config.reload.watch, hash)),
    };
    let shutdown = Shutdown { stopper: running.stopper(), deadlines: config.shutdown, metrics };
    let forwarded = reload.on_request().and_then(|requests| signals.forward(shutdown, requests, orders));
    forwarded.map_err(|error| format!("the signals thread cannot be started: {error}"))?;
    if let Some(predecessor) = predecessor {
        running.take_over(predecessor).map_err(|error| error.to_string())?;
    }
    // From here on signals and orders are obeyed, and every listener accepts: whether a backend serves already is not for `After=`,
    // since clients are held until one does.
    manager.ready();
    let follows = manager.follow(followed, service::watchdog());
    follows.map_err(|error| format!("the thread that talks to systemd cannot be started: {error}"))?;
    Ok(running.join())
}

fn failed(message: &str) -> u8 {
    failed_with(exit::FAILED, message)
}

fn failed_with(code: u8, message: &str) -> u8 {
    // Not `eprintln!`, which panics when standard error cannot be written to.
    let _ = writeln!(io::stderr(), "mainstay: {message}");
    code
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
