//! The backends of a pool.

use std::sync::Arc;

use super::{
    claims::{Claims, Names, Targets},
    endpoint::backend_address,
};
use crate::config::{
    pool::{BACKEND, BackendConfig, BackendLimits, MAX_BACKENDS, default_names},
    raw::{
        node::Value,
        reader::{Field, Section},
    },
};

/// The backends of a pool, in order of preference.
pub(super) fn backends<'a>(pool: Section<'a>, claims: &mut Claims<'a>) -> Vec<BackendConfig> {
    let fields = pool
        .require("backends", "[db-a:5432, db-b:5432]")
        .and_then(|field| field.list("a list of addresses", MAX_BACKENDS))
        .unwrap_or_default();
    let mut names = Names::default();
    let mut targets = Targets::default();
    let mut found = Vec::new();
    for field in fields {
        let Some((field, written, backend)) = backend(field, &mut names) else { continue };
        claims.backend(field, backend.address.clone());
        targets.claim(field, &backend.address);
        found.push((written, backend));
    }
    let written = found.iter().map(|(name, backend)| (name.as_ref(), &backend.address)).collect::<Vec<_>>();
    let chosen = default_names(&written);
    found.into_iter().zip(chosen).map(|((_, backend), name)| BackendConfig { name, ..backend }).collect()
}

/// A backend, with the place of its address and the name that is written.
type Located<'a> = Option<(Field<'a>, Option<Arc<str>>, BackendConfig)>;

fn backend<'a>(field: Field<'a>, names: &mut Names) -> Located<'a> {
    if !matches!(field.value(), Value::Map(_)) {
        return located(field, None, BackendLimits::default());
    }
    let section = field.map(BACKEND.keys())?;
    let name = section.get("name").and_then(|field| names.read(field));
    let mut limits = BackendLimits::default();
    BACKEND.read(section, &mut limits);
    section.require("address", "db-a:5432").and_then(|field| located(field, name, limits))
}

fn located(field: Field<'_>, written: Option<Arc<str>>, limits: BackendLimits) -> Located<'_> {
    let BackendLimits { max_connections } = limits;
    let backend = |address| BackendConfig { name: "?".into(), address, max_connections };
    backend_address(field).map(|address| (field, written, backend(address)))
}
