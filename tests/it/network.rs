//! The network itself breaks, in a network namespace of the test's own: packets vanish, are refused, connections are killed.

mod addresses;
mod killed;
mod left;
mod lost;
