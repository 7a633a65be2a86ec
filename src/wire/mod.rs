//! What stands in the first packets of the three protocols: constants and small readers, for whoever greets, refuses, probes or
//! plays a server.

pub mod mysql;
pub mod postgres;
pub mod redis;
