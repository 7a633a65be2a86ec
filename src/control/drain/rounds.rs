//! Looks at all sessions of a route every few milliseconds, and decides about each.
//!
//! A boundary is not trusted at first sight: a client that sends ahead, or a server that speaks unasked, can make one while a request
//! is under way. So a session counts as idle when two looks in a row show the same: it stands at the same boundary, nothing more of
//! the client was passed on, and the server has done nothing for it in between.

use std::{collections::HashMap, sync::Arc, sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::server::{Doing, Drain, Drained, End, Server, Shown, Target};
use crate::{
    failover::Printable,
    route::{Gating, Position, Session, Stand, kill, send},
};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// From then on a session ends whose client has sent a request that nobody has read: it may be sent again.
const UNREAD_AFTER: Duration = Duration::from_millis(20);

/// Where a transaction that has only begun does not show: a session ends whose client has been silent for this long,
const SILENT_FOR: Duration = Duration::from_millis(50);
/// or has sent so many requests, one after the other, of which none has opened one. (SET TRANSACTION, BEGIN, and the first that does.)
const LET_PASS: u32 = 3;

/// How often a server that did not answer is logged in to again.
const LOGINS: u32 = 10;

/// How long sessions that were ended may take to be gone.
const FAREWELL: Duration = Duration::from_millis(250);

/// The rounds of a drain.
pub(super) struct Rounds<'a> {
    drain: &'a Drain,
    begun: Instant,
    until: Option<Instant>,
    /// By the address of the session.
    known: HashMap<usize, Known>,
    drained: Drained,
}

/// A session in one look.
#[derive(Clone, Copy, Debug)]
struct Look {
    stand: Stand,
    upstream: u64,
    shown: Option<Shown>,
}

/// A session, which is kept so that no other gets its address.
struct Known {
    session: Arc<Session>,
    /// The last look, and since when it has been the same.
    look: Option<Look>,
    since: Instant,
    /// Requests that were let pass, while nobody knew whether a transaction had begun.
    passed: u32,
    /// A transaction has shown: the next time that none does, it has ended.
    has_shown: bool,
    was_ended: bool,
}

impl Known {
    fn new(session: Arc<Session>) -> Self {
        Self { session, look: None, since: Instant::now(), passed: 0, has_shown: false, was_ended: false }
    }

    fn note(&mut self, look: Look) {
        if !self.look.is_some_and(|before| look.is_as(&before)) {
            self.since = Instant::now();
        }
        let rests = matches!(look.stand.position(), Position::Silent | Position::Unread);
        self.has_shown |= rests && look.shown.is_some_and(|shown| shown.is_open && shown.doing == Doing::Waits);
        self.look = Some(look);
    }
}

impl Look {
    /// Nothing has happened since then, as far as the byte path tells.
    fn is_as(&self, before: &Self) -> bool {
        (self.stand, self.upstream) == (before.stand, before.upstream)
    }

    /// How the server is to end it, when it was seen so twice.
    fn end(&self, known: &Known, (shows_late, is_unread_ended): (bool, bool)) -> End {
        let settled = known.look.filter(|before| self.is_as(before)).and_then(|before| before.shown);
        let is_sure = known.has_shown || !shows_late;
        let is_due = match self.stand.position() {
            Position::Silent => is_sure || known.since.elapsed() >= SILENT_FOR,
            Position::Unread => is_unread_ended && (is_sure || known.passed >= LET_PASS),
            Position::UnderWay | Position::LetPass => false,
        };
        match settled {
            Some(shown) if is_due && shown.doing == Doing::Idle && shown.may_end => End::IfIdle(shown.id, shown.stamp),
            _ => End::No,
        }
    }

    /// Where the session is to stand from now on, if elsewhere.
    fn sent_to(&self, known: &Known, shows_late: bool) -> Option<Position> {
        let twice = known.look.is_some_and(|before| self.is_as(&before) && self.doing() == before.doing());
        match (self.stand.position(), self.doing()) {
            // Perhaps a transaction has begun, and this will show it.
            (Position::Unread, Doing::Idle) if shows_late && !known.has_shown && known.passed < LET_PASS && !known.was_ended => {
                Some(Position::LetPass)
            }
            // Nobody but the client can go on.
            (Position::Silent | Position::Unread, Doing::Waits) => Some(Position::LetPass),
            // It cannot be found on the server, or not be ended there: it ends by itself, and must not be kept from that.
            (Position::Silent | Position::Unread, Doing::Hidden) if twice => Some(Position::LetPass),
            // What it was let pass for is over.
            (Position::LetPass, Doing::Idle) if twice => Some(Position::UnderWay),
            _ => None,
        }
    }

    fn doing(&self) -> Doing {
        match self.shown {
            Some(shown) if shown.may_end || shown.doing != Doing::Idle => shown.doing,
            _ => Doing::Hidden,
        }
    }
}

impl<'a> Rounds<'a> {
    pub(super) fn new(drain: &'a Drain, until: Option<Instant>) -> Self {
        Self { drain, begun: Instant::now(), until, known: HashMap::new(), drained: Drained::default() }
    }

    /// With a login to the server; without one the sessions are left to end by themselves.
    pub(super) async fn with_server(
        mut self,
        mut server: Option<Box<dyn Server>>,
        notes: Vec<Printable>,
        cancel: &CancellationToken,
    ) -> Drained {
        self.drained.notes = notes;
        let (mut lost, mut logins) = (None, 0);
        while !self.is_over() {
            let is_late = self.is_late();
            let round = async {
                // One late answer is no reason to give up all those who still wait.
                if lost.is_some() && logins < LOGINS && !is_late {
                    (logins, server) = (logins + 1, self.drain.open().await.0);
                }
                for ends_all in [false, true].into_iter().take(1 + usize::from(is_late)) {
                    lost = self.round(&mut server, ends_all).await.err().or(lost.take().filter(|_| server.is_none()));
                }
                if !is_late {
                    sleep(PAUSE).await;
                }
            };
            let is_cancelled = tokio::select! {
                () = round => false,
                () = cancel.cancelled() => true,
            };
            if is_cancelled || is_late {
                break;
            }
        }
        if let Some(why) = lost {
            self.drained.notes.push(format!("the sessions that were left then end by themselves: {why}").into());
        }
        if let Some(server) = server {
            server.close().await;
        }
        self.finish(cancel).await
    }

    /// Where nothing on the server outlives a request: who stands at a boundary is ended here.
    pub(super) async fn without_server(mut self, cancel: &CancellationToken) -> Drained {
        while !self.is_over() && !cancel.is_cancelled() {
            let (is_late, is_unread_ended) = (self.is_late(), self.begun.elapsed() >= UNREAD_AFTER);
            let mut over = Vec::new();
            for (known, look) in self.looks() {
                let position = look.map_or(Position::UnderWay, |look| look.stand.position());
                let is_due = position == Position::Silent || position == Position::Unread && is_unread_ended;
                if known.was_ended || !(is_due || is_late) {
                    continue;
                }
                known.was_ended = true;
                over.push((Arc::clone(&known.session), position == Position::UnderWay));
            }
            self.count(over.iter().map(|(_, is_open)| *is_open));
            kill(&over.into_iter().map(|(session, _)| session).collect::<Vec<_>>());
            if is_late {
                break;
            }
            sleep(PAUSE).await;
        }
        self.finish(cancel).await
    }

    /// # Errors
    /// Why the server has not answered. It cannot be asked any more.
    async fn round(&mut self, server: &mut Option<Box<dyn Server>>, ends_all: bool) -> Result<(), Printable> {
        let is_unread_ended = self.begun.elapsed() >= UNREAD_AFTER;
        let shows_late = server.as_ref().is_some_and(|server| server.shows_late());
        let target = |(known, look): (&mut Known, Option<Look>)| {
            let look = look?;
            let end = match known.look.and_then(|before| before.shown) {
                Some(shown) if ends_all && shown.may_end => End::Now(shown.id),
                _ if ends_all => End::No,
                _ => look.end(known, (shows_late, is_unread_ended)),
            };
            Some((place(&known.session), look, Target { leg: look.stand.leg(), end }))
        };
        let targets: Vec<_> = self.looks().filter_map(target).collect();
        let mut looks: Vec<_> = targets.iter().map(|(session, look, _)| (*session, *look)).collect();
        let targets: Vec<_> = targets.into_iter().map(|(_, _, target)| target).collect();
        let asked = match server {
            Some(asked) if !targets.is_empty() => asked.look(&targets, self.drain.deadline()).await,
            _ => Ok(Vec::new()),
        };
        if asked.is_err() {
            *server = None;
        }
        let shown = asked.as_deref().unwrap_or_default();
        let mut sent = Vec::new();
        let mut ended = Vec::new();
        for (index, (session, look)) in looks.iter_mut().enumerate() {
            look.shown = shown.get(index).copied().flatten();
            let Some(known) = self.known.get_mut(session) else { continue };
            if let Some(shown) = look.shown.filter(|shown| shown.was_ended && !known.was_ended) {
                known.was_ended = true;
                ended.push(ends_all && shown.is_open);
            } else if let Some(to) = look.sent_to(known, shows_late) {
                known.passed += u32::from(look.doing() == Doing::Idle && to == Position::LetPass);
                sent.push((Arc::clone(&known.session), look.stand, to));
            }
            known.note(*look);
        }
        self.count(ended.into_iter());
        send(&self.drain.route, &sent);
        asked.map(drop)
    }

    fn count(&mut self, open: impl Iterator<Item = bool>) {
        for is_open in open {
            *(if is_open { &mut self.drained.broken } else { &mut self.drained.ended }) += 1;
        }
    }

    /// The sessions of the route, and how each stands now, if it has told.
    fn looks(&mut self) -> impl Iterator<Item = (&mut Known, Option<Look>)> {
        let gating = self.drain.route.gating();
        let live = self.sessions();
        self.known.retain(|known, _| live.iter().any(|session| place(session) == *known));
        for session in live {
            self.known.entry(place(&session)).or_insert_with(|| Known::new(Arc::clone(&session)));
        }
        self.known.values_mut().map(move |known| {
            let look = gating.and_then(|gating| look(&known.session, gating));
            (known, look)
        })
    }

    fn sessions(&self) -> Vec<Arc<Session>> {
        self.drain.sessions.iter().flat_map(|table| table.under(&self.drain.route)).collect()
    }

    /// Every session was ended, or is gone. (A client that is still being connected finds that its route is not offered any more. One
    /// that was ended by its server may stay until its client uses it again.)
    fn is_over(&self) -> bool {
        self.sessions().iter().all(|session| self.was_ended(session))
    }

    fn was_ended(&self, session: &Arc<Session>) -> bool {
        self.known.get(&place(session)).is_some_and(|known| known.was_ended)
    }

    /// Its client has not got the server's last words yet.
    fn is_leaving(&self, session: &Arc<Session>) -> bool {
        let stand = self.drain.route.gating().and_then(|gating| session.gate.stand(gating));
        self.was_ended(session) && stand.is_some_and(|stand| stand.position() != Position::UnderWay)
    }

    fn is_late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    /// Waits for a moment until those that were ended are gone, and counts those that are left.
    pub(super) async fn finish(mut self, cancel: &CancellationToken) -> Drained {
        let patience = Instant::now() + FAREWELL;
        while self.sessions().iter().any(|session| self.is_leaving(session))
            && Instant::now() < patience
            && !cancel.is_cancelled()
        {
            sleep(PAUSE).await;
        }
        let left: Vec<_> = self.sessions().into_iter().filter(|session| !self.was_ended(session)).collect();
        self.drained.left = left.len() as u64;
        let shown = |session: &Arc<Session>| self.known.get(&place(session))?.look?.shown;
        let denied = left.iter().filter_map(shown).filter(|shown| !shown.may_end).count();
        if denied > 0 {
            let note = format!(
                "{denied} of the sessions that are left may not be ended by the check's role (a superuser's, for instance)"
            );
            self.drained.notes.push(note.into());
        }
        self.drained
    }
}

/// Which session it is, for as long as it is kept.
fn place(session: &Arc<Session>) -> usize {
    Arc::as_ptr(session).addr()
}

/// In this order: what is passed on later shows in the bytes.
fn look(session: &Session, gating: Gating) -> Option<Look> {
    let stand = session.gate.stand(gating)?;
    Some(Look { stand, upstream: session.upstream_bytes.load(Ordering::Acquire), shown: None })
}
