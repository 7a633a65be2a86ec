//! An incident that is open: what is known of it so far.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    incident::{Clients, Incident, Kind, Line, Moment, Summary},
    words::is_ordered,
};
use crate::{
    failover::{Cause, Epoch, Printable, RevokeMode, Time, label::Label as _},
    route::{Clock, StateEvent, Trouble},
};

/// The clock, for its wall time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wall(pub(super) Clock);

impl Wall {
    pub(super) fn moment(&self, at: Time) -> Moment {
        self.0.wall(at).into()
    }
}

/// What is seen of a pool besides its events.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight {
    /// A backend is active.
    pub(super) is_active: bool,
    /// Clients that wait now.
    pub(super) held: u64,
    /// When the first client was served under the epoch of the last activation.
    pub(super) first_served: Option<Time>,
}

/// Lines that are kept of one that goes on and on; the last ones make room.
const LINES: usize = 200;

#[derive(Debug)]
pub(super) struct Draft {
    pub(super) first_sign: Time,
    detected: Option<Time>,
    pub(super) revoked: Option<Time>,
    revoked_epoch: Epoch,
    pub(super) activated: Option<Time>,
    pub(super) first_session: Option<Time>,
    pub(super) cause: String,
    pub(super) evidence: Printable,
    pub(super) from: Option<Arc<str>>,
    pub(super) to: Option<Arc<str>>,
    pub(super) epoch: Epoch,
    unknown_bytes: Option<u64>,
    has_conflict: bool,
    /// It was told, and not yet that it is gone.
    is_conflict_present: bool,
    conflict_gone: Option<Time>,
    /// When the first client felt it.
    felt_from: Option<Time>,
    /// When a client last felt it.
    felt_until: Option<Time>,
    aborted: u64,
    /// The sessions of the revoked epoch were left to a server that is gone: none of them outlives it, whoever ends it.
    is_deserted: bool,
    /// Sessions that ended by their clients before the revocation, or were left to a server that is gone: how many, and when the
    /// last of them did.
    left: VecDeque<(Time, u64)>,
    clients: Clients,
    /// Clients that wait now.
    held: u64,
    pub(super) lines: Vec<(Time, String)>,
}

impl Draft {
    pub(super) fn new(first_sign: Time, event: &StateEvent) -> Self {
        Self {
            first_sign,
            detected: None,
            revoked: None,
            revoked_epoch: event.epoch,
            activated: None,
            first_session: None,
            cause: event.cause.unwrap_or(event.kind).to_owned(),
            evidence: event.evidence.clone(),
            from: None,
            to: None,
            epoch: event.epoch,
            unknown_bytes: None,
            has_conflict: false,
            is_conflict_present: false,
            conflict_gone: None,
            felt_from: None,
            felt_until: None,
            aborted: 0,
            is_deserted: false,
            left: VecDeque::new(),
            clients: Clients::default(),
            held: 0,
            lines: Vec::new(),
        }
    }

    /// No backend has served since the start.
    pub(super) fn startup(begun: Time) -> Self {
        let event = StateEvent { at: begun, cause: Some(Cause::Startup.as_str()), ..StateEvent::default() };
        let mut draft = Self::new(begun, &event);
        draft.line(begun, "mainstay starts, and no backend may serve".to_owned());
        draft
    }

    pub(super) fn revoke(&mut self, event: &StateEvent, detected: Time) {
        self.detected.get_or_insert(detected);
        self.revoked.get_or_insert(event.at);
        if self.from.is_none() {
            self.from.clone_from(&event.backend);
            event.cause.unwrap_or_default().clone_into(&mut self.cause);
            self.evidence = event.evidence.clone();
        }
        self.has_conflict |= event.cause == Some(Cause::Conflict.as_str());
        self.is_deserted = event.sessions_end == Some(RevokeMode::LastWords) && event.cause == Some(Cause::Down.as_str());
        (self.revoked_epoch, self.activated, self.first_session) = (event.epoch, None, None);
    }

    pub(super) fn activate(&mut self, event: &StateEvent) {
        self.activated = Some(event.at);
        self.to.clone_from(&event.backend);
        self.epoch = event.epoch;
        self.unknown_bytes = event.unknown_bytes.filter(|_| self.from != self.to);
    }

    pub(super) const fn begin_conflict(&mut self) {
        (self.has_conflict, self.is_conflict_present, self.conflict_gone) = (true, true, None);
    }

    pub(super) const fn end_conflict(&mut self, at: Time) {
        (self.is_conflict_present, self.conflict_gone) = (false, Some(at));
    }

    pub(super) const fn is_conflict(&self) -> bool {
        self.has_conflict
    }

    /// A conflict that has withdrawn nobody, and is over.
    pub(super) const fn is_only_conflict(&self) -> bool {
        self.revoked.is_none() && self.conflict_gone.is_some()
    }

    pub(super) fn line(&mut self, at: Time, text: String) {
        if self.lines.len() == LINES {
            self.lines.remove(LINES / 2);
        }
        self.lines.push((at, text));
    }

    /// Whether this belongs to it, and changes it.
    pub(super) fn feel(&mut self, trouble: &Trouble) -> bool {
        if trouble.epoch.is_some_and(|epoch| epoch != self.revoked_epoch) {
            return false;
        }
        if trouble.left > 0 && (self.is_deserted || self.revoked.is_none_or(|revoked| trouble.from <= revoked)) {
            if self.left.len() == LINES {
                self.left.pop_front();
            }
            self.left.push_back((trouble.until, trouble.left));
        }
        if trouble.lost + trouble.held + trouble.turned_away == 0 {
            return true;
        }
        self.felt_from = Some(self.felt_from.map_or(trouble.from, |from| from.min(trouble.from)));
        self.felt_until = Some(self.felt_until.map_or(trouble.until, |until| until.max(trouble.until)));
        self.aborted += trouble.lost;
        self.clients.held += trouble.held;
        self.clients.served_late += trouble.served_late;
        self.clients.turned_away += trouble.turned_away;
        self.clients.longest_wait_seconds = self.clients.longest_wait_seconds.max(trouble.longest.as_secs_f64());
        true
    }

    /// What is seen at `now`; whether that changes it.
    pub(super) fn see(&mut self, now: Time, sight: Sight) -> bool {
        let before = (self.held, self.first_session);
        self.held = sight.held;
        if sight.held > 0 {
            // When the first of them came is known when its wait is over.
            self.felt_from.get_or_insert(now);
        }
        if self.activated.is_some() && self.first_session.is_none() {
            self.first_session = sight.first_served;
        }
        before != (self.held, self.first_session)
    }

    /// Its figures change no more.
    pub(super) fn is_settled(
        &self,
        now: Time,
        held: u64,
        (settle, nobody_came, longest): (Duration, Duration, Duration),
    ) -> bool {
        if self.is_conflict_present || self.conflict_gone.is_some_and(|gone| now.since(gone) < settle) {
            return false;
        }
        let Some(activated) = self.activated else { return self.is_only_conflict() };
        let is_quiet = self.felt_until.is_none_or(|until| now.since(until) >= settle);
        let has_come = self.first_session.is_some_and(|at| now.since(at) >= settle);
        let patience = now.since(activated);
        (held == 0 && is_quiet && (has_come || patience >= nobody_came)) || patience >= longest
    }

    /// What kind it is by now.
    pub(super) fn kind(&self) -> Kind {
        let is_ordered = self.revoked.is_some() && is_ordered(&self.cause);
        match (&self.from, &self.to) {
            _ if self.is_conflict() => Kind::Conflict,
            _ if is_ordered => Kind::Planned,
            (Some(from), Some(to)) if from != to => Kind::Failover,
            _ => Kind::Outage,
        }
    }

    /// An order that no client felt is no incident.
    pub(super) fn is_worth_it(&self) -> bool {
        self.kind() != Kind::Planned || self.felt_from.is_some()
    }

    /// Sessions that were lost. A client whose backend is in trouble may be the first to end its session: it has read why.
    fn aborted(&self) -> u64 {
        let began = self.felt_from.map_or(self.first_sign, |felt| felt.min(self.first_sign));
        self.aborted + self.left.iter().filter(|(until, _)| *until >= began).map(|(_, left)| left).sum::<u64>()
    }

    /// When it was over, as far as it is.
    fn end(&self) -> Option<Time> {
        let served = self.first_session.or(self.activated);
        served.into_iter().chain(self.conflict_gone).max()
    }

    pub(super) fn shape(&self, pool: &Arc<str>, wall: &Wall, now: Time, is_over: bool) -> Incident {
        let began = self.felt_from.map_or(self.first_sign, |felt| felt.min(self.first_sign));
        let end = if is_over { Some(self.end().unwrap_or(now)) } else { None };
        // While clients wait nobody is well, whoever is active.
        let served = self.first_session.or(self.activated.filter(|_| self.held == 0));
        let felt_end = if self.revoked.is_none() && self.has_conflict { self.felt_until } else { Some(served.unwrap_or(now)) };
        let felt = self.felt_from.zip(felt_end).map(|(from, until)| until.since(from)).unwrap_or_default();
        // Before the first activation the gap begins with the process.
        let gap_from = self.revoked.or_else(|| (!self.has_conflict).then_some(self.first_sign));
        let gap = gap_from.map(|from| self.activated.unwrap_or(now).since(from)).unwrap_or_default();
        let at = |time: Option<Time>| time.map(|time| wall.moment(time));
        let seconds = |length: Duration| (length.as_secs_f64() * 1000.0).round() / 1000.0;
        let clients = Clients {
            held: self.clients.held + self.held,
            longest_wait_seconds: seconds(Duration::from_secs_f64(self.clients.longest_wait_seconds)),
            ..self.clients
        };
        Incident {
            summary: Summary {
                number: 0,
                pool: pool.to_string(),
                kind: self.kind(),
                began: wall.moment(began),
                ended: at(end),
                open: !is_over,
                interrupted: false,
                cause: self.cause.clone(),
                evidence: self.evidence.to_string(),
                from: self.from.as_deref().map(str::to_owned),
                to: self.to.as_deref().map(str::to_owned),
                epoch: self.epoch.0,
                felt_seconds: seconds(felt),
                gap_seconds: seconds(gap),
                sessions_aborted: self.aborted(),
                clients,
            },
            first_sign: Some(wall.moment(self.first_sign)),
            detected: at(self.detected),
            revoked: at(self.revoked),
            activated: at(self.activated),
            first_session: at(self.first_session),
            unknown_bytes: self.unknown_bytes,
            timeline: self.timeline(wall),
        }
    }

    fn timeline(&self, wall: &Wall) -> Vec<Line> {
        let mut lines = self.lines.clone();
        let mut tell = |at: Option<Time>, text: String| lines.extend(at.map(|at| (at, text)));
        let name = |name: &Option<Arc<str>>| name.as_deref().unwrap_or("the backend").to_owned();
        tell(self.revoked.and(Some(self.first_sign)), format!("first sign of trouble with {}", name(&self.from)));
        tell(self.felt_from, "the first client feels it".to_owned());
        tell(self.first_session, format!("the first client is served by {}", name(&self.to)));
        lines.sort_by_key(|(at, _)| *at);
        lines.into_iter().map(|(at, text)| Line { at: wall.moment(at), text }).collect()
    }
}
