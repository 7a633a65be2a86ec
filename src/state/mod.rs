//! Files that survive a restart, in `state_dir`: replaced as a whole, bounded, private, and written by a thread that nobody waits for.
//!
//! | file | what it holds |
//! |---|---|
//! | [`mod@file`] | one file: how it is read and replaced |
//! | [`writer`] | the thread that does so |

pub(crate) mod file;
mod writer;

pub(crate) use file::Kept;
pub(crate) use writer::StateFile;
pub use writer::StateWriter;
