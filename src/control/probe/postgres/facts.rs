//! The one query of the check, and how its answer is read.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio_postgres::{SimpleQueryMessage, error::SqlState};

use super::super::finding::Finding;
use crate::failover::{Facts, Outcome, Printable, Role};

/// Everything in one statement, so that the answers belong to one moment. Works from `PostgreSQL` 12 on, for any role that
/// may log in; without `pg_monitor` the receiver's own columns are NULL and the lag is that of the replay alone.
///
/// - `pg_is_in_recovery()` is asked once and fenced off by OFFSET 0; a promotion in the middle cannot give a mixed answer. The
///   CASEs keep from being called what raises an error in the other role.
/// - The timeline of a primary is that of the WAL it writes now: `pg_control_checkpoint()` names the old one until the first
///   checkpoint after a promotion.
/// - Every role may read the `pid` of the receiver, which is NULL unless the standby is connected to its primary; its status needs
///   `pg_monitor`.
/// - `default_transaction_read_only` counts when the server or the database sets it, not when it is a precaution on the
///   check's own role.
macro_rules! facts_query {
    ($system_id:literal, $timeline:expr, $lag_bytes:literal, $position:literal, $hears:literal) => {
        concat!(
            "SELECT r.standby AS in_recovery,
  CASE WHEN r.standby OR pg_catalog.current_setting('default_transaction_read_only') = 'off' THEN 'off'
       ELSE (SELECT CASE WHEN s.source IN ('configuration file', 'command line', 'global', 'database', 'environment variable')
                          THEN 'on' ELSE 'off' END
             FROM pg_catalog.pg_settings s WHERE s.name = 'default_transaction_read_only') END AS read_only,
  ",
            $system_id,
            " AS system_id,
  ",
            $timeline,
            " AS timeline,
  ",
            $lag_bytes,
            " AS lag_bytes,
  ",
            $position,
            " AS position,
  ",
            $hears,
            " AS hears,
  pg_catalog.current_setting('server_version') AS version
FROM (SELECT pg_catalog.pg_is_in_recovery() AS standby OFFSET 0) r"
        )
    };
    ($system_id:literal, standby $timeline:literal) => {
        facts_query!(
            $system_id,
            concat!(
                "CASE WHEN r.standby THEN ",
                $timeline,
                "
       ELSE ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::bigint
       END"
            ),
            "CASE WHEN r.standby THEN
       (SELECT pg_catalog.pg_wal_lsn_diff(greatest(w.latest_end_lsn, pg_catalog.pg_last_wal_receive_lsn()),
                                          pg_catalog.pg_last_wal_replay_lsn())
        FROM pg_catalog.pg_stat_get_wal_receiver() w) END",
            "pg_catalog.pg_wal_lsn_diff(
       CASE WHEN r.standby THEN greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())
            ELSE pg_catalog.pg_current_wal_lsn() END, '0/0')",
            "CASE WHEN r.standby THEN (SELECT w.pid IS NOT NULL FROM pg_catalog.pg_stat_get_wal_receiver() w) END"
        )
    };
}

/// With what the control file says; needs EXECUTE on its functions, which everybody has unless it was revoked.
const FULL: &str = facts_query!(
    "(SELECT system_identifier FROM pg_catalog.pg_control_system())",
    standby "(SELECT greatest(w.received_tli, c.timeline_id, m.min_recovery_end_timeline)::bigint
        FROM pg_catalog.pg_stat_get_wal_receiver() w, pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_recovery() m)"
);

/// Without it: no system identifier, and a standby's timeline only with `pg_monitor`.
const WITHOUT_CONTROL_FILE: &str =
    facts_query!("NULL::bigint", standby "(SELECT w.received_tli::bigint FROM pg_catalog.pg_stat_get_wal_receiver() w)");

/// Without the functions that tell of the log: neither a timeline nor a lag.
const WITHOUT_WAL: &str = facts_query!(
    "(SELECT system_identifier FROM pg_catalog.pg_control_system())",
    "NULL::bigint",
    "NULL::bigint",
    "NULL::bigint",
    "NULL::bool"
);

/// The role, which is enough to serve.
const ROLE_ONLY: &str = facts_query!("NULL::bigint", "NULL::bigint", "NULL::bigint", "NULL::bigint", "NULL::bool");

/// How much the check may ask of this server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Scope {
    /// Everything.
    #[default]
    Full,
    /// Not the control file.
    WithoutControlFile,
    /// Not the log.
    WithoutWal,
    /// Neither.
    RoleOnly,
}

impl Scope {
    /// The query for this scope.
    pub(super) const fn query(self) -> &'static str {
        match self {
            Self::Full => FULL,
            Self::WithoutControlFile => WITHOUT_CONTROL_FILE,
            Self::WithoutWal => WITHOUT_WAL,
            Self::RoleOnly => ROLE_ONLY,
        }
    }

    /// What to ask instead when the server answered with this: the role may not call a function, or the server has it only by name
    /// (Aurora), or has it not. `None` when less would not help.
    pub(super) fn without(self, refusal: &SqlState) -> Option<Self> {
        let is_refused =
            [SqlState::INSUFFICIENT_PRIVILEGE, SqlState::FEATURE_NOT_SUPPORTED, SqlState::UNDEFINED_FUNCTION].contains(refusal);
        match self {
            _ if !is_refused => None,
            Self::Full => Some(Self::WithoutControlFile),
            Self::WithoutControlFile => Some(Self::WithoutWal),
            Self::WithoutWal => Some(Self::RoleOnly),
            Self::RoleOnly => None,
        }
    }

    /// What is missing, and what that costs.
    const fn cost(self) -> Option<&'static str> {
        match self {
            Self::Full => None,
            Self::WithoutControlFile => Some("may not read the control file: another cluster is not told apart"),
            Self::WithoutWal => Some("may not call WAL functions: no timeline, so no fence"),
            Self::RoleOnly => {
                Some("may neither call WAL functions nor read the control file: no fence, and another cluster is not told apart")
            }
        }
    }
}

/// The highest timeline that a server was seen to receive as a standby. Once its primary is gone, it names the one of its last
/// restartpoint, which may be an older one.
#[derive(Debug, Default)]
pub(super) struct ReceivedTimeline(AtomicU64);

impl ReceivedTimeline {
    fn at_least(&self, told: u64) -> u64 {
        self.0.fetch_max(told, Ordering::Relaxed).max(told)
    }
}

pub(super) fn read(messages: &[SimpleQueryMessage], scope: Scope, received: &ReceivedTimeline) -> Finding {
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let column = |name| row.and_then(|row| row.try_get(name).ok().flatten());
    let role = match column("in_recovery") {
        Some("t") => Role::Standby,
        Some("f") => Role::Primary,
        _ => return Finding::new(Outcome::ProtocolError, "the answer to the check's query does not name a role"),
    };
    let number = |name| column(name).and_then(|text| text.parse::<i64>().ok());
    let timeline = column("timeline");
    let number_of_timeline = timeline.and_then(|timeline| timeline.parse::<u32>().ok()).map(u64::from);
    let facts = Facts {
        role: Some(role),
        read_only: column("read_only") == Some("on"),
        db_epoch: number_of_timeline.map(|told| if role == Role::Standby { received.at_least(told) } else { told }),
        // An unsigned number that SQL shows as a signed one.
        system_id: number("system_id").map(i64::cast_unsigned),
        // Negative for a moment when replay is ahead of what the receiver told last (restored from an archive).
        lag_bytes: number("lag_bytes").map(|lag| u64::try_from(lag).unwrap_or(0)),
        position: column("position").and_then(|position| position.parse().ok()),
        hears_primary: column("hears").filter(|_| role == Role::Standby).map(|hears| hears == "t"),
        version: column("version").and_then(|version| version.split_whitespace().next()).map(Printable::word),
        ..Facts::default()
    };
    // Timelines have 32 bits; who names another number lies, and is taken for nothing.
    if let (Some(timeline), None) = (timeline, facts.db_epoch) {
        let facts = Facts { role: Some(Role::Unknown), ..facts };
        let evidence = format!("{role}, timeline {timeline}, which no PostgreSQL can have");
        return Finding { outcome: Outcome::Ok, evidence: evidence.into(), facts };
    }
    Finding { outcome: Outcome::Ok, evidence: evidence(role, &facts, scope).into(), facts }
}

fn evidence(role: Role, facts: &Facts, scope: Scope) -> String {
    let mut parts = vec![role.to_string()];
    parts.extend(facts.read_only.then(|| "read-only".to_owned()));
    parts.extend(facts.db_epoch.map(|timeline| format!("timeline {timeline}")));
    parts.extend(facts.lag_bytes.map(|lag| format!("{lag} bytes behind")));
    parts.extend(scope.cost().map(str::to_owned));
    parts.join(", ")
}
