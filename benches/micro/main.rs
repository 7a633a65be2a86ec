//! The two places where mainstay spends time for others: the step of the core, and the relay. For comparing one version with the
//! next on the same machine; what whole sessions cost beside other proxies is measured by `make bench-peers`.
//!
//! `cargo bench -p micro`

mod relay;
mod step;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, step::benches, relay::benches);
criterion_main!(benches);
