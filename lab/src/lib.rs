//! What `mainstay demo`, the tests and the benches share: databases, real ones and a look-alike, their clients, and what
//! measures processes.
//!
//! | file | what it holds |
//! |---|---|
//! | [`cluster`] | a real `PostgreSQL` primary and its synchronous standby; whatever fails is an error in words |
//! | [`servers`] | real servers for tests and benches: `PostgreSQL`, `MariaDB`, `MySQL`, Redis, Patroni; whatever fails panics |
//! | [`pairs`], [`transactions`] | two real servers between which a writer can be moved; blocking clients, and how their transactions end |
//! | [`server`], [`system`] | the embedded `PostgreSQL` look-alike, and what it stores |
//! | `answers`, `catalog`, `seats` | what it answers, what it says of itself, its sessions |
//! | [`wire`], [`protocol`] | protocol 3.0: messages, and their constants |
//! | [`session`], [`clients`] | a tiny client; writing clients and their books |
//! | [`directory`], [`port`] | as whom a server runs, a directory and a port that are its own |
//! | `template` | the files of new servers, made once for many |
//! | [`process`], [`child`], [`wait`] | processes by their id, programs that must end, conditions awaited |
//! | [`procfs`], [`stats`] | what the kernel says of a process, what is said of several numbers |
//! | [`stop`], [`failure`] | of the benches: Ctrl-C, and why something could not be measured |

mod answers;
mod catalog;
pub mod child;
pub mod clients;
pub mod cluster;
pub mod directory;
pub mod failure;
pub mod pairs;
pub mod port;
pub mod process;
pub mod procfs;
mod seats;
pub mod server;
pub mod servers;
pub mod session;
pub mod stats;
pub mod stop;
pub mod system;
mod template;
pub mod transactions;
pub mod wait;
pub mod wire;

/// The product's own file, compiled here once more, because the product depends on this package.
#[path = "../../src/wire/postgres.rs"]
pub mod protocol;
