//! The life of the process: one phase that everybody can watch, and the deadlines between phases.

use std::{io, thread, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::labels;

labels! {
    /// Where the process stands.
    pub enum Phase {
        /// Serving.
        Running = "running",
        /// Told to stop: not ready, still accepting for `shutdown.delay`, then only finishing sessions.
        Draining = "draining",
        /// Out of time: what is left is aborted.
        Forced = "forced",
        /// Over.
        Stopped = "stopped",
    }
}

/// How long each part of a shutdown may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Keep accepting for this long after the order to stop.
    pub delay: Duration,
    /// Let sessions finish for this long after that.
    pub timeout: Duration,
}

/// The end that moves the phase on. Only `app` holds it.
#[derive(Debug)]
pub struct PhaseSender(watch::Sender<Phase>);

/// The end that everybody watches.
#[derive(Clone, Debug)]
pub struct PhaseWatch(watch::Receiver<Phase>);

/// What every plane holds of the process's life.
#[derive(Clone, Debug)]
pub struct Lifeline {
    /// Where the process stands.
    pub phase: PhaseWatch,
    /// Cancelled when what is left must end.
    pub forced: CancellationToken,
    /// What the process cannot live without.
    pub vital: Vital,
}

/// A new process: running.
pub fn begin() -> (PhaseSender, Lifeline) {
    let (tx, rx) = watch::channel(Phase::Running);
    (PhaseSender(tx), Lifeline { phase: PhaseWatch(rx), forced: CancellationToken::new(), vital: Vital::default() })
}

impl PhaseSender {
    /// Moves on to `phase`; a phase never goes back.
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

/// What the process cannot live without. When a vital thread or task panics, the whole process ends instead of going on half
/// alive.
#[derive(Clone, Debug, Default)]
pub struct Vital(CancellationToken);

impl Vital {
    /// Starts a vital thread.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub fn thread(&self, name: String, body: impl FnOnce() + Send + 'static) -> io::Result<thread::JoinHandle<()>> {
        let guard = self.guard();
        thread::Builder::new().name(name).spawn(move || {
            let _guard = guard;
            body();
        })
    }

    /// Makes whatever holds it vital: a panic that drops it is fatal.
    pub fn guard(&self) -> VitalGuard {
        VitalGuard(self.0.clone())
    }

    /// Something vital has panicked.
    pub fn is_lost(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until something vital has panicked.
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
