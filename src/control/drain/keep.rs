//! Keeps the sessions of a route behind its gate during a pause. Who is inside a transaction, which may hold locks that others wait
//! for, is let pass, up to the end of the transaction. Nobody is ended.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::sleep;

use super::server::{Doing, Drain, End, Server, Target};
use crate::{
    config::{CheckConfig, CheckKind},
    failover::Printable,
    route::{Gating, Position, Session, Stand, send},
};

/// Between two looks, while sessions are on their way to a boundary, and when all have stopped.
const PAUSE: Duration = Duration::from_millis(5);
const REST: Duration = Duration::from_millis(50);

/// What is known of a session, which is kept so that no other gets its address.
struct Known {
    session: Arc<Session>,
    /// What the server showed last, and how much of the client had been passed on then.
    doing: Option<Doing>,
    upstream: u64,
    /// It was seen so twice.
    is_settled: bool,
}

/// Whether sessions can be paused where nothing of them is under way.
pub fn can_keep(check: &CheckConfig) -> bool {
    matches!(check.kind, CheckKind::Postgres(_) | CheckKind::Mysql(_) | CheckKind::Redis(_))
}

impl Drain {
    /// Keeps them until this is dropped. `begin` closes the gate, once there is a login. Returns why it cannot be told any more who is
    /// inside a transaction: then the gate must be opened.
    pub async fn keep(self, begin: impl FnOnce()) -> Printable {
        // Nothing on the server outlives a request.
        if matches!(self.check.kind, CheckKind::Redis(_)) {
            begin();
            return std::future::pending().await;
        }
        let (server, notes) = self.open().await;
        let Some(mut server) = server else {
            return notes.iter().map(|note| &**note).collect::<Vec<_>>().join("; ").into();
        };
        begin();
        let mut known = HashMap::new();
        loop {
            match self.look(&mut *server, &mut known).await {
                Ok(all_rest) => sleep(if all_rest { REST } else { PAUSE }).await,
                Err(why) => return why,
            }
        }
    }

    /// Looks at each session once; whether all have stopped.
    async fn look(&self, server: &mut dyn Server, known: &mut HashMap<usize, Known>) -> Result<bool, Printable> {
        let Some(gating) = self.route.gating() else { return Ok(true) };
        let live: Vec<_> = self.sessions.iter().flat_map(|table| table.under(&self.route)).collect();
        known.retain(|_, one| live.iter().any(|session| Arc::ptr_eq(session, &one.session)));
        let (mut all_rest, mut asked) = (true, Vec::new());
        for session in live {
            let place = Arc::as_ptr(&session).addr();
            let one = known.entry(place).or_insert_with(|| Known { session, doing: None, upstream: 0, is_settled: false });
            let stand = one.stops(gating);
            all_rest &= stand.is_some() && one.is_settled;
            if let Some(stand) = stand.filter(|_| !one.is_settled) {
                asked.push((place, stand));
            }
        }
        if asked.is_empty() {
            return Ok(all_rest);
        }
        let targets: Vec<_> = asked.iter().map(|(_, stand)| Target { leg: stand.leg(), end: End::No }).collect();
        let shown = server.look(&targets, self.deadline()).await?;
        let mut sent = Vec::new();
        for ((place, stand), shown) in asked.into_iter().zip(shown) {
            let Some(one) = known.get_mut(&place) else { continue };
            let doing = shown.map_or(Doing::Hidden, |shown| shown.doing);
            let twice = one.doing.replace(doing) == Some(doing);
            one.is_settled = doing == Doing::Idle && twice;
            // Only its client can go on; or nobody knows, and it may be so.
            if doing == Doing::Waits || doing == Doing::Hidden && twice {
                sent.push((Arc::clone(&one.session), stand, Position::LetPass));
            }
        }
        send(&self.route, &sent);
        Ok(false)
    }
}

impl Known {
    /// Where it stands, if that is at the gate. What was known does not count once more of its client was passed on.
    fn stops(&mut self, gating: Gating) -> Option<Stand> {
        // In this order: what is passed on later shows in the bytes.
        let stand = self.session.gate.stand(gating);
        let upstream = self.session.upstream_bytes.load(Ordering::Acquire);
        if self.upstream != upstream {
            (self.upstream, self.doing, self.is_settled) = (upstream, None, false);
        }
        stand.filter(|stand| matches!(stand.position(), Position::Silent | Position::Unread))
    }
}
