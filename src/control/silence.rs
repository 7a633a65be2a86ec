//! Tells of probes that do not come back. Each has a deadline, so that a backend of which none has finished for much longer is not
//! watched any more, whatever keeps its prober: nobody would fail over from it. The thread may beat all the same.

use std::time::Duration;

use crate::failover::Time;

/// Looks in a row that find no probe. One alone may come before the probe when the whole process was frozen.
const LOOKS: u32 = 2;

/// How long nothing was heard of a backend, good or bad.
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

    /// Since when no probe has finished, where that is too long.
    pub(super) fn since(&self) -> Option<Time> {
        (self.looks >= LOOKS).then_some(self.last)
    }

    /// To be called once a second. For how long nothing was heard, at the moment when that has become too long.
    pub(super) fn look(&mut self, now: Time, patience: Duration) -> Option<Duration> {
        let silent = now.since(self.last);
        if silent <= patience {
            return None;
        }
        self.looks += 1;
        (self.looks == LOOKS).then_some(silent)
    }
}
