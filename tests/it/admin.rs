//! The admin plane over real sockets, with pools made by hand.

mod fixture;
mod hostile;
mod http;
mod metrics;
mod status;
mod stream;
