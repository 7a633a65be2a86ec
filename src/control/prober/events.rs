//! What a prober has to tell, and the way to the supervisor.

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

/// What a prober has to tell.
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
    /// What the backend's name stands for is known, or has changed; sent for an IP address, too. The next report is the first of a
    /// probe made there: nobody need go to an address that was not asked.
    Resolved(Addresses),
    /// A probe ran out of time, but this process woke up too late to tell whose fault it was. It is made again at once.
    Late {
        /// How long after the deadline the process woke up.
        lateness: Duration,
    },
    /// The second opinion by HTTP stands differently beside the first from now on. Says nothing of the backend's health.
    SecondOpinion {
        /// How.
        agreement: Agreement,
        /// What both said.
        evidence: Printable,
    },
    /// This process could not ask: it lacked a port, a descriptor or memory.
    NoVerdict {
        /// What was missing.
        evidence: Printable,
    },
}

/// The probers' end of the channel to the supervisor.
pub type ProberEventSender = mpsc::Sender<(ProberKey, ProberEvent)>;

/// The way to the supervisor. Waits when it is behind; its going away is noticed by the loop.
#[derive(Clone, Debug)]
pub(super) struct ProbeEvents {
    pub(super) key: ProberKey,
    pub(super) sender: ProberEventSender,
}

impl ProbeEvents {
    pub(super) async fn say(&self, event: ProberEvent) {
        // The supervisor is gone: the prober's handle is, too, and the loop ends there.
        drop(self.sender.send((self.key, event)).await);
    }

    pub(super) async fn passive(&self, what: Passive) {
        self.say(ProberEvent::Passive(what)).await;
    }
}
