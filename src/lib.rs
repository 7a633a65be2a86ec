//! mainstay: a layer-4 TCP proxy that stands in front of a database and moves every client to the node that may take over.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod data;
pub mod failover;
pub mod lifecycle;
pub mod metrics;
pub mod net;
pub mod reason;
pub mod route;
pub mod telemetry;
