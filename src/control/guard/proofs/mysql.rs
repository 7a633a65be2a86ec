//! `MySQL` and `MariaDB`.
//!
//! A query of the user runs in a transaction that is read-only. The protocol takes one statement at a time; a text that could write a
//! file is refused before ([`statement`]).

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    server::{Answer, Capacity, Look, Opened, Server, Unanswered, list, unasked},
    statement,
};
use crate::{
    config::{BuiltIn, MysqlCheck},
    control::probe::{
        Deadline,
        finding::Refusal,
        mysql::{Login, Refused, Standing, answer::Table},
        standing::Standing as _,
    },
    net::{addr::BackendAddr, addresses::Addresses},
};

/// What it is asked, in order.
pub(super) const PROOFS: [BuiltIn; 5] =
    [BuiltIn::Replication, BuiltIn::PendingRestart, BuiltIn::MaxConnections, BuiltIn::VersionOrder, BuiltIn::ProbeLatency];

/// An answer to a query of the user.
const ANSWER_BYTES: usize = 8 << 20;
/// Rows of it that are compared: fewer than a session of the check takes.
const ROWS: usize = 900;
/// Between the server's own end of a query and ours.
const GRACE: Duration = Duration::from_secs(1);
/// To end a query that has not ended.
const PATIENCE: Duration = Duration::from_secs(2);

/// Set by whoever promotes or begins a group, not by who configures.
const OF_ROLES: &str = "'read_only', 'super_read_only', 'offline_mode', 'gtid_slave_pos', 'gtid_binlog_state', 'gtid_purged', \
                        'event_scheduler', 'rpl_semi_sync_master_enabled', 'rpl_semi_sync_slave_enabled', \
                        'rpl_semi_sync_source_enabled', 'rpl_semi_sync_replica_enabled', 'group_replication_bootstrap_group'";

/// Empty unless it belongs to a group, whether or not it is in it now.
const GROUP: &str = "SHOW GLOBAL VARIABLES LIKE 'group_replication_group_name'";
const MEMBER: &str =
    "SELECT MEMBER_STATE AS state FROM performance_schema.replication_group_members WHERE MEMBER_ID = @@global.server_uuid";

/// `ER_TABLEACCESS_DENIED_ERROR`, `ER_COLUMNACCESS_DENIED_ERROR`, `ER_PROCACCESS_DENIED_ERROR`, and those of the server and databases.
const DENIED: [u16; 6] = [1142, 1143, 1370, 1227, 1044, 1045];
/// `ER_STATEMENT_TIMEOUT`, `ER_QUERY_TIMEOUT`, `ER_LOCK_WAIT_TIMEOUT`, `ER_QUERY_INTERRUPTED`.
const LATE: [u16; 4] = [1969, 3024, 1205, 1317];
/// `ER_LOCK_DEADLOCK`, `ER_SERVER_SHUTDOWN`, `ER_CON_COUNT_ERROR`, `ER_OUT_OF_RESOURCES`.
const DISTURBED: [u16; 4] = [1213, 1053, 1040, 1041];

/// A login.
struct Mysql {
    standing: Standing,
    login: Login,
    addresses: Addresses,
    header: Deadline,
    id: String,
    account: String,
}

pub(super) async fn open(check: &MysqlCheck, address: &BackendAddr, addresses: &Addresses, deadline: Deadline) -> Opened {
    let login = Login::new(address, check);
    let opened = login.session(addresses, deadline).await.map_err(Refusal::from);
    let (mut standing, _) = opened.map_err(|refusal| refusal.why.to_string())?;
    let who = standing.run("SELECT CONNECTION_ID() AS id, CURRENT_USER() AS who", deadline).await;
    let who = who.map_err(|refusal| refusal.why.to_string())?;
    let (id, account) = (who.get(0, "id").unwrap_or_default().to_owned(), who.get(0, "who").unwrap_or("?").to_owned());
    Ok(Box::new(Mysql { standing, login, addresses: addresses.clone(), header: deadline, id, account }))
}

#[async_trait]
impl Server for Mysql {
    async fn look(&mut self, proof: BuiltIn, ignored: &[String], deadline: Deadline) -> Look {
        match proof {
            BuiltIn::Replication => self.replication(deadline).await,
            BuiltIn::PendingRestart => self.pending(ignored, deadline).await,
            _ => Look::Unasked("MariaDB and MySQL have no such proof".into()),
        }
    }

    async fn capacity(&mut self, deadline: Deadline) -> Result<Capacity, String> {
        let version = self.standing.dialect().version.to_string();
        let limit = self.standing.run("SELECT @@global.max_connections AS most", deadline).await;
        let limit = limit.map_err(|refusal| refusal.why.to_string())?;
        let used = self.standing.run("SHOW GLOBAL STATUS LIKE 'Threads_connected'", deadline).await;
        let used = used.map_err(|refusal| refusal.why.to_string())?;
        let number = |text: Option<&str>| text.and_then(|text| text.parse::<u64>().ok());
        // This session is one of them.
        let sessions = number(used.get(0, "Value")).map(|used| used.saturating_sub(1));
        let connections = number(limit.get(0, "most"));
        Ok(Capacity { version, connections, connections_by: "max_connections", sessions, ..Capacity::default() })
    }

    async fn ask(&mut self, sql: &str, limit: Duration) -> Result<Answer, Unanswered> {
        if let Some(fault) = statement::fault(sql) {
            return Err(Unanswered::Refused(format!("it is not asked: {fault}")));
        }
        let deadline = Deadline::after(limit + GRACE);
        let rows = ROWS + 1;
        let seconds = limit.as_secs().max(1);
        let time = if self.standing.dialect().is_mariadb {
            format!("max_statement_time = {:.3}", limit.as_secs_f64().max(0.001))
        } else {
            format!("max_execution_time = {}", limit.as_millis().max(1))
        };
        let limits = format!(
            "SET SESSION {time}, lock_wait_timeout = {seconds}, innodb_lock_wait_timeout = {seconds}, sql_select_limit = {rows}"
        );
        for statement in [limits.as_str(), "START TRANSACTION READ ONLY"] {
            self.query(statement, deadline).await?;
        }
        let way = self.way(deadline).await?;
        let began = Instant::now();
        let answer = self.query(sql, deadline).await;
        let elapsed = began.elapsed();
        if matches!(answer, Err(Unanswered::Lost(_))) || (answer.is_err() && Instant::now() >= deadline.at()) {
            self.end().await;
            return Err(answer.err().unwrap_or_else(|| Unanswered::Lost("the session is over".into())));
        }
        self.query("ROLLBACK", deadline).await?;
        let mut rows = answer?.rows;
        if elapsed >= limit {
            // Some functions (BENCHMARK, SLEEP) take the server's limit for their end, and answer.
            return Err(Unanswered::Late(format!("the query did not end within {limit:?}")));
        }
        let is_cut = rows.len() > ROWS;
        rows.truncate(ROWS);
        Ok(Answer { rows, is_cut, took: elapsed.saturating_sub(way) })
    }

    async fn position(&mut self, deadline: Deadline) -> Option<String> {
        let question = if self.standing.dialect().is_mariadb {
            "SELECT @@global.gtid_binlog_pos AS position"
        } else {
            "SELECT @@global.gtid_executed AS position"
        };
        let table = self.standing.run(question, deadline).await.ok()?;
        let position = table.get(0, "position").filter(|position| !position.is_empty())?;
        position.bytes().all(|byte| byte.is_ascii_hexdigit() || b":,-\n ".contains(&byte)).then(|| position.replace('\n', ""))
    }

    async fn reach(&mut self, position: &str, deadline: Deadline) -> bool {
        let seconds = deadline.timeout().as_secs_f64();
        let is_mariadb = self.standing.dialect().is_mariadb;
        let question = if is_mariadb {
            // A server that follows nobody would wait for ever.
            format!("SELECT IF(@@global.gtid_slave_pos = '', 0, MASTER_GTID_WAIT('{position}', {seconds:.1})) AS waited")
        } else {
            format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{position}', {seconds:.1}) AS waited")
        };
        // Its own limit may be set from a query before.
        let answer = self.standing.run(&question, deadline).await;
        answer.is_ok_and(|table| table.get(0, "waited") == Some("0"))
    }

    async fn close(self: Box<Self>) {
        Box::new(self.standing).close().await;
    }
}

impl Mysql {
    async fn replication(&mut self, deadline: Deadline) -> Look {
        if self.standing.is_galera() {
            let answer = self.standing.run("SHOW GLOBAL STATUS LIKE 'wsrep_local_state_comment'", deadline).await;
            return match answer {
                Ok(table) if table.get(0, "Value") == Some("Synced") => Look::Holds("its node is synced".into()),
                Ok(table) => Look::Fails(format!("its node is {}", table.get(0, "Value").unwrap_or("?"))),
                Err(refusal) => Look::Unasked(refusal.why.to_string()),
            };
        }
        let (question, is_mariadb) = (self.standing.dialect().replication(), self.standing.dialect().is_mariadb);
        match self.standing.run(question, deadline).await {
            Ok(table) => match sources(&table) {
                Look::Alone(why) if !is_mariadb => self.member(why, deadline).await,
                look => look,
            },
            Err(refusal) => unasked(refusal, || {
                let right = if is_mariadb { "REPLICA MONITOR (SLAVE MONITOR)" } else { "REPLICATION CLIENT" };
                format!("GRANT {right} ON *.* TO {}", self.account)
            }),
        }
    }

    /// One without a source may be a member of a group.
    async fn member(&mut self, alone: String, deadline: Deadline) -> Look {
        match self.standing.run(GROUP, deadline).await {
            Ok(table) if table.get(0, "Value").is_none_or(str::is_empty) => return Look::Alone(alone),
            Ok(_) => {}
            Err(refusal) => return Look::Unasked(refusal.why.to_string()),
        }
        match self.query(MEMBER, deadline).await {
            Ok(table) => membership(table.get(0, "state")),
            Err(Unanswered::Denied(why)) => {
                Look::Unasked(format!("{why}; on the primary: GRANT SELECT ON performance_schema.* TO {}", self.account))
            }
            Err(why) => Look::Unasked(why.to_string()),
        }
    }

    /// Values that were set while it ran, and are in no file: a restart takes them back.
    async fn pending(&mut self, ignored: &[String], deadline: Deadline) -> Look {
        let is_mariadb = self.standing.dialect().is_mariadb;
        let question = if is_mariadb {
            format!(
                "SELECT LOWER(VARIABLE_NAME) AS name FROM information_schema.SYSTEM_VARIABLES \
                 WHERE GLOBAL_VALUE_ORIGIN = 'SQL' AND LOWER(VARIABLE_NAME) NOT IN ({OF_ROLES})"
            )
        } else {
            // What the server set itself, as it started, was set by no user.
            format!(
                "SELECT i.VARIABLE_NAME AS name FROM performance_schema.variables_info i \
                 JOIN performance_schema.global_variables g ON g.VARIABLE_NAME = i.VARIABLE_NAME \
                 LEFT JOIN performance_schema.persisted_variables p ON p.VARIABLE_NAME = i.VARIABLE_NAME \
                 WHERE i.VARIABLE_SOURCE = 'DYNAMIC' AND i.SET_USER IS NOT NULL \
                   AND (p.VARIABLE_NAME IS NULL OR p.VARIABLE_VALUE <> g.VARIABLE_VALUE) AND i.VARIABLE_NAME NOT IN ({OF_ROLES})"
            )
        };
        let table = match self.query(&question, deadline).await {
            Ok(table) => table,
            Err(Unanswered::Denied(why)) => {
                return Look::Unasked(format!("{why}; on the primary: GRANT SELECT ON performance_schema.* TO {}", self.account));
            }
            Err(why) => return Look::Unasked(why.to_string()),
        };
        let names = (0..table.rows.len()).filter_map(|row| table.get(row, "name"));
        let names: Vec<&str> = names.filter(|name| !ignored.iter().any(|one| one == name)).collect();
        if names.is_empty() {
            return Look::Holds("no variable was set while it ran".into());
        }
        Look::Fails(format!("the next restart takes back what was set while it ran, and is in no file: {}", list(names)))
    }

    async fn query(&mut self, sql: &str, deadline: Deadline) -> Result<Table, Unanswered> {
        self.standing.sql(sql, ANSWER_BYTES, deadline).await.map_err(|Refused { code, finding }| {
            let why = finding.evidence.to_string();
            match code {
                None if Instant::now() >= deadline.at() => Unanswered::Late(why),
                None => Unanswered::Lost(why),
                Some(code) if DENIED.contains(&code) => Unanswered::Denied(why),
                Some(code) if LATE.contains(&code) => Unanswered::Late(why),
                Some(code) if DISTURBED.contains(&code) => Unanswered::Disturbed(why),
                Some(_) => Unanswered::Refused(why),
            }
        })
    }

    /// How long the way there and back takes.
    async fn way(&mut self, deadline: Deadline) -> Result<Duration, Unanswered> {
        let mut best = Duration::MAX;
        for _ in 0..2 {
            let began = Instant::now();
            self.query("DO 0", deadline).await?;
            best = best.min(began.elapsed());
        }
        Ok(best)
    }

    /// Ends a query that has not ended by itself.
    async fn end(&self) {
        let deadline = Deadline::after(PATIENCE).with_header(self.header.version());
        if let Ok((mut standing, _)) = self.login.session(&self.addresses, deadline).await {
            let _ = standing.run(&format!("KILL CONNECTION {}", self.id), deadline).await;
            Box::new(standing).close().await;
        }
    }
}

/// Whether it has what the others of its group have.
fn membership(state: Option<&str>) -> Look {
    match state {
        Some("ONLINE") => Look::Holds("it is ONLINE in its group".into()),
        state => Look::Fails(format!("it is {} in its group", state.unwrap_or("OFFLINE"))),
    }
}

/// Whether both threads of every source run; not those of a group.
fn sources(table: &Table) -> Look {
    let sources: Vec<usize> = (0..table.rows.len()).filter(|row| !table.is_of_group(*row)).collect();
    if sources.is_empty() {
        return Look::Alone("it follows nobody".into());
    }
    let stopped = sources.into_iter().filter_map(|row| {
        let either = |new: &str, old: &str| table.get(row, new).or_else(|| table.get(row, old)).unwrap_or("?").to_owned();
        let receives = either("Replica_IO_Running", "Slave_IO_Running");
        let applies = either("Replica_SQL_Running", "Slave_SQL_Running");
        let error = |name: &str| table.get(row, name).filter(|error| !matches!(*error, "0" | ""));
        let why = error("Last_SQL_Error").or_else(|| error("Last_IO_Error")).map(|why| format!(" ({why})")).unwrap_or_default();
        (receives != "Yes" || applies != "Yes").then(|| format!("receiving: {receives}, applying: {applies}{why}"))
    });
    let stopped: Vec<String> = stopped.collect();
    if stopped.is_empty() {
        return Look::Holds("both threads of its replication run".into());
    }
    Look::Fails(format!("its replication does not run: {}", list(stopped.iter().map(String::as_str))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(channels: &[(&str, &str)]) -> Table {
        let columns = ["Channel_Name", "Replica_IO_Running", "Replica_SQL_Running"].map(str::to_owned).to_vec();
        let row = |(name, runs): &(&str, &str)| [*name, *runs, *runs].map(|value| Some(value.to_owned())).to_vec();
        Table { columns, rows: channels.iter().map(row).collect() }
    }

    #[test]
    fn channels_of_a_group_are_no_sources() {
        let group = [("group_replication_applier", "Yes"), ("group_replication_recovery", "No")];
        assert_eq!(sources(&channels(&group)), Look::Alone("it follows nobody".into()));
        assert_eq!(sources(&channels(&[])), Look::Alone("it follows nobody".into()));
        assert_eq!(membership(Some("ONLINE")), Look::Holds("it is ONLINE in its group".into()));
        assert_eq!(membership(Some("RECOVERING")), Look::Fails("it is RECOVERING in its group".into()));
        assert_eq!(membership(None), Look::Fails("it is OFFLINE in its group".into()));
        let with = |runs| sources(&channels(&[group[0], group[1], ("", runs)]));
        assert_eq!(with("Yes"), Look::Holds("both threads of its replication run".into()));
        assert_eq!(with("No"), Look::Fails("its replication does not run: receiving: No, applying: No".into()));
    }
}
