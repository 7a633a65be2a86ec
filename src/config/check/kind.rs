//! What a kind of check is to the configuration.

use std::fmt::Debug;

use serde_json::Value as Json;

use crate::{
    config::{
        raw::reader::{Field, Section},
        shape,
        table::Table,
    },
    failover::MaxLag,
    wire::Protocol,
};

/// The keys of a kind of check.
pub(in crate::config) trait KindKeys: Kind + Default + 'static {
    /// Its section.
    const KEYS: Table<Self>;

    /// It keeps a session between two probes.
    const LOGS_IN: bool = true;

    /// It cannot do without its section.
    const NEEDS_SECTION: bool = false;

    /// Its section in the schema.
    fn schema() -> Json {
        shape::or_null(Self::KEYS.schema(&Self::default()))
    }

    /// The check as its section says. A section that is missing altogether is an error of `check`, when the kind needs one.
    fn read(section: Option<Field<'_>>, _check: Field<'_>) -> Self {
        let section = section.and_then(Field::or_beneath).and_then(|field| field.map(Self::KEYS.keys()));
        section.map(Self::from_section).unwrap_or_default()
    }

    /// The same when the section is a map.
    fn from_section(section: Section<'_>) -> Self {
        let mut check = Self::default();
        Self::KEYS.read(section, &mut check);
        check.complete(section);
        check
    }

    /// Reads what needs more than the value of one key.
    fn complete(&mut self, _section: Section<'_>) {}
}

/// A check of this kind.
pub(in crate::config) trait Kind: Debug {
    /// It asks for the role, so the one that says it is primary serves.
    fn knows_roles(&self) -> bool {
        true
    }

    /// A standby that lags by more is not ready to take over.
    fn max_lag(&self) -> Option<MaxLag> {
        None
    }

    /// How far above all that a pool has shown a database epoch may be. Most epochs jump: they are made of transaction numbers, or by
    /// a command.
    fn max_epoch_step(&self) -> Option<u64> {
        None
    }

    /// What the clients of such a database speak.
    fn protocol(&self) -> Protocol {
        Protocol::Unknown
    }

    /// Why a backend cannot be given by a unix socket, and what to write.
    fn needs_address(&self) -> Option<(&'static str, &'static str)> {
        None
    }

    /// How somebody on the way to this backend could learn its password or prove that it has it, and what to write.
    fn exposed_password(&self, _backend: &str) -> Option<(String, &'static str)> {
        None
    }
}
