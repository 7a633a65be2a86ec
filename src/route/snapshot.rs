//! The state of a pool, as control shows it to the admin plane.

use std::{sync::Arc, time::Duration};

use crate::{
    failover::{
        Admin, BackendId, Cause, Epoch, Facts, FailoverReady, Health, OperationKind, Outcome, Printable, Proof, ReadEligibility,
        Reason, Time, Verdict,
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
    /// The active backend: its position in `backends`.
    pub active: Option<BackendId>,
    /// The active backend is in doubt, and new clients wait for a new login; or the pool is paused.
    pub suspended: bool,
    /// New clients are held by command, whether a backend is active or not.
    pub paused: bool,
    /// When that ends by itself.
    pub paused_until: Option<Time>,
    /// The operation that is under way: clients are to wait for its end.
    pub operation: Option<OperationKind>,
    /// The result of the last election.
    pub verdict: Verdict,
    /// More than one backend says that it is the primary.
    pub conflict: bool,
    /// Which backend would take over if the active one died now, or why none would.
    pub failover_ready: FailoverReady,
    /// The last change from one active backend to another, or to the same after a gap.
    pub last_failover: Option<LastFailover>,
    /// The highest database epoch that was ever served.
    pub fence: Option<u64>,
    /// The file in which these and the cluster survive a restart.
    pub state_file: Option<Arc<str>>,
    /// Every backend, in list order.
    pub backends: Vec<BackendView>,
}

/// One failover, for reports.
#[derive(Clone, Debug)]
pub struct LastFailover {
    /// When the new backend was activated.
    pub at: Time,
    /// The backend that was active before.
    pub from: Arc<str>,
    /// The backend that is active now.
    pub to: Arc<str>,
    /// Why the old one was revoked.
    pub cause: Cause,
    /// The evidence.
    pub evidence: Printable,
    /// From the first sign of trouble to the revocation.
    pub detected: Duration,
    /// From the revocation to the activation, while no backend was active.
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
    /// The addresses of its name.
    pub resolved: Addresses,
    /// Observed health.
    pub health: Health,
    /// A change of health is pending: results differ from it, but not yet often enough.
    pub pending: bool,
    /// The operator's command.
    pub admin: Admin,
    /// Why it may or may not be active.
    pub reason: Reason,
    /// Why it may or may not be read.
    pub read_eligibility: ReadEligibility,
    /// Whether it has proven itself since it last changed.
    pub proof: Proof,
    /// What is said of that.
    pub proof_what: Printable,
    /// What it reported when it last answered.
    pub facts: Facts,
    /// The check does not work: `misconfigured`, `saturated`, `wrong_cluster`.
    pub alert: Option<Outcome>,
    /// The evidence for that.
    pub alert_evidence: Printable,
    /// Since when its health has not changed.
    pub since: Time,
    /// The last probe.
    pub last_probe: Option<LastProbe>,
    /// Since when no probe has finished, if that is far longer than a probe may take.
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
