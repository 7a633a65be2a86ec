//! Whether a backend has proven itself since it last changed. A fifth field beside admin state, health, role and fence.
//!
//! The shell compares what a backend is (its print) with what was proven of it, runs the proofs, and tells the result
//! ([`super::Event::Proof`]). Here only the closed states count. A backend of which nothing is known is `proven`: first sight is
//! trusted, or nobody could start.

use std::time::Duration;

use super::time::Time;
use crate::labels;

labels! {
    /// Whether a backend has proven itself as it is now.
    #[derive(Default)]
    pub enum Proof {
        /// As it was proven, or never seen in another state.
        #[default]
        Proven = "proven",
        /// An operator approved it as it is.
        Approved = "approved",
        /// It has changed, and nothing is proven of it yet.
        Unproven = "unproven",
        /// Its proofs run, or it still has to last, or waits for an operator's approval.
        Proving = "proving",
        /// A proof failed on it, and not on the active one; or an operator rejected it.
        Failed = "failed",
        /// A proof failed on it and on the active one too: the change is not to blame, but nothing is proven.
        Inconclusive = "inconclusive",
    }
}

impl Proof {
    /// Whether nothing speaks against serving from it.
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Proven | Self::Approved)
    }
}

labels! {
    /// What follows from a backend that has not proven itself.
    #[derive(Default)]
    pub enum GuardMode {
        /// Nothing is looked at.
        Off = "off",
        /// It is told, and an operation towards it is refused unless forced; it serves all the same.
        #[default]
        Warn = "warn",
        /// It does not serve.
        Enforce = "enforce",
    }
}

labels! {
    /// With `enforce`, when only backends that have not proven themselves are left.
    #[derive(Default)]
    pub enum LastResort {
        /// One of them serves.
        #[default]
        Serve = "serve",
        /// Nobody does.
        Hold = "hold",
    }
}

/// The rules for backends that have not proven themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guard {
    /// What follows.
    pub mode: GuardMode,
    /// When only such backends are left.
    pub last_resort: LastResort,
    /// How long clients are held for the quick proofs of one that was promoted all the same.
    pub quick: Duration,
    /// With `enforce`, a reader whose proofs run gets a share of new sessions.
    pub canary: bool,
}

impl Default for Guard {
    fn default() -> Self {
        Self { mode: GuardMode::Warn, last_resort: LastResort::Serve, quick: Duration::from_secs(2), canary: false }
    }
}

/// The quick proofs of the present change: they run once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Quick {
    /// Not yet.
    #[default]
    Open,
    /// They are ordered, and decide until then.
    Asked(Time),
    /// They are over, or another proof has failed.
    Over,
}

impl Quick {
    /// At this time.
    pub(super) fn at(self, now: Time) -> Self {
        if self.deadline().is_some_and(|until| until <= now) { Self::Over } else { self }
    }

    /// After this was told. A change while they run does not extend the time that clients wait.
    pub(super) const fn after(self, told: Proof) -> Self {
        match (told, self) {
            (Proof::Proven | Proof::Approved, _) | (Proof::Unproven, Self::Over) => Self::Open,
            (Proof::Failed | Proof::Inconclusive, _) => Self::Over,
            (Proof::Unproven | Proof::Proving, unchanged) => unchanged,
        }
    }

    pub(super) const fn deadline(self) -> Option<Time> {
        if let Self::Asked(until) = self { Some(until) } else { None }
    }
}
