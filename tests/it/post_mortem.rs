//! The outage behind mainstay, replayed on real servers: an update breaks the only primary; it breaks the standby first; it breaks a
//! node that has no other. `docs/post-mortem-replayed.md` tells it, with the figures of `make post-mortem RUNS=20`.

pub mod lone;
pub mod primary;
pub mod replay;
mod sister;
pub mod standby;
