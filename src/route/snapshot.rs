//! A pool as it stands: what control shows to the admin plane.

use std::{sync::Arc, time::Duration};

use crate::{
    failover::{
        Admin, BackendId, Cause, Epoch, Facts, FailoverReady, Health, Outcome, Printable, ReadEligibility, Reason, Time, Verdict,
    },
    net::addresses::Addresses,
};

/// A pool as the supervisor sees it; replaced whole with each change.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The pool's name.
    pub pool: Arc<str>,
    /// The last epoch that was activated.
    pub epoch: Epoch,
    /// Who is active: position in `backends`.
    pub active: Option<BackendId>,
    /// The active backend is in doubt; new clients wait for a second opinion.
    pub suspended: bool,
    /// How the last election ended.
    pub verdict: Verdict,
    /// More than one backend claims to be primary.
    pub conflict: bool,
    /// Who would take over if the active backend died now, with the reason when nobody would.
    pub failover_ready: FailoverReady,
    /// The last change from one active backend to another, or to the same after a gap.
    pub last_failover: Option<LastFailover>,
    /// The highest database epoch that was ever served.
    pub fence: Option<u64>,
    /// The file that remembers it and the cluster over restarts.
    pub state_file: Option<Arc<str>>,
    /// Every backend, in list order.
    pub backends: Vec<BackendView>,
}

/// One failover, as it is told afterwards.
#[derive(Clone, Debug)]
pub struct LastFailover {
    /// When the new backend was activated.
    pub at: Time,
    /// Who was active before.
    pub from: Arc<str>,
    /// Who is now.
    pub to: Arc<str>,
    /// Why the old one was revoked.
    pub cause: Cause,
    /// What was seen of it.
    pub evidence: Printable,
    /// From the first sign of trouble to the revocation.
    pub detected: Duration,
    /// From the revocation to the activation: nobody was active.
    pub gap: Duration,
    /// Sessions that the revocation ended.
    pub sessions_closed: u64,
}

/// One backend as the supervisor sees it.
#[derive(Clone, Debug)]
pub struct BackendView {
    /// Its name.
    pub name: Arc<str>,
    /// As configured.
    pub address: Arc<str>,
    /// What the name stands for.
    pub resolved: Addresses,
    /// Observed health.
    pub health: Health,
    /// A verdict is pending: results differ from it, but not yet often enough.
    pub pending: bool,
    /// What it was last told to be by the operator.
    pub admin: Admin,
    /// Why it may or may not be active.
    pub reason: Reason,
    /// Why it may or may not be read.
    pub read_eligibility: ReadEligibility,
    /// What it said of itself when it last answered.
    pub facts: Facts,
    /// The check cannot do its work: `misconfigured`, `saturated`, `wrong_cluster`.
    pub alert: Option<Outcome>,
    /// What was seen when that was found.
    pub alert_evidence: Printable,
    /// Since when its health is what it is.
    pub since: Time,
    /// The last probe.
    pub last_probe: Option<LastProbe>,
    /// Since when no probe has finished, where that is far longer than a probe may take.
    pub silent_since: Option<Time>,
}

/// The last probe of a backend.
#[derive(Clone, Debug)]
pub struct LastProbe {
    /// What it found.
    pub outcome: Outcome,
    /// What it saw.
    pub evidence: Printable,
    /// When it finished.
    pub at: Time,
    /// How long it took.
    pub took: Duration,
}
