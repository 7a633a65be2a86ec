//! What is thought of a backend that was away.

use crate::failover::GuardMode;

/// Whether one that was away is trusted when it comes back, before its print was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Distrust {
    /// It is.
    Never,
    /// It is not.
    UntilRead,
}

impl Distrust {
    /// With this mode of the guard.
    pub(in crate::control) const fn of(mode: GuardMode) -> Self {
        if matches!(mode, GuardMode::Enforce) { Self::UntilRead } else { Self::Never }
    }
}
