//! The PROXY header of a listener: who may send it, and who gets it.

use super::{resolve::access::proxies, table::table, tree::some_of};
use crate::net::{cidr::Cidr, proxy_protocol};

table! {
    /// `proxy_protocol` of a listener.
    PROXY_PROTOCOL: ProxyProtocolConfig;
    "accept_from": custom(
        |_| "a network or an address, or a list of them".into(), "nobody",
        |field, proxy| proxy.accept_from = proxies(field),
        |proxy| some_of(&proxy.accept_from)
    ), "Connections from these networks begin with the header; it is required of them, and believed.";
    "send": word(send), "Which header each backend gets before anything else.";
}

/// The header that says for whom a connection was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocolConfig {
    /// Connections from these networks begin with the header, which is required of them and believed.
    pub accept_from: Vec<Cidr>,
    /// What backends get.
    pub send: ProxySend,
}

crate::labels! {
    /// Which PROXY header backends get.
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
    /// The header to send, if one is.
    pub const fn version(self) -> Option<proxy_protocol::Version> {
        match self {
            Self::Off => None,
            Self::V1 => Some(proxy_protocol::Version::V1),
            Self::V2 => Some(proxy_protocol::Version::V2),
        }
    }
}
