//! The file as it was written: a small tree in which every key and value knows its place and its path.
//!
//! | file | what it holds |
//! |---|---|
//! | [`node`] | the tree |
//! | [`parse`] | YAML to tree; the only user of the YAML crate |
//! | [`expand`] | `${VAR}` in values |
//! | [`quantity`] | durations, sizes and counts as text |
//! | [`reader`] | typed access that collects errors instead of stopping at the first |

pub(super) mod expand;
pub(super) mod node;
pub(super) mod parse;
pub(super) mod quantity;
pub(super) mod reader;
