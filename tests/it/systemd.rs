//! What systemd is told and what it gives, with sockets as it makes them; and the files in `deploy/systemd`.

mod activation;
mod manager;
mod notify;
mod restart;
mod units;
mod watchdog;
