//! Leads the process through its phases, from the order to stop to the last thread.

use std::{
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{runtime::Runtime, sync::watch};
use tokio_util::task::TaskTracker;

use crate::{
    control::heartbeat::{self, Heartbeat},
    lifecycle::{Deadlines, Lifeline, Phase, PhaseSender},
    metrics::Metrics,
    route::OlderLog,
    state::StateWriter,
};

/// For the threads to end, once everything has stopped. A thread that hangs must not keep the process.
const THREAD_PATIENCE: Duration = Duration::from_secs(5);

/// Leads the process through its phases.
pub(super) struct PhaseRunner {
    pub(super) deadlines: Deadlines,
    pub(super) phase: PhaseSender,
    pub(super) lifeline: Lifeline,
    pub(super) tasks: TaskTracker,
    pub(super) metrics: Arc<Metrics>,
    pub(super) heartbeat: Heartbeat,
    pub(super) threads: Vec<JoinHandle<()>>,
    /// They write to it until they have ended.
    pub(super) state: Option<StateWriter>,
    /// They stop with this process.
    pub(super) older: Arc<OlderLog>,
}

impl PhaseRunner {
    /// Runs to the end, on a runtime of its own. The runtime is made before the process reports that it has started, since later
    /// there may be no descriptor for it.
    pub(super) fn run(self, runtime: &Runtime, stops: watch::Receiver<u32>) -> u8 {
        let cut = runtime.block_on(async {
            tokio::select! {
                cut = self.lead(stops) => cut,
                () = self.watch() => true,
            }
        });
        let lost = self.lifeline.vital.is_lost();
        self.phase.advance(Phase::Stopped);
        runtime.block_on(end_of(self.threads));
        if let Some(state) = self.state {
            state.close();
        }
        tracing::info!("stopped");
        u8::from(lost || cut)
    }

    /// Reports, for ever, when the control thread does not run: nothing fails over then.
    async fn watch(&self) {
        let trip = || {
            self.metrics.process.watchdog_trips.inc();
            tracing::error!("the control thread gave no sign of life for {} s", heartbeat::MAX_AGE.as_secs());
        };
        self.heartbeat.watch(trip).await;
    }

    /// Until no session is left; `true` when sessions were cut.
    async fn lead(&self, mut stops: watch::Receiver<u32>) -> bool {
        tokio::select! {
            _ = stops.wait_for(|count| *count >= 1) => {}
            () = self.lifeline.vital.lost() => tracing::error!("a vital part of mainstay failed: stopping at once"),
        }
        self.phase.advance(Phase::Draining);
        let open = self.sessions();
        let Deadlines { delay, timeout } = self.deadlines;
        let (delay_ms, timeout_ms) = (delay.as_millis(), timeout.as_millis());
        tracing::info!(sessions = open, delay_ms, timeout_ms, "draining: no longer ready; send the signal again to stop at once");
        let patience = tokio::time::sleep(delay + timeout);
        let why = tokio::select! {
            // Whoever watches the newest process takes its end for that of all.
            () = async { tokio::join!(self.tasks.wait(), self.older.gone()); } => return false,
            () = patience => "the time to finish is over",
            _ = stops.wait_for(|count| *count >= 2) => "told again to stop",
            () = self.lifeline.vital.lost() => "a vital part of mainstay failed",
        };
        let cut = self.sessions();
        tracing::warn!(sessions = cut, "{why}: what is left is cut");
        self.phase.advance(Phase::Forced);
        self.lifeline.forced.cancel();
        // Long enough to deliver what the backends sent last; a client that does not read must not delay the stop.
        let _ = tokio::time::timeout(Duration::from_millis(400), self.tasks.wait()).await;
        self.tasks.close();
        cut > 0
    }

    fn sessions(&self) -> u64 {
        self.metrics.sessions()
    }
}

/// Waits for the threads, but not for one that hangs.
async fn end_of(threads: Vec<JoinHandle<()>>) {
    let deadline = Instant::now() + THREAD_PATIENCE;
    for thread in threads {
        while !thread.is_finished() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if thread.is_finished() {
            // A thread that panicked was already reported.
            let _ = thread.join();
        } else {
            tracing::error!(thread = thread.thread().name(), "a thread does not end: it is left behind");
        }
    }
}
