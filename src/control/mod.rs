//! The control plane: probes the backends, owns the state, decides, publishes. Its own thread and runtime.

pub mod probe;
pub mod prober;
pub mod resolver;
