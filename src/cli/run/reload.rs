//! Loads the configuration again: by SIGHUP, by order, and when the file has changed by itself.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use super::{
    args::{Args, Written},
    watch::{FileWatch, Look},
};
use crate::{
    admin::{ProcessOrder, ProcessRefusal, ProcessVerb},
    app::{Changes, Program, Reloader, Stopper},
    config::{Diagnostic, Errors, Loaded},
    metrics::Metrics,
    reason::ReloadResult,
    route::Done,
    systemd::Manager,
};

/// Reloads that may wait.
const RELOADS: usize = 4;

/// Reloads the configuration on request.
pub(super) struct Reload {
    pub(super) args: Args,
    pub(super) reloader: Reloader,
    pub(super) stopper: Stopper,
    /// What an upgrade starts.
    pub(super) program: io::Result<Program>,
    pub(super) manager: Manager,
    pub(super) metrics: Arc<Metrics>,
    /// `None` without a file.
    pub(super) watch: Option<FileWatch>,
}

/// Requests a reload. Signals that come while a reload waits to begin are merged with it; orders are not, since each has its answer.
#[derive(Clone)]
pub(super) struct ReloadRequests {
    has_signal: Arc<AtomicBool>,
    queue: SyncSender<Option<ProcessOrder>>,
}

impl ReloadRequests {
    /// As SIGHUP asks.
    pub(super) fn signal(&self) {
        self.has_signal.store(true, Ordering::Release);
        // A full queue: whatever comes out of it next finds the signal.
        let _ = self.queue.try_send(None);
    }

    /// As an operator orders.
    pub(super) fn order(&self, order: ProcessOrder) {
        if let Err(TrySendError::Full(Some(order)) | TrySendError::Disconnected(Some(order))) = self.queue.try_send(Some(order)) {
            order.answer(Err(ProcessRefusal::Busy));
        }
    }
}

impl Reload {
    /// Starts the reload thread: a file on a slow disk must not delay a signal to stop.
    pub(super) fn on_request(mut self) -> io::Result<ReloadRequests> {
        let (queue, requested) = sync_channel(RELOADS);
        let has_signal = Arc::new(AtomicBool::new(false));
        let requests = ReloadRequests { has_signal: Arc::clone(&has_signal), queue };
        let reload = move || {
            loop {
                match self.next(&requested) {
                    Ok(order) => self.answer(&has_signal, order),
                    Err(RecvTimeoutError::Timeout) => self.look(),
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        std::thread::Builder::new().name("mainstay-reload".to_owned()).spawn(reload)?;
        Ok(requests)
    }

    fn next(&self, requested: &Receiver<Option<ProcessOrder>>) -> Result<Option<ProcessOrder>, RecvTimeoutError> {
        match self.watch.as_ref().and_then(FileWatch::pause) {
            Some(pause) => requested.recv_timeout(pause),
            None => requested.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn answer(&mut self, has_signal: &AtomicBool, order: Option<ProcessOrder>) {
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

    /// Loads the file if it has changed by itself. What is wrong with it is told once.
    fn look(&mut self) {
        if self.reloader.is_lent() {
            return;
        }
        let written = self.args.written();
        let (Some(watch), Some(file), false) = (&mut self.watch, written.file(), self.stopper.is_stopping()) else { return };
        let look = watch.look(file.hash());
        let is_new = !matches!(look, Look::Retry);
        match look {
            Look::Wait => return,
            Look::Load if file.is_readable() => {
                tracing::info!("the configuration file has changed: it is loaded without an order");
            }
            Look::Load => tracing::warn!("the configuration file can no longer be read"),
            Look::Retry => {}
        }
        // The service manager need not see that a refused file is tried again.
        let result = if is_new { self.attempt(&written) } else { self.take(&written) };
        let is_told = |refused: &Refused| {
            self.watch.as_ref().zip(refused.may_pass()).is_some_and(|(watch, refusal)| watch.is_told(&refusal))
        };
        if !result.as_ref().err().is_some_and(is_told) {
            // Its result is in the log and in the metrics.
            let _ = self.tell(&written, result);
        }
    }

    fn once(&mut self) -> Result<Done, ProcessRefusal> {
        let written = self.args.written();
        let result = self.attempt(&written);
        self.tell(&written, result)
    }

    /// Loads it, and tells the service manager when that begins and ends.
    fn attempt(&self, written: &Written) -> Result<Taken, Refused> {
        self.manager.reloading();
        let taken = self.take(written);
        self.manager.reloaded(taken.is_err());
        taken
    }

    fn take(&self, written: &Written) -> Result<Taken, Refused> {
        let Loaded { config, warnings } = written.load().map_err(Refused::Invalid)?;
        warn(&warnings);
        let changes = self.reloader.reload(&config).map_err(|error| Refused::Impossible(error.to_string()))?;
        Ok(Taken { changes, warnings, every: config.reload.watch })
    }

    /// Logs and counts a result. Later looks at the file compare with what it held.
    fn tell(&mut self, written: &Written, result: Result<Taken, Refused>) -> Result<Done, ProcessRefusal> {
        let process = &self.metrics.process;
        let watch = self.watch.as_mut().zip(written.file());
        match result {
            Ok(Taken { changes, warnings, every }) => {
                if let Some((watch, file)) = watch {
                    watch.loaded(file.hash(), every);
                }
                process.reloaded(ReloadResult::Success);
                tracing::info!(%changes, "the configuration was loaded again");
                Ok(told("the configuration was loaded again", &changes, &warnings))
            }
            Err(refused) => {
                if let Some((watch, file)) = watch {
                    watch.refused(file.hash(), refused.may_pass());
                }
                process.reloaded(ReloadResult::Failure);
                let error = refused.complain();
                tracing::error!(%error, "the configuration was not loaded again: mainstay keeps the one in use");
                Err(refused.into())
            }
        }
    }

    /// What [`Reload::once`] would do.
    fn preview(&self) -> Result<Done, ProcessRefusal> {
        let Loaded { config, warnings } = self.args.written().load().map_err(ProcessRefusal::Invalid)?;
        let changes = self.reloader.preview(&config).map_err(|error| ProcessRefusal::Refused(error.to_string()))?;
        Ok(told("the configuration would be loaded again", &changes, &warnings))
    }
}

/// A configuration that is in use now.
struct Taken {
    changes: Changes,
    warnings: Vec<Diagnostic>,
    /// Between two looks at its file.
    every: Option<Duration>,
}

/// Why one is not.
enum Refused {
    /// It has these errors.
    Invalid(Errors),
    /// It takes a restart, or an address that another process has.
    Impossible(String),
}

impl Refused {
    /// Why, if the same file may be loaded a moment later: a password file that it names may come.
    fn may_pass(&self) -> Option<String> {
        if let Self::Invalid(errors) = self { Some(errors.to_string()) } else { None }
    }

    /// A log line for each error; returns the summary.
    fn complain(&self) -> String {
        let errors = match self {
            Self::Invalid(errors) => errors,
            Self::Impossible(error) => return error.clone(),
        };
        for error in errors.errors() {
            let (file, line) = (&*error.origin, error.place.line());
            tracing::error!(file, line, path = %error.path, help = error.help.as_deref(), "{}", error.message);
        }
        match errors.errors().count() {
            1 => "the file has an error".to_owned(),
            count => format!("the file has {count} errors"),
        }
    }
}

impl From<Refused> for ProcessRefusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(errors) => Self::Invalid(errors),
            Refused::Impossible(error) => Self::Refused(error),
        }
    }
}

fn told(what: &str, changes: &Changes, warnings: &[Diagnostic]) -> Done {
    let changes = if *changes == Changes::default() { "no differences".to_owned() } else { changes.to_string() };
    told_lines(format!("{what} ({changes})"), warnings)
}

pub(super) fn told_lines(first: String, warnings: &[Diagnostic]) -> Done {
    let warnings = warnings.iter().map(|warning| format!("warning: {} ({})", warning.message, warning.path));
    Done { lines: [first].into_iter().chain(warnings).collect(), ..Done::default() }
}

/// A log line for each warning.
pub(super) fn warn(warnings: &[Diagnostic]) {
    for warning in warnings {
        tracing::warn!(path = %warning.path, help = warning.help.as_deref(), "{}", warning.message);
    }
}
