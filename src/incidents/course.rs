//! The course of the incidents of one pool. Pure: state changes, what clients felt, and the time in, incidents out.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    draft::{Draft, Sight, Wall},
    incident::Incident,
    words::{self, is_ordered},
};
use crate::{
    failover::{Epoch, Time},
    route::{StateEvent, Trouble},
};

/// What the byte path notes may be this much older than what control has noticed.
const RUN_UP: Duration = Duration::from_millis(100);
/// How long after the first client was served the figures may change: others are served a moment later.
const SETTLE: Duration = Duration::from_secs(1);
/// How long the first client is waited for.
const NOBODY_CAME: Duration = Duration::from_secs(2);
/// Clients that are still held this long after the activation wait for something else.
const LONGEST: Duration = Duration::from_mins(1);
/// Without an active backend for this long after the start, nobody is only starting any more.
pub(crate) const FIRST_OUTAGE: Duration = Duration::from_secs(15);
/// The figures of an open one are shown anew this often.
const REFRESH: Duration = Duration::from_secs(1);
/// Events before an incident, of which some belong to it.
const RECENT: usize = 16;

/// An incident to be shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shown {
    pub(super) incident: Incident,
    /// It changes no more.
    pub(super) is_over: bool,
}

/// A line of before an incident.
#[derive(Debug)]
struct Recent {
    at: Time,
    line: String,
    /// The backend of which it says how it is.
    of: Option<Arc<str>>,
}

/// The incidents of one pool.
#[derive(Debug)]
pub(super) struct Course {
    pool: Arc<str>,
    wall: Wall,
    begun: Time,
    /// A backend was active.
    has_served: bool,
    /// An earlier process ended in the middle of an incident of this pool.
    is_continued: bool,
    open: Option<Draft>,
    /// Over, and not shown yet.
    over: Vec<Shown>,
    recent: VecDeque<Recent>,
    /// Notes of the byte path of which control has not told anything yet.
    strays: VecDeque<Trouble>,
    /// Since when an operation runs.
    operation: Option<Time>,
    has_changed: bool,
    /// When the open one was shown last.
    shown: Time,
}

impl Course {
    pub(super) const fn new(pool: Arc<str>, wall: Wall, begun: Time) -> Self {
        Self {
            pool,
            wall,
            begun,
            has_served: false,
            is_continued: false,
            open: None,
            over: Vec::new(),
            recent: VecDeque::new(),
            strays: VecDeque::new(),
            operation: None,
            has_changed: false,
            shown: begun,
        }
    }

    /// An earlier process ended in the middle of an incident of this pool: an outage now is no slow start.
    pub(super) const fn continues(&mut self) {
        self.is_continued = true;
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether the next look cannot wait.
    pub(super) const fn is_pending(&self) -> bool {
        self.open.is_some() || !self.over.is_empty()
    }

    /// From when on notes of the byte path belong to the open incident.
    pub(super) fn felt_since(&self) -> Option<Time> {
        let since = self.open.as_ref()?.first_sign.since_origin();
        Some(Time::new(since.saturating_sub(RUN_UP)))
    }

    /// The epoch whose first client is waited for.
    pub(super) fn awaited(&self) -> Option<Epoch> {
        self.open.as_ref().filter(|draft| draft.activated.is_some() && draft.first_session.is_none()).map(|draft| draft.epoch)
    }

    /// A state change of the pool.
    pub(super) fn event(&mut self, event: &StateEvent) {
        match (event.kind, event.to) {
            ("revoke", _) => self.revoked(event),
            ("conflict", Some("present")) => self.conflict(event),
            ("operation", Some("done" | "aborted" | "failed" | "interrupted")) => self.operation = None,
            ("operation", _) if event.cause.is_some() => _ = self.operation.get_or_insert(event.at),
            _ => {}
        }
        if let Some(text) = words::told(event) {
            if let Some(draft) = &mut self.open {
                draft.line(event.at, text.clone());
                self.has_changed = true;
            }
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            let of = event.backend.clone().filter(|_| ["health", "role", "eligibility"].contains(&event.kind));
            self.recent.push_back(Recent { at: event.at, line: text, of });
        }
        let Some(draft) = &mut self.open else {
            self.has_served |= event.kind == "activate";
            return;
        };
        match (event.kind, event.to) {
            ("activate", _) => {
                self.has_served = true;
                draft.activate(event);
            }
            ("conflict", Some("gone")) => draft.end_conflict(event.at),
            _ => {}
        }
    }

    fn revoked(&mut self, event: &StateEvent) {
        // One that is only settling is over; a conflict goes on.
        let is_new = self.open.as_ref().is_none_or(|draft| draft.activated.is_some() && !draft.is_conflict());
        if is_new {
            self.close(event.at);
            let ordered = self.operation.filter(|_| event.cause.is_some_and(is_ordered));
            self.begin(Draft::new(ordered.or(event.first_sign).unwrap_or(event.at), event));
        }
        if let Some(draft) = &mut self.open {
            let signs = self.recent.iter().rev().find(|recent| recent.of == event.backend && recent.at >= draft.first_sign);
            draft.revoke(event, signs.map_or(event.at, |sign| sign.at));
        }
    }

    fn conflict(&mut self, event: &StateEvent) {
        if self.open.is_none() {
            self.begin(Draft::new(event.at, event));
        }
        if let Some(draft) = &mut self.open {
            draft.begin_conflict();
        }
    }

    fn begin(&mut self, mut draft: Draft) {
        let before = self.recent.iter().filter(|recent| recent.at >= draft.first_sign);
        draft.lines.extend(before.map(|recent| (recent.at, recent.line.clone())));
        self.open = Some(draft);
        self.has_changed = true;
        let strays: Vec<_> = self.strays.drain(..).collect();
        self.felt(&strays);
    }

    /// What clients felt; nothing of it is older than [`Course::felt_since`].
    pub(super) fn felt(&mut self, troubles: &[Trouble]) {
        let Some(since) = self.felt_since() else { return };
        let Some(draft) = &mut self.open else { return };
        for trouble in troubles.iter().filter(|trouble| trouble.until >= since) {
            if draft.feel(trouble) {
                self.has_changed = true;
            } else {
                if self.strays.len() == RECENT {
                    self.strays.pop_front();
                }
                self.strays.push_back(*trouble);
            }
        }
    }

    /// What is to be shown now.
    pub(super) fn look(&mut self, now: Time, sight: Sight) -> Vec<Shown> {
        self.first_outage(now, sight.is_active);
        if let Some(draft) = &mut self.open {
            self.has_changed |= draft.see(now, sight);
            if draft.activated.is_some() || draft.is_only_conflict() {
                let is_over = draft.is_settled(now, sight.held, (SETTLE, NOBODY_CAME, LONGEST));
                if is_over {
                    self.close(now);
                }
            }
        }
        let mut shown = std::mem::take(&mut self.over);
        self.has_changed |= now.since(self.shown) >= REFRESH;
        if std::mem::take(&mut self.has_changed)
            && let Some(draft) = self.open.as_ref().filter(|draft| draft.is_worth_it())
        {
            shown.push(Shown { incident: draft.shape(&self.pool, &self.wall, now, false), is_over: false });
            self.shown = now;
        }
        shown
    }

    /// No backend has served since the start, and that is no slow start any more.
    fn first_outage(&mut self, now: Time, is_active: bool) {
        let grace = if self.is_continued { RUN_UP } else { FIRST_OUTAGE };
        if self.has_served || is_active || self.open.is_some() || now.since(self.begun) < grace {
            return;
        }
        let mut draft = Draft::startup(self.begun);
        draft.evidence = self.recent.iter().rev().find(|recent| recent.of.is_some()).map_or("", |recent| &recent.line).into();
        self.begin(draft);
    }

    /// The pool is no longer configured.
    pub(super) fn removed(&mut self, now: Time) -> Vec<Shown> {
        if let Some(draft) = &mut self.open {
            draft.line(now, "the pool is no longer configured".to_owned());
        }
        self.close(now);
        std::mem::take(&mut self.over)
    }

    fn close(&mut self, now: Time) {
        let Some(draft) = self.open.take() else { return };
        self.is_continued = false;
        if draft.is_worth_it() {
            self.over.push(Shown { incident: draft.shape(&self.pool, &self.wall, now, true), is_over: true });
        }
    }
}

#[cfg(test)]
mod tests;
