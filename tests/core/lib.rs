//! The pure core on its own. See `Cargo.toml`.

#[path = "../../src/failover/mod.rs"]
pub mod failover;
