//! Streams that the kernel moves: what can go wrong with splice(2) and its pipes. Everything else that is true of sessions is
//! tried with each way of relaying (`MAINSTAY_TEST_RELAY`).

mod broken;
mod burst;
mod pipes;
