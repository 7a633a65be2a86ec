//! Tells of probes that do not come back. Each has a deadline, so that a backend of which none has finished for much longer is not
//! watched any more, whatever keeps its prober: nobody would fail over from it. The thread may beat all the same.

use super::{max_staleness, supervisor::Supervisor};
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
}

impl Supervisor {
    /// To be called once a second.
    pub(super) fn listen_for_silence(&mut self) {
        let (now, patience) = (self.clock.now(), max_staleness(&self.config));
        for node in self.nodes.iter_mut().filter(|node| now.since(node.silence.last) > patience) {
            node.silence.looks += 1;
            if node.silence.looks == LOOKS {
                self.process.process.watchdog_trips.inc();
                tracing::error!(
                    pool = %self.config.name,
                    backend = %node.config.name,
                    silent_ms = u64::try_from(now.since(node.silence.last).as_millis()).unwrap_or(u64::MAX),
                    "no probe has finished in time: a failure of this backend would not be noticed"
                );
            }
        }
    }
}
