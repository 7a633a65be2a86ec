//! One thing that is told.

use std::{sync::Arc, time::Duration};

use crate::{
    config::NotificationKind,
    failover::{Time, label::Label as _},
};

crate::labels! {
    #[allow(unreachable_pub, reason = "labels are public")]
    /// What is told of. Also the last part of the key by which a receiver knows the beginning and the end of the same thing.
    pub enum Alert {
        /// Nobody serves.
        Outage = "outage",
        /// A short gap, or none.
        Failover = "failover",
        /// Two primaries.
        Conflict = "conflict",
        /// A backend that has changed and has not proven itself.
        Unproven = "unproven",
        /// A check that does not work.
        CheckBroken = "check_broken",
        /// Nothing: `mainstay notify --test`.
        Test = "test",
    }
}

crate::labels! {
    #[allow(unreachable_pub, reason = "labels are public")]
    /// What somebody has to do about it.
    pub enum Severity {
        /// Wake somebody.
        Critical = "critical",
        /// Look at it today.
        Warning = "warning",
        /// Know it.
        Info = "info",
    }
}

/// Whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It goes on.
    Begun,
    /// It happened, and is over.
    Happened,
    /// It is over after this long.
    Over(Duration),
}

/// What clients felt, as the pool counts it. A client that comes again counts again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Felt {
    /// Clients that waited.
    pub(crate) held: u64,
    /// Those of them that were served in the end.
    pub(crate) late: u64,
    /// Clients that were turned away.
    pub(crate) turned_away: u64,
    /// Seconds that all of them waited.
    pub(crate) waited: f64,
}

impl Felt {
    /// From `before` to this.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            held: self.held.saturating_sub(before.held),
            late: self.late.saturating_sub(before.late),
            turned_away: self.turned_away.saturating_sub(before.turned_away),
            waited: (self.waited - before.waited).max(0.0),
        }
    }
}

/// One thing that is told. Everything in it may be shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Notice {
    pub(crate) alert: Alert,
    pub(crate) stage: Stage,
    /// Empty for a test.
    pub(crate) pool: Arc<str>,
    pub(crate) at: Time,
    /// One sentence.
    pub(crate) summary: String,
    /// What mainstay has seen.
    pub(crate) why: String,
    /// What mainstay has done, or does.
    pub(crate) did: String,
    /// What to do now.
    pub(crate) now: String,
    pub(crate) felt: Option<Felt>,
}

impl Notice {
    /// The word of `on`; `None` for a test, which everybody is told.
    pub(crate) fn kind(&self) -> Option<NotificationKind> {
        match (self.stage, self.alert) {
            (_, Alert::Test) => None,
            (Stage::Over(_), _) => Some(NotificationKind::Over),
            (_, Alert::Outage) => Some(NotificationKind::Outage),
            (_, Alert::Failover) => Some(NotificationKind::Failover),
            (_, Alert::Conflict) => Some(NotificationKind::Conflict),
            (_, Alert::Unproven) => Some(NotificationKind::Unproven),
            (_, Alert::CheckBroken) => Some(NotificationKind::CheckBroken),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over(_))
    }

    pub(crate) fn severity(&self) -> Severity {
        match self.alert {
            Alert::Test => Severity::Info,
            _ if self.is_over() => Severity::Info,
            Alert::Outage | Alert::Conflict => Severity::Critical,
            Alert::Failover | Alert::Unproven | Alert::CheckBroken => Severity::Warning,
        }
    }

    /// The section of docs/runbook.md.
    pub(crate) fn runbook(&self) -> String {
        let anchor = match self.alert {
            Alert::Outage => "#databaseoutage",
            Alert::Failover => "#failoverhappened",
            Alert::Conflict => "#twoprimaries",
            Alert::Unproven => "#servingunproven",
            Alert::CheckBroken => "#checkbroken",
            Alert::Test => "",
        };
        format!("docs/runbook.md{anchor}")
    }

    /// The same for the beginning and the end of one thing, and for every mainstay before the same pool.
    pub(crate) fn key(&self) -> String {
        format!("mainstay/{}/{}", self.pool, self.alert.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_of_the_runbook_that_is_named_exists() {
        let page = include_str!("../../docs/runbook.md");
        let anchors: Vec<String> =
            page.lines().filter_map(|line| line.strip_prefix("## ")).map(|title| format!("#{}", title.to_lowercase())).collect();
        for alert in Alert::ALL.iter().filter(|alert| **alert != Alert::Test) {
            let notice = super::super::words::test(Time::ZERO);
            let named = Notice { alert: *alert, ..notice }.runbook();
            let anchor = named.strip_prefix("docs/runbook.md").unwrap().to_owned();
            assert!(anchors.contains(&anchor), "{anchor} is not in {anchors:?}");
        }
    }
}
