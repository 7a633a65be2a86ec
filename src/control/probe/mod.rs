//! The checks, one file a protocol.
