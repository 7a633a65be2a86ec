//! `PostgreSQL`: `pg_promote()`. There is no statement that stops a server, so the old primary is stopped by a hook, in order: then it
//! sends all that it has to its standbys before it ends (`PostgreSQL` documentation, "Shutting Down the Server").

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use super::step::{Done, Member, Shortcoming, left, no_login, pause};
use crate::{
    config::PostgresCheck,
    control::probe::{
        Deadline,
        finding::Refusal,
        postgres::{Login, Standing},
    },
    failover::Printable,
};

/// A standby: whether it is one, whether the role may promote it, whether it receives, whether its replay is paused, its delay.
const STANDBY: &str = "SELECT pg_catalog.pg_is_in_recovery(),
  pg_catalog.has_function_privilege(pg_catalog.to_regprocedure('pg_catalog.pg_promote(boolean, integer)'), 'EXECUTE'),
  EXISTS (SELECT 1 FROM pg_catalog.pg_stat_get_wal_receiver() w WHERE w.pid IS NOT NULL),
  CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_is_wal_replay_paused() END,
  pg_catalog.current_setting('recovery_min_apply_delay')";

/// A primary: whether it is none, and whether the role may make a checkpoint.
const PRIMARY: &str = "SELECT pg_catalog.pg_is_in_recovery(),
  CASE WHEN pg_catalog.current_setting('is_superuser') = 'on' THEN true
       WHEN pg_catalog.current_setting('server_version_num')::int >= 150000 THEN pg_catalog.pg_has_role('pg_checkpoint', 'USAGE')
       ELSE false END,
  pg_catalog.current_setting('server_version_num')::int >= 150000";

/// What a standby has received and applied, and whether it receives more.
const RECEIVED: &str = "SELECT pg_catalog.pg_last_wal_replay_lsn(), pg_catalog.pg_last_wal_receive_lsn(),
  EXISTS (SELECT 1 FROM pg_catalog.pg_stat_get_wal_receiver() w WHERE w.pid IS NOT NULL)";

/// Whether a node is a standby still, and which timeline it writes if not.
const PROMOTED: &str = "SELECT r.standby,
  CASE WHEN NOT r.standby
       THEN ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::bigint END
FROM (SELECT pg_catalog.pg_is_in_recovery() AS standby OFFSET 0) r";

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lsn(u64);

impl FromStr for Lsn {
    type Err = Printable;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = |part: &str| u32::from_str_radix(part, 16).ok().map(u64::from);
        let read = text.split_once('/').and_then(|(high, low)| Some(part(high)? << 32 | part(low)?));
        read.map(Self)
            .ok_or_else(|| format!("the server says {:?} where it should say a place in its log", Printable::word(text)).into())
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

#[derive(Debug)]
pub(super) struct Postgres {
    check: Arc<PostgresCheck>,
    /// How far the old primary had written before it was stopped.
    wrote: Mutex<Option<Lsn>>,
}

type Row = Vec<Option<String>>;

fn is(row: &Row, column: usize) -> bool {
    text(row, column) == Some("t")
}

fn text(row: &Row, column: usize) -> Option<&str> {
    row.get(column)?.as_deref()
}

impl Postgres {
    pub(super) fn new(check: &PostgresCheck) -> Self {
        Self { check: Arc::new(check.clone()), wrote: Mutex::default() }
    }

    pub(super) async fn preflight(&self, from: Option<&Member>, to: &Member, deadline: Deadline) -> Vec<Shortcoming> {
        let mut missing = match self.ask(to, STANDBY, deadline).await {
            Ok(row) => self.of_standby(&row, to, from.is_some()),
            Err(why) => vec![Shortcoming::forbids(why)],
        };
        let Some(from) = from else { return missing };
        match self.ask(from, PRIMARY, deadline).await {
            Ok(row) if is(&row, 0) => missing.push(Shortcoming::forbids(format!("{} is no primary", from.name))),
            Ok(row) => missing.extend(self.no_checkpoint(&row, from)),
            Err(why) => missing.push(Shortcoming::forbids(why)),
        }
        missing
    }

    /// What the role lacks on a node, whatever that is now.
    pub(super) async fn rights(&self, node: &Member, deadline: Deadline) -> Result<Vec<Shortcoming>, Printable> {
        let (promotes, stops) = (self.ask(node, STANDBY, deadline).await?, self.ask(node, PRIMARY, deadline).await?);
        Ok(self.no_promotion(&promotes, node).into_iter().chain(self.no_checkpoint(&stops, node)).collect())
    }

    fn no_checkpoint(&self, row: &Row, from: &Member) -> Option<Shortcoming> {
        let grant = match (is(row, 1), is(row, 2)) {
            (true, _) => return None,
            (false, true) => format!("GRANT pg_checkpoint TO {}", self.role()),
            (false, false) => "only a superuser may, before PostgreSQL 15".into(),
        };
        Some(Shortcoming::costs(format!(
            "no CHECKPOINT is made before {} stops, so that its stop takes as long as one: {grant}",
            from.name
        )))
    }

    fn no_promotion(&self, row: &Row, to: &Member) -> Option<Shortcoming> {
        match text(row, 1) {
            Some("t") => None,
            Some(_) => Some(Shortcoming::forbids(self.may_not_promote(to))),
            None => Some(Shortcoming::forbids(format!(
                "{} has no pg_promote(), which came with PostgreSQL 12: promote by a command (how: {{exec: […]}})",
                to.name
            ))),
        }
    }

    fn of_standby(&self, row: &Row, to: &Member, switchover: bool) -> Vec<Shortcoming> {
        let mut missing = Vec::new();
        if !is(row, 0) {
            return vec![Shortcoming::forbids(format!("{} is no standby", to.name))];
        }
        missing.extend(self.no_promotion(row, to));
        if switchover && !is(row, 2) {
            missing.push(Shortcoming::loses(format!(
                "{} receives nothing from its primary (pg_stat_wal_receiver is empty), so it would lack what was written last: look at \
                 primary_conninfo and at its log",
                to.name
            )));
        }
        if is(row, 3) {
            missing.push(Shortcoming::forbids(format!("replay is paused on {}: SELECT pg_wal_replay_resume()", to.name)));
        }
        if let Some(delay) = text(row, 4).filter(|delay| *delay != "0") {
            missing.push(Shortcoming::forbids(format!("{} applies everything {delay} late (recovery_min_apply_delay)", to.name)));
        }
        missing
    }

    fn may_not_promote(&self, to: &Member) -> String {
        format!(
            "the role {role} may not promote {}: run on the primary, in the database {database:?}: GRANT EXECUTE ON FUNCTION \
             pg_catalog.pg_promote(boolean, integer) TO {role}; where there is no primary any more: pg_ctl promote on the host of {}",
            to.name,
            to.name,
            role = self.role(),
            database = self.check.database,
        )
    }

    pub(super) async fn prepare(&self, from: &Member, deadline: Deadline) -> Done {
        let began = Instant::now();
        match self.session(from, deadline).await?.run("CHECKPOINT", deadline).await {
            Ok(_) => Ok(format!("CHECKPOINT on {} in {:.1?}", from.name, began.elapsed()).into()),
            Err(Refusal { is_denied: true, .. }) => {
                Ok(format!("no CHECKPOINT on {}: the role {} may not", from.name, self.role()).into())
            }
            Err(Refusal { why, .. }) => Err(format!("no CHECKPOINT on {}: {why}", from.name).into()),
        }
    }

    /// How far the old primary has written, which is the least that the new one must have. `to` must be receiving: then an orderly stop
    /// waits until it has received all.
    pub(super) async fn position(&self, from: &Member, to: &Member, deadline: Deadline) -> Result<Lsn, Printable> {
        let wrote = self.ask(from, "SELECT pg_catalog.pg_current_wal_insert_lsn()", deadline);
        let (received, row) = tokio::try_join!(self.ask(to, RECEIVED, deadline), wrote)?;
        if !is(&received, 2) {
            return Err(format!(
                "{} receives nothing from its primary (pg_stat_wal_receiver is empty), so {} was not stopped: look at its log",
                to.name, from.name
            )
            .into());
        }
        let wrote = text(&row, 0).unwrap_or_default().parse()?;
        *self.wrote.lock().unwrap_or_else(PoisonError::into_inner) = Some(wrote);
        Ok(wrote)
    }

    pub(super) async fn promote(&self, from: Option<&Member>, to: &Member, deadline: Deadline) -> Done {
        let mut session = self.session(to, deadline).await?;
        let wrote = *self.wrote.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(timeline) = timeline(&session.run(PROMOTED, deadline).await.map_err(|refusal| refusal.why)?) {
            return Ok(format!("{} is the primary already, on timeline {timeline}", to.name).into());
        }
        if let Some((from, wrote)) = from.zip(wrote) {
            has_all(&mut session, (from, to), wrote, deadline).await?;
        }
        let began = Instant::now();
        // It looks itself only ten times a second.
        match session.run("SELECT pg_catalog.pg_promote(false)", deadline).await {
            Ok(_) => {}
            Err(Refusal { is_denied: true, .. }) => return Err(self.may_not_promote(to).into()),
            Err(Refusal { why, .. }) => return Err(format!("pg_promote() on {} failed: {why}", to.name).into()),
        }
        loop {
            let row = session.run(PROMOTED, deadline).await;
            if let Some(timeline) = row.as_ref().ok().and_then(timeline) {
                return Ok(format!(
                    "pg_promote() made {} the primary on timeline {timeline} in {:.1?}",
                    to.name,
                    began.elapsed()
                )
                .into());
            }
            if row.is_err() || !pause(deadline).await {
                let why = row.err().map_or_else(String::new, |refusal| format!(" ({})", refusal.why));
                return Err(format!(
                    "{} was told to become the primary, and is not after {:.1?}{why}: it still may; look at its log, and at SELECT \
                     pg_is_in_recovery() there, before anything else is promoted",
                    to.name,
                    began.elapsed()
                )
                .into());
            }
        }
    }

    async fn session(&self, member: &Member, deadline: Deadline) -> Result<Standing, Printable> {
        let addresses = member.addresses(deadline).await?;
        let session = Login::new(&member.address, &self.check).session(&addresses, deadline).await.map(|(session, _)| session);
        session.map_err(|failure| no_login(member, Refusal::from(failure).why))
    }

    async fn ask(&self, member: &Member, question: &str, deadline: Deadline) -> Result<Row, Printable> {
        let row = self.session(member, deadline).await?.run(question, deadline).await;
        row.map_err(|refusal| format!("{} does not answer: {}", member.name, refusal.why).into())
    }

    /// The role, as statements name it.
    fn role(&self) -> String {
        format!("\"{}\"", self.check.user.replace('"', "\"\""))
    }
}

/// Of a node that is no standby any more.
fn timeline(row: &Row) -> Option<String> {
    text(row, 0).filter(|standby| *standby == "f")?;
    Some(Printable::word(text(row, 1).unwrap_or("?")).to_string())
}

/// Waits until the standby has applied what the old primary wrote.
async fn has_all(
    session: &mut Standing,
    (from, to): (&Member, &Member),
    wrote: Lsn,
    deadline: Deadline,
) -> Result<(), Printable> {
    let (mut applied, mut received) = (None, None);
    loop {
        match session.run(RECEIVED, deadline).await {
            Ok(row) => {
                let at = |column| text(&row, column).map(str::parse::<Lsn>).transpose();
                (applied, received) = (at(0)?, at(1)?);
            }
            // The time was over in the middle of a question.
            Err(_) if left(deadline).is_zero() => {}
            Err(refusal) => return Err(refusal.why),
        }
        if applied.is_some_and(|applied| applied >= wrote) {
            return Ok(());
        }
        if !pause(deadline).await {
            let shown = |lsn: Option<Lsn>| lsn.map_or_else(|| "nothing".to_owned(), |lsn| lsn.to_string());
            let advice = if received >= Some(wrote) {
                "is its replay paused (SELECT pg_wal_replay_resume()), or slow?"
            } else {
                "the old primary did not stop in order (pg_ctl stop -m fast, never -m immediate). Start it again, or promote with \
                 --accept-loss"
            };
            return Err(format!(
                "{} wrote up to {wrote}; {} has received {} and applied {}, so it was not promoted: {advice}",
                from.name,
                to.name,
                shown(received),
                shown(applied)
            )
            .into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_log_are_compared_as_numbers() {
        let lsn = |text: &str| text.parse::<Lsn>().unwrap();
        assert!(lsn("0/FFFFFFFF") < lsn("1/0") && lsn("A/0") > lsn("9/FFFFFFFF") && lsn("1/A") == lsn("1/0000000A"));
        assert_eq!(lsn("16/B374D848").to_string(), "16/B374D848");
        for bad in ["", "1", "1/", "/1", "g/1", "1/100000000"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad}");
        }
    }
}
