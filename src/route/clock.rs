//! The clock of the process.

use std::time::{Duration, Instant, SystemTime};

use crate::failover::Time;

/// The process's monotonic clock with a fixed origin, shared by the core, the byte path and the API.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    origin_wall: SystemTime,
}

impl Clock {
    /// A clock whose origin is now.
    pub fn start() -> Self {
        Self { origin: Instant::now(), origin_wall: SystemTime::now() }
    }

    /// Now.
    pub fn now(&self) -> Time {
        self.at(Instant::now())
    }

    /// A moment that was already read from the clock.
    pub fn at(&self, moment: Instant) -> Time {
        Time::new(moment.saturating_duration_since(self.origin))
    }

    /// The moment `at`, as the byte path counts.
    pub fn instant(&self, at: Time) -> Instant {
        self.origin + at.since_origin()
    }

    /// `at` on the wall clock, as it was set when the process started.
    pub fn wall(&self, at: Time) -> SystemTime {
        self.origin_wall + at.since_origin()
    }
}

/// A duration in whole milliseconds, as an atomic number holds it.
pub(super) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
