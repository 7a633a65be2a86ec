//! Integration tests: mainstay whole, on real sockets and against real servers.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failing test should panic, and tests explain themselves"
)]

mod admin;
mod alerts;
mod browser;
mod bytes;
mod completions;
mod config;
mod demo;
mod deploy;
mod docs;
mod doors;
mod drain;
mod evidence;
mod examples;
mod exchange;
mod exec;
mod fuzz;
mod greeting;
mod guard;
mod hold;
mod house;
mod http;
mod incidents;
mod interrupted;
mod ipv6;
mod lifecycle;
mod limits;
mod long;
mod man;
mod mysql;
mod names;
mod network;
mod notify;
mod openapi;
mod operations;
mod orders;
mod pod;
mod post_mortem;
mod prints;
mod probe;
mod promoter;
mod promotion;
mod proofs;
mod psql;
mod recovery;
mod redis;
mod release;
mod reload;
mod replicas;
mod resources;
mod rollback;
mod schema;
mod shutdown;
mod splice;
mod strangers;
mod streams;
mod support;
mod systemd;
mod terminal;
mod unix;
mod updates;
mod upgrade;
mod versions;
