//! Tracing setup and the panic hook.
