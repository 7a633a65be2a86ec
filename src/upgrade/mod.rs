//! An upgrade of mainstay itself: what the running process and the one that takes over say to each other, over a unix socket that the
//! running one makes.
//!
//! ```text
//! running                                   newer
//!    │ starts the program; its standard input is the socket
//!    │ ◄──────────────── hello ───────────────┤
//!    ├─ sockets (listening ones, and those to still older processes) ─►
//!    │ ◄─────────────── prepared ─────────────┤  read its configuration, has every address
//!    │ decides nothing more by itself
//!    ├──────────────── known ────────────────►│  starts; every pool has its backend; accepts
//!    │ ◄─────────────── serving ──────────────┤
//!    │ accepts no more
//!    ├──────────────── yours ────────────────►│
//!    │ ◄────────── lead, order, stop ─────────┤  for as long as the older one has sessions
//!    ├───────────────── left ────────────────►│
//! ```
//!
//! Each message is a line of JSON; unknown ones, and unknown keys, are passed over, so that neighbouring versions understand each other.
//! Where the newer process ends without `stop`, the older one serves again: it keeps every socket open for as long as it lives.
//!
//! | file | what it holds |
//! |---|---|
//! | [`message`] | what is said |
//! | [`channel`] | the socket, with descriptors beside the lines |

pub mod channel;
pub mod message;

/// The environment variable that tells a program that its standard input leads to the mainstay that it takes over from.
pub const VARIABLE: &str = "MAINSTAY_UPGRADE";
