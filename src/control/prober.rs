//! Runs the probes of one backend at the pace the core asks for.
