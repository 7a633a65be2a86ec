//! Which question a probe asks: over the standing session, or with a whole new login; and when a login must wait.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    super::probe::{
        Deadline, Failure, Finding,
        single::Single,
        standing::{Broken, Login, Standing},
    },
    Voice,
};
use crate::{
    config::CheckConfig,
    failover::{Passive, event::Class},
    net::{addr::BackendAddr, addresses::Addresses},
};

/// Between two logins to a server that has no room for them, or that refuses ours: neither gets better by haste, and each
/// is a line in its log.
const REFUSED_LOGIN_SPACING: Duration = Duration::from_secs(1);

/// What came back.
#[derive(Debug)]
pub(super) enum Answer {
    /// Something about the backend; `fresh` when by a whole new connection.
    Finding { finding: Finding, fresh: bool },
    /// Nothing about it: our own side lacked this.
    NoVerdict(Arc<str>),
}

/// Asks in the protocol of the check.
#[derive(Debug)]
pub(super) enum Asker {
    /// Something new each time.
    Single(Single),
    /// A question over a session.
    Sessions(Box<Sessions>),
}

/// The standing session, and when its successor is made.
#[derive(Debug)]
pub(super) struct Sessions {
    login: Login,
    spacing: Duration,
    standing: Option<Standing>,
    last_login: Option<LastLogin>,
    voice: Voice,
}

#[derive(Clone, Copy, Debug)]
struct LastLogin {
    at: Instant,
    class: Class,
}

impl Asker {
    pub(super) fn new(address: &BackendAddr, check: &CheckConfig, voice: Voice) -> Self {
        let Some(login) = Login::new(address, &check.kind) else { return Self::Single(Single::new(address, &check.kind)) };
        let sessions = Sessions { login, spacing: check.fresh_login, standing: None, last_login: None, voice };
        Self::Sessions(Box::new(sessions))
    }

    /// Asks once. `fresh` demands a new connection; without it the asker chooses.
    pub(super) async fn ask(&mut self, addresses: &Addresses, fresh: bool, deadline: Deadline) -> Answer {
        match self {
            Self::Single(single) => match single.probe(addresses, deadline).await {
                Ok(finding) => Answer::Finding { finding, fresh: true },
                Err(evidence) => Answer::NoVerdict(evidence),
            },
            Self::Sessions(sessions) => sessions.ask(addresses, fresh, deadline).await,
        }
    }

    /// Resolves when the standing session breaks; never without one.
    pub(super) async fn broken(&mut self) -> Passive {
        match self {
            Self::Single(_) => std::future::pending().await,
            Self::Sessions(sessions) => take_broken(&mut sessions.standing).await,
        }
    }

    /// A question must end when nobody waits for the answer any more.
    pub(super) const fn ends_at_once(&self) -> bool {
        matches!(self, Self::Single(single) if single.ends_at_once())
    }

    /// Before this moment no probe must be made.
    pub(super) fn earliest_login(&self) -> Option<Instant> {
        match self {
            Self::Single(single) => single.earliest(),
            Self::Sessions(sessions) if sessions.standing.is_some() => None,
            Self::Sessions(sessions) => sessions.login_allowed_at(),
        }
    }
}

impl Sessions {
    async fn ask(&mut self, addresses: &Addresses, fresh: bool, deadline: Deadline) -> Answer {
        self.standing = self.standing.take().filter(Standing::lasts);
        if self.must_log_in(fresh, Instant::now()) {
            return self.log_in(addresses, deadline).await;
        }
        let Some(standing) = &mut self.standing else { return self.log_in(addresses, deadline).await };
        let finding = standing.query(deadline).await;
        if standing.is_stale() {
            self.standing = None;
            return self.log_in(addresses, deadline).await;
        }
        match finding.outcome.class() {
            Class::Success if standing.lasts() => {}
            Class::Failure => {
                let ended = standing.ended();
                self.standing = None;
                if let Some(broken) = ended {
                    self.voice.passive(passive(&broken)).await;
                }
            }
            Class::Success | Class::NotServing | Class::Neutral => self.standing = None,
        }
        Answer::Finding { finding, fresh: false }
    }

    /// A login that failed is repeated until one succeeds, whatever the standing session says: it may outlive a server that
    /// takes no new clients.
    fn must_log_in(&self, asked_for: bool, now: Instant) -> bool {
        let (Some(_), Some(last)) = (&self.standing, self.last_login) else { return true };
        match last.class {
            Class::Failure | Class::NotServing => true,
            Class::Success => asked_for || now >= last.at + self.spacing,
            Class::Neutral => {
                now >= last.at + self.spacing || (asked_for && self.login_allowed_at().is_none_or(|allowed| now >= allowed))
            }
        }
    }

    fn login_allowed_at(&self) -> Option<Instant> {
        let refused = self.last_login.filter(|last| last.class == Class::Neutral);
        refused.map(|last| last.at + REFUSED_LOGIN_SPACING)
    }

    /// The new session takes the place of the old one. Meanwhile the old one is still listened to: when it breaks, the
    /// supervisor must not wait for the deadline of the login to hear of it.
    async fn log_in(&mut self, addresses: &Addresses, deadline: Deadline) -> Answer {
        let at = Instant::now();
        let login = self.login.open(addresses, deadline);
        tokio::pin!(login);
        let result = loop {
            tokio::select! {
                result = &mut login => break result,
                what = take_broken(&mut self.standing) => self.voice.passive(what).await,
            }
        };
        let finding = match result {
            Ok((standing, finding)) => {
                self.standing = Some(standing).filter(Standing::lasts);
                finding
            }
            Err(Failure::Backend(finding)) => finding,
            Err(Failure::Local(evidence)) => return Answer::NoVerdict(evidence),
        };
        self.last_login = Some(LastLogin { at, class: finding.outcome.class() });
        Answer::Finding { finding, fresh: true }
    }
}

async fn take_broken(standing: &mut Option<Standing>) -> Passive {
    let Some(session) = standing else { return std::future::pending().await };
    let broken = session.broken().await;
    *standing = None;
    passive(&broken)
}

const fn passive(broken: &Broken) -> Passive {
    match broken {
        Broken::Lost(_) => Passive::StandingLost,
        Broken::Shutdown(_) => Passive::StandingShutdown,
    }
}
