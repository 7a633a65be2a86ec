//! Sockets and addresses: what both planes need of the operating system's network.

pub mod addr;
pub mod backoff;
pub mod socket;
