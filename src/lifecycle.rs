//! The life of the process: one phase that all planes watch, and the deadlines between phases.

use std::{io, thread, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::labels;

labels! {
    /// Phases of the process.
    pub enum Phase {
        /// Serving.
        Running = "running",
        /// Told to stop: not ready, accepts for `shutdown.delay`, then only waits for sessions to end.
        Draining = "draining",
        /// Out of time: remaining sessions are aborted.
        Forced = "forced",
        /// Ended.
        Stopped = "stopped",
    }
}

/// How long each part of a shutdown may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Accept for this long after the order to stop.
    pub delay: Duration,
    /// Sessions may go on for this long after that.
    pub timeout: Duration,
}

/// The end that changes the phase. Only `app` holds it.
#[derive(Debug)]
pub struct PhaseSender(watch::Sender<Phase>);

/// The end that all planes watch.
#[derive(Clone, Debug)]
pub struct PhaseWatch(watch::Receiver<Phase>);

/// What every plane holds of the process's life.
#[derive(Clone, Debug)]
pub struct Lifeline {
    /// The phase.
    pub phase: PhaseWatch,
    /// Cancelled when remaining sessions must end.
    pub forced: CancellationToken,
    /// Threads and tasks without which the process cannot go on.
    pub vital: Vital,
}

/// A new process: running.
pub fn begin() -> (PhaseSender, Lifeline) {
    let (tx, rx) = watch::channel(Phase::Running);
    (PhaseSender(tx), Lifeline { phase: PhaseWatch(rx), forced: CancellationToken::new(), vital: Vital::default() })
}

impl PhaseSender {
    /// Moves on to `phase`; never back.
    pub fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = phase > *now;
            if later {
                *now = phase;
            }
            later
        });
    }
}

impl PhaseWatch {
    /// The phase now.
    pub fn get(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the phase is `phase` or later. Never returns when the process cannot reach it any more.
    pub async fn reached(&mut self, phase: Phase) {
        if self.0.wait_for(|now| *now >= phase).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Threads and tasks without which the process cannot go on. When one of them panics, the whole process ends instead of going on
/// half alive.
#[derive(Clone, Debug, Default)]
pub struct Vital(CancellationToken);

impl Vital {
    /// Starts a vital thread.
    ///
    /// # Errors
    /// When the kernel refuses a thread.
    pub fn thread(&self, name: String, body: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
        let guard = self.guard();
        thread::Builder::new().name(name).spawn(move || {
            let _guard = guard;
            body();
        })
    }

    /// Makes its holder vital: a panic that drops it is fatal.
    pub fn guard(&self) -> VitalGuard {
        VitalGuard(self.0.clone())
    }

    /// Whether a vital thread or task has panicked.
    pub fn is_lost(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until a vital thread or task has panicked.
    pub async fn lost(&self) {
        self.0.cancelled().await;
    }
}

/// See [`Vital::guard`].
#[derive(Debug)]
pub struct VitalGuard(CancellationToken);

impl Drop for VitalGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vital_part_is_lost_by_a_panic_and_not_by_its_end() {
        let vital = Vital::default();
        vital.thread("well".to_owned(), || {}).unwrap().join().unwrap();
        drop(vital.guard());
        assert!(!vital.is_lost());
        assert!(vital.thread("ill".to_owned(), || panic!("on purpose")).unwrap().join().is_err());
        assert!(vital.is_lost());
    }
}
