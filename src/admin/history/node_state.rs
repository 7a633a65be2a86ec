//! The state of a backend in one letter.

use crate::{
    failover::{Health, Reason, label::Label},
    route::{BackendView, StateEvent},
};

/// From the best to the worst, but for the first two, which say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NodeState {
    /// No sample.
    #[default]
    NoSample,
    /// No verdict yet. What is known in the same step says more.
    Unknown,
    /// New clients go to it.
    Active,
    /// Up, and may be active or may be read.
    Up,
    /// Up, and not eligible: a standby, fenced, unproven, starting.
    NotEligible,
    /// An operator took it out, or drains it.
    Maint,
    Down,
}

impl NodeState {
    /// That of a backend as it stands. `is_read`: the pool has listeners for readers.
    pub(super) fn of(view: &BackendView, is_active: bool, is_read: bool) -> Self {
        match (view.reason, view.health) {
            _ if is_active => Self::Active,
            (Reason::Maint | Reason::Drain, _) => Self::Maint,
            (_, Health::Down) => Self::Down,
            (_, Health::Unknown) => Self::Unknown,
            (Reason::Eligible, Health::Up) => Self::Up,
            (_, Health::Up) if is_read && view.read_eligibility.may_be_read() => Self::Up,
            (_, Health::Up) => Self::NotEligible,
        }
    }

    /// The state that an event says its backend had, however short it was.
    pub(super) fn told_by(event: &StateEvent) -> Self {
        let is = |reason: Reason| event.to == Some(reason.as_str());
        match event.kind {
            "health" if event.to == Some(Health::Down.as_str()) => Self::Down,
            "health" if event.to == Some(Health::Unknown.as_str()) => Self::Unknown,
            "eligibility" if is(Reason::Maint) || is(Reason::Drain) => Self::Maint,
            // Its health is told by an event of its own.
            "eligibility" if is(Reason::Down) || is(Reason::Unknown) || is(Reason::Eligible) => Self::NoSample,
            "eligibility" => Self::NotEligible,
            // It was active, and is no more.
            "revoke" => Self::Up,
            _ => Self::NoSample,
        }
    }

    pub(super) const fn letter(self) -> char {
        match self {
            Self::NoSample => '.',
            Self::Active => 'A',
            Self::Up => 'U',
            Self::NotEligible => 'R',
            Self::Maint => 'M',
            Self::Unknown => '?',
            Self::Down => 'D',
        }
    }
}
