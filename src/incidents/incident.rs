//! One incident, as the API shows it and as it is kept.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::route::rfc3339;

crate::labels! {
    /// What kind of incident it is.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum Kind {
        /// Another backend took over.
        Failover = "failover",
        /// No backend was active, until the same one came back or for good.
        Outage = "outage",
        /// More than one backend said that it is the primary.
        Conflict = "conflict",
        /// It was ordered, and clients felt it.
        Planned = "planned",
    }
}

/// A moment on the wall clock, in whole milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// Time since `earlier`; zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for Moment {
    fn from(at: SystemTime) -> Self {
        let millis = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Self(u64::try_from(millis).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&rfc3339::format(UNIX_EPOCH.checked_add(Duration::from_millis(self.0)).unwrap_or(UNIX_EPOCH)))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map(Self::from).map_err(D::Error::custom)
    }
}

/// What new clients felt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clients {
    /// Clients that waited.
    pub held: u64,
    /// Those of them that were served in the end.
    pub served_late: u64,
    /// Clients that were rejected, after a wait or at once.
    pub turned_away: u64,
    /// The longest of these waits, in seconds.
    pub longest_wait_seconds: f64,
}

/// What is shown of an incident in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// From 1; rises by one with each, also over restarts.
    pub number: u64,
    /// The pool.
    pub pool: String,
    /// What kind.
    pub kind: Kind,
    /// The first sign of it, or the first client that felt it.
    pub began: Moment,
    /// When the first client was served again, or could be; `None` while it is open, and for one that was interrupted.
    pub ended: Option<Moment>,
    /// It is not over.
    pub open: bool,
    /// mainstay ended in the middle of it.
    pub interrupted: bool,
    /// The rule by which the backend was withdrawn.
    pub cause: String,
    /// What was seen.
    pub evidence: String,
    /// The backend that was active before.
    pub from: Option<String>,
    /// The backend that was active after it.
    pub to: Option<String>,
    /// The last epoch.
    pub epoch: u64,
    /// From the first client that felt it to the first one that was served again.
    pub felt_seconds: f64,
    /// While no backend was active.
    pub gap_seconds: f64,
    /// Sessions that were lost.
    pub sessions_aborted: u64,
    /// New clients.
    pub clients: Clients,
}

/// One line of what happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When.
    pub at: Moment,
    /// What.
    pub text: String,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// What is shown in a list.
    #[serde(flatten)]
    pub summary: Summary,
    /// The first sign of trouble.
    pub first_sign: Option<Moment>,
    /// When the backend was found to be unfit.
    pub detected: Option<Moment>,
    /// When its route was withdrawn.
    pub revoked: Option<Moment>,
    /// When the next backend became active.
    pub activated: Option<Moment>,
    /// When the first client was served by it.
    pub first_session: Option<Moment>,
    /// Bytes that the old backend had written and the new one lacks, as far as both have told.
    pub unknown_bytes: Option<u64>,
    /// What happened, oldest first.
    pub timeline: Vec<Line>,
}

/// No incident takes more of the file.
const MAX_BYTES: usize = 8 << 10;
/// Lines of the timeline at most, in characters and in number.
const LINE_CHARS: usize = 300;
const LINES: usize = 40;

impl Incident {
    /// Cuts what is longer than an incident may be.
    pub(super) fn bound(&mut self) {
        for line in &mut self.timeline {
            if let Some((end, _)) = line.text.char_indices().nth(LINE_CHARS) {
                line.text.truncate(end);
                line.text.push('…');
            }
        }
        let mut lines = LINES;
        self.leave_out(lines);
        while lines > 3 && serde_json::to_vec(self).map_or(0, |json| json.len()) > MAX_BYTES {
            lines -= 1;
            self.leave_out(lines);
        }
    }

    /// Leaves lines out in the middle: how it began and how it ended is worth most.
    fn leave_out(&mut self, most: usize) {
        while self.timeline.len() > most {
            let middle = self.timeline.len() * 2 / 3;
            self.timeline.remove(middle);
        }
    }

    /// What a new process makes of one that it finds open at `now`.
    pub(super) fn interrupt(&mut self, now: Moment) {
        (self.summary.open, self.summary.interrupted, self.summary.ended) = (false, true, None);
        let text = "mainstay has started again. It had ended while this was open: when it was over is not known, and the figures are \
                    those that were last written";
        self.timeline.push(Line { at: now, text: text.to_owned() });
    }
}

/// One for tests.
#[cfg(test)]
impl Incident {
    pub(super) fn example(number: u64) -> Self {
        let at = |millis: u64| Moment(1_795_000_000_000 + millis);
        Self {
            summary: Summary {
                number,
                pool: "orders".to_owned(),
                kind: Kind::Failover,
                began: at(0),
                ended: Some(at(67)),
                open: false,
                interrupted: false,
                cause: "down".to_owned(),
                evidence: "connect refused".to_owned(),
                from: Some("db-a".to_owned()),
                to: Some("db-b".to_owned()),
                epoch: 3,
                felt_seconds: 0.067,
                gap_seconds: 0.051,
                sessions_aborted: 97,
                clients: Clients { held: 12, served_late: 12, turned_away: 0, longest_wait_seconds: 0.062 },
            },
            first_sign: Some(at(0)),
            detected: Some(at(4)),
            revoked: Some(at(4)),
            activated: Some(at(55)),
            first_session: Some(at(67)),
            unknown_bytes: Some(0),
            timeline: vec![Line { at: at(0), text: "the first sign".to_owned() }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incident(number: u64) -> Incident {
        Incident::example(number)
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let json = serde_json::to_string(&incident(7)).unwrap();
        assert!(json.contains(r#""number":7,"pool":"orders","kind":"failover","began":"2026-11-18T11:06:40.000Z""#), "{json}");
        assert_eq!(serde_json::from_str::<Incident>(&json).unwrap(), incident(7));
    }

    #[test]
    fn none_is_larger_than_its_bound_and_beginning_and_end_stay() {
        let mut long = incident(1);
        long.summary.evidence = "\u{1f4a5}".repeat(600);
        let line = |number| Line { at: Moment(number), text: format!("{number} {}", "\\".repeat(1000)) };
        long.timeline = (0..1000).map(line).collect();
        long.bound();
        let size = serde_json::to_vec(&long).unwrap().len();
        assert!(size <= MAX_BYTES, "{size}");
        assert_eq!((long.timeline[0].at, long.timeline.last().unwrap().at), (Moment(0), Moment(999)));
        assert!(long.timeline[0].text.chars().count() == LINE_CHARS + 1 && long.timeline.len() >= 3);
        long.timeline = (0..1000).map(|number| Line { at: Moment(number), text: "short".to_owned() }).collect();
        long.bound();
        assert_eq!(long.timeline.len(), LINES);
    }
}
