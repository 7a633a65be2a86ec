//! When the machine runs short: of descriptors, ports, memory, patience. mainstay stays alive, tells of it, blames no backend,
//! and recovers by itself.

mod busy_poll;
mod crowd;
mod descriptors;
mod injected;
mod log;
mod ports;
mod processor;
mod quota;
mod rogues;
