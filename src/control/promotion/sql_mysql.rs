//! `MySQL` and `MariaDB`: `read_only` on the old primary, a wait until the new one has applied everything, then the end of its
//! replication and of its `read_only`. Of a Galera cluster every node writes, so nothing is done.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    rights_mysql::{grant, lacking, quoted},
    step::{Done, Member, Shortcoming, left, no_login, pause},
};
use crate::{
    config::MysqlCheck,
    control::probe::{
        Deadline,
        finding::{Finding, Refusal},
        mysql::{Dialect, Login, Standing, answer::Table},
        standing::Standing as _,
    },
    failover::{Outcome, Printable, Role},
};

/// The last transaction that a replica received may be half of one: it has applied all the rest when nothing has moved for this long.
const STILL: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Mysql {
    check: Arc<MysqlCheck>,
    /// The connection that sets `read_only`: while it waits for others, it may set it after somebody has given up.
    demoting: Mutex<Option<u64>>,
}

/// A row for each variable that gives a replica more than one thread that applies.
const WORKERS: &str = "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('slave_parallel_threads', 'slave_parallel_workers', \
                       'replica_parallel_workers') AND Value <> '0'";

impl Mysql {
    pub(super) fn new(check: &MysqlCheck) -> Self {
        Self { check: Arc::new(check.clone()), demoting: Mutex::default() }
    }

    pub(super) async fn preflight(&self, from: Option<&Member>, to: &Member, deadline: Deadline) -> Vec<Shortcoming> {
        let mut missing = Vec::new();
        match self.session(to, deadline).await {
            Ok(session) if session.is_galera() => return missing,
            Ok(mut session) => {
                missing.extend(lacking(&mut session, to, |rights| rights.new, deadline).await);
                let finding = session.query(deadline).await;
                if finding.outcome != Outcome::Ok || finding.facts.role != Some(Role::Standby) {
                    missing.push(Shortcoming::forbids(format!("{} is no replica: {}", to.name, finding.evidence)));
                } else if from.is_some() {
                    missing.extend(hears(&finding, &session, to).err().map(Shortcoming::loses));
                }
                missing.extend(one_source(&mut session, to, deadline).await.err().map(Shortcoming::forbids));
            }
            Err(why) => missing.push(Shortcoming::forbids(why)),
        }
        let Some(from) = from else { return missing };
        match self.session(from, deadline).await {
            Ok(mut session) => {
                missing.extend(lacking(&mut session, from, |rights| rights.old, deadline).await);
                missing.extend(position(&mut session, from, deadline).await.err().map(Shortcoming::forbids));
            }
            Err(why) => missing.push(Shortcoming::forbids(why)),
        }
        missing
    }

    /// What the account lacks on a node, whatever that is now.
    pub(super) async fn rights(&self, node: &Member, deadline: Deadline) -> Result<Vec<Shortcoming>, Printable> {
        let mut session = self.session(node, deadline).await?;
        if session.is_galera() {
            return Ok(Vec::new());
        }
        Ok(lacking(&mut session, node, |rights| rights.new, deadline).await.into_iter().collect())
    }

    pub(super) async fn demote(&self, from: &Member, to: &Member, deadline: Deadline) -> Done {
        let mut old = self.session(from, deadline).await?;
        if old.is_galera() {
            return Ok("every node of a Galera cluster takes writes: nothing is demoted".into());
        }
        let mut new = self.session(to, deadline).await?;
        // Or nothing would be written until the time is over.
        hears(&new.query(deadline).await, &new, to)?;
        let began = Instant::now();
        let id = run(&mut old, from, "SELECT CONNECTION_ID() AS id", deadline).await?;
        *self.demoting() = id.get(0, "id").and_then(|id| id.parse().ok());
        // It waits for open transactions, and must not do so after we have given up.
        let seconds = left(deadline).as_secs().max(1);
        run(&mut old, from, &format!("SET SESSION lock_wait_timeout = {seconds}"), deadline).await?;
        let off = writes_off(old.dialect());
        run(&mut old, from, off, deadline).await?;
        let target = position(&mut old, from, deadline).await?;
        has_all(&mut new, to, &target, deadline).await?;
        *self.demoting() = None;
        let words =
            format!("{} is read-only, and {} has all of it ({target}), after {:.1?}", from.name, to.name, began.elapsed());
        Ok(words.into())
    }

    pub(super) async fn promote(&self, from: Option<&Member>, to: &Member, deadline: Deadline) -> Done {
        let mut new = self.session(to, deadline).await?;
        if new.is_galera() {
            return Ok(format!("every node of a Galera cluster takes writes: {} needs no promotion", to.name).into());
        }
        let began = Instant::now();
        let replica = new.dialect().replica();
        if let Some(channel) = one_source(&mut new, to, deadline).await? {
            if from.is_none() {
                has_applied(&mut new, to, deadline).await?;
            }
            run(&mut new, to, &format!("STOP {replica}{channel}"), deadline).await?;
            run(&mut new, to, &format!("RESET {replica}{channel} ALL"), deadline).await?;
        }
        run(&mut new, to, WRITES_ON, deadline).await?;
        let finding = new.query(deadline).await;
        if finding.outcome == Outcome::Ok && finding.facts.role == Some(Role::Primary) && !finding.facts.read_only {
            return Ok(format!("{} follows nobody and takes writes, after {:.1?}", to.name, began.elapsed()).into());
        }
        Err(format!(
            "{} was promoted, and is not the primary: {}. Look at SHOW {replica} STATUS and read_only there",
            to.name, finding.evidence
        )
        .into())
    }

    pub(super) async fn undo_demote(&self, from: &Member, deadline: Deadline) -> Done {
        let mut old = self.session(from, deadline).await?;
        if old.is_galera() {
            return Ok("nothing to take back".into());
        }
        let demoting = self.demoting().take();
        if let Some(id) = demoting {
            // Until there is no such session any more.
            while old.run(&format!("KILL {id}"), deadline).await.is_ok() && pause(deadline).await {}
        }
        run(&mut old, from, WRITES_ON, deadline).await?;
        Ok(format!("{} takes writes again: read_only is off", from.name).into())
    }

    fn demoting(&self) -> std::sync::MutexGuard<'_, Option<u64>> {
        self.demoting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn session(&self, member: &Member, deadline: Deadline) -> Result<Standing, Printable> {
        let addresses = member.addresses(deadline).await?;
        let session = Login::new(&member.address, &self.check).session(&addresses, deadline).await.map(|(session, _)| session);
        session.map_err(|failure| no_login(member, Refusal::from(failure).why))
    }
}

/// A replica does not say that it receives nothing.
fn hears(finding: &Finding, session: &Standing, member: &Member) -> Result<(), Printable> {
    if finding.facts.hears_primary != Some(false) {
        return Ok(());
    }
    Err(format!(
        "{} receives nothing from its primary (its IO thread is not connected), so it would lack what was written last: look at SHOW {} \
         STATUS there, and at its log",
        member.name,
        session.dialect().replica()
    )
    .into())
}

/// Makes a server refuse writes. `MySQL` has another variable, for accounts with `SUPER`; it sets the first as well.
const fn writes_off(dialect: &Dialect) -> &'static str {
    if dialect.is_mariadb { "SET GLOBAL read_only = 1" } else { "SET GLOBAL super_read_only = 1" }
}

/// Makes it accept them. This turns `super_read_only` off as well (`MySQL` documentation, "Server System Variables").
const WRITES_ON: &str = "SET GLOBAL read_only = 0";

async fn run(session: &mut Standing, member: &Member, statement: &str, deadline: Deadline) -> Result<Table, Printable> {
    let refused = match session.run(statement, deadline).await {
        Ok(table) => return Ok(table),
        Err(refusal) => refusal,
    };
    let grant = if refused.is_denied { grant(session, deadline).await } else { String::new() };
    Err(format!("{statement} on {}: {}{grant}", member.name, refused.why).into())
}

/// What a primary has written, in the words of its transactions.
async fn position(session: &mut Standing, member: &Member, deadline: Deadline) -> Result<String, Printable> {
    let (variable, setting) =
        if session.dialect().is_mariadb { ("gtid_binlog_pos", "log_bin") } else { ("gtid_executed", "gtid_mode") };
    let table = run(session, member, &format!("SELECT @@global.{variable} AS position"), deadline).await?;
    let position: String = table.get(0, "position").unwrap_or_default().split_whitespace().collect();
    if position.is_empty() {
        return Err(format!(
            "{} does not number its transactions ({variable} is empty), so nobody can tell whether another node has all of them: turn on \
             {setting}, or promote by a command",
            member.name
        )
        .into());
    }
    if is_position(&position) {
        return Ok(position);
    }
    Err(format!("{} says that its position is {:?}", member.name, Printable::word(&position)).into())
}

/// It becomes part of a statement.
fn is_position(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "-:,_".contains(c))
}

/// Waits until a replica has applied this.
async fn has_all(session: &mut Standing, member: &Member, target: &str, deadline: Deadline) -> Result<(), Printable> {
    let is_mariadb = session.dialect().is_mariadb;
    let question = if is_mariadb {
        // With what it wrote itself, when it was the primary.
        "SELECT @@global.gtid_current_pos AS position".to_owned()
    } else {
        format!("SELECT GTID_SUBSET('{target}', @@global.gtid_executed) AS position")
    };
    let mut position = String::new();
    loop {
        match run(session, member, &question, deadline).await {
            Ok(table) => table.get(0, "position").unwrap_or_default().clone_into(&mut position),
            // The time was over in the middle of a question.
            Err(_) if left(deadline).is_zero() => {}
            Err(why) => return Err(why),
        }
        if if is_mariadb { covers(&position, target) } else { position == "1" } {
            return Ok(());
        }
        if !pause(deadline).await {
            let reached = if is_mariadb { format!(", but {}", Printable::word(&position)) } else { String::new() };
            return Err(format!(
                "{} does not have all of {target}{reached}: nothing was promoted. Wait until it has caught up; SHOW {} STATUS there says why \
                 it has not",
                member.name,
                session.dialect().replica()
            )
            .into());
        }
    }
}

/// Whether one position of `MariaDB` (`domain-server-number`, one for each domain) has everything of another.
fn covers(position: &str, target: &str) -> bool {
    let read = |list: &str| -> Option<Vec<(u64, u64)>> {
        let parts = list.split(',').map(str::trim).filter(|gtid| !gtid.is_empty());
        parts.map(|gtid| Some((gtid.split('-').next()?.parse().ok()?, gtid.rsplit('-').next()?.parse().ok()?))).collect()
    };
    let (Some(position), Some(target)) = (read(position), read(target)) else { return false };
    target.iter().all(|(domain, number)| position.iter().any(|(known, reached)| known == domain && reached >= number))
}

/// How statements name the only source of a replica; `None` when it follows nobody. A second one may be another cluster, which
/// must not be forgotten.
async fn one_source(session: &mut Standing, member: &Member, deadline: Deadline) -> Result<Option<String>, Printable> {
    let (question, is_mariadb) = (session.dialect().replication(), session.dialect().is_mariadb);
    let table = run(session, member, question, deadline).await?;
    match table.rows.len() {
        0 => Ok(None),
        1 => {
            let name = if is_mariadb { table.get(0, "Connection_name") } else { None };
            Ok(Some(name.filter(|name| !name.is_empty()).map_or_else(String::new, |name| format!(" {}", quoted(name)))))
        }
        several => Err(format!(
            "{} follows {several} sources, and mainstay would forget all of them: promote it by hand, or by a command",
            member.name
        )
        .into()),
    }
}

/// What a replica may still have to apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applies {
    /// It has every transaction that it received whole.
    Nothing,
    /// Transactions, or nobody can tell.
    Some,
    /// The only thread that applies has read everything: at most half a transaction is left.
    ReadAll,
}

async fn applies(session: &mut Standing, status: &Table, deadline: Deadline) -> Applies {
    let is_mariadb = session.dialect().is_mariadb;
    let received = status.get(0, if is_mariadb { "Gtid_IO_Pos" } else { "Retrieved_Gtid_Set" }).unwrap_or_default();
    let received: String = received.split_whitespace().collect();
    if !received.is_empty() {
        let question = if is_mariadb {
            "SELECT @@global.gtid_slave_pos AS position".to_owned()
        } else if is_position(&received) {
            format!("SELECT GTID_SUBSET('{received}', @@global.gtid_executed) AND @@global.gtid_mode = 'ON' AS position")
        } else {
            return Applies::Some;
        };
        let applied = session.run(&question, deadline).await.unwrap_or_default();
        let applied = applied.get(0, "position").unwrap_or_default();
        let has_all = if is_mariadb { covers(applied, &received) } else { applied == "1" };
        return if has_all { Applies::Nothing } else { Applies::Some };
    }
    let state = ["Slave_SQL_Running_State", "Replica_SQL_Running_State"].into_iter().find_map(|name| status.get(0, name));
    if !state.is_some_and(|state| state.contains("has read all relay log")) {
        return Applies::Some;
    }
    // Where others apply, the thread that reads has read everything long before.
    let workers = session.run(WORKERS, deadline).await;
    if workers.is_ok_and(|workers| workers.rows.is_empty()) { Applies::ReadAll } else { Applies::Some }
}

/// Waits until a replica whose source has failed has applied what it received. Its threads are not touched before: `MariaDB` throws away
/// what it received when both were stopped and one is started (`MariaDB` documentation, "Global Transaction ID").
async fn has_applied(session: &mut Standing, member: &Member, deadline: Deadline) -> Result<(), Printable> {
    let question = session.dialect().replication();
    let (mut unapplied, mut since, mut evidence) = (None, Instant::now(), Printable::default());
    loop {
        let finding = session.query(deadline).await;
        if finding.facts.lag_bytes == Some(0) {
            return Ok(());
        }
        let table = match session.run(question, deadline).await {
            Ok(table) => Some(table),
            // The time was over in the middle of a question.
            Err(_) if left(deadline).is_zero() => None,
            Err(refusal) => return Err(format!("{} does not answer: {}", member.name, refusal.why).into()),
        };
        if let Some(table) = table {
            evidence = finding.evidence;
            let applies = applies(session, &table, deadline).await;
            if applies != Applies::ReadAll || unapplied != finding.facts.lag_bytes {
                (unapplied, since) = (finding.facts.lag_bytes, Instant::now());
            }
            if applies == Applies::Nothing || since.elapsed() >= STILL {
                return Ok(());
            }
        }
        if !pause(deadline).await {
            return Err(format!(
                "{} has not applied all that it received ({evidence}), so it was not promoted: look at SHOW {} STATUS there",
                member.name,
                session.dialect().replica()
            )
            .into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_covers_another_domain_by_domain() {
        for (position, target, covered) in [
            ("0-1-10", "0-1-10", true),
            ("0-2-11", "0-1-10", true),
            ("0-1-9", "0-1-10", false),
            ("", "0-1-1", false),
            ("0-1-10,1-1-5", "1-9-5,0-1-3", true),
            ("0-1-10,1-1-4", "1-9-5,0-1-3", false),
            ("0-1-10", "0-1-10,1-1-1", false),
            ("0-1-10", "nonsense", false),
        ] {
            assert_eq!(covers(position, target), covered, "{position} {target}");
        }
    }
}
