//! Names to addresses, off every path; the last good answer is kept.
