//! `PostgreSQL`.
//!
//! A query of the user is a cursor of a transaction that is read-only. The server has parsed it alone before, so that it is one
//! statement and cannot end the transaction; a cursor takes only what reads; and no function can make the transaction writable again
//! once it has begun to read (`PostgreSQL` documentation, "SET TRANSACTION"). What a function of the user does outside of transactions
//! (`dblink`, a file) the privileges of the role alone forbid.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep};
use tokio_postgres::{SimpleQueryMessage, error::SqlState};

use super::server::{Answer, Capacity, Look, Opened, Server, Unanswered, list, unasked};
use crate::{
    config::{BuiltIn, PostgresCheck},
    control::probe::{
        Deadline,
        finding::Refusal,
        postgres::{Login, Rejected, Standing},
        standing::Standing as _,
    },
    net::{addr::BackendAddr, addresses::Addresses},
};

/// What it is asked, in order.
pub(super) const PROOFS: [BuiltIn; 9] = [
    BuiltIn::Replication,
    BuiltIn::Collations,
    BuiltIn::Extensions,
    BuiltIn::PendingRestart,
    BuiltIn::ConfigFile,
    BuiltIn::HbaFile,
    BuiltIn::MaxConnections,
    BuiltIn::VersionOrder,
    BuiltIn::ProbeLatency,
];

/// A built-in answer: a line for each fault.
const BYTES: usize = 1 << 20;
/// An answer to a query of the user.
const ANSWER_BYTES: usize = 8 << 20;
/// Rows of it that are compared.
const ROWS: usize = 10_000;
/// Between the server's own end of a query and ours.
const GRACE: Duration = Duration::from_secs(1);
/// To end a query that has not ended.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// Who it is.
const WHO: &str = "SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.pg_backend_pid(),
  pg_catalog.current_setting('is_superuser'), pg_catalog.quote_ident(current_user), pg_catalog.current_setting('server_version')";

/// Whether it is a standby, receives, and applies.
const REPLICATION: &str = "SELECT pg_catalog.pg_is_in_recovery(),
  EXISTS (SELECT 1 FROM pg_catalog.pg_stat_get_wal_receiver() w WHERE w.pid IS NOT NULL),
  CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_is_wal_replay_paused() END";

/// Collations whose recorded version is not that of the system; the columns of databases came with 15.
const COLLATIONS: &str = "SELECT 'collation ' || pg_catalog.quote_ident(c.collname), c.collversion, a.version
  FROM pg_catalog.pg_collation c, pg_catalog.pg_collation_actual_version(c.oid) AS a(version)
  WHERE c.collversion IS NOT NULL AND c.collversion IS DISTINCT FROM a.version
    AND c.collencoding IN (-1, (SELECT encoding FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))";
const OF_DATABASES: &str = " UNION ALL SELECT 'database ' || pg_catalog.quote_ident(d.datname), d.datcollversion, a.version
  FROM pg_catalog.pg_database d, pg_catalog.pg_database_collation_actual_version(d.oid) AS a(version)
  WHERE d.datcollversion IS NOT NULL AND d.datcollversion IS DISTINCT FROM a.version";

/// Extensions whose version is not on disk, and from which no update is.
const EXTENSIONS: &str = "SELECT pg_catalog.quote_ident(e.extname) || ' ' || e.extversion,
  coalesce((SELECT pg_catalog.string_agg(v.version, ', ') FROM pg_catalog.pg_available_extension_versions() v WHERE v.name = e.extname),
    'nothing')
  FROM pg_catalog.pg_extension e
  WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_available_extension_versions() v
      WHERE v.name = e.extname AND v.version = e.extversion)
    AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_available_extensions() n, pg_catalog.pg_extension_update_paths(n.name) p
      WHERE n.name = e.extname AND p.source = e.extversion AND p.path IS NOT NULL)";

/// Loads each library of a function in C. Only a superuser may.
const LIBRARIES: &str = "SELECT pg_catalog.fmgr_c_validator(l.oid)
  FROM (SELECT DISTINCT ON (p.probin) p.oid FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
    WHERE l.lanname = 'c' AND p.probin IS NOT NULL) l";

/// The server says so of a setting of its command line, too, which no restart changes as long as that stays the same.
const PENDING: &str = "SELECT s.name, s.source = 'command line' FROM pg_catalog.pg_settings s WHERE s.pending_restart";

/// Never the value, which may be secret.
const FILE: &str = "SELECT coalesce(name, ''), pg_catalog.regexp_replace(sourcefile, '^.*/', ''), sourceline, error
  FROM pg_catalog.pg_file_settings WHERE error IS NOT NULL";
/// Whether the role may ask for them.
const MAY_READ_FILE: &str = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_file_settings', 'SELECT')
  AND pg_catalog.has_function_privilege('pg_catalog.pg_show_all_file_settings()', 'EXECUTE')";
const MAY_READ_HBA: &str = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_hba_file_rules', 'SELECT')
  AND pg_catalog.has_function_privilege('pg_catalog.pg_hba_file_rules()', 'EXECUTE')";
const HBA: &str = "SELECT 'pg_hba.conf', line_number, error FROM pg_catalog.pg_hba_file_rules WHERE error IS NOT NULL";

/// Sessions that it takes of roles like those of clients, and those that it has. All databases together also count what is no client,
/// and are what a role without more rights sees.
const CAPACITY: &str = "SELECT (SELECT pg_catalog.sum(s.setting::bigint) FILTER (WHERE s.name = 'max_connections')
    - coalesce(pg_catalog.sum(s.setting::bigint) FILTER (WHERE s.name <> 'max_connections'), 0) FROM pg_catalog.pg_settings s
    WHERE s.name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')),
  CASE WHEN pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
    THEN (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_get_activity(NULL) a WHERE a.backend_type = 'client backend' AND a.pid <> pg_catalog.pg_backend_pid())
    ELSE (SELECT pg_catalog.sum(d.numbackends) - 1 FROM pg_catalog.pg_stat_database d) END";

const POSITION: &str = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
  ELSE pg_catalog.pg_current_wal_lsn() END";

const NOW: &str = "SELECT (pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000)::bigint";

/// A login.
struct Postgres {
    standing: Standing,
    login: Login,
    addresses: Addresses,
    header: Deadline,
    number: u32,
    version: String,
    pid: String,
    is_super: bool,
    role: String,
}

type Row = Vec<Option<String>>;

pub(super) async fn open(check: &PostgresCheck, address: &BackendAddr, addresses: &Addresses, deadline: Deadline) -> Opened {
    let login = Login::new(address, check);
    let opened = login.session(addresses, deadline).await.map_err(Refusal::from);
    let (mut standing, _) = opened.map_err(|refusal| refusal.why.to_string())?;
    let who = standing.run(WHO, deadline).await.map_err(|refusal| refusal.why.to_string())?;
    let word = |column: usize| who.get(column).cloned().flatten().unwrap_or_default();
    let (number, pid, is_super) = (word(0).parse().unwrap_or(0), word(1), word(2) == "on");
    let (role, version) = (word(3), word(4));
    let addresses = addresses.clone();
    Ok(Box::new(Postgres { standing, login, addresses, header: deadline, number, version, pid, is_super, role }))
}

#[async_trait]
impl Server for Postgres {
    async fn look(&mut self, proof: BuiltIn, ignored: &[String], deadline: Deadline) -> Look {
        match proof {
            BuiltIn::Replication => self.replication(deadline).await,
            BuiltIn::Collations => {
                let of_databases = if self.number >= 150_000 { OF_DATABASES } else { "" };
                let question = format!("{COLLATIONS}{of_databases}");
                let fault =
                    |row: &Row| format!("{} was made with version {}, and the system has {}", at(row, 0), at(row, 1), at(row, 2));
                self.faults(&question, "no collation has changed", fault, "", deadline).await
            }
            BuiltIn::Extensions => self.extensions(deadline).await,
            BuiltIn::PendingRestart => self.pending(ignored, deadline).await,
            BuiltIn::ConfigFile => self.file(deadline).await,
            BuiltIn::HbaFile => {
                let fault = |row: &Row| format!("{}:{}: {}", at(row, 0), at(row, 1), at(row, 2));
                let grant = format!(
                    "GRANT SELECT ON pg_hba_file_rules TO {0}; GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO {0}",
                    self.role
                );
                match self.barred(MAY_READ_HBA, deadline).await {
                    Some(refusal) => unasked(refusal, || grant),
                    None => self.faults(HBA, "pg_hba.conf has no error", fault, &grant, deadline).await,
                }
            }
            _ => Look::Unasked("PostgreSQL has no such proof".into()),
        }
    }

    async fn capacity(&mut self, deadline: Deadline) -> Result<Capacity, String> {
        let row = self.standing.run(CAPACITY, deadline).await.map_err(|refusal| refusal.why.to_string())?;
        let number = |column: usize| row.get(column)?.as_deref()?.parse::<i64>().ok().map(|number| number.max(0).unsigned_abs());
        Ok(Capacity {
            version: self.version.clone(),
            connections: number(0),
            connections_by: "max_connections (without the reserved ones)",
            sessions: number(1),
            ..Capacity::default()
        })
    }

    async fn ask(&mut self, sql: &str, limit: Duration) -> Result<Answer, Unanswered> {
        let deadline = Deadline::after(limit + GRACE);
        let answer = self.read_only(sql, limit, deadline).await;
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) if error.state.is_some() => {
                let _ = self.standing.run("ROLLBACK", deadline).await;
                Err(unanswered(error))
            }
            Err(error) => {
                self.end().await;
                let why = error.refusal.why.to_string();
                Err(if Instant::now() >= deadline.at() { Unanswered::Late(why) } else { Unanswered::Lost(why) })
            }
        }
    }

    async fn position(&mut self, deadline: Deadline) -> Option<String> {
        self.standing.run(POSITION, deadline).await.ok()?.into_iter().next()?
    }

    async fn reach(&mut self, position: &str, deadline: Deadline) -> bool {
        let is_place = position.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'/');
        let question = format!(
            "SELECT NOT pg_catalog.pg_is_in_recovery() OR pg_catalog.pg_last_wal_replay_lsn() >= '{position}'::pg_catalog.pg_lsn"
        );
        while is_place && Instant::now() < deadline.at() {
            match self.standing.run(&question, deadline).await {
                Ok(row) if at(&row, 0) == "t" => return true,
                Ok(_) => sleep(PAUSE).await,
                Err(_) => return false,
            }
        }
        false
    }

    async fn close(self: Box<Self>) {
        Box::new(self.standing).close().await;
    }
}

fn at(row: &Row, column: usize) -> &str {
    row.get(column).and_then(Option::as_deref).unwrap_or("none")
}

fn rows(answer: &[SimpleQueryMessage]) -> Vec<Row> {
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect()),
        _ => None,
    };
    answer.iter().filter_map(row).collect()
}

/// The time, the cursor, its rows, the time.
fn read(answer: &[SimpleQueryMessage]) -> Option<Answer> {
    let mut rows = rows(answer);
    let last = rows.pop()?;
    if rows.is_empty() {
        return None;
    }
    let first = rows.remove(0);
    let micros = |row: &Row| at(row, 0).parse::<u64>().ok();
    let took = Duration::from_micros(micros(&last)?.saturating_sub(micros(&first)?));
    let is_cut = rows.len() > ROWS;
    rows.truncate(ROWS);
    Some(Answer { rows, is_cut, took })
}

fn refused(why: &str) -> Rejected {
    Rejected { state: Some(SqlState::SYNTAX_ERROR), refusal: Refusal { is_denied: false, why: why.into() } }
}

fn unanswered(error: Rejected) -> Unanswered {
    let why = error.refusal.why.to_string();
    match error.state {
        None => Unanswered::Lost(why),
        Some(_) if error.refusal.is_denied => Unanswered::Denied(why),
        // statement_timeout, or a person.
        Some(SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE) => Unanswered::Late(why),
        // A conflict with what the standby applies; a server that ends.
        Some(state) if matches!(state.code().get(..2), Some("40" | "57" | "53")) => Unanswered::Disturbed(why),
        Some(_) => Unanswered::Refused(why),
    }
}

impl Postgres {
    async fn read_only(&mut self, sql: &str, limit: Duration, deadline: Deadline) -> Result<Answer, Rejected> {
        let millis = limit.as_millis().max(1);
        let check_client = if self.number >= 140_000 { "SET client_connection_check_interval = '500ms'; " } else { "" };
        let settings = format!(
            "SET statement_timeout = {millis}; SET lock_timeout = {millis}; SET default_transaction_read_only = on; {check_client}\
             SET cursor_tuple_fraction = 1"
        );
        self.standing.try_sql(&settings, BYTES, deadline).await?;
        if self.standing.parse(sql, deadline).await? > 0 {
            return Err(refused("the query has parameters ($1), which nobody gives"));
        }
        self.standing.try_sql("BEGIN READ ONLY", BYTES, deadline).await?;
        let rows = ROWS + 1;
        // The line break ends a comment of the user's.
        let question = format!("{NOW}; DECLARE mainstay NO SCROLL CURSOR FOR {sql}\n; FETCH FORWARD {rows} FROM mainstay; {NOW}");
        let answer = self.standing.try_sql(&question, ANSWER_BYTES, deadline).await?;
        self.standing.try_sql("ROLLBACK", BYTES, deadline).await?;
        read(&answer).ok_or_else(|| refused("the answer to the query could not be understood"))
    }

    async fn replication(&mut self, deadline: Deadline) -> Look {
        let row = match self.standing.run(REPLICATION, deadline).await {
            Ok(row) => row,
            Err(refusal) => return Look::Unasked(refusal.why.to_string()),
        };
        match (at(&row, 0), at(&row, 1), at(&row, 2)) {
            ("f", ..) => Look::Alone("it is no standby".into()),
            (_, _, "t") => Look::Fails("it applies nothing: replay is paused; SELECT pg_wal_replay_resume()".into()),
            (_, "t", _) => Look::Holds("it is a standby that receives".into()),
            _ => Look::Fails(
                "it is a standby that receives nothing (pg_stat_wal_receiver is empty): look at primary_conninfo and its log"
                    .into(),
            ),
        }
    }

    async fn extensions(&mut self, deadline: Deadline) -> Look {
        let fault = |row: &Row| format!("{} is installed, and on disk is {}", at(row, 0), at(row, 1));
        let look = self.faults(EXTENSIONS, "every installed extension is on disk", fault, "", deadline).await;
        if !self.is_super || !matches!(look, Look::Holds(_)) {
            return look;
        }
        match self.standing.try_sql(LIBRARIES, BYTES, deadline).await {
            Ok(_) => Look::Holds("every installed extension is on disk, and its library can be loaded".into()),
            Err(error) if error.state.is_none() => Look::Unasked(error.refusal.why.to_string()),
            Err(error) => Look::Fails(error.refusal.why.to_string()),
        }
    }

    async fn pending(&mut self, ignored: &[String], deadline: Deadline) -> Look {
        let answer = match self.standing.sql(PENDING, BYTES, deadline).await {
            Ok(answer) => rows(&answer),
            Err(refusal) => return Look::Unasked(refusal.why.to_string()),
        };
        let names = answer.iter().filter(|row| at(row, 1) != "t").map(|row| at(row, 0));
        let names: Vec<&str> = names.filter(|name| !ignored.iter().any(|one| one == name)).collect();
        if names.is_empty() {
            return Look::Holds("no setting waits for a restart".into());
        }
        Look::Fails(format!("the next restart changes {}", list(names)))
    }

    /// A setting that waits for a restart is no error of the file, though the server calls it one.
    async fn file(&mut self, deadline: Deadline) -> Look {
        let role = &self.role;
        let grant = format!(
            "GRANT SELECT ON pg_file_settings TO {role}; GRANT EXECUTE ON FUNCTION pg_show_all_file_settings() TO {role}"
        );
        if let Some(refusal) = self.barred(MAY_READ_FILE, deadline).await {
            return unasked(refusal, || grant);
        }
        let answer = match self.standing.sql(FILE, BYTES, deadline).await {
            Ok(answer) => rows(&answer),
            Err(refusal) => return unasked(refusal, || grant),
        };
        let pending = match self.standing.sql(PENDING, BYTES, deadline).await {
            Ok(answer) => rows(&answer),
            Err(refusal) => return Look::Unasked(refusal.why.to_string()),
        };
        let faults = answer.iter().filter(|row| !pending.iter().any(|pending| at(pending, 0).eq_ignore_ascii_case(at(row, 0))));
        let fault = |row: &Row| format!("{}:{}: {} {}", at(row, 1), at(row, 2), at(row, 0), at(row, 3));
        found(faults.map(fault), "the configuration file has no error")
    }

    /// Why a question would be refused: a refusal is two lines in the server's log.
    async fn barred(&mut self, question: &str, deadline: Deadline) -> Option<Refusal> {
        match self.standing.run(question, deadline).await {
            Ok(row) if at(&row, 0) == "t" => None,
            Ok(_) => Some(Refusal { is_denied: true, why: "permission denied".into() }),
            Err(refusal) => Some(refusal),
        }
    }

    /// A question that is answered with a row for each fault.
    async fn faults(
        &mut self,
        question: &str,
        none: &str,
        fault: impl Fn(&Row) -> String + Send,
        grant: &str,
        deadline: Deadline,
    ) -> Look {
        match self.standing.sql(question, BYTES, deadline).await {
            Ok(answer) => found(rows(&answer).iter().map(fault), none),
            Err(refusal) => unasked(refusal, || grant.to_owned()),
        }
    }

    /// Ends a query that has not ended by itself: a function may keep the server's own timeout away.
    async fn end(&self) {
        let deadline = Deadline::after(PATIENCE).with_header(self.header.version());
        if let Ok((mut standing, _)) = self.login.session(&self.addresses, deadline).await {
            let _ = standing.run(&format!("SELECT pg_catalog.pg_terminate_backend({})", self.pid), deadline).await;
            Box::new(standing).close().await;
        }
    }
}

fn found(faults: impl Iterator<Item = String>, none: &str) -> Look {
    let faults: Vec<String> = faults.collect();
    if faults.is_empty() { Look::Holds(none.to_owned()) } else { Look::Fails(list(faults.iter().map(String::as_str))) }
}
