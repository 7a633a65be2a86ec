//! Configuration: the user's file becomes [`Config`], which holds only valid run-time values. No later code validates again.
//!
//! | file | what it holds |
//! |---|---|
//! | [`mod@load`] | from a file to a configuration, or to all its errors |
//! | [`source`] | the bytes of the file |
//! | [`raw`] | the file as it was written, with the place of every value |
//! | [`resolve`] | from there to [`Config`], collecting *all* errors |
//! | [`findings`] | the collection |
//! | [`process`] | the configuration, and the keys of the process |
//! | [`pool`], [`listener`] | a pool, and where its clients connect |
//! | [`notify`] | who is told of what happens |
//! | [`promotion`] | who promotes another node, and how clients are moved |
//! | [`guard`] | what a backend that has changed must prove |
//! | `limits` | what the core needs of that |
//! | [`check`], [`tls`] | how backends are checked; a file for each kind |
//! | [`diagnostic`] | one error: place, path, what is wrong, what would be right |
//! | [`flags`] | the same without a file |
//! | [`proxy_protocol`] | the header that names a client |
//! | [`table`] | a section of the file as a table of its keys |
//! | [`mod@reference`] | the tables of docs/configuration.md |
//! | [`shape`] | the same of a value, for the schema |
//! | [`mod@schema`] | the JSON schema of the file |
//! | [`tree`] | from [`Config`] back to the words of the file |
//! | [`secret`] | what must never be printed |
//! | [`operators`] | who may order |
//! | [`accounts`] | users and groups of this machine |
//! | [`mod@file`] | reads a file that the configuration names |

mod accounts;
mod check;
pub mod diagnostic;
pub mod file;
mod findings;
pub mod flags;
mod guard;
mod limits;
mod listener;
mod load;
mod notify;
mod operators;
mod pool;
mod process;
mod promotion;
mod proxy_protocol;
mod raw;
mod reference;
mod resolve;
mod schema;
mod secret;
mod shape;
mod source;
mod table;
mod tls;
mod tree;

pub use accounts::Accounts;
pub use check::*;
pub use diagnostic::{Diagnostic, Errors};
pub use flags::{Flags, from_flags};
pub use guard::{
    Approval, BuiltIn, GuardConfig, OnCommitStuck, ProofConfig, ProofHow, RowOrder, Slowdown, SqlProof, core_guard, has_print,
};
pub use listener::{Balance, Fallback, ListenerConfig, ListenerRoute, Refusal, RelayMode};
pub(crate) use load::parse_any;
pub use load::{ContentHash, FileContent, Loaded, load, parse};
pub use notify::{Destination, NotificationKind, PagerDuty, ReceiverConfig, Slack, Webhook, parse_url, signing_key};
pub use operators::{Operator, read_token};
pub use pool::{BackendConfig, ConnectRamp, HoldConfig, OnDown, PoolConfig};
pub use process::{AdminConfig, Config, LogConfig, LogFormat, LogLevel, MetricsConfig, MetricsDetail, ReloadConfig};
pub use promotion::{HookConfig, PromotionConfig, PromotionHow, SwitchoverConfig};
pub use proxy_protocol::{ProxyProtocolConfig, ProxySend};
pub(crate) use raw::quantity::parse_duration;
pub use reference::reference;
pub use schema::schema;
pub use secret::{Secret, SecretSource};
pub(crate) use shape::without_links;
pub use table::Row;
pub use tls::{TlsIdentity, TlsMode};
