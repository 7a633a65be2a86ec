//! A pool.

use std::{collections::HashMap, sync::Arc, time::Duration};

use serde_json::Value as Json;

use super::{
    check::{self, Check, CheckConfig},
    guard::{self, GUARD, GuardConfig},
    listener::{self, LISTENER, ListenerConfig, MAX_LISTENERS},
    promotion::{self, PROMOTION, PromotionConfig, SWITCHOVER, SwitchoverConfig},
    raw::{
        quantity::{DAY, MILLISECOND, SECOND},
        reader::KnownKeys,
    },
    resolve::{
        claims::{MAX_NAME_BYTES, is_legal_name},
        endpoint::MAX_ADDRESSES,
    },
    shape::{self, rule::Rule},
    table::{counts_from, names, schema_of, set, table},
    tree::{Tree, count, duration, number, text, word},
};
use crate::{
    failover::{Election, Policy},
    net::addr::BackendAddr,
};

/// One pool: the backends that hold one database.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolConfig {
    /// Its name.
    pub name: Arc<str>,
    /// How its backends are checked.
    pub check: CheckConfig,
    /// Deadline of a dial to a backend.
    pub connect_timeout: Duration,
    /// How new clients wait while no backend may serve.
    pub hold: HoldConfig,
    /// How fast held clients go to a backend that has just become active.
    pub connect_ramp: ConnectRamp,
    /// What happens to the sessions of a backend that goes down.
    pub on_down: OnDown,
    /// The rules of the decision.
    pub policy: Policy,
    /// How clients are moved to another node on purpose.
    pub switchover: SwitchoverConfig,
    /// How another node becomes the primary.
    pub promotion: PromotionConfig,
    /// What a backend that has changed must prove.
    pub guard: Arc<GuardConfig>,
    /// Where clients connect.
    pub listeners: Vec<ListenerConfig>,
    /// The backends, in order of preference.
    pub backends: Vec<BackendConfig>,
}

/// How new clients wait while no backend may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldConfig {
    /// How long at most.
    pub timeout: Duration,
    /// How many at most; 0 refuses at once.
    pub max: usize,
    /// How many of one client address at most, once half of the places are taken.
    pub max_per_ip: usize,
}

/// How fast held clients go to a backend that has just become active: a token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectRamp {
    /// How many in a second; `None`: no ramp.
    pub per_second: Option<u32>,
    /// How many at once.
    pub burst: u32,
}

crate::labels! {
    /// What happens to the sessions of a backend that goes down.
    pub enum OnDown {
        /// Aborted at once.
        Close = "close",
        /// Kept until the next activation.
        Keep = "keep",
    }
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendConfig {
    /// Its name; by default the host of its address.
    pub name: Arc<str>,
    /// Its address.
    pub address: BackendAddr,
    /// Sessions at most.
    pub max_connections: Option<usize>,
}

impl BackendConfig {
    /// Whether it is the same backend, perhaps with other limits: its name and its address identify it.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.name, &self.address) == (&other.name, &other.address)
    }
}

/// The keys of a backend besides its name and its address.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BackendLimits {
    pub(super) max_connections: Option<usize>,
}

pub(super) const MAX_POOLS: usize = 1024;
/// Far more nodes than any database has; positions in the list are 16-bit numbers.
pub(super) const MAX_BACKENDS: usize = 1024;
const MAX_HELD: u32 = 1_000_000;
const MAX_FAILOVERS: u32 = 1000;
const MAX_RATE: u32 = 1_000_000;
const MAX_PLACES: u32 = 1_000_000;

/// A pool of which nothing is said.
pub(super) fn plain() -> PoolConfig {
    PoolConfig {
        name: "?".into(),
        check: Check::plain().config,
        connect_timeout: 2 * SECOND,
        hold: HoldConfig { timeout: 15 * SECOND, max: 1000, max_per_ip: 100 },
        connect_ramp: ConnectRamp { per_second: None, burst: 100 },
        on_down: OnDown::Close,
        policy: Policy::default(),
        switchover: promotion::plain_switchover(),
        promotion: promotion::plain(),
        guard: Arc::new(guard::plain()),
        listeners: Vec::new(),
        backends: Vec::new(),
    }
}

/// The keys of a pool.
pub(super) const POOL_KEYS: KnownKeys =
    KnownKeys { known: &names::<_, { OWN.rows().len() + SHARED.rows().len() }>(&[OWN.rows(), SHARED.rows()]), planned: &[] };

/// The pool, in the usual order of a file: the lists at the end.
pub(super) fn print(pool: &PoolConfig) -> Tree {
    let mut own = OWN.entries(pool);
    let name = own.next();
    Tree::Map(name.into_iter().chain(SHARED.entries(pool)).chain(own).collect())
}

/// `pools` in the schema.
pub(super) fn schema() -> Json {
    let plain = plain();
    let properties = OWN.properties(&plain).into_iter().chain(SHARED.properties(&plain)).collect();
    shape::list(shape::map(properties, &OWN.required(), OWN.rules()), MAX_POOLS)
}

/// `defaults` in the schema.
pub(super) fn schema_of_defaults() -> Json {
    shape::or_null(SHARED.schema(&plain()))
}

fn backend_shape() -> Json {
    shape::any_of([shape::address::server(), BACKEND.schema(&BackendLimits::default())])
}

fn failback_shape() -> Json {
    shape::map_or_words(shape::map_of("after", "Healthy for this long.", shape::number::duration(&(SECOND..=DAY))), &["never"])
}

table! {
    /// Keys that only a pool may have.
    OWN: PoolConfig, rules &[Rule::OneOf(&["listen", "listeners"])];
    "name": elsewhere("letters, digits, `.`, `_` and `-`, at most 63", "required", |pool| Some(text(&pool.name))) is shape::name(),
        "Its name in logs, metrics and the status.";
    "listen": elsewhere("as in a listener", "required", |_| None) is shape::one_or_many(shape::address::listen(), MAX_ADDRESSES),
        "Short for one listener with the name `rw`; write this or `listeners`.";
    "listeners": elsewhere("a list of [maps](#listeners)", "required", |pool| {
        Some(pool.listeners.iter().map(|listener| LISTENER.print(listener)).collect())
    }) is shape::list(schema_of(&LISTENER, &listener::plain()), MAX_LISTENERS), "Where clients connect.";
    "backends": elsewhere(
        "a list of `HOST:PORT` or `unix:/PATH`, or of [maps](#backends)", "required",
        |pool| Some(backends(&pool.backends))
    ) is shape::list(backend_shape(), MAX_BACKENDS),
        "The backends, in order of preference. The name of a backend is its host, unless another is given.";
}

table! {
    /// Keys that `defaults` may have, too.
    SHARED: PoolConfig;
    "check": elsewhere("the name of a kind, or [a map](#check)", "tcp", |pool| {
        Some(check::print(&Check { config: pool.check.clone(), rise: pool.policy.rise, fall: pool.policy.fall }))
    }) is check::schema(), "How the backends are checked.";
    "connect_timeout": duration(connect_timeout, MILLISECOND..=DAY), "Deadline of a connect to a backend.";
    "hold": section(hold, HOLD), "How new clients wait while no backend may serve.";
    "connect_ramp": section(connect_ramp, RAMP),
        "How fast held clients go to a backend that has just become active; see [limits.md](limits.md).";
    "on_down": word(on_down), "The sessions of a backend that goes down: closed at once, or kept until another takes over.";
    "on_conflict": elsewhere("`newest`, `keep` or `refuse`", "", |pool| Some(word(pool.policy.on_conflict)))
        is shape::words_of(Policy::default().on_conflict)
        if |pool| pool.policy.election == Election::ByRole,
        "When two backends say that they are primary: the later promotion wins, the active one stays, or none serves.";
    "failback": elsewhere("`never` or `{after: 10m}`", "", |pool| {
        let after = pool.policy.failback_after.map(|after| Tree::Map(vec![("after", duration(after))]));
        Some(after.unwrap_or_else(|| text(&"never")))
    }) is failback_shape(), "With a check without roles: go back to a preferred backend that was healthy for this long.";
    "failover_budget": section(policy, BUDGET), "After this many switches mainstay stops switching.";
    "switchover": section(switchover, SWITCHOVER), "How clients are moved to another node on purpose.";
    "promotion": elsewhere("[a map](#promotion)", "see there", |pool| Some(PROMOTION.print(&pool.promotion)))
        is schema_of(&PROMOTION, &promotion::plain()),
        "Who makes another node the primary, and when; see [promotion.md](promotion.md).";
    "guard": elsewhere("[a map](#guard)", "see there", |pool| Some(GUARD.print(&pool.guard))) is schema_of(&GUARD, &guard::plain()),
        "What a backend that has changed must prove before it serves; see [proofs.md](proofs.md).";
}

table! {
    HOLD: HoldConfig;
    "timeout": duration(timeout, MILLISECOND..=DAY), "A client waits for this long at most.";
    "max": custom(
        |_| counts_from(&(0..=MAX_HELD)), "",
        |field, hold| {
            set(&mut hold.max, field.size_of(0..=MAX_HELD));
            // By default, one client alone does not keep all others out.
            hold.max_per_ip = (hold.max / 10).max(1);
        },
        |hold| Some(number(hold.max))
    ) is shape::number::count(&(0..=MAX_HELD)), "Clients that wait at the same time; 0 refuses at once.";
    "max_per_ip": custom(
        |_| counts_from(&(1..=MAX_HELD)), "",
        |field, hold| set(&mut hold.max_per_ip, field.size_of(1..=MAX_HELD)),
        |hold| Some(number(hold.max_per_ip))
    ) is shape::number::count(&(1..=MAX_HELD)),
        "The same for one client address, once half of the places are taken; by default a tenth of `max`.";
}

table! {
    RAMP: ConnectRamp;
    "per_second": custom(
        |_| format!("{}, or `off`", counts_from(&(1..=MAX_RATE))), "",
        |field, ramp| ramp.per_second = if field.is_word("off") { None } else { field.count(1..=MAX_RATE) },
        |ramp| Some(ramp.per_second.map_or_else(|| text(&"off"), count))
    ) is shape::number::count_or(&(1..=MAX_RATE), "off"), "Clients in a second, after the burst; `off` is no ramp.";
    "burst": count(burst, 1..=MAX_HELD), "Clients at once.";
}

table! {
    BACKEND: BackendLimits;
    "name": elsewhere("letters, digits, `.`, `_` and `-`, at most 63", "its host", |_| None) is shape::name(),
        "Its name in logs, metrics and the status.";
    "address": elsewhere("`HOST:PORT` or `unix:/PATH`", "required", |_| None) is shape::address::server(), "Where it is.";
    "max_connections": limit(max_connections, 1..=MAX_PLACES, "no limit"),
        "Sessions at most; further clients wait like held ones. See [limits.md](limits.md).";
}

table! {
    BUDGET: Policy;
    "max": count(budget_max, 1..=MAX_FAILOVERS), "Switches at most.";
    "within": duration(budget_within, SECOND..=DAY), "Within this time.";
}

/// Addresses alone if the names follow from them; otherwise the names, except those that can only come from an address.
fn backends(backends: &[BackendConfig]) -> Tree {
    let unnamed = backends.iter().map(|backend| (None, &backend.address)).collect::<Vec<_>>();
    let names: Vec<&Arc<str>> = backends.iter().map(|backend| &backend.name).collect();
    let follow = default_names(&unnamed).iter().eq(names);
    let one = |backend: &BackendConfig| {
        let name = (!follow && is_legal_name(&backend.name)).then(|| ("name", text(&backend.name)));
        if name.is_none() && backend.max_connections.is_none() {
            return text(&backend.address);
        }
        let limits = BackendLimits { max_connections: backend.max_connections };
        let address = ("address", text(&backend.address));
        Tree::Map(name.into_iter().chain([address]).chain(BACKEND.entries(&limits)).collect())
    };
    backends.iter().map(one).collect()
}

/// The name of every backend: the written one, else its host or its path, else (if that name is taken) its whole address.
pub(super) fn default_names(backends: &[(Option<&Arc<str>>, &BackendAddr)]) -> Vec<Arc<str>> {
    let names: Vec<Arc<str>> =
        backends.iter().map(|(name, address)| name.map_or_else(|| plain_name(address), Arc::clone)).collect();
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for name in &names {
        *uses.entry(name).or_default() += 1;
    }
    let choose = |(name, (written, address)): (&Arc<str>, &(Option<&Arc<str>>, &BackendAddr))| match written {
        None if uses.get(&**name) != Some(&1) => address.to_string().into(),
        _ => Arc::clone(name),
    };
    names.iter().zip(backends).map(choose).collect()
}

/// The host; for a path, the characters that a name may have, from its end, which is the part that differs.
fn plain_name(address: &BackendAddr) -> Arc<str> {
    let Some(path) = address.unix() else { return address.host().into() };
    let legal = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = path.to_string_lossy().trim_start_matches('/').chars().map(legal).collect();
    name[name.len().saturating_sub(MAX_NAME_BYTES)..].into()
}
