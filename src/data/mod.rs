//! The byte path.
