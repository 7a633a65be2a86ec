//! Proves backends that have changed, before or while they serve.
//!
//! | file | what it does |
//! |---|---|
//! | `commit` | whether the active database can commit |
//! | `job` | what the keeper has done beside the supervisor |
//! | `keeper` | looks after the backends of a pool, beside its supervisor |
//! | [`print`](mod@print) | reads what a server is made of, one file a database |
//! | `distrust` | what is thought of a backend that was away |
//! | `book` | what is known of one backend, and what follows from it |
//! | `known` | what is known of backends, also of those that left, and over a restart |
//! | `subject` | a server to look at |
//! | [`proofs`] | what must hold of a server that has changed: the built-in proofs, and those of the configuration |

mod book;
mod commit;
mod distrust;
mod job;
mod keeper;
mod known;
pub mod print;
pub mod proofs;
mod subject;

pub(super) use book::{Book, Doubt, told};
pub(super) use commit::{Commit, Commits, PATIENCE as COMMIT_PATIENCE, can_try};
pub(super) use distrust::Distrust;
pub(super) use job::{Heard, Scene, Seen};
pub(super) use keeper::{Keeper, News};
pub use subject::Subject;
