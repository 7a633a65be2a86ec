//! What every plane has of the process, and their settings made of it.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{error::StartError, limits::Limits};
use crate::{
    admin::{self, AdminState, Authority, HealthProblems, View},
    config::Config,
    control::{
        ControlSettings,
        heartbeat::{self, Heartbeat},
    },
    data::{DataSettings, admission::Admission},
    incidents::{Collector, IncidentLog, WatchedPool},
    lifecycle::{Lifeline, Vital},
    metrics::Metrics,
    notify::{Notifier, Setup},
    route::{Clock, EventLog, GuardLog, OlderLog, OperationLog, SessionTable},
    state::StateWriter,
};

/// What every plane has of the process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) clock: Clock,
    pub(super) lifeline: Lifeline,
    pub(super) metrics: Arc<Metrics>,
    pub(super) events: Arc<EventLog>,
    pub(super) operations: Arc<OperationLog>,
    pub(super) guards: Arc<GuardLog>,
}

impl Process {
    pub(super) fn new(lifeline: &Lifeline, metrics: &Arc<Metrics>) -> Self {
        Self {
            clock: Clock::start(),
            lifeline: lifeline.clone(),
            metrics: Arc::clone(metrics),
            events: Arc::default(),
            operations: Arc::default(),
            guards: Arc::default(),
        }
    }

    pub(super) fn data(&self, config: &Config, limits: &Limits, admission: Arc<Admission>) -> DataSettings {
        DataSettings {
            workers: limits.workers,
            busy_poll: limits.busy_poll,
            pipes: limits.budget.pipes,
            admission,
            shutdown_delay: config.shutdown.delay,
            clock: self.clock,
            lifeline: self.lifeline.clone(),
            process: Arc::clone(&self.metrics),
        }
    }

    pub(super) fn control(
        &self,
        (grace, heartbeat): (Duration, &Heartbeat),
        sessions: &[Arc<SessionTable>],
        state: Option<StateWriter>,
    ) -> ControlSettings {
        ControlSettings {
            clock: self.clock,
            lifeline: self.lifeline.clone(),
            events: Arc::clone(&self.events),
            operations: Arc::clone(&self.operations),
            guards: Arc::clone(&self.guards),
            state,
            sessions: sessions.to_vec(),
            metrics: Arc::clone(&self.metrics),
            heartbeat: heartbeat.clone(),
            grace,
        }
    }

    /// What the admin plane shows, but for sessions.
    pub(super) fn admin(
        &self,
        (authority, health): (Authority, Arc<dyn Fn() -> HealthProblems + Send + Sync>),
        (view, answering): (watch::Receiver<Arc<View>>, watch::Receiver<bool>),
        incidents: Arc<IncidentLog>,
    ) -> AdminState {
        AdminState {
            version: env!("CARGO_PKG_VERSION"),
            authority,
            clock: self.clock,
            phase: self.lifeline.phase.clone(),
            answering,
            older: Arc::new(OlderLog::new().0),
            view,
            sessions: Vec::new(),
            events: Arc::clone(&self.events),
            operations: Arc::clone(&self.operations),
            guards: Arc::clone(&self.guards),
            incidents,
            history: admin::history::History::default(),
            metrics: Arc::clone(&self.metrics),
            health,
        }
    }

    /// What runs on the admin thread besides, and where that shows incidents.
    pub(super) fn beside(
        &self,
        (setup, pools): (watch::Receiver<Arc<Setup>>, watch::Receiver<Arc<Vec<WatchedPool>>>),
        state: Option<StateWriter>,
    ) -> (Arc<IncidentLog>, Pin<Box<dyn Future<Output = ()> + Send>>) {
        let incidents = Arc::<IncidentLog>::default();
        let (clock, phase, metrics) = (self.clock, self.lifeline.phase.clone(), Arc::clone(&self.metrics));
        let events = Arc::clone(&self.events);
        let notifier = Notifier { clock, phase: phase.clone(), setup, events: Arc::clone(&events), metrics };
        let collector = Collector { clock, phase, pools, events, incidents: Arc::clone(&incidents), state };
        let both = async {
            tokio::join!(notifier.run(), collector.run());
        };
        (incidents, Box::pin(both))
    }
}

/// Faults of the process itself; never of a database.
pub(super) fn health(
    vital: &Vital,
    heartbeat: &Heartbeat,
    clock: Clock,
    state: Option<StateWriter>,
) -> Arc<dyn Fn() -> HealthProblems + Send + Sync> {
    let (vital, heartbeat) = (vital.clone(), heartbeat.clone());
    Arc::new(move || {
        let mut fatal = Vec::new();
        if vital.is_lost() {
            fatal.push("a vital thread of mainstay panicked".to_owned());
        }
        let age = heartbeat.age(clock);
        if age > heartbeat::MAX_AGE {
            fatal.push(format!("the control thread gave no sign of life for {} s", age.as_secs()));
        }
        // A restart repairs no disk, and what is lost meanwhile is only what the state file would hold.
        HealthProblems { fatal, others: state.as_ref().map(StateWriter::complaints).unwrap_or_default() }
    })
}

/// Keeps the state that survives a restart, if configured.
pub(super) fn state_writer(config: &Config, metrics: &Arc<Metrics>) -> Result<Option<StateWriter>, StartError> {
    let writer = config.state_dir.as_deref().map(|directory| StateWriter::start(directory, metrics)).transpose();
    writer.map_err(|error| StartError::thread("state", &error))
}
