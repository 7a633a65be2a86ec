//! Promoters: how another node becomes the primary, by order or after a failure. Nothing here decides whether that may be.
//!
//! | file | what it holds |
//! |---|---|
//! | `step` | what they have in common |
//! | `hook` | commands of the user: stop, fence, rejoin, promote |
//! | `sql_postgres`, `sql_mysql`, `sql_redis` | `how: sql`, over the login of the check |
//! | `rights_mysql` | what an account of `MySQL` or `MariaDB` needs for that |
//! | `patroni` | `how: patroni`, over its API |
//!
//! A step is a future with one deadline. It says what it did, or why not and what a person should do. Dropping it kills its command
//! and logs out; what a server was told by then may still happen, and [`Promoter::undo_demote`] takes that into account.

mod hook;
mod patroni;
mod rights_mysql;
mod sql_mysql;
mod sql_postgres;
mod sql_redis;
mod step;

use std::{sync::Arc, time::Duration};

pub(in crate::control) use self::hook::Hook;
pub use self::{
    hook::HookKind,
    step::{Done, Member, Occasion, Severity, Shortcoming},
};
use self::{
    patroni::Patroni,
    sql_mysql::Mysql,
    sql_postgres::Postgres,
    sql_redis::Redis,
    step::{left, pause_before_login},
};
use super::probe::{self, Deadline, Finding};
use crate::{
    config::{CheckConfig, CheckKind, PoolConfig, PromotionConfig, PromotionHow},
    failover::{Outcome, Printable, Role},
};

/// Promotes the nodes of a pool. Clones share what a step remembers for the next one.
#[derive(Clone, Debug)]
pub struct Promoter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: Arc<str>,
    check: CheckConfig,
    promotion: PromotionConfig,
    driver: Driver,
}

#[derive(Debug)]
enum Driver {
    Nobody,
    Postgres(Postgres),
    Mysql(Mysql),
    Redis(Redis),
    Patroni(Patroni),
    Command,
}

/// What the role of a check that logs in lacks for `promotion.how: sql` on a node, and what to grant. Changes nothing.
///
/// # Errors
/// Why nobody knows.
pub async fn rights(check: &CheckKind, node: &Member, deadline: Deadline) -> Result<Vec<Shortcoming>, Printable> {
    match check {
        CheckKind::Postgres(check) => Postgres::new(check).rights(node, deadline).await,
        CheckKind::Mysql(check) => Mysql::new(check).rights(node, deadline).await,
        CheckKind::Redis(check) => Redis::new(check).rights(node, deadline).await,
        CheckKind::Http(_) | CheckKind::Tcp(_) | CheckKind::Exec(_) | CheckKind::Exchange(_) => Ok(Vec::new()),
    }
}

impl Promoter {
    /// As the pool is configured.
    pub fn new(pool: &PoolConfig) -> Self {
        let (check, promotion) = (pool.check.clone(), pool.promotion.clone());
        let http = check.second.as_ref().or(if let CheckKind::Http(http) = &check.kind { Some(http) } else { None });
        let driver = match (&promotion.how, &check.kind) {
            (PromotionHow::Sql, CheckKind::Postgres(check)) => Driver::Postgres(Postgres::new(check)),
            (PromotionHow::Sql, CheckKind::Mysql(check)) => Driver::Mysql(Mysql::new(check)),
            (PromotionHow::Sql, CheckKind::Redis(check)) => Driver::Redis(Redis::new(check)),
            (PromotionHow::Patroni, _) => http.map_or(Driver::Nobody, |http| Driver::Patroni(Patroni::new(http))),
            (PromotionHow::Exec(_), _) => Driver::Command,
            (PromotionHow::None | PromotionHow::Sql, _) => Driver::Nobody,
        };
        Self(Arc::new(Inner { pool: Arc::clone(&pool.name), check, promotion, driver }))
    }

    /// What is missing for a promotion of `to`: in a switchover from `from`, or with `None` after a failure. Changes nothing.
    pub async fn preflight(&self, from: Option<&Member>, to: &Member, deadline: Deadline) -> Vec<Shortcoming> {
        let deadline = self.headed(deadline);
        let mut missing = match &self.0.driver {
            Driver::Nobody => return vec![Shortcoming::forbids(self.nobody())],
            Driver::Postgres(postgres) => postgres.preflight(from, to, deadline).await,
            Driver::Mysql(mysql) => mysql.preflight(from, to, deadline).await,
            Driver::Redis(redis) => redis.preflight(from, to, deadline).await,
            Driver::Patroni(patroni) => patroni.preflight(from, to, deadline).await,
            Driver::Command => Vec::new(),
        };
        if from.is_some() && matches!(self.0.driver, Driver::Postgres(_)) && self.0.promotion.demote.is_none() {
            missing.push(Shortcoming::forbids(
                "PostgreSQL has no statement that stops it, and the pool has no `promotion.demote`: write one that runs \
                 `pg_ctl stop -m fast` (or `systemctl stop postgresql`) on the host of the old primary",
            ));
        }
        for hook in self.hooks(from.is_some()) {
            missing.extend(hook.fault().await.map(Shortcoming::forbids));
        }
        missing
    }

    /// Makes the stop of the old primary shorter, where the role may: a `CHECKPOINT` of `PostgreSQL`. Clients may write meanwhile, so it
    /// belongs before they are held.
    pub async fn prepare(&self, from: &Member, deadline: Deadline) -> Done {
        match &self.0.driver {
            Driver::Postgres(postgres) => postgres.prepare(from, self.headed(deadline)).await,
            _ => Ok("nothing to prepare".into()),
        }
    }

    /// Stops the old primary from taking writes, and waits until the new one has what it wrote, where the database tells.
    pub async fn demote(&self, from: &Member, to: &Member, occasion: &Occasion, deadline: Deadline) -> Done {
        let deadline = self.headed(deadline);
        let hook = self.hook(HookKind::Demote).map(|hook| hook.run(from, Some(to), occasion, deadline));
        match (&self.0.driver, hook) {
            (Driver::Nobody, _) => Err(self.nobody()),
            (Driver::Postgres(postgres), Some(hook)) => {
                let position = postgres.position(from, to, deadline).await?;
                let said = hook.await?;
                self.has_stopped(from, deadline).await?;
                Ok(format!("{} has stopped after {position}: {said}", from.name).into())
            }
            (Driver::Postgres(_), None) => Err("PostgreSQL has no statement that stops it: write `promotion.demote`".into()),
            (Driver::Mysql(mysql), _) => mysql.demote(from, to, deadline).await,
            (Driver::Redis(redis), _) => redis.demote(from, to, deadline).await,
            (Driver::Patroni(_), _) => Ok("Patroni stops the old primary itself".into()),
            (Driver::Command, Some(hook)) => hook.await,
            (Driver::Command, None) => {
                Ok("there is no `promotion.demote`: the command that promotes stops the old primary".into())
            }
        }
    }

    /// Makes `to` the primary. `from` is the old one in a switchover, after [`Promoter::demote`]; `None` when it has failed.
    pub async fn promote(&self, from: Option<&Member>, to: &Member, occasion: &Occasion, deadline: Deadline) -> Done {
        let deadline = self.headed(deadline);
        match &self.0.driver {
            Driver::Nobody => Err(self.nobody()),
            Driver::Postgres(postgres) => postgres.promote(from, to, deadline).await,
            Driver::Mysql(mysql) => mysql.promote(from, to, deadline).await,
            Driver::Redis(redis) => redis.promote(from, to, deadline).await,
            Driver::Patroni(patroni) => patroni.promote(from, to, deadline).await,
            Driver::Command => {
                let Some(hook) = self.hook(HookKind::Promote) else { return Err(self.nobody()) };
                let said = hook.run(to, from, occasion, deadline).await?;
                self.is_primary(to, deadline).await?;
                Ok(said)
            }
        }
    }

    /// The step that promotes. Where the old primary shows no demotion until its `FAILOVER`, it is demoted here, and not in a step
    /// that would wait to see it.
    pub async fn take_over(&self, from: Option<&Member>, to: &Member, occasion: &Occasion, deadline: Deadline) -> Done {
        if let (Some(from), Driver::Redis(redis)) = (from, &self.0.driver) {
            redis.demote(from, to, self.headed(deadline)).await?;
        }
        self.promote(from, to, occasion, deadline).await
    }

    /// Takes [`Promoter::demote`] back: after it the old primary takes writes again, or the words say why not.
    pub async fn undo_demote(&self, from: &Member, deadline: Deadline) -> Done {
        let deadline = self.headed(deadline);
        match &self.0.driver {
            Driver::Mysql(mysql) => mysql.undo_demote(from, deadline).await,
            Driver::Redis(redis) => redis.undo_demote(from, deadline).await,
            Driver::Nobody | Driver::Patroni(_) => Ok("nothing to take back".into()),
            Driver::Postgres(_) | Driver::Command => {
                let finding = self.look(from, deadline).await?;
                if finding.outcome == Outcome::Ok && finding.facts.role != Some(Role::Standby) {
                    return Ok(format!("{} runs on: {}", from.name, finding.evidence).into());
                }
                Err(format!(
                    "{} does not take writes any more ({}), and mainstay cannot start it again: start it, or promote another \
                     node (mainstay promote)",
                    from.name, finding.evidence
                )
                .into())
            }
        }
    }

    /// Makes sure that a dead primary cannot write. `to` is the node that takes over. Without a hook an error: nobody was fenced.
    pub async fn fence(&self, dead: &Member, to: &Member, occasion: &Occasion, deadline: Deadline) -> Done {
        match self.hook(HookKind::Fence) {
            Some(hook) => hook.run(dead, Some(to), occasion, deadline).await,
            None => Err("there is no `promotion.fence`".into()),
        }
    }

    /// Makes the old primary a standby of the new one again; `None` without a hook.
    pub async fn rejoin(&self, old: &Member, new: &Member, occasion: &Occasion, deadline: Deadline) -> Option<Done> {
        Some(self.hook(HookKind::Rejoin)?.run(old, Some(new), occasion, deadline).await)
    }

    fn headed(&self, deadline: Deadline) -> Deadline {
        deadline.with_header(self.0.check.proxy_header)
    }

    fn nobody(&self) -> Printable {
        format!("nobody promotes in pool {}: `promotion.how` is `none`", self.0.pool).into()
    }

    fn hook(&self, kind: HookKind) -> Option<Hook<'_>> {
        let promotion = &self.0.promotion;
        let (command, limit) = match kind {
            HookKind::Promote => match &promotion.how {
                PromotionHow::Exec(command) => (command, Duration::MAX),
                _ => return None,
            },
            kind => {
                let hook = match kind {
                    HookKind::Demote => &promotion.demote,
                    HookKind::Fence => &promotion.fence,
                    _ => &promotion.rejoin,
                };
                hook.as_ref().map(|hook| (&hook.command, hook.timeout))?
            }
        };
        Some(Hook { kind, command, limit, pool: &self.0.pool })
    }

    /// The hooks that a switchover, or a failover, runs.
    fn hooks(&self, switchover: bool) -> impl Iterator<Item = Hook<'_>> {
        let first = match &self.0.driver {
            _ if !switchover => Some(HookKind::Fence),
            Driver::Mysql(_) | Driver::Redis(_) | Driver::Patroni(_) => None,
            Driver::Nobody | Driver::Postgres(_) | Driver::Command => Some(HookKind::Demote),
        };
        first.into_iter().chain([HookKind::Promote, HookKind::Rejoin]).filter_map(|kind| self.hook(kind))
    }

    /// What the check says of a backend now.
    async fn look(&self, member: &Member, deadline: Deadline) -> Result<Finding, Printable> {
        let once = Deadline::after(self.0.check.timeout.min(left(deadline))).with_header(deadline.version());
        probe::once_by(&member.address, &self.0.check.kind, once).await
    }

    /// Waits until an old primary that was told to stop is gone. A host that does not answer was powered off by the hook, which said that
    /// it did its work; a server that accepts and hangs may still write.
    async fn has_stopped(&self, from: &Member, deadline: Deadline) -> Result<(), Printable> {
        // A proxy in front of a stopped server accepts and closes, and so does a server for a moment while it stops.
        const CLOSED_IN_A_ROW: u32 = 3;
        let mut closed = 0;
        loop {
            let finding = self.look(from, deadline).await?;
            closed = if finding.outcome == Outcome::Closed { closed + 1 } else { 0 };
            match finding.outcome {
                Outcome::Refused | Outcome::Unreachable | Outcome::ConnectTimeout => return Ok(()),
                Outcome::Ok if finding.facts.role == Some(Role::Standby) => return Ok(()),
                _ if closed >= CLOSED_IN_A_ROW => return Ok(()),
                _ => {}
            }
            if !pause_before_login(deadline).await {
                return Err(format!(
                    "the demote hook ended well, but {} has not stopped ({}), so nothing was promoted: the hook must return only when \
                     PostgreSQL has stopped (pg_ctl stop -w)",
                    from.name, finding.evidence
                )
                .into());
            }
        }
    }

    /// Waits until the check says that a backend is the primary, where it knows roles.
    async fn is_primary(&self, to: &Member, deadline: Deadline) -> Result<(), Printable> {
        loop {
            let finding = self.look(to, deadline).await?;
            if finding.outcome == Outcome::Ok && finding.facts.role.is_none_or(|role| role == Role::Primary) {
                return Ok(());
            }
            if !pause_before_login(deadline).await {
                return Err(format!(
                    "the command ended well, but {} is not the primary: {}. Look at it before you try again",
                    to.name, finding.evidence
                )
                .into());
            }
        }
    }
}
