//! The admin plane over real sockets, with pools made by hand.

mod diff;
mod fixture;
mod history;
mod hostile;
mod http;
mod metrics;
mod operation_commands;
mod operations;
mod operators;
mod order_commands;
mod orders;
mod sessions;
mod status;
mod stream;
mod watch;
