//! What a listener may ask of clients, and say of them.

use crate::net::{cidr::Cidr, proxy_protocol};

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
