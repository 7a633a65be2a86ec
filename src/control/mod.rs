//! The control plane: probes the backends, owns the state, decides, publishes. Its own thread and runtime, so that a busy
//! byte path never starves a check into a false failover.
//!
//! | file | what it does |
//! |---|---|
//! | [`supervisor`] | owns a pool's state; takes every event, asks the core, has its effects carried out |
//! | [`effects`] | carries out effects in order: revoke, activate, pace |
//! | [`notes`] | tells people: log lines, events, metrics |
//! | [`prober`] | runs the probes of one backend at the pace the core asks for |
//! | [`probe`] | the checks, one file a protocol |
//! | [`resolver`] | names to addresses; the last good answer is kept |
//! | [`state_file`] | remembers over restarts how far the database had come and who was active |
//! | [`heartbeat`] | tells others that this thread is alive |

mod effects;
pub mod heartbeat;
mod notes;
pub mod probe;
pub mod prober;
pub mod resolver;
mod state_file;
mod supervisor;

use std::{io, path::PathBuf, sync::Arc, thread::JoinHandle, time::Duration};

use heartbeat::Heartbeat;
use supervisor::Supervisor;
use tokio::{runtime, sync::mpsc, task::JoinSet};

use crate::{
    config::PoolConfig,
    failover::Passive,
    lifecycle::{Lifeline, Phase},
    metrics::PoolMetrics,
    route::{Clock, EventLog, PassiveReport, Publisher, ReportReceiver},
};

/// What the control plane needs to know of the process.
#[derive(Debug)]
pub struct ControlSettings {
    /// The monotonic clock.
    pub clock: Clock,
    /// The life of the process; every route ends with it.
    pub lifeline: Lifeline,
    /// What the byte path learns.
    pub reports: ReportReceiver,
    /// Where state changes are told.
    pub events: Arc<EventLog>,
    /// Where state that outlives the process is kept.
    pub state_dir: Option<PathBuf>,
    /// Beaten by this plane.
    pub heartbeat: Heartbeat,
    /// The pools.
    pub pools: Vec<PoolSettings>,
}

/// What the control plane needs to know of a pool.
#[derive(Debug)]
pub struct PoolSettings {
    /// As configured.
    pub config: PoolConfig,
    /// Where decisions go.
    pub publisher: Publisher,
    /// Its metrics.
    pub metrics: Arc<PoolMetrics>,
}

/// How old the last word of an active backend may be before new clients wait for a newer one: every probe that could have told
/// of its death has failed to finish.
pub fn max_staleness(pool: &PoolConfig) -> Duration {
    2 * (pool.check.interval + pool.check.timeout) + Duration::from_secs(1)
}

/// Starts the control thread.
///
/// # Errors
/// When a thread or a runtime cannot be made.
pub fn spawn(settings: ControlSettings) -> io::Result<JoinHandle<()>> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let vital = settings.lifeline.vital.clone();
    vital.thread("mainstay-control".to_owned(), move || {
        runtime.block_on(run(settings));
        // A name server that hangs must not hold up the end of the process.
        runtime.shutdown_background();
    })
}

async fn run(settings: ControlSettings) {
    let ControlSettings {
        clock,
        lifeline: Lifeline { mut phase, forced, vital },
        mut reports,
        events,
        state_dir,
        heartbeat,
        pools,
    } = settings;
    let mut supervisors = JoinSet::new();
    let mut inboxes = Vec::new();
    for pool in pools {
        let (inbox, receiver) = mpsc::channel(256);
        inboxes.push(inbox);
        let supervisor = Supervisor::new(pool, clock, Arc::clone(&events), state_dir.as_deref());
        let (guard, forced) = (vital.guard(), forced.clone());
        supervisors.spawn(async move {
            let _guard = guard;
            supervisor.run(receiver, forced).await;
        });
    }
    let dispatch = async {
        loop {
            let report = reports.next().await;
            if let Some(inbox) = inboxes.get(report.pool) {
                // The supervisor never waits for the byte path, so a full inbox drains by itself.
                let _ = inbox.send(report).await;
            }
        }
    };
    tokio::select! {
        () = dispatch => {}
        () = heartbeat.beat(clock) => {}
        () = phase.reached(Phase::Stopped) => {}
    }
}

/// A report belongs to the epoch it was made under; a late one says nothing of the present.
fn is_current(report: &PassiveReport, epoch: crate::failover::Epoch) -> Option<Passive> {
    (report.epoch == epoch).then_some(report.what)
}
