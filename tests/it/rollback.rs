//! Back again: rollback, trials, and a switchover there and back, by the commands that people type.

mod plain;
mod postgres;
