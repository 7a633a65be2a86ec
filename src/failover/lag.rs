//! How far a standby may be behind its primary.

use std::time::Duration;

use super::facts::Facts;

/// The most that a standby may be behind, in what it tells. Half of it is near enough for one that was further behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaxLag {
    /// Bytes that it has not applied.
    Bytes(u64),
    /// Since what it applies was written.
    Time(Duration),
}

impl MaxLag {
    /// One that tells no lag, or only in the other measure, exceeds nothing.
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
