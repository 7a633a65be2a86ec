//! Servers that the tests know how to start.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "shared with the tests, where whatever does not start should panic"
)]

#[path = "../../../tests/it/support/patroni.rs"]
pub(crate) mod patroni;
#[path = "../../../tests/it/support/postgres.rs"]
mod postgres;
#[path = "../../../tests/it/support/wait.rs"]
mod wait;
