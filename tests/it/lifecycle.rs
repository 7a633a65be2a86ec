//! Start, stop, and everything that signals do to a process.

mod frozen;
mod signals;
mod start;
mod stop;
