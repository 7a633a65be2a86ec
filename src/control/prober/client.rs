//! What a probe asks: a query over the standing session, or a new login; and when a login must wait.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::probe::{
        self, Broken, Deadline, Failure, Finding,
        kind::Check,
        single::Single,
        standing::{Login, Standing},
        tcp,
    },
    events::ProbeEvents,
    unserved::{Course, Question, Unserved},
};
use crate::{
    config::CheckConfig,
    failover::{Class, Outcome, Passive, Printable},
    net::{addr::BackendAddr, addresses::Addresses},
};

/// Between two logins to a server that has no room for them, or refuses them: more of them do not help, and each is a line in its
/// log.
const REFUSED_LOGIN_SPACING: Duration = Duration::from_secs(1);

/// The result.
#[derive(Debug)]
pub(super) enum Answer {
    /// A finding; `fresh` when by a new connection.
    Finding { finding: Finding, fresh: bool },
    /// It said recently that it serves no clients, and is still there.
    Unchanged,
    /// No finding: this machine lacked this.
    NoVerdict(Printable),
}

/// Asks in the protocol of the check.
#[derive(Debug)]
pub(super) enum ProbeClient {
    /// Something new each time.
    Single(Box<dyn Single>),
    /// A question over a session.
    Sessions(Box<Sessions>),
}

/// The standing session, and when it is replaced.
#[derive(Debug)]
pub(super) struct Sessions {
    login: Box<dyn Login>,
    spacing: Duration,
    standing: Option<Box<dyn Standing>>,
    last_login: Option<LastLogin>,
    /// It serves no clients, and each login costs it something.
    unserved: Option<Unserved>,
    /// What it is doing, if it serves no clients.
    course: Course,
    events: ProbeEvents,
}

#[derive(Clone, Copy, Debug)]
struct LastLogin {
    at: Instant,
    class: Class,
}

impl ProbeClient {
    pub(super) fn new(address: &BackendAddr, check: &CheckConfig, events: ProbeEvents) -> Self {
        let login = match probe::kind(&check.kind).of(address) {
            Check::Single(single) => return Self::Single(single),
            Check::Login(login) => login,
        };
        let spacing = check.fresh_login;
        let sessions =
            Sessions { login, spacing, standing: None, last_login: None, unserved: None, course: Course::Starts, events };
        Self::Sessions(Box::new(sessions))
    }

    /// Asks once. `fresh` demands a new connection; without it the client chooses.
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
            Self::Sessions(sessions) => take_broken(&mut sessions.standing, &mut sessions.course).await,
        }
    }

    /// What was learned before concerned other addresses.
    pub(super) fn has_moved(&mut self) {
        if let Self::Sessions(sessions) = self {
            sessions.unserved = None;
        }
    }

    /// Dropping the future must end the query.
    pub(super) fn ends_at_once(&self) -> bool {
        matches!(self, Self::Single(single) if single.ends_at_once())
    }

    /// No probe may be made before this moment, if clients have waited since `wanted`, or none waits.
    pub(super) fn earliest_login(&self, wanted: Option<Instant>) -> Option<Instant> {
        match self {
            Self::Single(single) => single.earliest(),
            Self::Sessions(sessions) if sessions.standing.is_some() => None,
            Self::Sessions(sessions) => {
                sessions.unserved.map(|unserved| unserved.earliest(wanted)).or_else(|| sessions.login_allowed_at())
            }
        }
    }
}

impl Sessions {
    async fn ask(&mut self, addresses: &Addresses, fresh: bool, deadline: Deadline) -> Answer {
        let now = Instant::now();
        if self.unserved.as_ref().is_some_and(|unserved| unserved.question(now) == Question::Look) {
            return self.look(addresses, deadline, now).await;
        }
        self.standing = self.standing.take().filter(|standing| standing.lasts());
        if self.must_log_in(fresh, now) {
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
                    self.course = course(&broken);
                    self.events.passive(passive(&broken)).await;
                }
            }
            Class::Success | Class::NotServing | Class::Neutral => self.standing = None,
        }
        Answer::Finding { finding, fresh: false }
    }

    /// A failed login is repeated until one succeeds, whatever the standing session says: it may outlive a server that accepts no
    /// new clients.
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

    /// Checks whether a stopping server is still there.
    async fn look(&mut self, addresses: &Addresses, deadline: Deadline, now: Instant) -> Answer {
        match tcp::probe(addresses, deadline).await {
            Ok(finding) if finding.outcome == Outcome::Ok => {
                self.unserved.iter_mut().for_each(|unserved| unserved.looked(now));
                Answer::Unchanged
            }
            Ok(finding) => {
                self.conclude(&finding, now);
                Answer::Finding { finding, fresh: true }
            }
            Err(evidence) => Answer::NoVerdict(evidence),
        }
    }

    /// The new session replaces the old one. Meanwhile the old one is watched: when it breaks, the supervisor must not wait for the
    /// deadline of the login.
    async fn log_in(&mut self, addresses: &Addresses, deadline: Deadline) -> Answer {
        let at = Instant::now();
        let result = {
            let login = self.login.open(addresses, deadline);
            tokio::pin!(login);
            loop {
                tokio::select! {
                    result = &mut login => break result,
                    what = take_broken(&mut self.standing, &mut self.course) => self.events.passive(what).await,
                }
            }
        };
        let finding = match result {
            Ok((standing, finding)) => {
                self.standing = Some(standing).filter(|standing| standing.lasts());
                finding
            }
            Err(Failure::Backend(finding)) => finding,
            Err(Failure::Local(evidence)) => return Answer::NoVerdict(evidence),
        };
        if finding.outcome.class() == Class::NotServing {
            self.let_go(deadline).await;
        }
        self.conclude(&finding, at);
        Answer::Finding { finding, fresh: true }
    }

    /// A server that accepts no clients may be waiting for its sessions to end: the check's must not be one of them.
    async fn let_go(&mut self, deadline: Deadline) {
        if let Some(standing) = &mut self.standing
            && standing.query(deadline).await.outcome == Outcome::Ok
        {
            self.course = Course::Stops;
        }
        self.standing = None;
    }

    /// A new connection that began `at` found this.
    fn conclude(&mut self, finding: &Finding, at: Instant) {
        let class = finding.outcome.class();
        self.last_login = Some(LastLogin { at, class });
        if class != Class::NotServing {
            self.course = Course::Starts;
        }
        let is_unserved = class == Class::NotServing && self.login.is_costly();
        self.unserved = is_unserved.then(|| Unserved::refused(self.unserved, self.course, at));
    }
}

async fn take_broken(standing: &mut Option<Box<dyn Standing>>, course_then: &mut Course) -> Passive {
    let Some(session) = standing else { return std::future::pending().await };
    let broken = session.broken().await;
    *standing = None;
    *course_then = course(&broken);
    passive(&broken)
}

const fn course(broken: &Broken) -> Course {
    match broken {
        Broken::Shutdown(_) => Course::Stops,
        Broken::Lost(_) | Broken::Closed(_) | Broken::Crash(_) | Broken::Orphaned(_) => Course::Starts,
    }
}

const fn passive(broken: &Broken) -> Passive {
    match broken {
        Broken::Lost(_) => Passive::StandingLost,
        Broken::Closed(_) => Passive::StandingClosed,
        Broken::Shutdown(_) | Broken::Crash(_) => Passive::StandingShutdown,
        Broken::Orphaned(_) => Passive::StandingOrphaned,
    }
}
