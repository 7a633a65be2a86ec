//! What a database reports about itself.

use std::{num::NonZeroU64, time::Duration};

use super::text::Printable;
use crate::labels;

labels! {
    /// The role that the database reports.
    pub enum Role {
        /// Not asked, or not answered yet.
        Unknown = "unknown",
        /// Accepts writes.
        Primary = "primary",
        /// Follows a primary.
        Standby = "standby",
    }
}

labels! {
    /// The relation of a primary to others of its cluster that accept writes at the same time.
    #[derive(Default)]
    pub enum MultiPrimary {
        /// It alone accepts writes, or does not know of others.
        #[default]
        No = "no",
        /// It has all data of the cluster.
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
    /// The database refuses writes although it is not a standby.
    pub read_only: bool,
    /// Others of its cluster accept writes too (Galera), so two primaries are no conflict.
    pub multi_primary: MultiPrimary,
    /// The database's own epoch, which rises with each promotion (`PostgreSQL`: timeline).
    pub db_epoch: Option<u64>,
    /// Identity of the cluster (`PostgreSQL`: system identifier).
    pub system_id: Option<u64>,
    /// Replication lag in bytes.
    pub lag_bytes: Option<u64>,
    /// The age of the change that is being applied; infinite for a standby that applies nothing any more.
    pub lag_time: Option<Duration>,
    /// How far its history goes, in bytes of the log: a primary has written so much, a standby has received so much. Comparable
    /// between the backends of a pool. (`MariaDB` counts transactions.)
    pub position: Option<NonZeroU64>,
    /// Which history that is, where the database has more than one (Redis: its replication id; `MariaDB`: the domain). Positions of
    /// two histories cannot be compared.
    pub history: u32,
    /// A standby's own word on whether it is connected to its primary.
    pub hears_primary: Option<bool>,
    /// Server version as the server names it.
    pub version: Option<Printable>,
}
