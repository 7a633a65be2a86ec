//! What happened to each pool, and what its clients felt, kept over restarts.
//!
//! It reads the state changes that control tells, and the notes of the byte path, and runs on the admin thread. Nobody waits for it:
//! no decision, no client, and no disk either, since another thread writes the files.
//!
//! | file | what it holds |
//! |---|---|
//! | [`incident`] | one incident, as it is shown and kept |
//! | [`course`] | when incidents begin and end; pure |
//! | [`draft`] | one that is open |
//! | [`words`] | state changes in words |
//! | [`log`] | the last incidents |
//! | [`availability`] | how much of the last days a backend was active |
//! | [`watched`] | one pool that is watched |

mod availability;
mod course;
mod draft;
mod incident;
mod log;
mod watched;
mod words;

use std::{
    collections::HashMap,
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use availability::Availability;
pub(crate) use course::FIRST_OUTAGE;
pub use incident::{Clients, Incident, Kind, Line, Moment, Summary};
use log::KeptIncidents;
pub use log::{IncidentLog, Place};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use watched::Follower;
pub use watched::WatchedPool;
pub(crate) use words::{is_ordered, length};

use crate::{
    lifecycle::{Phase, PhaseWatch},
    route::{Clock, EventLog},
    state::{StateFile, StateWriter},
};

/// The shortest time between two looks, however much happens.
const SHORTEST: Duration = Duration::from_millis(20);
/// Between two looks while something is under way.
const SOON: Duration = Duration::from_millis(100);
/// Between two looks when nothing happens.
const LATER: Duration = Duration::from_secs(1);
/// An open incident is written this often, besides when one begins and ends.
const WRITE: Duration = Duration::from_secs(10);

/// Makes incidents of what happens, and keeps them.
pub struct Collector {
    /// The process's clock.
    pub clock: Clock,
    /// The phase of the process.
    pub phase: PhaseWatch,
    /// What is watched; replaced when the configuration changes.
    pub pools: watch::Receiver<Arc<Vec<WatchedPool>>>,
    /// State changes of all pools.
    pub events: Arc<EventLog>,
    /// Where incidents are shown.
    pub incidents: Arc<IncidentLog>,
    /// Keeps them over a restart, if configured.
    pub state: Option<StateWriter>,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl Collector {
    /// Collects until the process ends.
    pub async fn run(self) {
        let Self { clock, mut phase, mut pools, events, incidents, state } = self;
        let mut newest = events.watch();
        let file = state.as_ref().map(StateWriter::process_file::<KeptIncidents>);
        let mut reading = earlier(state.as_ref());
        incidents.keep_in(if file.is_some() { Place::Reading } else { Place::Memory });
        let mut keeper = Keeper {
            clock,
            incidents,
            file,
            can_write: false,
            written: None,
            is_unwritten: false,
            followers: HashMap::new(),
            seen: 0,
            state,
            reads: JoinSet::new(),
        };
        loop {
            let news = newest.has_changed().unwrap_or(false);
            newest.mark_unchanged();
            let watched = Arc::clone(&pools.borrow_and_update());
            let is_pending = keeper.look(&watched, &events);
            sleep(SHORTEST).await;
            let pause = if is_pending || news { SOON } else { LATER };
            tokio::select! {
                earlier = &mut reading => {
                    reading = Box::pin(pending());
                    keeper.adopt(earlier);
                }
                Some(Ok((pool, earlier))) = keeper.reads.join_next() => {
                    keeper.adopt_availability(&pool, earlier);
                    while let Some(Ok((pool, earlier))) = keeper.reads.try_join_next() {
                        keeper.adopt_availability(&pool, earlier);
                    }
                }
                changed = pools.changed() => if changed.is_err() { return },
                _ = newest.changed() => newest.mark_changed(),
                () = phase.reached(Phase::Stopped) => return,
                () = sleep(pause) => {}
            }
        }
    }
}

type Reading = Pin<Box<dyn Future<Output = Option<KeptIncidents>> + Send>>;

/// Reads what earlier processes wrote, however long the disk takes.
fn earlier(state: Option<&StateWriter>) -> Reading {
    match state.map(StateWriter::process_file::<KeptIncidents>) {
        Some(file) => Box::pin(async move { file.read_at_last().await }),
        None => Box::pin(pending()),
    }
}

/// What was collected.
struct Keeper {
    clock: Clock,
    incidents: Arc<IncidentLog>,
    file: Option<StateFile<KeptIncidents>>,
    /// What was in the file was read.
    can_write: bool,
    written: Option<Instant>,
    is_unwritten: bool,
    followers: HashMap<Arc<str>, Follower>,
    /// The last event that was read.
    seen: u64,
    state: Option<StateWriter>,
    reads: JoinSet<(Arc<str>, Option<Availability>)>,
}

impl Keeper {
    /// Looks at every pool; whether time alone may change something.
    fn look(&mut self, pools: &[WatchedPool], events: &EventLog) -> bool {
        let now = self.clock.now();
        let names: Vec<Arc<str>> = pools.iter().map(|pool| Arc::clone(&pool.snapshot.get().pool)).collect();
        for (pool, name) in pools.iter().zip(&names) {
            let follower = self.followers.entry(Arc::clone(name));
            let follower = follower.or_insert_with(|| {
                let file = self.state.as_ref().map(|state| state.file::<Availability>(name));
                if let Some(state) = &self.state {
                    let (file, name) = (state.file::<Availability>(name), Arc::clone(name));
                    self.reads.spawn(async move { (name, file.read_at_last().await) });
                }
                Follower::new(Arc::clone(name), self.clock, pool, file)
            });
            follower.follow(pool);
        }
        // What belongs to one that the next event ends.
        self.followers.values_mut().for_each(Follower::feel);
        for event in events.since(self.seen) {
            self.seen = event.id;
            // Of a pool that has just been added: its state says the same.
            if let Some(follower) = self.followers.get_mut(&event.pool) {
                follower.course.event(&event);
            }
        }
        let mut has_turned = false;
        for (name, follower) in &mut self.followers {
            let shown = if names.contains(name) { follower.look(now, today()) } else { follower.course.removed(now) };
            for shown in shown {
                has_turned |= follower.number == 0 || shown.is_over || follower.stage != shown.incident.activated;
                follower.stage = shown.incident.activated;
                follower.number = self.incidents.show(follower.number, shown.incident);
                if shown.is_over {
                    follower.number = 0;
                }
                self.is_unwritten = true;
            }
        }
        self.followers.retain(|name, _| names.contains(name));
        if has_turned || self.written.is_none_or(|at| at.elapsed() >= WRITE) {
            self.write();
        }
        self.followers.values().any(|follower| follower.course.is_pending())
    }

    /// What earlier processes wrote is known now.
    fn adopt(&mut self, earlier: Option<KeptIncidents>) {
        let Some(earlier) = earlier else { return };
        let now = Moment::from(self.clock.wall(self.clock.now()));
        let (shift, interrupted) = self.incidents.adopt(earlier, now);
        for incident in &interrupted {
            let (number, pool) = (incident.summary.number, &*incident.summary.pool);
            tracing::warn!(
                incident = number,
                pool,
                "mainstay ended in the middle of an incident: when that was over is not known (`mainstay incident {number}`)"
            );
            self.is_unwritten = true;
        }
        for (pool, follower) in &mut self.followers {
            if follower.number > 0 {
                follower.number += shift;
            }
            if interrupted.iter().any(|incident| *incident.summary.pool == **pool) {
                follower.course.continues();
            }
        }
        self.can_write = true;
        self.incidents.keep_in(Place::StateDir);
        self.write();
    }

    fn adopt_availability(&mut self, pool: &str, earlier: Option<Availability>) {
        if let (Some(follower), Some(earlier)) = (self.followers.get_mut(pool), earlier) {
            follower.adopt(&earlier, today());
        }
    }

    fn write(&mut self) {
        if let Some(file) = self.file.as_ref().filter(|_| self.can_write && self.is_unwritten) {
            file.write(&self.incidents.kept());
            (self.written, self.is_unwritten) = (Some(Instant::now()), false);
        }
    }

    fn write_all(&mut self) {
        self.is_unwritten |= self.followers.values().any(|follower| follower.course.is_open());
        self.write();
        self.followers.values_mut().for_each(Follower::write);
    }
}

impl Drop for Keeper {
    /// The process ends.
    fn drop(&mut self) {
        self.write_all();
    }
}

/// Days since 1970, by the clock of the machine as it is set now.
fn today() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400
}
