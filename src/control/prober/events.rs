//! The reports of a prober, and the channel to the supervisor.

use std::time::Duration;

use tokio::sync::mpsc;

use super::super::probe::agreement::Agreement;
use crate::{
    failover::{Passive, Printable, Report, Time},
    net::addresses::Addresses,
};

/// Tells the probers of a pool apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProberKey(pub u64);

/// A report of a prober.
#[derive(Clone, Debug)]
pub enum ProberEvent {
    /// A probe finished.
    Report {
        /// What it brought.
        report: Report,
        /// When it finished.
        at: Time,
        /// How long it took.
        took: Duration,
        /// How much later than planned it began.
        lateness: Duration,
    },
    /// The standing session broke.
    Passive(Passive),
    /// The addresses of the backend's name are known, or have changed; sent for an IP address, too. The next report is of a probe
    /// there: no client is sent to an address that was not probed.
    Resolved(Addresses),
    /// A probe ran out of time, but this process woke up too late to tell why. It is repeated at once.
    Late {
        /// How long after the deadline the process woke up.
        lateness: Duration,
    },
    /// The relation of the second opinion to the first has changed. Says nothing about the backend's health.
    SecondOpinion {
        /// How.
        agreement: Agreement,
        /// What both said.
        evidence: Printable,
    },
    /// This machine could not probe: it lacked a port, a descriptor or memory.
    NoVerdict {
        /// What was missing.
        evidence: Printable,
    },
}

/// The probers' end of the channel to the supervisor.
pub type ProberEventSender = mpsc::Sender<(ProberKey, ProberEvent)>;

/// Sends to the supervisor. Waits when it is behind; the loop notices when it is gone.
#[derive(Clone, Debug)]
pub(super) struct ProbeEvents {
    pub(super) key: ProberKey,
    pub(super) sender: ProberEventSender,
}

impl ProbeEvents {
    pub(super) async fn say(&self, event: ProberEvent) {
        // The supervisor is gone, and so is the prober's handle: the loop ends there.
        drop(self.sender.send((self.key, event)).await);
    }

    pub(super) async fn passive(&self, what: Passive) {
        self.say(ProberEvent::Passive(what)).await;
    }
}
