//! The pure core: which backend may take writes, decided as a function of state, event and time.
//!
//! Nothing here does I/O, reads a clock, draws a random number or writes a log. The shell (`control`) passes in what it saw and
//! when ([`Event`]); the core returns what to do ([`Effect`]). The same inputs give the same outputs, so the core can be tested
//! exhaustively and simulated from a seed.
//!
//! | file | what it holds |
//! |---|---|
//! | [`vocabulary`] | closed sets of words, and numbers, that the other files use |
//! | [`policy`] | the rules of the decision |
//! | [`label`] | closed enums that are return value, log word and metric label at once |
//! | [`time`] | the core's idea of time: a duration since the process started |
//! | [`event`] | what goes in ([`Event`]) and what comes out ([`Effect`]) |
//! | [`facts`] | what a database reports about itself |
//! | [`operation`] | switchover and promotion: what is asked for, the steps, how it may end |
//! | `preflight` | who is the candidate of an operation, and why it is refused |
//! | `operate` | what goes on in an operation |
//! | [`proof`] | whether a backend has proven itself since it last changed |
//! | `guard` | what follows from that |
//! | [`promotion`] | when mainstay begins a promotion by itself |
//! | [`trial`] | what follows a switchover that is not meant to stay |
//! | `go_back` | what goes on in a trial |
//! | [`health`] | `Unknown → Up ⇄ Down` from consecutive outcomes |
//! | [`backend`] | one backend: health, role, admin state, and the truth table that combines them into "eligible" |
//! | `elect` | the election: by the database's role, or by list order |
//! | `observe` | what a report or a passive signal does to one backend |
//! | [`pool`] | the state machine: [`Pool::step`] |
//! | `configure` | what a change of the configuration keeps |
//! | `inspect` | queries on a pool |
//! | `readers` | which backends may be read |
//! | [`lag`] | the greatest lag of a standby |
//! | [`ready`] | whether a failover would succeed now |
//! | [`text`] | untrusted text, made safe to print |
//! | `invariants` | what must hold after every step, checked in debug builds |

pub mod backend;
mod configure;
mod elect;
pub mod event;
pub mod facts;
mod go_back;
mod guard;
pub mod health;
mod inspect;
#[cfg(debug_assertions)]
mod invariants;
pub mod label;
pub mod lag;
mod observe;
mod operate;
pub mod operation;
pub mod policy;
pub mod pool;
mod preflight;
pub mod promotion;
pub mod proof;
mod readers;
pub mod ready;
// Run by `tests/core`, where they are optimized.
#[cfg(all(test, feature = "exhaustive"))]
mod tests;
pub mod text;
pub mod time;
pub mod trial;
pub mod vocabulary;

pub use backend::BackendState;
pub use event::{Command, Configuration, Effect, Event, Finding, Note, Passive, Report};
pub use facts::{Facts, MultiPrimary, Role};
pub use lag::MaxLag;
pub use operation::{
    Afterwards, Ending, Fence, How, Limits, Operation, OperationEnd, OperationId, OperationKind, OperationRefusal,
    OperationResult, Plan, Refused, Request, Step,
};
pub use policy::{AutomaticPromotion, Election, OnConflict, Policy};
pub use pool::Pool;
pub use promotion::PromotionCondition;
pub use proof::{Guard, GuardMode, LastResort, Proof};
pub use ready::FailoverReady;
pub use text::{Printable, escaped, is_printable};
pub use time::Time;
pub use trial::{Trial, TrialEnd, TrialNews};
pub use vocabulary::{
    Admin, BackendId, Cause, Class, Epoch, Health, Outcome, Pace, ReadEligibility, Reason, RevokeMode, Verdict,
};
