//! The log and the panic hook.
//!
//! Lines go through a bounded queue to a separate thread: a log that nobody reads must never stop the process. Lines that do not
//! fit are dropped and counted.

mod line_limit;

pub use self::line_limit::{Admitted, LineLimit};

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use prometheus::IntCounter;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::{
    config::{LogConfig, LogFormat},
    failover::label::Label,
};

/// Lines that may wait for the log.
const QUEUE: usize = 4096;

/// How long the end of the process waits for a slow log to take the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(200);

/// Sets up the process's log on standard error. Keep the returned guard until the process ends.
pub fn init(config: LogConfig, dropped: IntCounter) -> LastLines {
    let is_terminal = io::stderr().is_terminal();
    let format = match config.format {
        LogFormat::Auto if is_terminal => LogFormat::Text,
        LogFormat::Auto => LogFormat::Json,
        chosen => chosen,
    };
    let colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let filter = EnvFilter::new(format!("mainstay={}", config.level.as_str()));
    let lines = Lines::start(dropped);
    let last = LastLines(lines.0.sender.clone());
    let builder = tracing_subscriber::fmt().with_target(false);
    // A second call in one process (tests, the demo) keeps the first log.
    let _ = match format {
        LogFormat::Json => builder.with_env_filter(filter).with_writer(lines).json().flatten_event(true).try_init(),
        LogFormat::Logfmt => {
            let logfmt = tracing_logfmt::builder().with_target(false).subscriber_builder();
            logfmt.with_env_filter(filter).with_writer(lines).try_init()
        }
        LogFormat::Text | LogFormat::Auto => builder.with_env_filter(filter).with_writer(lines).with_ansi(colours).try_init(),
    };
    last
}

/// On drop, waits until earlier lines are written; not for long.
#[must_use]
#[derive(Debug)]
pub struct LastLines(SyncSender<Entry>);

impl Drop for LastLines {
    fn drop(&mut self) {
        let (tell, told) = sync_channel(1);
        // A full queue: nobody empties it.
        if self.0.try_send(Entry::Flush(tell)).is_ok() {
            let _ = told.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// Messages to the log's thread.
#[derive(Debug)]
enum Entry {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

/// Counts panics and logs them.
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
    sender: SyncSender<Entry>,
    dropped: IntCounter,
}

impl Lines {
    fn start(dropped: IntCounter) -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        let writer = move || {
            for entry in receiver {
                // Nobody is left to tell when standard error is gone, or when nobody waits for the flush.
                let _ = match entry {
                    Entry::Line(line) => io::stderr().write_all(&line),
                    Entry::Flush(tell) => tell.send(()).map_err(io::Error::other),
                };
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
        if self.queue.sender.try_send(Entry::Line(line)).is_err() {
            self.queue.dropped.inc();
        }
    }
}
