//! What an operator's order means for a pool: its words, what it does, and the answer. Nothing is done here, so a dry run gets the
//! same answer.

use std::{sync::Arc, time::Duration};

use super::{drain::can_keep, node::Node};
use crate::{
    config::CheckConfig,
    failover::{Admin, BackendId, Command, Effect, Event, FailoverReady, Note, Pool, Printable, Reason, RevokeMode, Time},
    route::{Done, Refusal, RefusalCode, Selection, Session, SessionTable, Verb},
};

/// Why new clients of a paused pool wait.
pub(super) const PAUSED: &str = "the pool is paused by command";

/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_hours(24);

/// A pool at the moment of an order.
pub(super) struct Scene<'a> {
    pub(super) pool: &'a str,
    pub(super) core: &'a Pool,
    pub(super) nodes: &'a [Node],
    pub(super) sessions: &'a [Arc<SessionTable>],
    /// Administrative states outlive a restart.
    pub(super) is_remembered: bool,
    /// The pool is not configured any more.
    pub(super) is_retired: bool,
    /// The check of the pool.
    pub(super) check: &'a CheckConfig,
    /// For sessions that are to end at the end of their transaction.
    pub(super) drain_timeout: Duration,
}

/// What an order does.
pub(super) enum Deed {
    /// It was refused.
    Nothing,
    /// The core as it is afterwards, what follows from that, and the sessions that end besides.
    Step(Box<Pool>, Vec<Effect>, Vec<Arc<Session>>),
    /// The core once the backend is drained, and what follows from that. Its maintenance begins when its sessions have ended.
    Depart(Box<Pool>, Vec<Effect>, BackendId),
    /// These sessions end.
    Kill(Vec<Arc<Session>>),
}

/// Why new clients are held although a backend is active, and the evidence.
pub(super) fn why_held(core: &Pool, nodes: &[Node]) -> (String, Printable) {
    if let Some(operation) = core.operation() {
        let what = format!("a {} is under way", operation.kind());
        return (what.clone(), what.into());
    }
    let doubted = core.active().filter(|_| core.paused_until().is_none()).and_then(|id| Some((core.backend(id)?, id)));
    match doubted {
        Some((state, id)) => {
            (format!("{} is in doubt and is being probed", nodes[id.index()].config.name), state.evidence.clone())
        }
        None => (PAUSED.to_owned(), PAUSED.into()),
    }
}

/// The backend of this name.
pub(super) fn find(nodes: &[Node], core: &Pool, pool: &str, name: &str) -> Result<BackendId, Refusal> {
    let found = nodes.iter().zip(core.ids()).find(|(node, _)| *node.config.name == *name);
    found.map(|(_, id)| id).ok_or_else(|| {
        let names = nodes.iter().map(|node| &*node.config.name).collect::<Vec<_>>().join(", ");
        let message = format!("pool {pool} has no backend {}; it has {names}", Printable::word(name));
        Refusal { code: RefusalCode::UnknownBackend, message }
    })
}

/// The pool is not configured any more.
pub(super) fn gone(pool: &str) -> Refusal {
    Refusal { code: RefusalCode::Gone, message: format!("pool {pool} is not configured any more") }
}

/// Whether a failover would succeed now, in words.
pub(super) fn readiness(core: &Pool, now: Time) -> String {
    match core.failover_ready(now) {
        FailoverReady::Yes => "ready".to_owned(),
        other => format!("not ready: {other}"),
    }
}

/// An order in words.
pub(super) fn words(verb: &Verb) -> Printable {
    let of = |what: &str, name: Option<&dyn std::fmt::Display>| name.map(|name| format!(" {what} {name}")).unwrap_or_default();
    let text = match verb {
        Verb::SetAdmin { backend, to, force } => format!("{to} {backend}{}", if *force { " --force" } else { "" }),
        Verb::Pause { max } => format!("pause for {max:?} at most"),
        Verb::Resume => "resume".to_owned(),
        Verb::Kill { backend: None, client: None } => "kill all sessions".to_owned(),
        Verb::Kill { backend, client } => {
            let backend = of("with", backend.as_ref().map(|name| name as _));
            format!("kill sessions{backend}{}", of("of", client.as_ref().map(|client| client as _)))
        }
        Verb::Switchover { to, force } => {
            format!("switchover{}{}", of("to", to.as_ref().map(|name| name as _)), if *force { " --force" } else { "" })
        }
        Verb::Promote { to, accept_loss, force } => {
            let to = to.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            format!("promote{to}{}{}", if *accept_loss { " --accept-loss" } else { "" }, if *force { " --force" } else { "" })
        }
        Verb::Trial { to, force, time } => {
            let to = of("to", to.as_ref().map(|name| name as _));
            format!("switchover{to} --trial {time:?}{}", if *force { " --force" } else { "" })
        }
        Verb::Rehearse => "drill --switch".to_owned(),
        Verb::Rollback { accept_loss } => format!("rollback{}", if *accept_loss { " --accept-loss" } else { "" }),
        Verb::AbortPresent => "abort".to_owned(),
        Verb::Abort { id } => format!("abort operation {id}"),
        Verb::Drill => "drill".to_owned(),
        Verb::Prove { backend } => format!("prove{}", backend.as_ref().map(|name| format!(" {name}")).unwrap_or_default()),
        Verb::Approve { backend } => format!("approve {backend}"),
        Verb::Reject { backend } => format!("reject {backend}"),
    };
    text.into()
}

impl Scene<'_> {
    /// The answer to an order at `now`, and what it does.
    pub(super) fn decide(&self, verb: &Verb, now: Time) -> (Result<Done, Refusal>, Deed) {
        match self.try_decide(verb, now) {
            Ok((done, deed)) => (Ok(done), deed),
            Err(refusal) => (Err(refusal), Deed::Nothing),
        }
    }

    fn try_decide(&self, verb: &Verb, now: Time) -> Result<(Done, Deed), Refusal> {
        if self.is_retired {
            return Err(gone(self.pool));
        }
        let command = match verb {
            Verb::SetAdmin { backend, to, force } => Command::SetAdmin { backend: self.id(backend)?, to: *to, force: *force },
            Verb::Pause { max } => Command::Pause { until: now + *(max.min(&MAX_PAUSE)) },
            Verb::Resume => Command::Resume,
            // Taken before: see `operate` and `proving`.
            Verb::Switchover { .. }
            | Verb::Trial { .. }
            | Verb::Rehearse
            | Verb::Rollback { .. }
            | Verb::Promote { .. }
            | Verb::AbortPresent
            | Verb::Abort { .. }
            | Verb::Drill
            | Verb::Prove { .. }
            | Verb::Approve { .. }
            | Verb::Reject { .. } => {
                return Ok((Done::default(), Deed::Nothing));
            }
            Verb::Kill { backend, client } => {
                backend.as_deref().map(|name| self.id(name)).transpose()?;
                let sessions = self.select(Selection { pool: self.pool, backend: backend.as_deref(), client: *client });
                let ended = sessions.len() as u64;
                let lines = vec![format!("{} now; new clients are served as before", end(ended))];
                return Ok((Done { lines, sessions: ended, operation: None }, Deed::Kill(sessions)));
            }
        };
        let mut after = self.core.clone();
        let effects = after.step(now, &Event::Command(command));
        let refused = effects.iter().find_map(|effect| match effect {
            Effect::Note(Note::NobodyTakesOver(active)) => Some(*active),
            _ => None,
        });
        if let Some(active) = refused {
            return Err(self.nobody_takes_over(active));
        }
        if let Verb::SetAdmin { backend, to: Admin::Maint, force } = verb
            && let Some((done, deed)) = self.depart(backend, *force, &effects, now)
        {
            return Ok((done, deed));
        }
        let (lines, sessions) = match verb {
            Verb::SetAdmin { backend, to, .. } => self.admin_set(backend, *to, &effects),
            Verb::Pause { .. } => (self.pause_begins(&after, now), 0),
            _ => (vec![self.pause_ends(&after)], 0),
        };
        let rest = match verb {
            // Sessions of an earlier epoch, which a drain has left.
            Verb::SetAdmin { backend, to: Admin::Maint, .. } => {
                self.select(Selection { pool: self.pool, backend: Some(backend), client: None })
            }
            _ => Vec::new(),
        };
        Ok((Done { lines, sessions, operation: None }, Deed::Step(Box::new(after), effects, rest)))
    }

    /// For a maintenance with these effects: its sessions first end where they are in no transaction. When another backend becomes
    /// active, they cannot: both would be written to.
    fn depart(&self, backend: &str, force: bool, effects: &[Effect], now: Time) -> Option<(Done, Deed)> {
        let id = self.id(backend).ok()?;
        let activates = effects.iter().any(|effect| matches!(effect, Effect::Activate { .. }));
        let from = self.core.backend(id).map(|state| state.admin)?;
        let sessions = self.select(Selection { pool: self.pool, backend: Some(backend), client: None }).len() as u64;
        if activates || from == Admin::Maint || sessions == 0 || !can_keep(self.check) {
            return None;
        }
        let mut drained = self.core.clone();
        let effects = drained.step(now, &Event::Command(Command::SetAdmin { backend: id, to: Admin::Drain, force }));
        let rest = match self.drain_timeout {
            Duration::ZERO => String::new(),
            timeout => format!(", the rest after {timeout:?}"),
        };
        let mut lines = vec![
            format!("{backend}: {from} -> drain, and maint when its sessions have ended"),
            format!("{} at the end of a transaction{rest}", end(sessions)),
        ];
        lines.extend(self.forgets());
        Some((Done { lines, sessions, operation: None }, Deed::Depart(Box::new(drained), effects, id)))
    }

    fn forgets(&self) -> Option<String> {
        (!self.is_remembered).then(|| "a restart of mainstay forgets this: there is no state_dir".to_owned())
    }

    /// The name of a backend, as the pool holds it.
    pub(super) fn named(&self, verb: &Verb) -> Option<&Arc<str>> {
        let (Verb::SetAdmin { backend, .. }
        | Verb::Kill { backend: Some(backend), .. }
        | Verb::Prove { backend: Some(backend) }
        | Verb::Approve { backend }
        | Verb::Reject { backend }) = verb
        else {
            return None;
        };
        self.nodes.iter().map(|node| &node.config.name).find(|name| *name == backend)
    }

    fn id(&self, name: &str) -> Result<BackendId, Refusal> {
        find(self.nodes, self.core, self.pool, name)
    }

    fn name(&self, id: BackendId) -> &str {
        &self.nodes[id.index()].config.name
    }

    fn select(&self, which: Selection<'_>) -> Vec<Arc<Session>> {
        self.sessions.iter().flat_map(|table| table.select(which)).collect()
    }

    fn nobody_takes_over(&self, active: BackendId) -> Refusal {
        let others = self.core.ids().filter(|id| *id != active).map(|id| {
            let why = match self.core.reason(id) {
                Reason::Eligible => "held back by the failover budget",
                reason => crate::failover::label::Label::as_str(reason),
            };
            format!("{}: {why}", self.name(id))
        });
        let others = others.collect::<Vec<_>>().join(", ");
        let others = if others.is_empty() { "the pool has no other".to_owned() } else { others };
        let active = self.name(active);
        let message = format!(
            "{active} is the active backend and no other would take over now ({others}); promote another one first, or order it \
             with --force: then new clients wait"
        );
        Refusal { code: RefusalCode::NobodyTakesOver, message }
    }

    /// What becomes of the pool and of sessions, and how many end.
    fn admin_set(&self, backend: &str, to: Admin, effects: &[Effect]) -> (Vec<String>, u64) {
        let from = effects.iter().find_map(|effect| match effect {
            Effect::Note(Note::AdminSet { from, .. }) => Some(*from),
            _ => None,
        });
        let mut lines = vec![match from {
            Some(from) => format!("{backend}: {from} -> {to}"),
            None => format!("{backend}: {to}, as it was"),
        }];
        let is_revoked = effects.iter().any(|effect| matches!(effect, Effect::Revoke { .. }));
        let activated = effects.iter().find_map(|effect| match effect {
            Effect::Activate { backend, epoch, .. } => Some((*backend, *epoch)),
            _ => None,
        });
        match activated {
            Some((id, epoch)) => lines.push(format!("{} becomes active, epoch {epoch}", self.name(id))),
            None if is_revoked => lines.push("no backend takes over: new clients wait".to_owned()),
            None => {}
        }
        let sessions = self.select(Selection { pool: self.pool, backend: None, client: None });
        let is_with = |session: &Session| *session.route.backend == *backend;
        let ends = |session: &Session| self.is_ended(session, effects) || (to == Admin::Maint && is_with(session));
        let ended = sessions.iter().filter(|session| ends(session)).count() as u64;
        let left = sessions.iter().filter(|session| is_with(session) && !ends(session)).count();
        if ended > 0 {
            lines.push(format!("{} now", end(ended)));
        }
        if left > 0 && to != Admin::Ready {
            lines.push(format!("{left} sessions with {backend} go on until they end, or another backend becomes active"));
        }
        lines.extend(self.forgets());
        (lines, ended)
    }

    fn is_ended(&self, session: &Session, effects: &[Effect]) -> bool {
        let reads = session.route.id.epoch().is_none();
        let is_with = |id: &BackendId| *self.name(*id) == *session.route.backend;
        effects.iter().any(|effect| match effect {
            // What is left of earlier epochs ends.
            Effect::Activate { .. } => !reads,
            Effect::Revoke { backend, mode: RevokeMode::Abort, .. } | Effect::Abort { backend, .. } => !reads && is_with(backend),
            Effect::Read { backend, sessions: RevokeMode::Abort, .. } => reads && is_with(backend),
            _ => false,
        })
    }

    fn pause_begins(&self, after: &Pool, now: Time) -> Vec<String> {
        let Some(until) = after.paused_until() else { return vec!["a pause of no time: new clients are not held".to_owned()] };
        let begins = format!("new clients wait until resume, for {:?} at most", until.since(now));
        let sessions = match after.active() {
            Some(active) if can_keep(self.check) => {
                format!("sessions with {} stop where they are in no transaction", self.name(active))
            }
            Some(_) => format!("sessions go on: the check ({}) cannot tell which are in a transaction", self.check.kind.name()),
            None => return vec![begins],
        };
        vec![begins, sessions]
    }

    fn pause_ends(&self, after: &Pool) -> String {
        match after.active() {
            _ if self.core.paused_until().is_none() => "the pool was not paused".to_owned(),
            None => "the pause is over; new clients wait until a backend may serve".to_owned(),
            Some(active) if after.suspended() => {
                format!("the pause is over; new clients wait until {} has answered a check", self.name(active))
            }
            Some(active) => format!("the pause is over; new clients go to {}", self.name(active)),
        }
    }
}

fn end(sessions: u64) -> String {
    match sessions {
        1 => "1 session ends".to_owned(),
        count => format!("{count} sessions end"),
    }
}
