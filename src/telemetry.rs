//! The log and the panic hook.
//!
//! Lines go through a bounded queue to a thread of its own: a log nobody reads must never stop the process. What does not fit
//! is dropped and counted.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use prometheus::IntCounter;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::{
    config::{LogConfig, LogFormat},
    failover::label::Label,
};

/// Lines that may wait for the log.
const QUEUE: usize = 4096;

/// Sets up the process's log on standard error.
pub fn init(config: LogConfig, dropped: IntCounter) {
    let json = match config.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    let colours = !json && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let filter = EnvFilter::new(format!("mainstay={}", config.level.as_str()));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_target(false)
        .with_writer(Lines::start(dropped));
    // A second call in one process (tests, the demo) keeps the first log.
    let _ = if json { builder.json().flatten_event(true).try_init() } else { builder.try_init() };
}

/// Counts panics and logs them, without the payload of the data types involved.
pub fn count_panics(panics: IntCounter) {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        panics.inc();
        let thread = thread::current();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(thread = thread.name().unwrap_or("?"), %place, "panic: a fault of mainstay itself; please report it");
        previous(info);
    }));
}

#[derive(Clone)]
struct Lines(Arc<Queue>);

struct Queue {
    sender: SyncSender<Vec<u8>>,
    dropped: IntCounter,
}

impl Lines {
    fn start(dropped: IntCounter) -> Self {
        let (sender, receiver) = sync_channel::<Vec<u8>>(QUEUE);
        let writer = move || {
            for line in receiver {
                // Nobody is left to tell when standard error is gone.
                let _ = io::stderr().write_all(&line);
            }
        };
        // Without the thread every line counts as dropped.
        let _ = thread::Builder::new().name("mainstay-log".to_owned()).spawn(writer);
        Self(Arc::new(Queue { sender, dropped }))
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { queue: &self.0, bytes: Vec::new() }
    }
}

/// One line on its way.
struct Line<'a> {
    queue: &'a Queue,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = std::mem::take(&mut self.bytes);
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.queue.sender.try_send(line) {
            self.queue.dropped.inc();
        }
    }
}
