//! The control plane: probes the backends, owns the state, decides, publishes. Its own thread and runtime, so that a busy
//! byte path never starves a check into a false failover.
//!
//! | file | what it does |
//! |---|---|
//! | [`supervisor`] | owns a pool's state; takes every event, asks the core, has its effects carried out |
//! | [`node`] | a backend as the supervisor holds it |
//! | [`settings`] | what the plane is given |
//! | [`effects`] | publishes the route of the active backend |
//! | [`readers`] | publishes who may be read |
//! | [`reader_slot`] | a backend's place among the readers |
//! | [`notes`] | tells people: log lines, events, metrics |
//! | [`prober`] | runs the probes of one backend at the pace the core asks for |
//! | [`probe`] | the checks, one file a protocol |
//! | [`resolver`] | names to addresses; the last good answer is kept |
//! | [`lookups`] | asks the system for the addresses of names, on threads of its own |
//! | [`memory`] | what a pool remembers over restarts |
//! | [`state_file`] | remembers over restarts how far the database had come and who was active |
//! | [`state_writer`] | reads and writes those files, on a thread of its own |
//! | [`silence`] | tells of probes that do not come back |
//! | [`heartbeat`] | tells others that this thread is alive |

mod effects;
pub mod heartbeat;
mod lookups;
mod memory;
mod node;
mod notes;
pub mod probe;
pub mod prober;
mod reader_slot;
mod readers;
pub mod resolver;
mod settings;
mod silence;
mod state_file;
pub mod state_writer;
mod supervisor;

use std::{collections::HashMap, io, sync::Arc, thread::JoinHandle};

use settings::Change;
pub use settings::{ControlSettings, PoolSettings, max_staleness};
pub use state_file::{Remembered, look as remembered};
use supervisor::Supervisor;
use tokio::{runtime, sync::mpsc, task::JoinSet};

use crate::{config::PoolConfig, lifecycle::Phase, metrics::PoolSeries};

/// Orders to the control plane.
#[derive(Clone, Debug)]
pub struct ControlHandle(mpsc::UnboundedSender<Order>);

#[derive(Debug)]
enum Order {
    Supervise(Box<PoolSettings>),
    Configure(Box<Change>),
}

impl ControlHandle {
    /// Supervises one more pool. One of the same name that is retired goes on beside it until it ends.
    pub fn supervise(&self, pool: PoolSettings) {
        // The plane has ended only when the process has.
        let _ = self.0.send(Order::Supervise(Box::new(pool)));
    }

    /// Supervises a pool in another configuration. Backends that stay (same name, same address) keep everything that is known of
    /// them; the kind of the check must be the same.
    pub fn configure(&self, config: PoolConfig, series: PoolSeries) {
        let _ = self.0.send(Order::Configure(Box::new(Change { config, series })));
    }
}

/// Starts the control thread, with no pools yet.
///
/// # Errors
/// When a thread or a runtime cannot be made.
pub fn spawn(settings: ControlSettings) -> io::Result<(ControlHandle, JoinHandle<()>)> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (vital, state) = (settings.lifeline.vital.clone(), settings.state.clone());
    let (handle, orders) = mpsc::unbounded_channel();
    let thread = vital.thread("mainstay-control".to_owned(), move || {
        runtime.block_on(run(settings, orders));
        // A program that does not start must not hold up the end of the process.
        runtime.shutdown_background();
        if let Some(state) = state {
            state.close();
        }
    })?;
    Ok((ControlHandle(handle), thread))
}

async fn run(settings: ControlSettings, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut phase = settings.lifeline.phase.clone();
    let settings = Arc::new(settings);
    let heartbeat = settings.heartbeat.beat(settings.clock);
    tokio::pin!(heartbeat);
    let mut supervisors = JoinSet::new();
    let mut changes: HashMap<Arc<str>, mpsc::UnboundedSender<Change>> = HashMap::new();
    loop {
        tokio::select! {
            Some(order) = orders.recv() => match order {
                Order::Supervise(pool) => {
                    let (sender, receiver) = mpsc::unbounded_channel();
                    changes.insert(Arc::clone(&pool.config.name), sender);
                    let settings = Arc::clone(&settings);
                    let (guard, forced) = (settings.lifeline.vital.guard(), settings.lifeline.forced.clone());
                    supervisors.spawn(async move {
                        let _guard = guard;
                        Supervisor::new(*pool, &settings).await.run(receiver, forced).await;
                    });
                }
                Order::Configure(change) => {
                    if let Some(supervisor) = changes.get(&change.config.name) {
                        let _ = supervisor.send(*change);
                    }
                }
            },
            Some(_) = supervisors.join_next() => {}
            () = &mut heartbeat => {}
            () = phase.reached(Phase::Stopped) => return,
        }
    }
}
