//! How far a standby may be behind its primary.

use std::time::Duration;

use super::facts::Facts;

/// The greatest lag of a standby that may be read. A standby that exceeded it must come back to half of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaxLag {
    /// Bytes that it has not applied.
    Bytes(u64),
    /// Age of the change that it applies.
    Time(Duration),
}

impl MaxLag {
    /// A standby that reports no lag, or only in the other unit, exceeds nothing.
    pub fn is_exceeded(self, facts: &Facts) -> bool {
        match self {
            Self::Bytes(max) => facts.lag_bytes.is_some_and(|lag| lag > max),
            Self::Time(max) => facts.lag_time.is_some_and(|lag| lag > max),
        }
    }

    /// Half of it.
    #[must_use]
    pub fn half(self) -> Self {
        match self {
            Self::Bytes(max) => Self::Bytes(max / 2),
            Self::Time(max) => Self::Time(max / 2),
        }
    }
}
