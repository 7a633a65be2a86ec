//! What `/api/v1/status` says. Fields that a newer or older mainstay does not send are left out.

use serde::Deserialize;

/// The fields of `/api/v1/status` that the table shows.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) uptime_seconds: u64,
    #[serde(default)]
    pub(super) phase: String,
    /// Older processes of an upgrade that still have clients.
    #[serde(default)]
    pub(super) older: Vec<Older>,
    pub(super) pools: Vec<Pool>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Older {
    pub(super) pid: u32,
    pub(super) version: String,
    pub(super) connections: u64,
    #[serde(default)]
    pub(super) pools: Vec<OlderPool>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct OlderPool {
    pub(super) name: String,
    pub(super) backends: Vec<OlderBackend>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct OlderBackend {
    pub(super) name: String,
    pub(super) sessions: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "the fields are the interface's")]
pub(super) struct Pool {
    pub(super) name: String,
    #[serde(default)]
    pub(super) summary: String,
    pub(super) epoch: u64,
    pub(super) active: Option<String>,
    /// New clients are held although somebody is active.
    #[serde(default)]
    pub(super) suspended: bool,
    #[serde(default)]
    pub(super) paused: bool,
    #[serde(default)]
    pub(super) conflict: bool,
    #[serde(default)]
    pub(super) held: u64,
    /// Another backend would take over.
    #[serde(default = "yes")]
    pub(super) failover_ready: bool,
    pub(super) pause_left_seconds: Option<u64>,
    pub(super) operation: Option<Operation>,
    pub(super) trial: Option<Trial>,
    #[serde(default)]
    pub(super) listeners: Vec<Listener>,
    pub(super) last_failover: Option<Failover>,
    pub(super) backends: Vec<Backend>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Operation {
    pub(super) id: u64,
    pub(super) kind: String,
    pub(super) to: String,
    pub(super) step: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Trial {
    pub(super) operation: u64,
    pub(super) until: String,
    pub(super) sentence: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Listener {
    pub(super) name: String,
    pub(super) listen: Vec<String>,
    #[serde(default = "primary")]
    pub(super) route: String,
    pub(super) connections: i64,
    pub(super) limit: Option<u64>,
    pub(super) limit_per_ip: Option<u64>,
    #[serde(default)]
    pub(super) allow: Vec<String>,
    #[serde(default)]
    pub(super) deny: Vec<String>,
    #[serde(default)]
    pub(super) proxy_protocol: ProxyProtocol,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct ProxyProtocol {
    pub(super) accept_from: Vec<String>,
    pub(super) send: String,
}

impl Listener {
    /// The access rules and PROXY settings; empty when there are none.
    pub(super) fn rules(&self) -> String {
        let networks = |what: &str, networks: &[String]| match networks.len() {
            0 => String::new(),
            1..=3 => format!(", {what} {}", networks.join(" ")),
            many => format!(", {what} {many} networks"),
        };
        let per_ip = self.limit_per_ip.map(|limit| format!(", {limit} per address")).unwrap_or_default();
        let proxy = &self.proxy_protocol;
        let send =
            if ["", "off"].contains(&proxy.send.as_str()) { String::new() } else { format!(", sends PROXY {}", proxy.send) };
        let lists = [networks("allow", &self.allow), networks("deny", &self.deny), networks("PROXY from", &proxy.accept_from)];
        per_ip + &lists.concat() + &send
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Failover {
    pub(super) at: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) cause: String,
    pub(super) evidence: String,
    pub(super) gap_ms: f64,
    pub(super) sessions_closed: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Backend {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) health: String,
    pub(super) role: String,
    #[serde(default)]
    pub(super) admin: String,
    pub(super) reason: String,
    #[serde(default)]
    pub(super) reader: bool,
    /// Its check does not work.
    pub(super) alert: Option<String>,
    #[serde(default)]
    pub(super) reader_reason: String,
    #[serde(default)]
    pub(super) proof: String,
    pub(super) proof_what: Option<String>,
    pub(super) active: bool,
    pub(super) connections: i64,
    pub(super) limit: Option<i64>,
    pub(super) lag_bytes: Option<u64>,
    pub(super) version: Option<String>,
}

fn primary() -> String {
    "primary".to_owned()
}

const fn yes() -> bool {
    true
}

/// How urgently somebody has to look at a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// Clients cannot be served, or there is more than one primary.
    Trouble,
    /// Clients are served, but not everything is as it should be.
    Warning,
    Fine,
}

impl Status {
    pub(super) fn every_pool_serves(&self) -> bool {
        self.pools.iter().all(Pool::serves)
    }

    /// The pools whose names hold `wanted`, the most urgent first, otherwise as they are configured.
    pub(super) fn by_urgency(&self, wanted: &str) -> Vec<&Pool> {
        let mut pools: Vec<&Pool> = self.pools.iter().filter(|pool| pool.name.contains(wanted)).collect();
        pools.sort_by_key(|pool| pool.urgency());
        pools
    }

    /// All but numbers that change all the time.
    pub(super) fn without_counts(&self) -> String {
        let pool = |pool: &Pool| {
            let backends: Vec<_> = pool.backends.iter().map(Backend::without_counts).collect();
            let operation = pool.operation.as_ref().map(|operation| (operation.id, &operation.step));
            let trial = pool.trial.as_ref().map(|trial| trial.operation);
            let state = (&pool.name, pool.epoch, &pool.active, pool.suspended, pool.paused, pool.conflict, pool.failover_ready);
            format!("{state:?} {operation:?} {trial:?} {backends:?}")
        };
        let pools: Vec<_> = self.pools.iter().map(pool).collect();
        format!("{} {} {pools:?}", self.version, self.phase)
    }
}

impl Pool {
    /// A pool with only listeners for readers needs no active backend.
    pub(super) fn serves(&self) -> bool {
        self.operation.is_some()
            || (self.active.is_some() && (self.paused || !self.suspended))
            || (self.is_for_reading() && self.backends.iter().any(|backend| backend.reader))
    }

    fn is_for_reading(&self) -> bool {
        !self.listeners.is_empty() && self.listeners.iter().all(|listener| listener.route != "primary")
    }

    pub(super) fn urgency(&self) -> Urgency {
        let could_fail_over = self.backends.len() < 2 || self.is_for_reading() || self.failover_ready;
        let is_calm = !self.paused && self.operation.is_none() && self.trial.is_none() && could_fail_over;
        match self.backends.iter().all(Backend::is_fine) {
            _ if !self.serves() || self.conflict => Urgency::Trouble,
            true if is_calm => Urgency::Fine,
            _ => Urgency::Warning,
        }
    }

    pub(super) fn sessions(&self) -> i64 {
        self.backends.iter().map(|backend| backend.connections).sum()
    }
}

impl Backend {
    fn is_fine(&self) -> bool {
        let is_ready = matches!(self.admin.as_str(), "" | "ready") && matches!(self.proof.as_str(), "" | "proven");
        is_ready && self.health == "up" && self.alert.is_none() && !["fenced", "starting"].contains(&self.reason.as_str())
    }

    fn without_counts(&self) -> String {
        let state = (&self.name, &self.address, &self.health, &self.role, &self.admin, &self.reason, self.active);
        format!("{state:?} {:?}", (self.reader, &self.alert, &self.proof, &self.proof_what, &self.version))
    }
}
