//! Exit codes, for scripts.

/// Done.
pub const DONE: u8 = 0;
/// It failed.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// No backend may serve (sysexits.h: `EX_UNAVAILABLE`).
pub const NO_BACKEND: u8 = 69;
/// The configuration is wrong (sysexits.h: `EX_CONFIG`).
pub const BAD_CONFIGURATION: u8 = 78;
