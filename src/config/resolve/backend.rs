//! The backends of a pool.

use std::sync::Arc;

use super::{
    claims::{Claims, Names, Targets},
    endpoint::backend_address,
};
use crate::{
    config::{
        pool::{BackendConfig, default_names},
        raw::{
            node::Value,
            reader::{Field, KnownKeys, Section},
        },
    },
    net::addr::BackendAddr,
};

const BACKEND_KEYS: KnownKeys = KnownKeys { known: &["name", "address"], planned: &["max_connections"] };

/// Far more nodes than any database has; positions in the list are 16-bit numbers.
const MAX_BACKENDS: usize = 1024;

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
        let (name, address) = backend(field, &mut names);
        if let Some((field, address)) = address {
            claims.backend(field, address.clone());
            targets.claim(field, &address);
            found.push((name, address));
        }
    }
    let written = found.iter().map(|(name, address)| (name.as_ref(), address)).collect::<Vec<_>>();
    let chosen = default_names(&written);
    found.into_iter().zip(chosen).map(|((_, address), name)| BackendConfig { name, address }).collect()
}

type Located<'a> = Option<(Field<'a>, BackendAddr)>;

fn backend<'a>(field: Field<'a>, names: &mut Names) -> (Option<Arc<str>>, Located<'a>) {
    if !matches!(field.value(), Value::Map(_)) {
        return (None, with_place(field));
    }
    let Some(section) = field.map(BACKEND_KEYS) else { return (None, None) };
    let name = section.get("name").and_then(|field| names.read(field));
    (name, section.require("address", "db-a:5432").and_then(with_place))
}

fn with_place(field: Field<'_>) -> Located<'_> {
    backend_address(field).map(|address| (field, address))
}
