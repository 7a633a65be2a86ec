//! mainstay: a TCP failover proxy for databases. When the node in use fails, it moves every client to the node that takes over.
//!
//! # The rooms
//!
//! Three planes that never import each other, one seam between them, one pure core:
//!
//! ```text
//! main ─► cli ─► app ─► data      (accepts, holds, dials, relays)      ─┐
//!                  ├──► control   (probes, decides, publishes)         ─┼─► route   the seam
//!                  ├──► admin     (metrics, status, health)            ─┤   metrics, reason, lifecycle, net, wire, config, state,
//!                  ├──► incidents (what happened, kept)                ─┤   telemetry
//!                  └──► notify    (tells people what happens)          ─┘
//!                                                                              └─► failover ─► std
//! ```
//!
//! | room (module) | what it does |
//! |---|---|
//! | [`failover`] | the decision, pure: state, event and time in, effects out |
//! | [`route`] | everything that crosses between the planes |
//! | [`control`] | owns the state: probes the backends, asks the core, carries out its effects |
//! | [`data`] | the byte path |
//! | [`admin`] | HTTP: status, metrics, liveness, readiness |
//! | [`config`] | the user's file, turned into valid run-time values; errors with their places |
//! | [`notify`] | tells people: Slack, `PagerDuty`, webhooks, programs |
//! | [`incidents`] | what happened to each pool and what its clients felt, kept over restarts |
//! | [`state`] | files that survive a restart |
//! | [`upgrade`] | what two mainstays say to each other when one takes over |
//! | `command` | one run of a command of the user |
//! | [`metrics`] | all metrics |
//! | [`reason`] | closed sets of words, each at once return value, log field and metric label |
//! | [`lifecycle`] | phases of the process, and its vital threads |
//! | [`net`] | sockets and addresses |
//! | [`wire`] | the first packets of the three protocols |
//! | [`systemd`] | what systemd is told, and what it gives |
//! | [`telemetry`] | the log, which may lose lines but never stops the process; how often one thing may be told |
//! | [`app`] | puts it together: binds every socket, then starts the threads |
//! | [`cli`] | one file a command; `cli::demo` has its databases from `lab` |
//! | `fuzzing` | one entry for each reader of what strangers send, for the fuzz targets |
//!
//! # The path of a connection
//!
//! `data::listener` accepts a client, `data::identify` checks it, and it goes to the worker with the fewest clients. There
//! `data::connection` runs it. `data::establish` takes **one** [`route::Route`], or waits in `data::hold`; `data::dial` connects
//! and checks that the epoch is still valid *before the first byte*; then comes the greeting, and [`data::relay`]. At the end
//! `data::session` writes one log line. For a listener for readers, `data::balancer` chooses one of the [`route::Reader`]s. A
//! connection never reads health and never waits for control; what it learns goes out as a bounded, lossy report.
//!
//! # The path of a change
//!
//! [`control::probe`] → [`control::prober`] (a report with a sequence number) → the pool's supervisor → [`failover::Pool::step`] →
//! effects in order: revoke the old epoch → activate the new one → readers → pace, notes. A connection sees it when it next takes a
//! route, sessions of the old epoch at once, the admin plane on its next request.
//!
//! # The path of a reload
//!
//! SIGHUP → `cli::run` reads the file → [`app::Reloader`] compares, binds, and only then applies: new listening sockets and
//! settings for new connections ([`data::ListenerManager`]), [`failover::Event::Configure`] for the supervisors
//! (`control::ControlHandle`), a new view for the admin plane.
//!
//! # Threads
//!
//! N data workers, each with its own event loop (`data::event_loop`), buffer and sessions; one control thread; one admin thread, where notifications are sent and incidents are kept, too;
//! one for the phases of the process; one that writes the log. A busy byte path cannot delay a check, and `/livez` answers even if
//! other threads are stuck.

pub mod admin;
pub mod app;
pub mod cli;
mod command;
pub mod config;
pub mod control;
pub mod data;
pub mod failover;
#[doc(hidden)]
pub mod fuzzing;
pub mod incidents;
pub mod lifecycle;
pub mod metrics;
pub mod net;
pub mod notify;
pub mod reason;
pub mod route;
pub mod state;
pub mod systemd;
pub mod telemetry;
pub mod upgrade;
pub mod wire;
