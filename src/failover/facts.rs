//! What a database says of itself.

use std::time::Duration;

use super::text::Printable;
use crate::labels;

labels! {
    /// What the database says it is.
    pub enum Role {
        /// Not asked, or not answered yet.
        Unknown = "unknown",
        /// Takes writes.
        Primary = "primary",
        /// Follows a primary.
        Standby = "standby",
    }
}

labels! {
    /// How a primary stands among others of its cluster that take writes at the same time.
    #[derive(Default)]
    pub enum MultiPrimary {
        /// It alone takes writes, or does not know of others.
        #[default]
        No = "no",
        /// It has all that the cluster has.
        Synced = "synced",
        /// It serves, but may not have all of it.
        Behind = "behind",
    }
}

/// What a successful probe learned. Absent fields were not asked or not answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Facts {
    /// Role; `None` for a check that knows no roles.
    pub role: Option<Role>,
    /// The database refuses writes although it is no standby.
    pub read_only: bool,
    /// Others of its cluster take writes too (Galera), so that two primaries are no conflict.
    pub multi_primary: MultiPrimary,
    /// The database's own epoch, which rises with each promotion (`PostgreSQL`: timeline).
    pub db_epoch: Option<u64>,
    /// Identity of the cluster (`PostgreSQL`: system identifier).
    pub system_id: Option<u64>,
    /// Replication lag in bytes.
    pub lag_bytes: Option<u64>,
    /// How long ago that was written which is applied now; without end for a standby that applies nothing any more.
    pub lag_time: Option<Duration>,
    /// Server version as it names itself.
    pub version: Option<Printable>,
}
