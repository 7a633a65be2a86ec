//! Sockets and addresses: what both planes need of the operating system's network.
//!
//! | file | what it holds |
//! |---|---|
//! | [`addr`] | addresses of backends |
//! | [`addresses`] | all addresses of a server, and which of them answers |
//! | [`endpoint`] | where a connection goes, and its peer |
//! | [`listener`] | listening sockets |
//! | [`inherited`] | those that another process has bound |
//! | [`cidr`] | networks |
//! | [`names`] | how a static binary looks names up |
//! | [`socket`] | socket options |
//! | [`proxy_protocol`] | the PROXY header |
//! | [`backoff`] | growing pauses |

pub mod addr;
pub mod addresses;
pub mod backoff;
pub mod cidr;
pub mod endpoint;
pub mod inherited;
pub mod listener;
pub mod names;
pub mod proxy_protocol;
pub mod socket;
