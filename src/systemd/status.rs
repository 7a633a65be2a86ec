//! All pools in one line, as `systemctl status` shows it.

use crate::{
    failover::{Reason, escaped, label::Label},
    route::Snapshot,
};

/// Bytes of the line. systemd takes messages of 4096, and few terminals show more than this.
const LENGTH: usize = 600;

/// A pool, and how many of its clients wait.
pub(super) struct PoolState {
    pub(super) snapshot: std::sync::Arc<Snapshot>,
    pub(super) held: u64,
}

/// The state of all pools, those without an active backend first; what does not fit is counted.
pub(super) fn pools(pools: &[PoolState]) -> String {
    let serves = |pool: &&PoolState| pool.snapshot.active.is_some();
    let (well, ill): (Vec<_>, Vec<_>) = pools.iter().partition(serves);
    let mut line = String::new();
    for (before, pool) in ill.iter().chain(&well).enumerate() {
        let words = pool.words();
        if !line.is_empty() && line.len() + words.len() > LENGTH {
            let (left, of_these) = (pools.len() - before, ill.len().saturating_sub(before));
            let ill = if of_these == 0 { String::new() } else { format!(", {of_these} of them with no active backend") };
            return format!("{line}; and {left} more{ill}");
        }
        line.push_str(if line.is_empty() { "" } else { "; " });
        line.push_str(&words);
    }
    line
}

/// Sessions in words.
pub(super) fn sessions(count: u64) -> String {
    format!("{count} {}", if count == 1 { "session" } else { "sessions" })
}

impl PoolState {
    fn words(&self) -> String {
        let pool = &self.snapshot;
        let backend = |(id, backend): (usize, &crate::route::BackendView)| {
            let state = match backend.reason {
                _ if pool.active.is_some_and(|active| active.index() == id) => "active",
                Reason::Eligible => "ready",
                reason => reason.as_str(),
            };
            format!("{} {}", escaped(&backend.name), state.replace('_', " "))
        };
        let shown: Vec<String> = pool.backends.iter().take(5).enumerate().map(backend).collect();
        let more = pool.backends.len().saturating_sub(shown.len());
        let more = if more == 0 { String::new() } else { format!(", {more} more") };
        let backends = format!("{}{more}", shown.join(", "));
        let name = escaped(&pool.pool);
        let held = if self.held == 0 { "" } else { ", clients wait" };
        let paused = if pool.paused { "paused, " } else { "" };
        match pool.active {
            Some(_) => format!("{name}: {paused}{backends}{held}"),
            None => format!("{name}: {paused}no active backend ({backends}){held}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        failover::{Admin, BackendId, Facts, Health, Proof, ReadEligibility, Time},
        route::BackendView,
    };

    fn backend(name: &str, reason: Reason) -> BackendView {
        BackendView {
            name: name.into(),
            address: "x:1".into(),
            resolved: [].into(),
            health: Health::Up,
            pending: false,
            admin: Admin::Ready,
            reason,
            read_eligibility: ReadEligibility::Reader,
            proof: Proof::Proven,
            proof_what: "".into(),
            facts: Facts::default(),
            alert: None,
            alert_evidence: "".into(),
            since: Time::ZERO,
            last_probe: None,
            silent_since: None,
        }
    }

    fn pool(name: &str, is_served: bool, backends: Vec<BackendView>) -> PoolState {
        let active = is_served.then_some(BackendId(0));
        let snapshot = Snapshot { pool: name.into(), active, backends, ..Snapshot::default() };
        PoolState { snapshot: Arc::new(snapshot), held: 0 }
    }

    #[test]
    fn each_backend_has_its_word_and_what_is_ill_comes_first() {
        let well = pool("orders", true, vec![backend("db-a", Reason::Eligible), backend("db-b", Reason::Standby)]);
        assert_eq!(pools(&[well]), "orders: db-a active, db-b standby");
        let well = pool("orders", true, vec![backend("db-a", Reason::Eligible), backend("db-b", Reason::Eligible)]);
        let ill = pool("reports", false, vec![backend("db-c", Reason::Down), backend("db-d", Reason::WrongCluster)]);
        let ill = PoolState { held: 2, ..ill };
        assert_eq!(
            pools(&[well, ill]),
            "reports: no active backend (db-c down, db-d wrong cluster), clients wait; orders: db-a active, db-b ready"
        );
    }

    #[test]
    fn the_line_has_a_bound_and_no_second_line() {
        let many = |is_served| (0..100).map(move |n| pool(&format!("pool\n{n}"), is_served, vec![backend("db-a", Reason::Down)]));
        let line = pools(&many(false).chain(many(true)).collect::<Vec<_>>());
        assert!(line.len() < LENGTH + 100 && !line.contains('\n'), "{line}");
        assert!(line.ends_with(" more, 87 of them with no active backend"), "{line}");
        let backends = (0..40).map(|n| backend(&format!("db-{n}"), Reason::Standby)).collect();
        let line = pools(&[pool("orders", true, backends)]);
        assert_eq!(line, "orders: db-0 active, db-1 standby, db-2 standby, db-3 standby, db-4 standby, 35 more");
    }
}
