//! Ctrl-C: every wait of a bench ends early, and dropping what was started does the rest.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// Between two looks at a condition that nothing is timed by.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whether the user wants to stop. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<(Mutex<bool>, Condvar)>);

impl Stop {
    /// Set by SIGINT and SIGTERM from now on.
    pub fn on_signals() -> Result<Self, Failure> {
        let stop = Self::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _context = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let set = stop.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            eprintln!("\nstopping: what was started is being ended");
            let (flag, changed) = &*set.0;
            *flag.lock().unwrap_or_else(PoisonError::into_inner) = true;
            changed.notify_all();
        })?;
        Ok(stop)
    }

    /// Does nothing for this long.
    pub fn pause(&self, length: Duration) -> Result<(), Failure> {
        let (flag, changed) = &*self.0;
        let flag = flag.lock().unwrap_or_else(PoisonError::into_inner);
        let (flag, _) = changed.wait_timeout_while(flag, length, |set| !*set).unwrap_or_else(PoisonError::into_inner);
        if *flag { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// Looks until there is something to see; `what` is awaited at most for `timeout`.
    pub fn wait<T>(&self, what: &str, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T, Failure> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(seen) = look() {
                return Ok(seen);
            }
            if Instant::now() >= deadline {
                return Err(Failure::Said(format!("waited more than {timeout:?}: {what}")));
            }
            self.pause(LOOK_EVERY)?;
        }
    }
}
