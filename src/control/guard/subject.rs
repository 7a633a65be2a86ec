//! A server to look at.

use crate::{
    config::CheckConfig,
    net::{addr::BackendAddr, addresses::Addresses},
};

/// A server to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The check of the pool; its role asks.
    pub check: CheckConfig,
    /// The backend, as configured.
    pub address: BackendAddr,
    /// Its addresses.
    pub addresses: Addresses,
}
