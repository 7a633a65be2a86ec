//! Pools, and `defaults`, which every pool inherits.

use std::{sync::Arc, time::Duration};

use super::{
    backend,
    check::{self, Scope},
    claims::{Claims, Names},
    exposure,
    guard::guard,
    listeners::listeners,
    promotion::promotion,
};
use crate::{
    config::{
        check::{Check, CheckConfig},
        guard::core_guard,
        listener::ListenerConfig,
        pool::{self, BackendConfig, MAX_POOLS, OnDown, POOL_KEYS, PoolConfig, SHARED},
        proxy_protocol::ProxySend,
        raw::{
            node::{Node, Value},
            quantity::{DAY, SECOND},
            reader::{Field, KnownKeys, Section},
        },
    },
    failover::{Election, OnConflict, Policy, RevokeMode},
    net::proxy_protocol::Version,
};

const FAILBACK_KEYS: KnownKeys = KnownKeys { known: &["after"], planned: &[] };

pub(super) const SMALLEST: &str =
    "the smallest one is: pools: [{name: orders, listen: \"127.0.0.1:5432\", backends: [\"db-a:5432\"]}]";

pub(super) fn pools<'a>(file: Section<'a>, claims: &mut Claims<'a>) -> Vec<PoolConfig> {
    let defaults = file.get_or_null("defaults");
    if let Some(section) = defaults.and_then(|field| field.map(SHARED.keys())) {
        // Read separately: an error in it must show even when every pool overrides the key.
        settings(section, Scope::Defaults);
    }
    let under = defaults.map(Field::node);
    let Some(pools) = file.own("pools") else {
        file.field().error("`pools` is missing", SMALLEST);
        return Vec::new();
    };
    let fields = pools.list("a list of pools", MAX_POOLS).unwrap_or_default();
    let mut names = Names::default();
    fields.into_iter().filter_map(|field| one(field, under, &mut names, claims)).collect()
}

fn one<'a>(field: Field<'a>, under: Option<&'a Node>, names: &mut Names, claims: &mut Claims<'a>) -> Option<PoolConfig> {
    let section = field.map(POOL_KEYS)?;
    let name = section.require("name", "orders").and_then(|field| names.read(field)).unwrap_or_else(|| "?".into());
    let listeners = listeners(section, claims);
    let backends = backend::backends(section, claims);
    warn_if_exposed(&listeners, &backends);
    let merged = section.over(under);
    let settings = settings(merged, Scope::Pool);
    refuse_unaddressable(section, &backends, &settings.check);
    exposure::warn_of_passwords(merged.get("check"), &backends, &settings.check.kind);
    exposure::warn_of_clients_with_tls(section, &listeners, &backends, &settings.check.kind);
    let check = CheckConfig { proxy_header: header_of_checks(&listeners), ..settings.check };
    let listeners = listeners.into_iter().map(|(listener, _)| listener).collect();
    Some(PoolConfig { name, check, listeners, backends, ..settings })
}

/// The keys that `defaults` may have, in a pool without the rest.
fn settings(section: Section<'_>, scope: Scope) -> PoolConfig {
    let Check { config, rise, fall } = check::check(section, scope);
    let mut pool = PoolConfig { check: config, ..pool::plain() };
    SHARED.read(section, &mut pool);
    pool.promotion = promotion(section, &pool.check, scope);
    pool.guard = Arc::new(guard(section, &pool.check, scope));
    let (check, plain) = (&pool.check, pool.policy);
    let election = if check.knows_roles() { Election::ByRole } else { Election::ByOrder };
    pool.policy = Policy {
        rise,
        fall,
        election,
        on_conflict: on_conflict(section, election),
        failback_after: failback(section, election, scope),
        settle: check.timeout,
        on_down: match pool.on_down {
            OnDown::Close => RevokeMode::Abort,
            OnDown::Keep => RevokeMode::Drain,
        },
        max_lag: check.max_lag(),
        max_epoch_step: check.max_epoch_step(),
        ..plain
    };
    pool.policy.promotion = pool.automatic_promotion();
    pool.policy.guard = core_guard(&pool.guard);
    pool
}

/// Without roles there is no conflict. The key is then harmless, but worth a warning when it is in the pool itself.
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

/// With roles the database decides which backend serves, so there is no failback. `failback` in `defaults` is for the other pools.
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

/// Some checks use another port than the backend's, and must know it.
fn refuse_unaddressable(section: Section<'_>, backends: &[BackendConfig], check: &CheckConfig) {
    let Some(field) = section.own("backends").filter(|_| backends.iter().any(|backend| backend.address.unix().is_some())) else {
        return;
    };
    for (message, help) in check.needs_address() {
        field.error(message, help);
    }
}

/// The header that the backends of a pool get, which its checks must send as well: version 2 if any listener sends it, since a
/// server that reads version 2 also reads version 1.
fn header_of_checks(listeners: &[(ListenerConfig, Vec<Field<'_>>)]) -> Option<Version> {
    fn sends((listener, _): &(ListenerConfig, Vec<Field<'_>>)) -> ProxySend {
        listener.proxy_protocol.send
    }
    let first = listeners.first().map(sends)?;
    let other = listeners.iter().find(|listener| sends(listener) != first);
    if let Some((listener, fields)) = other
        && let Some(field) = fields.first()
    {
        field.warning(
            format!(
                "the listeners of this pool do not agree on `proxy_protocol.send`: {first} and {}",
                listener.proxy_protocol.send
            ),
            "the same backends get both; most servers accept the header either from everybody or from nobody",
        );
    }
    let version = |wanted: ProxySend| listeners.iter().map(sends).find(|send| *send == wanted).and_then(ProxySend::version);
    version(ProxySend::V2).or_else(|| version(ProxySend::V1))
}

fn warn_if_exposed(listeners: &[(ListenerConfig, Vec<Field<'_>>)], backends: &[BackendConfig]) {
    if backends.is_empty() || !backends.iter().all(exposure::is_local) {
        return;
    }
    for (listener, fields) in listeners {
        for (_, field) in listener.listen.iter().zip(fields).filter(|(endpoint, _)| !endpoint.is_local()) {
            field.warning(
                "other machines can connect here, while every backend is reachable from this machine only",
                "this opens the database to other machines; if that is not meant, listen on 127.0.0.1",
            );
        }
    }
}
