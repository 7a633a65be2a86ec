//! The control plane: probes the backends, owns the state, decides, publishes. It has its own thread and runtime, so that a busy
//! byte path never delays a check into a false failover.
//!
//! | file | what it does |
//! |---|---|
//! | [`supervisor`] | owns a pool's state; takes every event, asks the core, carries out its effects |
//! | [`node`] | a backend as the supervisor holds it |
//! | [`settings`] | settings of the plane |
//! | [`drain`] | ends the sessions of a gated route where nothing is under way |
//! | [`carry_out`] | what follows from a step of the core |
//! | [`operate`] | orders for an operation, and its steps as effects of the core |
//! | [`operations`] | carries out those steps on the servers |
//! | [`operation_notes`] | log lines, events and metrics of operations and orders |
//! | [`operation_text`] | what operators read about one |
//! | [`proving`] | what the pool's guard finds, for the core and for operators |
//! | [`proof_notes`] | log lines, events and metrics of that |
//! | [`guard`] | proves backends that have changed |
//! | [`reconfigure`] | a new configuration of a pool that goes on |
//! | [`follow`] | what the pool is told: another configuration, and what another process decides |
//! | [`rollback`] | the way back after a switchover or a failover, and trials |
//! | [`boundary`] | what a pause, an operation and a maintenance mean for clients |
//! | [`departure`] | ends the sessions of a backend before its maintenance |
//! | [`session_pause`] | what a pause means for sessions that have begun |
//! | [`unpromoted`] | tells why no standby is promoted, when it is time to |
//! | [`effects`] | publishes the route of the active backend |
//! | [`readers`] | publishes which backends may be read |
//! | [`reader_slot`] | a backend's place among the readers |
//! | [`orders`] | what an operator's order means here, and the answer |
//! | [`notes`] | log lines, events, metrics |
//! | [`prober`] | runs the probes of one backend at the pace the core asks for |
//! | [`promotion`] | makes another node the primary |
//! | [`probe`] | the checks, one file a protocol |
//! | [`resolver`] | names to addresses; the last good answer is kept |
//! | [`lookups`] | resolves names, on separate threads |
//! | [`memory`] | the state of a pool that survives a restart |
//! | [`state_file`] | the file of that state |
//! | [`silence`] | detects probes that do not finish |
//! | [`heartbeat`] | shows that this thread runs |

mod boundary;
mod carry_out;
mod departure;
pub mod drain;
mod effects;
mod follow;
pub mod guard;
pub mod heartbeat;
mod lookups;
mod memory;
mod node;
mod notes;
mod operate;
mod operation_notes;
mod operation_text;
mod operations;
mod orders;
pub mod probe;
pub mod prober;
pub mod promotion;
mod proof_notes;
mod proving;
mod reader_slot;
mod readers;
mod reconfigure;
pub mod resolver;
mod rollback;
mod session_pause;
mod settings;
mod silence;
mod state_file;
mod supervisor;
mod unpromoted;

use std::{
    convert::Infallible,
    io,
    sync::{Arc, mpsc::Sender},
    thread::JoinHandle,
};

use settings::{Change, Turn};
pub use settings::{ControlSettings, Lead, PoolSettings, descriptors, max_staleness};
pub use state_file::{Remembered, look as remembered};
use supervisor::Supervisor;
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{config::PoolConfig, lifecycle::Phase, metrics::PoolSeries};

/// Gives pools to the control plane.
#[derive(Clone, Debug)]
pub struct ControlHandle(mpsc::UnboundedSender<(Box<PoolSettings>, mpsc::UnboundedReceiver<Turn>)>);

impl ControlHandle {
    /// Supervises one more pool. A retired one of the same name goes on beside it until it ends.
    pub fn supervise(&self, pool: PoolSettings) -> PoolHandle {
        let (sender, receiver) = mpsc::unbounded_channel();
        // The plane has ended only when the process has.
        let _ = self.0.send((Box::new(pool), receiver));
        PoolHandle(sender)
    }
}

/// Changes a supervised pool.
#[derive(Debug)]
pub struct PoolHandle(mpsc::UnboundedSender<Turn>);

impl PoolHandle {
    /// Gives the pool another configuration. Backends that stay (same name, same address) keep their state; the kind of the check
    /// must be the same. An order that is given later finds this configuration. `shown` is dropped when the status shows it.
    pub fn configure(&self, config: PoolConfig, series: PoolSeries, shown: Sender<Infallible>) {
        let _ = self.0.send(Turn::Change(Box::new(Change { config, series, shown })));
    }

    /// From now on another process decides which backend is active: sessions with any other end, and no client goes there. `None`:
    /// this process decides again.
    pub fn follow(&self, lead: Option<Lead>) {
        let _ = self.0.send(Turn::Follow(lead));
    }

    /// What a process that takes the pool over must know; nothing comes if the pool has ended.
    pub fn remembered(&self) -> oneshot::Receiver<Remembered> {
        let (reply, told) = oneshot::channel();
        let _ = self.0.send(Turn::Tell(reply));
        told
    }
}

/// Starts the control thread, with no pools yet.
///
/// # Errors
/// When a thread or a runtime cannot be made.
pub fn spawn(settings: ControlSettings) -> io::Result<(ControlHandle, JoinHandle<()>)> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let vital = settings.lifeline.vital.clone();
    let (handle, pools) = mpsc::unbounded_channel();
    let thread = vital.thread("mainstay-control".to_owned(), move || {
        runtime.block_on(run(settings, pools));
        // A program that does not start must not delay the end of the process.
        runtime.shutdown_background();
    })?;
    Ok((ControlHandle(handle), thread))
}

async fn run(settings: ControlSettings, mut pools: mpsc::UnboundedReceiver<(Box<PoolSettings>, mpsc::UnboundedReceiver<Turn>)>) {
    let mut phase = settings.lifeline.phase.clone();
    let settings = Arc::new(settings);
    let heartbeat = settings.heartbeat.beat(settings.clock);
    tokio::pin!(heartbeat);
    let mut supervisors = JoinSet::new();
    loop {
        tokio::select! {
            Some((pool, changes)) = pools.recv() => {
                let settings = Arc::clone(&settings);
                let (guard, forced) = (settings.lifeline.vital.guard(), settings.lifeline.forced.clone());
                supervisors.spawn(async move {
                    let _guard = guard;
                    Supervisor::new(*pool, &settings).await.run(changes, forced).await;
                });
            }
            Some(_) = supervisors.join_next() => {}
            () = &mut heartbeat => {}
            () = phase.reached(Phase::Stopped) => return,
        }
    }
}
