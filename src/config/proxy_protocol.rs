//! The PROXY header of a listener: who may send it, and who gets it.

use super::{
    resolve::access::{MAX_NETWORKS, proxies},
    shape,
    table::table,
    tree::some_of,
};
use crate::net::{cidr::Cidr, proxy_protocol};

table! {
    PROXY_PROTOCOL: ProxyProtocolConfig;
    "accept_from": custom(
        |_| "a network or an address, or a list of them".into(), "nobody",
        |field, proxy| proxy.accept_from = proxies(field),
        |proxy| some_of(&proxy.accept_from)
    ) is shape::one_or_many(shape::address::network(), MAX_NETWORKS),
        "Connections from these networks must begin with the header; its address is trusted.";
    "send": word(send), "Which header mainstay sends first to each backend.";
}

/// The PROXY protocol of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocolConfig {
    /// Connections from these networks must begin with the header; its address is trusted.
    pub accept_from: Vec<Cidr>,
    /// The header for backends.
    pub send: ProxySend,
}

crate::labels! {
    /// The PROXY header for backends.
    pub enum ProxySend {
        /// None.
        Off = "off",
        /// Version 1, text.
        V1 = "v1",
        /// Version 2, binary.
        V2 = "v2",
    }
}

impl ProxySend {
    /// The header to send, if any.
    pub const fn version(self) -> Option<proxy_protocol::Version> {
        match self {
            Self::Off => None,
            Self::V1 => Some(proxy_protocol::Version::V1),
            Self::V2 => Some(proxy_protocol::Version::V2),
        }
    }
}
