//! Start, stop, and everything that signals and a bad disk do to a process.

mod disk;
mod frozen;
mod signals;
mod start;
mod stop;
mod variables;
