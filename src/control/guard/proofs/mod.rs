//! What must hold of a server that has changed.
//!
//! | file | what it holds |
//! |---|---|
//! | `result` | what a proof comes to |
//! | `server` | what a database is asked |
//! | `login` | a login, whatever the database |
//! | `postgres`, `mysql`, `redis` | each database's own proofs, and how its queries are kept from writing |
//! | `statement` | what is no single query |
//! | `relation` | what one server must have of another |
//! | `query` | the queries of the configuration |
//! | `turn` | never two proofs at a time on a node |
//!
//! Every proof has a login of the check's role, and a deadline. None writes, and none decides: what follows is the caller's.

mod login;
mod mysql;
mod postgres;
mod query;
mod redis;
mod relation;
mod result;
mod server;
mod statement;
mod turn;

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout_at};

pub use self::result::{Latency, ProofResult, Proved};
use self::{
    login::open,
    result::Verdict,
    server::{Capacity, Look, Server},
    turn::turn,
};
use super::subject::Subject;
use crate::{
    config::{BuiltIn, CheckKind, GuardConfig, ProofConfig, ProofHow, Word, core_guard},
    control::{
        probe::Deadline,
        promotion::{Hook, HookKind, Member, Occasion as Step},
    },
    failover::{Printable, label::Label as _},
};

/// Which proofs are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// Those that clients can wait for: all together within `guard.quick`.
    Quick,
}

/// What is known besides the servers.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// The pool.
    pub pool: &'a str,
    /// The name of the backend that must prove itself.
    pub backend: &'a str,
    /// The name of the active one.
    pub active: Option<&'a str>,
    /// The rules of the pool.
    pub guard: &'a GuardConfig,
    /// How long their probes took.
    pub latency: Option<Latency>,
}

/// A built-in proof has this time.
const BUILT_IN: Duration = Duration::from_secs(10);
/// Between two looks at what may come by itself.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs the proofs of `subject`, one after the other, against the active one where there is another.
pub async fn run(subject: &Subject, active: Option<&Subject>, scope: Scope, occasion: &Occasion<'_>) -> Vec<Proved> {
    let until = (scope == Scope::Quick).then(|| Deadline::after(core_guard(occasion.guard).quick));
    // Nothing is compared with itself.
    let active = active.filter(|active| active.address != subject.address);
    let run = Run { subject, active, until, occasion };
    let (mut proved, mut logins) = (Vec::new(), Logins::default());
    for proof in built_in(&subject.check.kind) {
        proved.push(run.timed(proof.as_str(), run.built_in(*proof, &mut logins)).await);
    }
    for server in [logins.here, logins.there].into_iter().flatten() {
        server.close().await;
    }
    for proof in &occasion.guard.proofs {
        if scope == Scope::All || matches!(proof.how, ProofHow::Sql(_)) {
            proved.push(run.timed(&proof.name, run.configured(proof)).await);
        }
    }
    proved
}

/// The built-in proofs that a check can ask.
const fn built_in(kind: &CheckKind) -> &'static [BuiltIn] {
    match kind {
        CheckKind::Postgres(_) => &postgres::PROOFS,
        CheckKind::Mysql(_) => &mysql::PROOFS,
        CheckKind::Redis(_) => &redis::PROOFS,
        _ => &[],
    }
}

/// Logins that the next proof can use.
#[derive(Default)]
struct Logins {
    here: Option<Box<dyn Server>>,
    there: Option<Box<dyn Server>>,
}

/// The login that is there, or a new one. It is taken out: one that was given up in the middle of a question is of no use.
async fn taken(login: &mut Option<Box<dyn Server>>, subject: &Subject, deadline: Deadline) -> Result<Box<dyn Server>, String> {
    match login.take() {
        Some(server) => Ok(server),
        None => open(subject, deadline).await.map_err(|why| format!("cannot log in: {why}")),
    }
}

struct Run<'a> {
    subject: &'a Subject,
    active: Option<&'a Subject>,
    /// When clients wait.
    until: Option<Deadline>,
    occasion: &'a Occasion<'a>,
}

impl Run<'_> {
    async fn timed(&self, name: &str, proof: impl Future<Output = Verdict>) -> Proved {
        let began = Instant::now();
        let proof = async {
            let _turn = turn([Some(self.subject), self.active]).await;
            proof.await
        };
        let (result, evidence) = match self.until {
            None => proof.await,
            Some(until) => timeout_at(until.at(), proof).await.unwrap_or_else(|_| late(until)),
        };
        Proved { name: Printable::word(name), result, took: began.elapsed(), evidence: evidence.into() }
    }

    fn deadline(&self, limit: Duration) -> Deadline {
        let limit =
            self.until.map_or(limit, |until| limit.min(until.at().saturating_duration_since(tokio::time::Instant::now())));
        Deadline::after(limit)
    }

    async fn built_in(&self, proof: BuiltIn, logins: &mut Logins) -> Verdict {
        let deadline = self.deadline(BUILT_IN);
        if proof == BuiltIn::ProbeLatency {
            return told(relation::latency(self.occasion.latency));
        }
        if relation::is_one(proof) {
            return self.related(proof, logins, deadline).await;
        }
        let look = self.look(proof, self.subject, &mut logins.here, deadline).await;
        match (look, self.active) {
            (Look::Alone(why), Some(_)) => (ProofResult::Failed, why),
            (Look::Fails(why), Some(active)) if proof != BuiltIn::Replication => {
                match self.look(proof, active, &mut logins.there, deadline).await {
                    Look::Fails(there) => (ProofResult::Inconclusive, format!("{why}; the active one: {there}")),
                    Look::Holds(there) | Look::Alone(there) | Look::Unasked(there) | Look::Unreached(there) => {
                        (ProofResult::Failed, format!("{why}; the active one: {there}"))
                    }
                }
            }
            (look, _) => told(look),
        }
    }

    /// What one server says of a proof.
    async fn look(&self, proof: BuiltIn, subject: &Subject, login: &mut Option<Box<dyn Server>>, deadline: Deadline) -> Look {
        let mut server = match taken(login, subject, deadline).await {
            Ok(server) => server,
            Err(why) => return Look::Unreached(why),
        };
        let ignored = &*self.occasion.guard.ignore;
        let mut look = server.look(proof, ignored, deadline).await;
        let has_time = || self.until.is_none() && deadline.at() > tokio::time::Instant::now() + 2 * PAUSE;
        // It may have been started a moment ago. Clients do not wait for that.
        while proof == BuiltIn::Replication && matches!(look, Look::Fails(_)) && has_time() {
            sleep(PAUSE).await;
            look = server.look(proof, ignored, deadline).await;
        }
        if matches!(look, Look::Unasked(_)) {
            server.close().await;
        } else {
            *login = Some(server);
        }
        look
    }

    async fn related(&self, proof: BuiltIn, logins: &mut Logins, deadline: Deadline) -> Verdict {
        let Some(active) = self.active else { return (ProofResult::Skipped, "there is no other one to compare with".into()) };
        let capacity = async |subject: &Subject, login: &mut Option<Box<dyn Server>>| {
            let mut server = taken(login, subject, deadline).await?;
            let capacity = server.capacity(deadline).await?;
            *login = Some(server);
            Ok::<Capacity, String>(capacity)
        };
        let here = capacity(self.subject, &mut logins.here).await;
        let there = capacity(active, &mut logins.there).await;
        match (here, there) {
            (Ok(here), Ok(there)) => told(relation::compare(proof, &here, &there)),
            (Err(why), _) => (ProofResult::Unanswered, why),
            (_, Err(why)) => (ProofResult::Unanswered, format!("the active one: {why}")),
        }
    }

    async fn configured(&self, proof: &ProofConfig) -> Verdict {
        match &proof.how {
            ProofHow::Sql(sql) => query::run(sql, (self.subject, self.active), proof.timeout, self.until).await,
            ProofHow::Exec(command) => self.command(command, proof.timeout).await,
        }
    }

    async fn command(&self, command: &[Word], limit: Duration) -> Verdict {
        let occasion = self.occasion;
        let member = |subject: &Subject, name: &str| Member {
            name: name.into(),
            address: subject.address.clone(),
            addresses: subject.addresses.clone(),
        };
        let here = member(self.subject, occasion.backend);
        let there = self.active.map(|active| member(active, occasion.active.unwrap_or("?")));
        let step = Step { epoch: 0, cause: "proof" };
        let run = async |member: &Member| {
            let hook = Hook { kind: HookKind::Proof, command, limit, pool: occasion.pool };
            // The hook's own limit comes first.
            hook.run(member, there.as_ref(), &step, Deadline::after(2 * limit)).await
        };
        let why = match run(&here).await {
            Ok(said) => return (ProofResult::Passed, said.to_string()),
            Err(why) => why,
        };
        match &there {
            None => (ProofResult::Failed, why.to_string()),
            Some(there) => match run(there).await {
                Ok(said) => (ProofResult::Failed, format!("{why}; for the active one: {said}")),
                Err(also) => (ProofResult::Inconclusive, format!("{why}; for the active one: {also}")),
            },
        }
    }
}

fn late(until: Deadline) -> Verdict {
    (ProofResult::Unanswered, format!("there was no time: clients wait {:?} at most", until.timeout()))
}

fn told(look: Look) -> Verdict {
    match look {
        Look::Holds(what) | Look::Alone(what) => (ProofResult::Passed, what),
        Look::Fails(why) => (ProofResult::Failed, why),
        Look::Unasked(why) => (ProofResult::Skipped, why),
        Look::Unreached(why) => (ProofResult::Unanswered, why),
    }
}
