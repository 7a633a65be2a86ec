//! Pools, and `defaults`, which lies beneath every pool.

use std::time::Duration;

use super::{
    DAY, MILLISECOND, SECOND, SMALLEST, backend,
    check::{self, Scope},
    claims::{Claims, Names},
    doors, listener, strangers,
};
use crate::{
    config::{
        BackendConfig, CheckConfig, CheckKind, HoldConfig, ListenerConfig, OnDown, PoolConfig,
        raw::{
            node::{Node, Value},
            reader::{Field, Keys, Section},
        },
    },
    failover::{Election, OnConflict, Policy, RevokeMode},
};

const POOL_KEYS: Keys = Keys {
    known: &[
        "name",
        "listen",
        "listeners",
        "backends",
        "check",
        "connect_timeout",
        "hold",
        "on_down",
        "on_conflict",
        "failback",
        "failover_budget",
    ],
    planned: &[],
};
const DEFAULTS_KEYS: Keys =
    Keys { known: &["check", "connect_timeout", "hold", "on_down", "on_conflict", "failback", "failover_budget"], planned: &[] };
const HOLD_KEYS: Keys = Keys { known: &["timeout", "max", "max_per_ip"], planned: &[] };
const FAILBACK_KEYS: Keys = Keys { known: &["after"], planned: &[] };
const BUDGET_KEYS: Keys = Keys { known: &["max", "within"], planned: &[] };

const MAX_POOLS: usize = 1024;
const MAX_HELD: u32 = 1_000_000;
const MAX_STREAK: u32 = 100;
const MAX_FAILOVERS: u32 = 1000;

/// All pools of the file.
pub(super) fn pools<'a>(file: Section<'a>, claims: &mut Claims<'a>) -> Vec<PoolConfig> {
    let defaults = file.get_or_null("defaults");
    if let Some(section) = defaults.and_then(|field| field.map(DEFAULTS_KEYS)) {
        // Read for its own sake: an error in it must show even when every pool overrides the key.
        settings(section, Scope::Defaults);
    }
    let under = defaults.map(Field::node);
    let Some(pools) = file.own("pools") else {
        file.field().error("`pools` is missing", SMALLEST);
        return Vec::new();
    };
    let fields = pools.list("a list of pools", MAX_POOLS).unwrap_or_default();
    let mut names = Names::default();
    fields.into_iter().filter_map(|field| pool(field, under, &mut names, claims)).collect()
}

fn pool<'a>(field: Field<'a>, under: Option<&'a Node>, names: &mut Names, claims: &mut Claims<'a>) -> Option<PoolConfig> {
    let section = field.map(POOL_KEYS)?;
    let name = section.require("name", "orders").and_then(|field| names.read(field)).unwrap_or_else(|| "?".into());
    let listeners = listener::listeners(section, claims);
    let backends = backend::backends(section, claims);
    warn_if_exposed(&listeners, &backends);
    let merged = section.over(under);
    let settings = settings(merged, Scope::Pool);
    refuse_unaddressable(section, &backends, &settings.check);
    strangers::warn_of_passwords(merged.get("check"), &backends, &settings.check.kind);
    strangers::warn_of_clients_with_tls(section, &listeners, &backends, &settings.check.kind);
    Some(PoolConfig {
        name,
        check: CheckConfig { proxy_header: doors::header_of_checks(&listeners), ..settings.check },
        connect_timeout: settings.connect_timeout,
        hold: settings.hold,
        on_down: settings.on_down,
        policy: settings.policy,
        listeners: listeners.into_iter().map(|(listener, _)| listener).collect(),
        backends,
    })
}

/// What `defaults` may hold.
struct Settings {
    check: CheckConfig,
    connect_timeout: Duration,
    hold: HoldConfig,
    on_down: OnDown,
    policy: Policy,
}

fn settings(section: Section<'_>, scope: Scope) -> Settings {
    let check::Check { config: check, rise, fall } = check::check(section, scope, 1..=MAX_STREAK);
    let on_down = section.word("on_down", OnDown::Close);
    let plain = Policy::default();
    let election = if check.knows_roles() { Election::ByRole } else { Election::ByOrder };
    let (budget_max, budget_within) = budget(section, &plain);
    let policy = Policy {
        rise,
        fall,
        election,
        on_conflict: on_conflict(section, election),
        failback_after: failback(section, election, scope),
        budget_max,
        budget_within,
        settle: check.timeout,
        on_down: match on_down {
            OnDown::Close => RevokeMode::Abort,
            OnDown::Keep => RevokeMode::Drain,
        },
        max_lag: check.max_lag(),
        max_epoch_step: check.max_epoch_step(),
        ..plain
    };
    let connect_timeout = section.duration("connect_timeout", 2 * SECOND, MILLISECOND..=DAY);
    Settings { check, connect_timeout, hold: hold(section), on_down, policy }
}

fn hold(section: Section<'_>) -> HoldConfig {
    let hold = section.get("hold").and_then(|field| field.map(HOLD_KEYS));
    let timeout = hold.map_or(15 * SECOND, |hold| hold.duration("timeout", 15 * SECOND, MILLISECOND..=DAY));
    let max = hold.map_or(1000, |hold| hold.count("max", 1000, 0..=MAX_HELD));
    // By default, one client alone does not keep all others out.
    let share = (max / 10).max(1);
    let max_per_ip = hold.map_or(share, |hold| hold.count("max_per_ip", share, 1..=MAX_HELD));
    let places = |count| usize::try_from(count).unwrap_or(usize::MAX);
    HoldConfig { timeout, max: places(max), max_per_ip: places(max_per_ip) }
}

/// Without roles there is no conflict; the key is then harmless, and worth a word when it stands in the pool itself.
fn on_conflict(section: Section<'_>, election: Election) -> OnConflict {
    let chosen = section.word("on_conflict", OnConflict::Newest);
    if election == Election::ByRole {
        return chosen;
    }
    if let Some(field) = section.own("on_conflict").filter(|_| section.own("check").is_some()) {
        field.warning(
            "`on_conflict` has no effect here",
            "this check cannot tell who is primary; use one that can, such as `check: postgres`",
        );
    }
    OnConflict::Newest
}

/// With roles the database decides who serves, so going back to a preferred backend is not mainstay's to do. What `defaults`
/// says is for the pools that can.
fn failback(section: Section<'_>, election: Election, scope: Scope) -> Option<Duration> {
    let field = section.get("failback")?;
    if field.is_word("never") {
        return None;
    }
    if !matches!(field.value(), Value::Map(_)) {
        return field.wrong("`never` or {after: 10m}", None);
    }
    let after = field.map(FAILBACK_KEYS)?.require("after", "10m").and_then(|field| field.duration(SECOND..=DAY));
    if election == Election::ByOrder {
        return after;
    }
    if let Some(field) = section.own("failback").filter(|_| scope == Scope::Pool) {
        field.error(
            "`failback` cannot be combined with a check that knows the role of each backend",
            "the database says who is primary, and mainstay follows; remove the key",
        );
    }
    None
}

fn budget(section: Section<'_>, plain: &Policy) -> (u32, Duration) {
    let budget = section.get("failover_budget").and_then(|field| field.map(BUDGET_KEYS));
    let max = budget.map_or(plain.budget_max, |budget| budget.count("max", plain.budget_max, 1..=MAX_FAILOVERS));
    let within = budget.map_or(plain.budget_within, |budget| budget.duration("within", plain.budget_within, SECOND..=DAY));
    (max, within)
}

/// Some checks ask elsewhere than at the backend's own door, and need to know where.
fn refuse_unaddressable(section: Section<'_>, backends: &[BackendConfig], check: &CheckConfig) {
    let Some(field) = section.own("backends").filter(|_| backends.iter().any(|backend| backend.address.unix().is_some())) else {
        return;
    };
    let http = match &check.kind {
        CheckKind::Http(http) => Some(http),
        _ => check.second.as_ref(),
    };
    if http.is_some_and(|http| http.port.is_none()) {
        field.error(
            "the check `http` needs a port, and a unix socket has none",
            "write the port, as in `http: {port: 8008}`: it is asked at 127.0.0.1",
        );
    }
    if matches!(&check.kind, CheckKind::Redis(redis) if redis.sentinels.is_some()) {
        field.error(
            "Sentinels name a server by its address and port, and a unix socket has neither",
            "give the backends by host:port, or remove `sentinels`",
        );
    }
}

fn warn_if_exposed(listeners: &[(ListenerConfig, Vec<Field<'_>>)], backends: &[BackendConfig]) {
    if backends.is_empty() || !backends.iter().all(strangers::is_local) {
        return;
    }
    for (listener, fields) in listeners {
        for (_, field) in listener.listen.iter().zip(fields).filter(|(endpoint, _)| !endpoint.is_local()) {
            field.warning(
                "other machines can connect here, while every backend is reachable from this machine only",
                "this opens a database that was closed so far; if that is not meant, listen on 127.0.0.1",
            );
        }
    }
}
