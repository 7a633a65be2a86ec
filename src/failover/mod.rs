//! The pure core: which backend may take writes, decided as a function of state, event and time.
//!
//! Nothing here does I/O, reads a clock, draws a random number or writes a log. The shell (`control`) tells the core what
//! it saw and when ([`Event`]); the core answers with what to do ([`Effect`]). The same inputs give the same outputs, which
//! is why the core can be walked exhaustively, simulated from a seed and asked "what would you do".
//!
//! | file | what it holds |
//! |---|---|
//! | [`vocabulary`] | closed words and numbers that every other file speaks |
//! | [`policy`] | the rules of the decision |
//! | [`label`] | closed enums that are return value, log word and metric label at once |
//! | [`time`] | the core's idea of time: a duration since the process started |
//! | [`event`] | what goes in ([`Event`]) and what comes out ([`Effect`]) |
//! | [`facts`] | what a database says of itself |
//! | [`health`] | `Unknown → Up ⇄ Down` from consecutive outcomes |
//! | [`backend`] | one backend: health, role, admin state, and the truth table that joins them into "eligible" |
//! | `elect` | who should be active: by the database's role, or by list order |
//! | `observe` | what a report or a passive sign does to one backend |
//! | [`pool`] | the state machine: [`Pool::step`] |
//! | `configure` | what a change of the configuration keeps |
//! | `inspect` | what others may ask of a pool |
//! | `readers` | who may be read, besides the active one or instead of it |
//! | [`lag`] | how far behind a standby may be |
//! | [`ready`] | whether a failover would succeed right now |
//! | [`text`] | what others say, made safe to print |
//! | `invariants` | what must hold after every step, checked in debug builds |

pub mod backend;
mod configure;
mod elect;
pub mod event;
pub mod facts;
pub mod health;
mod inspect;
#[cfg(debug_assertions)]
mod invariants;
pub mod label;
pub mod lag;
mod observe;
pub mod policy;
pub mod pool;
mod readers;
pub mod ready;
// Run by `tests/core`, where they are optimized.
#[cfg(all(test, feature = "exhaustive"))]
mod tests;
pub mod text;
pub mod time;
pub mod vocabulary;

pub use backend::BackendState;
pub use event::{Command, Configuration, Effect, Event, Finding, Note, Passive, Report};
pub use facts::{Facts, MultiPrimary, Role};
pub use lag::MaxLag;
pub use policy::{Election, OnConflict, Policy};
pub use pool::Pool;
pub use ready::FailoverReady;
pub use text::{Printable, escaped, is_printable};
pub use time::Time;
pub use vocabulary::{
    Admin, BackendId, Cause, Class, Epoch, Health, Outcome, Pace, ReadEligibility, Reason, RevokeMode, Verdict,
};
