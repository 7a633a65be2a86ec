//! One pool that is watched.

use std::{sync::Arc, time::Duration};

use super::{
    availability::Availability,
    course::{Course, Shown},
    draft::{Sight, Wall},
    incident::Moment,
};
use crate::{
    failover::Time,
    metrics::PoolMetrics,
    route::{ClientLog, Clock, SnapshotWatch},
    state::StateFile,
};

/// The availability is written this often, besides at an orderly end.
const WRITE: Duration = Duration::from_hours(1);
/// The same while no backend is active, and after.
const WRITE_SOON: Duration = Duration::from_secs(10);

/// What clients felt before an incident has begun is kept for so long: longer than any sign of it precedes it.
const BEFORE: Duration = Duration::from_mins(1);

/// The availability is brought up to date this often.
const ACCOUNT: Duration = Duration::from_millis(500);

/// A pool that is watched.
#[derive(Clone, Debug)]
pub struct WatchedPool {
    /// Its state.
    pub snapshot: SnapshotWatch,
    /// Its metrics.
    pub metrics: Arc<PoolMetrics>,
    /// What its clients feel.
    pub clients: Arc<ClientLog>,
}

/// A pool with its open incident and its availability.
pub(super) struct Follower {
    pool: WatchedPool,
    pub(super) course: Course,
    /// Of the open incident, if it was shown; 0 if not.
    pub(super) number: u64,
    /// When it was last shown, another backend was active since then.
    pub(super) stage: Option<Moment>,
    /// The last note of the byte path that was read.
    seen: u64,
    availability: Availability,
    /// Until then it was accounted, with so many seconds without an active backend.
    accounted: (Time, f64),
    file: Option<StateFile<Availability>>,
    /// What was in the file was read.
    can_write: bool,
    written: Time,
    /// Seconds without an active backend that are not written.
    unwritten: f64,
}

impl Follower {
    pub(super) fn new(name: Arc<str>, clock: Clock, pool: &WatchedPool, file: Option<StateFile<Availability>>) -> Self {
        let now = clock.now();
        Self {
            pool: pool.clone(),
            course: Course::new(name, Wall(clock), now),
            number: 0,
            stage: None,
            seen: 0,
            availability: Availability::default(),
            accounted: (now, pool.metrics.outage_seconds.get()),
            file,
            can_write: false,
            written: now,
            unwritten: 0.0,
        }
    }

    /// The pool has been configured again, perhaps as another one of the same name.
    pub(super) fn follow(&mut self, pool: &WatchedPool) {
        if !Arc::ptr_eq(&self.pool.clients, &pool.clients) {
            self.seen = 0;
        }
        if !Arc::ptr_eq(&self.pool.metrics, &pool.metrics) {
            self.accounted.1 = pool.metrics.outage_seconds.get();
        }
        self.pool = pool.clone();
    }

    /// What is to be shown now.
    pub(super) fn look(&mut self, now: Time, today: u64) -> Vec<Shown> {
        self.account(now, today);
        self.feel();
        if !self.course.is_open() {
            self.pool.clients.forget(Time::new(now.since_origin().saturating_sub(BEFORE)));
        }
        let first_served = self.course.awaited().and_then(|epoch| self.pool.clients.first_served(epoch));
        let is_active = self.pool.snapshot.get().active.is_some();
        self.course.look(now, Sight { is_active, held: self.pool.metrics.held.get(), first_served })
    }

    /// Reads what clients felt, if that belongs to an incident.
    pub(super) fn feel(&mut self) {
        if self.course.is_open() {
            let (troubles, seen) = self.pool.clients.since(self.seen);
            self.seen = seen;
            self.course.felt(&troubles);
        }
    }

    fn account(&mut self, now: Time, today: u64) {
        if now.since(self.accounted.0) < ACCOUNT {
            return;
        }
        let total = self.pool.metrics.outage_seconds.get();
        let (before, counted) = std::mem::replace(&mut self.accounted, (now, total));
        let out = (total - counted).max(0.0);
        self.availability.add(today, now.since(before).as_secs_f64(), out);
        self.unwritten += out;
        self.pool.metrics.availability.set(self.availability.ratio());
        let since = now.since(self.written);
        if since >= WRITE || (self.unwritten > 0.0 && since >= WRITE_SOON) {
            (self.written, self.unwritten) = (now, 0.0);
            self.write();
        }
    }

    /// What an earlier process saw is known now.
    pub(super) fn adopt(&mut self, earlier: &Availability, today: u64) {
        self.availability.adopt(earlier, today);
        self.can_write = true;
    }

    pub(super) fn write(&mut self) {
        if let Some(file) = self.file.as_ref().filter(|_| self.can_write) {
            file.write(&self.availability);
        }
    }
}
