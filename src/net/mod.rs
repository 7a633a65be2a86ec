//! Sockets and addresses: what both planes need of the operating system's network.
//!
//! | file | what it holds |
//! |---|---|
//! | [`addr`] | addresses of backends |
//! | [`addresses`] | all addresses of a server, and which of them answers |
//! | [`endpoint`] | where a connection goes, and who is at its other end |
//! | [`listener`] | sockets to accept from |
//! | [`cidr`] | networks |
//! | [`socket`] | what is asked of the kernel for a socket |
//! | [`proxy_protocol`] | the header that says for whom a connection was made |
//! | [`backoff`] | growing pauses |

pub mod addr;
pub mod addresses;
pub mod backoff;
pub mod cidr;
pub mod endpoint;
pub mod listener;
pub mod proxy_protocol;
pub mod socket;
