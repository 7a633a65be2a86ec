//! Detects probes that do not finish. Each has a deadline; a backend of which none has finished for much longer is not watched any
//! more, whatever blocks its prober: nothing would fail over from it. The thread may still beat.

use std::time::Duration;

use crate::failover::Time;

/// Polls in a row without a probe. A single one may come before the probe when the whole process was frozen.
const LOOKS: u32 = 2;

/// How long no result of a backend has arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    last: Time,
    looks: u32,
}

impl Silence {
    /// The first probe begins.
    pub(super) const fn begin(now: Time) -> Self {
        Self { last: now, looks: 0 }
    }

    /// A probe has finished.
    pub(super) const fn broken(&mut self, at: Time) {
        *self = Self::begin(at);
    }

    /// Since when no probe has finished, if that is too long.
    pub(super) fn since(&self) -> Option<Time> {
        (self.looks >= LOOKS).then_some(self.last)
    }

    /// To be called once a second. How long no result has arrived, at the moment when that becomes too long.
    pub(super) fn look(&mut self, now: Time, patience: Duration) -> Option<Duration> {
        let silent = now.since(self.last);
        if silent <= patience {
            return None;
        }
        self.looks += 1;
        (self.looks == LOOKS).then_some(silent)
    }
}
