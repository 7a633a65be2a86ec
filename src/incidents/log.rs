//! The last incidents: written by the collector, read by the admin plane, and kept in a file.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::incident::{Incident, Moment};
use crate::state::Kept;

/// So many are kept.
const MOST: usize = 100;

/// Where they are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In a file of `state_dir`.
    StateDir,
    /// In a file that has not been read yet: earlier ones are not shown, and none is written.
    Reading,
    /// Nowhere: a restart forgets them.
    #[default]
    Memory,
}

/// The last incidents of the process and, with `state_dir`, of those before it.
#[derive(Debug, Default)]
pub struct IncidentLog(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    place: Place,
    kept: KeptIncidents,
}

/// What is written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct KeptIncidents {
    /// The number of the last one.
    last: u64,
    /// Oldest first.
    incidents: Vec<Incident>,
}

impl Kept for KeptIncidents {
    const NAME: &'static str = "incidents";
    const MAX_LEN: u64 = 1 << 20;
    const LOST: &'static str = "earlier incidents are not shown";
    const SET_ASIDE: bool = true;
}

impl IncidentLog {
    /// All of them, newest first, and where they are kept.
    pub fn all(&self) -> (Vec<Incident>, Place) {
        let inner = self.lock();
        (inner.kept.incidents.iter().rev().cloned().collect(), inner.place)
    }

    /// The one of this number.
    pub fn get(&self, number: u64) -> Option<Incident> {
        self.lock().kept.incidents.iter().find(|incident| incident.summary.number == number).cloned()
    }

    /// They are kept there from now on.
    pub(super) fn keep_in(&self, place: Place) {
        self.lock().place = place;
    }

    /// Shows one as it is now. A `number` of 0 is a new one; returns its number.
    pub(super) fn show(&self, number: u64, mut incident: Incident) -> u64 {
        let mut inner = self.lock();
        let kept = &mut inner.kept;
        let number = if number == 0 { kept.last + 1 } else { number };
        incident.summary.number = number;
        incident.bound();
        match kept.incidents.iter_mut().find(|known| known.summary.number == number) {
            Some(known) => *known = incident,
            // One that is so old that it has left stays away.
            None if number <= kept.last => {}
            None => kept.incidents.push(incident),
        }
        kept.last = kept.last.max(number);
        kept.trim();
        number
    }

    /// An earlier process wrote these. What this one has is newer: its numbers rise by what is returned.
    pub(super) fn adopt(&self, mut earlier: KeptIncidents, now: Moment) -> (u64, Vec<Incident>) {
        earlier.trim();
        earlier.last = earlier.incidents.iter().map(|incident| incident.summary.number).fold(earlier.last, u64::max);
        let mut interrupted = Vec::new();
        for incident in earlier.incidents.iter_mut().filter(|incident| incident.summary.open) {
            incident.interrupt(now);
            incident.bound();
            interrupted.push(incident.clone());
        }
        let mut inner = self.lock();
        let shift = earlier.last;
        for mut incident in std::mem::take(&mut inner.kept.incidents) {
            incident.summary.number += shift;
            earlier.incidents.push(incident);
        }
        earlier.last += inner.kept.last;
        earlier.trim();
        inner.kept = earlier;
        (shift, interrupted)
    }

    /// What is to be written.
    pub(super) fn kept(&self) -> KeptIncidents {
        self.lock().kept.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeptIncidents {
    fn trim(&mut self) {
        self.incidents.sort_by_key(|incident| incident.summary.number);
        let surplus = self.incidents.len().saturating_sub(MOST);
        self.incidents.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn incident(number: u64) -> Incident {
        Incident::example(number)
    }

    fn numbers(log: &IncidentLog) -> Vec<u64> {
        log.all().0.iter().map(|incident| incident.summary.number).collect()
    }

    #[test]
    fn the_last_hundred_are_kept_and_numbers_go_on() {
        let log = IncidentLog::default();
        let given: Vec<u64> = (0..150).map(|_| log.show(0, incident(0))).collect();
        assert_eq!(given, (1..=150).collect::<Vec<_>>());
        assert_eq!(numbers(&log), (51..=150).rev().collect::<Vec<_>>());
        log.show(3, incident(3));
        assert_eq!((log.get(3), log.all().0.len()), (None, 100), "one that has left does not come back");
        let mut large = incident(0);
        large.summary.evidence = "\u{1f4a5}".repeat(600);
        large.timeline = vec![large.timeline[0].clone(); 1000];
        (0..100).for_each(|_| _ = log.show(0, large.clone()));
        let size = crate::state::file::content(&log.kept()).len();
        assert!(size as u64 <= KeptIncidents::MAX_LEN, "{size}");
    }

    #[test]
    fn a_new_process_goes_on_from_what_it_finds() {
        let (before, now) = (IncidentLog::default(), IncidentLog::default());
        before.show(0, incident(0));
        let mut open = incident(0);
        (open.summary.open, open.summary.ended) = (true, None);
        before.show(0, open);
        // One that happened before the file was read.
        assert_eq!(now.show(0, incident(0)), 1);
        let (shift, interrupted) = now.adopt(before.kept(), Moment::from(SystemTime::now()));
        assert_eq!((shift, numbers(&now)), (2, vec![3, 2, 1]));
        assert_eq!((interrupted.len(), interrupted[0].summary.number), (1, 2));
        let found = now.get(2).unwrap();
        assert!(found.summary.interrupted && !found.summary.open && found.summary.ended.is_none());
        assert!(found.timeline.last().unwrap().text.contains("not known"), "{found:?}");
        assert_eq!(now.show(0, incident(0)), 4);
    }
}
