//! mainstay: a layer-4 TCP proxy that stands in front of a database and moves every client to the node that may take over, at
//! once and safely, when the node in use fails.
//!
//! # The house
//!
//! Three planes that never import each other, one seam between them, one pure core:
//!
//! ```text
//! main ─► cli ─► app ─► data      (accepts, holds, dials, relays)      ─┐
//!                  ├──► control   (probes, decides, publishes)         ─┼─► route   the seam
//!                  └──► admin     (shows: metrics, status, health)     ─┘   metrics, reason, lifecycle, net, wire, config
//!                                                                              └─► failover ─► std
//! ```
//!
//! | room | what happens there |
//! |---|---|
//! | [`failover`] | the decision, pure: state, event and time in, effects out |
//! | [`route`] | what crosses between the planes, and nothing else does |
//! | [`control`] | owns the state: probes the backends, asks the core, carries out its effects |
//! | [`data`] | the byte path |
//! | [`admin`] | HTTP: what is, how much, is it alive, is it ready |
//! | [`config`] | what the user wrote, turned into legal run-time values; every error in its place |
//! | [`metrics`] | every number, resolved at the start |
//! | [`reason`] | closed words: return value, log field and metric label at once |
//! | [`lifecycle`] | phases of the process, and what it cannot live without |
//! | [`net`] | sockets and addresses |
//! | [`wire`] | the first packets of the three protocols |
//! | [`telemetry`] | the log, which may lose lines but never stops the process |
//! | [`app`] | puts it together: binds every socket, then starts the threads |
//! | [`cli`] | one file a command; `cli::demo` has its databases from `lab` |
//! | `fuzzing` | one entry for each reader of what strangers send, for the fuzz targets |
//!
//! # The path of a connection
//!
//! `data::listener` accepts, `data::identify` judges who comes, and the client goes to the worker with the fewest. There
//! `data::connection` leads it: `data::establish` takes **one** [`route::Route`] (or waits in `data::hold`), has `data::dial` connect and
//! check that the epoch still stands *before the first byte*, and lets the two greet each other → [`data::relay`] → `data::session`
//! writes one log line. For a listener that leads to readers, `data::balancer` chooses among the [`route::Reader`]s. A connection never
//! reads health and never waits for control; what it learns goes out as a bounded, lossy report.
//!
//! # The path of a change
//!
//! [`control::probe`] → [`control::prober`] (a report with a sequence number) → the pool's supervisor → [`failover::Pool::step`] →
//! effects in order: revoke the old epoch → activate the new one → who may be read → pace, notes. Connections see it when they next
//! take a route, sessions of the old epoch at once, the admin plane on its next request.
//!
//! # The path of another configuration
//!
//! SIGHUP → `cli::run` reads the file → [`app::Reloader`] compares, binds, and only then applies: new listening sockets and settings
//! for the connections that come ([`data::ListenerManager`]), [`failover::Event::Configure`] for the supervisors (`control::ControlHandle`),
//! another view for the admin plane.
//!
//! # Threads
//!
//! N data workers, each with its own event loop (`data::event_loop`), buffer and sessions; one control thread; one admin thread;
//! one that leads the process through its phases; one that writes the log. A busy byte path cannot starve a check, and `/livez`
//! answers whatever else is stuck.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod data;
pub mod failover;
#[doc(hidden)]
pub mod fuzzing;
pub mod lifecycle;
pub mod metrics;
pub mod net;
pub mod reason;
pub mod route;
pub mod telemetry;
pub mod wire;
