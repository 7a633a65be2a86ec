//! A server to look at.

use crate::{
    config::CheckConfig,
    control::node::Node,
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

impl Subject {
    /// A backend, as the check of its pool asks it.
    pub(in crate::control) fn of(node: &Node, check: &CheckConfig) -> Self {
        Self { check: check.clone(), address: node.config.address.clone(), addresses: node.resolved.clone() }
    }
}
