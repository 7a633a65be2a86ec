//! What a server reports: its variables, its replication, its place in a Galera cluster.

use std::{fmt::Write, num::NonZeroU64};

use super::{super::finding::Finding, answer::Table, gtids, replication::Source};
use crate::{
    config::WritableReplica,
    failover::{Facts, MultiPrimary, Outcome, Printable, Role},
};

/// Longest version that is passed on; it is untrusted.
const LONGEST_VERSION: usize = 40;

/// Asked once per login, because the set depends on the server. All are cheap to read.
pub(super) const VARIABLES: [&str; 10] = [
    "read_only",
    "super_read_only",
    "innodb_read_only",
    "offline_mode",
    "server_id",
    "gtid_domain_id",
    "gtid_binlog_state",
    "gtid_slave_pos",
    "server_uuid",
    "wsrep_on",
];

/// The numbers of the transactions that a `MySQL` has written itself, as `own` in `gtid_executed`, which may be long.
pub(super) const OWN: &str = "IF(LOCATE(@@global.server_uuid, @@global.gtid_executed), SUBSTRING_INDEX(SUBSTRING_INDEX(\
                              @@global.gtid_executed, @@global.server_uuid, -1), ',', 1), '') AS own_gtids";

/// The kind of server, as far as the queries differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) struct Dialect {
    /// Shown to people.
    pub(in crate::control) version: Printable,
    pub(in crate::control) is_mariadb: bool,
    number: (u32, u32, u32),
}

impl Dialect {
    /// From the version in the greeting.
    pub(super) fn new(greeting: &str) -> Self {
        // MariaDB pretends to be an old MySQL, for replicas that are.
        let version = greeting.strip_prefix("5.5.5-").filter(|rest| rest.contains("MariaDB")).unwrap_or(greeting);
        let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Self {
            is_mariadb: version.contains("MariaDB"),
            number: (next(), next(), next()),
            version: version.chars().filter(char::is_ascii_graphic).take(LONGEST_VERSION).collect::<String>().into(),
        }
    }

    /// The query for replication. The words changed, and the old ones were removed.
    pub(in crate::control) fn replication(&self) -> &'static str {
        match (self.is_mariadb, self.number) {
            (true, (10, 5, 1..) | (10, 6.., _) | (11.., ..)) => "SHOW ALL REPLICAS STATUS",
            (true, _) => "SHOW ALL SLAVES STATUS",
            (false, (8, 0, 22..) | (8, 1.., _) | (9.., ..)) => "SHOW REPLICA STATUS",
            (false, _) => "SHOW SLAVE STATUS",
        }
    }

    /// What it calls a replica in its statements.
    pub(in crate::control) fn replica(&self) -> &'static str {
        if self.replication().contains("REPLICA") { "REPLICA" } else { "SLAVE" }
    }

    /// The statements that make a server stop replicating, in the words that it knows.
    fn promotion(&self) -> &'static str {
        if self.replica() == "REPLICA" { "STOP REPLICA; RESET REPLICA ALL" } else { "STOP SLAVE; RESET SLAVE ALL" }
    }
}

/// The state of a Galera node (Galera documentation, "Galera Status Variables").
pub(super) const GALERA: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_ready', 'wsrep_cluster_status', \
                                 'wsrep_local_state', 'wsrep_local_state_comment', 'wsrep_cluster_state_uuid')";

/// The state of a node.
const DONOR: &str = "2";
const SYNCED: &str = "4";

/// What was asked, and what came back.
#[derive(Debug)]
pub(super) struct Answers<'a> {
    /// One row: those of the variables that this server has.
    pub(super) variables: &'a Table,
    /// A row for each source of this server; `None` when the account may not see it.
    pub(super) replication: Option<&'a Table>,
    /// `None` unless it is a node of a Galera cluster.
    pub(super) galera: Option<&'a Table>,
}

impl Answers<'_> {
    fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(0, name)
    }

    fn is_on(&self, name: &str) -> bool {
        self.variable(name).is_some_and(is_on)
    }

    /// It refuses writes. (`MariaDB` 12 has more than one way to say so.)
    fn refuses_writes(&self) -> bool {
        let refuses = |name| self.variable(name).is_some_and(|value| !matches!(value, "0" | "OFF"));
        refuses("read_only") || self.is_on("super_read_only") || self.is_on("innodb_read_only")
    }
}

/// A variable as servers print a truth.
pub(super) fn is_on(value: &str) -> bool {
    matches!(value, "1" | "ON")
}

/// The combined result.
pub(super) fn read(dialect: &Dialect, answers: &Answers<'_>, writable_replica: WritableReplica) -> Finding {
    if answers.is_on("offline_mode") {
        return Finding::new(Outcome::Starting, "the server is in offline_mode");
    }
    let version = Some(dialect.version.clone());
    if let Some(galera) = answers.galera {
        return node(answers, galera, version);
    }
    let following = answers.replication.and_then(Source::of);
    let lag_bytes = following.as_ref().and_then(|source| source.unapplied);
    let lag_time = following.as_ref().and_then(Source::lag);
    let mut evidence = String::new();
    let (role, read_only) = match (&following, answers.refuses_writes()) {
        (Some(source), true) => {
            let _ = write!(evidence, "standby{source}");
            (Role::Standby, false)
        }
        (Some(source), false) if source.is_followed && writable_replica == WritableReplica::Standby => {
            let _ = write!(evidence, "standby{source}, although read_only is off");
            if !source.is_whole {
                let _ = write!(evidence, "; to make it the primary: {}", dialect.promotion());
            }
            (Role::Standby, false)
        }
        (None, true) if answers.replication.is_some() => {
            evidence.push_str("primary, but read_only is on");
            (Role::Primary, true)
        }
        // Whether it replicates is not visible: assume the safe role.
        (None, true) => {
            evidence.push_str("standby (read_only is on; this user may not see replication)");
            (Role::Standby, false)
        }
        (following, false) => {
            evidence.push_str("primary");
            match following {
                Some(source) => drop(write!(evidence, "{source}")),
                None if answers.replication.is_none() => {
                    evidence.push_str(" (read_only is off; this user may not see whether it follows another)");
                }
                None => {}
            }
            (Role::Primary, false)
        }
    };
    let db_epoch = if role == Role::Primary { reign(answers) } else { None };
    let (history, position) = position(answers, role).unzip();
    let history = history.unwrap_or_default();
    let hears_primary = answers.replication.filter(|_| role == Role::Standby).map(Source::any_is_heard);
    let facts = Facts {
        role: Some(role),
        read_only,
        db_epoch,
        lag_bytes,
        lag_time,
        position: position.and_then(NonZeroU64::new),
        history,
        hears_primary,
        version,
        ..Facts::default()
    };
    Finding { outcome: Outcome::Ok, facts, evidence: evidence.into() }
}

/// How many transactions it has: their domain, and the highest number in it. A replica's own log does not count, since it may hold what
/// its source never had. `None` where one number does not say it: each domain counts separately.
fn position(answers: &Answers<'_>, role: Role) -> Option<(u32, u64)> {
    if answers.variable("server_uuid").is_some() {
        return numbers(answers, role);
    }
    let applied = answers.variable("gtid_slave_pos")?;
    let rest = match role {
        Role::Standby => Source::received(answers.replication?)?,
        _ => answers.variable("gtid_binlog_state").filter(|state| !state.is_empty())?,
    };
    let mut highest: Option<(u32, u64)> = None;
    for gtid in applied.split(',').chain(rest.split(',')).filter(|gtid| !gtid.is_empty()) {
        let mut parts = gtid.trim().splitn(3, '-');
        let (domain, _, sequence) = (parts.next()?, parts.next()?, parts.next()?);
        let (domain, sequence) = (domain.parse().ok()?, sequence.parse().ok()?);
        highest = match highest {
            Some((known, _)) if known != domain => return None,
            known => known.max(Some((domain, sequence))),
        };
    }
    highest
}

/// The same of `MySQL`, where each server counts what it writes itself: how many transactions of the primary it has, and which server that
/// is. A replica receives them in the order of the primary's log, so whoever has the last of them has all that came before, from whomever.
fn numbers(answers: &Answers<'_>, role: Role) -> Option<(u32, u64)> {
    let (uuid, known) = match role {
        Role::Standby => Source::numbers(answers.replication?)?,
        _ => (answers.variable("server_uuid")?, [answers.variable("own_gtids")?, ""]),
    };
    let digits: String = uuid.chars().filter(|c| *c != '-').collect();
    let id = u128::from_str_radix(&digits, 16).ok()?;
    let server =
        id.to_be_bytes().chunks(4).fold(0, |id, part| id ^ part.iter().fold(0, |word, byte| word << 8 | u32::from(*byte)));
    Some((server, gtids::count(known)?))
}

/// Where this server's time as primary began, counted in transactions: one more than the last that another server wrote in its
/// domain. It rises with each promotion and then stays the same, like a timeline of `PostgreSQL` (`MariaDB` documentation, "Global
/// Transaction ID": a sequence number goes on counting when another server writes). `None` where there are no such numbers: `MySQL`
/// counts separately for each server.
fn reign(answers: &Answers<'_>) -> Option<u64> {
    let own = answers.variable("server_id")?;
    let domain = answers.variable("gtid_domain_id")?;
    let known = ["gtid_binlog_state", "gtid_slave_pos"].map(|name| answers.variable(name).unwrap_or_default());
    let mut any = false;
    let mut last_of_others = 0;
    for gtid in known.iter().flat_map(|list| list.split(',')) {
        let mut parts = gtid.trim().splitn(3, '-');
        let (Some(of), Some(server), Some(sequence)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let Ok(sequence) = sequence.parse::<u64>() else { continue };
        if of != domain {
            continue;
        }
        any = true;
        if server != own {
            last_of_others = sequence.max(last_of_others);
        }
    }
    any.then(|| last_of_others.saturating_add(1))
}

/// A node of a Galera cluster. All may write at the same time; the pool decides which one does.
fn node(answers: &Answers<'_>, galera: &Table, version: Option<Printable>) -> Finding {
    let status = galera.named("wsrep_cluster_status").unwrap_or_default();
    let state = galera.named("wsrep_local_state").unwrap_or_default();
    let comment: String =
        galera.named("wsrep_local_state_comment").unwrap_or_default().chars().filter(char::is_ascii_graphic).take(40).collect();
    if status != "Primary" {
        return Finding::new(Outcome::Starting, "Galera: the node is in a part of the cluster that has no quorum");
    }
    if !galera.named("wsrep_ready").is_some_and(is_on) || !matches!(state, DONOR | SYNCED) {
        return Finding::new(Outcome::Starting, format!("Galera: the node is not ready ({comment})"));
    }
    // A donor answers, but falls behind while it sends its data.
    let multi_primary = if state == SYNCED { MultiPrimary::Synced } else { MultiPrimary::Behind };
    let read_only = answers.refuses_writes();
    let facts = Facts {
        role: Some(Role::Primary),
        read_only,
        system_id: galera.named("wsrep_cluster_state_uuid").and_then(cluster),
        multi_primary,
        version,
        ..Facts::default()
    };
    let evidence = format!("Galera: {comment}{}", if read_only { ", but read_only is on" } else { "" });
    Finding { outcome: Outcome::Ok, facts, evidence: evidence.into() }
}

/// The first half of the cluster's identity.
fn cluster(uuid: &str) -> Option<u64> {
    let digits: String = uuid.chars().filter(|c| *c != '-').take(16).collect();
    u64::from_str_radix(&digits, 16).ok().filter(|id| *id != 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(values: &[(&str, &str)]) -> Table {
        Table {
            columns: values.iter().map(|(name, _)| (*name).into()).collect(),
            rows: vec![values.iter().map(|(_, value)| Some((*value).into())).collect()],
        }
    }

    fn named(values: &[(&str, &str)]) -> Table {
        Table {
            columns: vec!["Variable_name".into(), "Value".into()],
            rows: values.iter().map(|(name, value)| vec![Some((*name).into()), Some((*value).into())]).collect(),
        }
    }

    fn found(variables: &[(&str, &str)], replication: Option<&Table>) -> Finding {
        let answers = Answers { variables: &row(variables), replication, galera: None };
        read(&Dialect::new("10.11.6-MariaDB"), &answers, WritableReplica::Standby)
    }

    fn source(receives: &str, applies: &str, error: &str) -> Table {
        source_with(receives, applies, error, "0")
    }

    fn source_with(receives: &str, applies: &str, error: &str, receiving: &str) -> Table {
        row(&[
            ("Master_Host", "db-a"),
            ("Slave_IO_Running", receives),
            ("Slave_SQL_Running", applies),
            ("Last_SQL_Errno", error),
            ("Last_IO_Errno", receiving),
            ("Seconds_Behind_Master", "3"),
            ("Master_Log_File", "bin.2"),
            ("Relay_Master_Log_File", "bin.2"),
            ("Read_Master_Log_Pos", "900"),
            ("Exec_Master_Log_Pos", "400"),
        ])
    }

    #[test]
    fn roles_follow_from_read_only_and_replication() {
        let nobody = Table::default();
        for (read_only, replication, role, refuses, evidence) in [
            ("0", Some(&nobody), Role::Primary, false, "primary"),
            ("1", Some(&nobody), Role::Primary, true, "primary, but read_only is on"),
            ("NO_LOCK", Some(&nobody), Role::Primary, true, "primary, but read_only is on"),
            ("1", None, Role::Standby, false, "standby (read_only is on; this user may not see replication)"),
            ("0", None, Role::Primary, false, "primary (read_only is off; this user may not see whether it follows another)"),
            ("1", Some(&source("Yes", "Yes", "0")), Role::Standby, false, "standby of db-a, 3 s behind"),
            ("1", Some(&source("No", "No", "0")), Role::Standby, false, "standby, replication from db-a is stopped"),
            (
                "0",
                Some(&source("Yes", "Yes", "0")),
                Role::Standby,
                false,
                "standby of db-a, 3 s behind, although read_only is off",
            ),
            (
                "0",
                Some(&source("Connecting", "Yes", "0")),
                Role::Standby,
                false,
                "standby of db-a, replication is broken or has lost its source, although read_only is off; to make it the primary: \
                 STOP REPLICA; RESET REPLICA ALL",
            ),
            (
                "0",
                Some(&source("No", "No", "1062")),
                Role::Standby,
                false,
                "standby of db-a, replication is broken or has lost its source (error 1062), although read_only is off; to make it \
                 the primary: STOP REPLICA; RESET REPLICA ALL",
            ),
            ("0", Some(&source("No", "No", "0")), Role::Primary, false, "primary, replication from db-a is stopped"),
        ] {
            let finding = found(&[("read_only", read_only)], replication);
            assert_eq!(&*finding.evidence, evidence);
            assert_eq!((finding.facts.role, finding.facts.read_only), (Some(role), refuses), "{evidence}");
        }
        let lags = |applies| {
            let facts = found(&[("read_only", "1")], Some(&source("Yes", applies, "0"))).facts;
            (facts.lag_bytes, facts.lag_time)
        };
        assert_eq!(lags("Yes"), (Some(500), Some(Duration::from_secs(3))));
        assert_eq!(lags("No"), (Some(500), Some(Duration::MAX)), "it falls behind without end");
    }

    /// Each state in which `MariaDB` 10.11 was seen, writable. What the threads do decides: an error of the one that receives stays
    /// after `STOP SLAVE`, and stops that one alone. One that could not apply is never whole, and no order tells it from one whose other thread
    /// gave up by itself.
    #[test]
    fn a_writable_server_is_a_primary_when_its_replication_was_stopped_by_an_order() {
        for (receives, applies, applying, receiving, role) in [
            ("No", "No", "0", "0", Role::Primary),
            ("No", "No", "0", "2003", Role::Primary),
            ("No", "No", "0", "2013", Role::Primary),
            ("No", "No", "0", "1593", Role::Primary),
            ("No", "No", "0", "1045", Role::Primary),
            ("Connecting", "Yes", "0", "2003", Role::Standby),
            ("Connecting", "Yes", "0", "1045", Role::Standby),
            ("Connecting", "No", "0", "2003", Role::Standby),
            ("Preparing", "Yes", "0", "0", Role::Standby),
            ("No", "Yes", "0", "1593", Role::Standby),
            ("No", "Yes", "0", "2003", Role::Standby),
            ("Yes", "No", "0", "0", Role::Standby),
            ("Yes", "No", "1062", "0", Role::Standby),
            ("Connecting", "No", "1062", "2003", Role::Standby),
            ("No", "No", "1062", "0", Role::Standby),
            ("No", "No", "1062", "2003", Role::Standby),
            ("No", "No", "1872", "0", Role::Standby),
        ] {
            let finding = found(&[("read_only", "0")], Some(&source_with(receives, applies, applying, receiving)));
            assert_eq!(finding.facts.role, Some(role), "{receives} {applies} {applying} {receiving}: {}", finding.evidence);
            let advised = finding.evidence.ends_with("; to make it the primary: STOP REPLICA; RESET REPLICA ALL");
            assert_eq!(advised, role == Role::Standby, "{}", finding.evidence);
        }
        // The same words of MySQL 8, which also has the old ones.
        let columns = [
            ("Source_Host", "db-a"),
            ("Replica_IO_Running", "No"),
            ("Replica_SQL_Running", "No"),
            ("Last_Errno", "0"),
            ("Last_IO_Errno", "2003"),
            ("Last_SQL_Errno", "0"),
        ];
        let (variables, replication) = (row(&[("read_only", "0"), ("super_read_only", "0")]), row(&columns));
        let answers = Answers { variables: &variables, replication: Some(&replication), galera: None };
        let finding = read(&Dialect::new("8.0.36"), &answers, WritableReplica::Standby);
        assert_eq!((finding.facts.role, &*finding.evidence), (Some(Role::Primary), "primary, replication from db-a is stopped"));
        assert_eq!(Dialect::new("5.7.44").promotion(), "STOP SLAVE; RESET SLAVE ALL");
    }

    #[test]
    fn two_servers_that_follow_each_other_are_primaries_where_they_are_said_to_be() {
        let (variables, replication) = (row(&[("read_only", "0")]), source("Yes", "Yes", "0"));
        let answers = Answers { variables: &variables, replication: Some(&replication), galera: None };
        let finding = read(&Dialect::new("8.0.36"), &answers, WritableReplica::Primary);
        assert_eq!((finding.facts.role, &*finding.evidence), (Some(Role::Primary), "primary of db-a, 3 s behind"));
    }

    #[test]
    fn a_reign_begins_after_the_last_write_of_another_and_then_stays() {
        let reign = |own: &str, state: &str, position: &str| {
            let variables = [
                ("read_only", "0"),
                ("server_id", own),
                ("gtid_domain_id", "0"),
                ("gtid_binlog_state", state),
                ("gtid_slave_pos", position),
            ];
            found(&variables, Some(&Table::default())).facts.db_epoch
        };
        assert_eq!(reign("1", "", ""), None);
        // The first primary; its replica, promoted, before its own first write and after.
        assert_eq!(reign("1", "0-1-105", ""), Some(1));
        assert_eq!(reign("2", "0-1-100", "0-1-100"), Some(101));
        assert_eq!(reign("2", "0-1-100,0-2-5000", "0-1-100"), Some(101));
        // It keeps no log of what it applied, only how far it came.
        assert_eq!(reign("2", "0-2-5000", "0-1-100"), Some(101));
        // The first again, after it has followed the second.
        assert_eq!(reign("1", "0-1-100,0-2-5000", "0-2-5000"), Some(5001));
        assert_eq!(reign("1", "0-1-100,7-2-9000,rubbish,0-2-x", ""), Some(1));
    }

    #[test]
    fn positions_are_numbers_of_one_domain() {
        let primary = |state, applied| {
            let variables = [("read_only", "0"), ("gtid_binlog_state", state), ("gtid_slave_pos", applied)];
            let facts = found(&variables, Some(&Table::default())).facts;
            assert_eq!(facts.hears_primary, None);
            facts.position.map(|position| (facts.history, position.get()))
        };
        assert_eq!(primary("0-1-100", ""), Some((0, 100)));
        // Promoted, and nothing written since: its own log ends with its last reign.
        assert_eq!(primary("0-2-50", "0-1-100"), Some((0, 100)));
        assert_eq!(primary("0-2-5000,0-1-100", "0-1-100"), Some((0, 5000)));
        assert_eq!(primary("7-1-3", ""), Some((7, 3)));
        for unclear in [("", "0-1-100"), ("", ""), ("0-1-100,7-1-3", ""), ("0-1-100", "7-1-3"), ("0-1", ""), ("0-1-x", "")] {
            assert_eq!(primary(unclear.0, unclear.1), None, "{unclear:?}");
        }
        let replica = |receives, received, applied| {
            let sources = row(&[("Slave_IO_Running", receives), ("Slave_SQL_Running", "Yes"), ("Gtid_IO_Pos", received)]);
            let variables = [("read_only", "1"), ("gtid_binlog_state", "0-9-999"), ("gtid_slave_pos", applied)];
            let facts = found(&variables, Some(&sources)).facts;
            (facts.position.map(|position| (facts.history, position.get())), facts.hears_primary)
        };
        assert_eq!(replica("Yes", "0-1-120", "0-1-100"), (Some((0, 120)), Some(true)));
        // By file and position: only what it has applied has a number.
        assert_eq!(replica("Connecting", "", "0-1-100"), (Some((0, 100)), Some(false)));
        assert_eq!(replica("No", "", ""), (None, Some(false)));
        assert_eq!(replica("Preparing", "1-1-5", "0-1-100"), (None, Some(true)));
        let two = Table {
            rows: [&source("No", "No", "0").rows[..], &source("Yes", "No", "0").rows].concat(),
            ..source("No", "No", "0")
        };
        let facts = found(&[("read_only", "1"), ("gtid_slave_pos", "0-1-100")], Some(&two)).facts;
        assert_eq!((facts.position, facts.hears_primary), (None, Some(true)), "two sources");
        assert_eq!(found(&[("read_only", "1")], None).facts.hears_primary, None, "the account may not see it");
    }

    #[test]
    fn each_mysql_counts_what_it_writes_itself() {
        const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let primary = |uuid, own| {
            let variables = [("read_only", "0"), ("server_uuid", uuid), ("own_gtids", own)];
            let facts = found(&variables, Some(&Table::default())).facts;
            facts.position.map(|position| (facts.history, position.get()))
        };
        let history = 0x3e11_fa47 ^ 0x71ca_11e1 ^ 0x9e33_c80a ^ 0xa942_9562;
        assert_eq!(primary(UUID, ":1-23"), Some((history, 23)));
        assert_eq!(primary(UUID, ":1-23\n"), Some((history, 23)));
        // It has written nothing yet, or numbers nothing.
        assert_eq!((primary(UUID, ""), primary(UUID, "rubbish:x"), primary("", ":1-3")), (None, None, None));
        let replica = |source: &str, received: &str, applied: &str| {
            let sources = row(&[
                ("Source_UUID", source),
                ("Replica_IO_Running", "Yes"),
                ("Replica_SQL_Running", "Yes"),
                ("Retrieved_Gtid_Set", received),
                ("Executed_Gtid_Set", applied),
            ]);
            let facts = found(&[("read_only", "1"), ("server_uuid", "9"), ("own_gtids", ":1-99")], Some(&sources)).facts;
            assert_eq!(facts.hears_primary, Some(true));
            (facts.position.map(|position| (facts.history, position.get())), facts.history)
        };
        let received = format!("{UUID}:4-20,\n{UUID}0:1-5");
        assert_eq!(replica(UUID, &received, &format!("9:1-99,\n{UUID}:1-18")).0, Some((history, 20)));
        // Applied out of order, and what was received before is gone.
        assert_eq!(replica(UUID, "", &format!("{UUID}:1-18:20")).0, Some((history, 19)));
        // It has never reached its source; or it follows without numbers.
        assert_eq!((replica("", &received, "").0, replica(UUID, "", "").0), (None, None));
        let twice = row(&[("Source_UUID", UUID), ("Replica_IO_Running", "Yes"), ("Replica_SQL_Running", "Yes")]);
        let two = Table { rows: [&twice.rows[..], &twice.rows].concat(), ..twice };
        let facts = found(&[("read_only", "1"), ("server_uuid", "9")], Some(&two)).facts;
        assert_eq!((facts.position, facts.hears_primary), (None, Some(true)), "two sources");
    }

    #[test]
    fn a_galera_node_serves_when_it_is_synced_or_a_donor_in_a_part_with_quorum() {
        let found = |ready, status, state| {
            let galera = named(&[
                ("wsrep_ready", ready),
                ("wsrep_cluster_status", status),
                ("wsrep_local_state", state),
                ("wsrep_local_state_comment", "Comment"),
                ("wsrep_cluster_state_uuid", "0123456789abcdef-0123-0123-0123-0123456789ab"),
            ]);
            let variables = row(&[("read_only", "OFF"), ("wsrep_on", "ON")]);
            let answers = Answers { variables: &variables, replication: None, galera: Some(&galera) };
            read(&Dialect::new("10.11.6-MariaDB"), &answers, WritableReplica::Standby)
        };
        let synced = found("ON", "Primary", "4");
        assert_eq!((synced.outcome, synced.facts.multi_primary), (Outcome::Ok, MultiPrimary::Synced));
        assert_eq!(synced.facts.system_id, Some(0x0123_4567_89ab_cdef));
        assert_eq!(found("ON", "Primary", "2").facts.multi_primary, MultiPrimary::Behind);
        for (ready, status, state) in [("OFF", "Primary", "4"), ("ON", "non-Primary", "4"), ("ON", "Primary", "1"), ("", "", "")]
        {
            assert_eq!(found(ready, status, state).outcome, Outcome::Starting);
        }
    }

    #[test]
    fn versions_are_told_apart() {
        for (greeting, version, question) in [
            ("5.5.5-10.11.6-MariaDB-1", "10.11.6-MariaDB-1", "SHOW ALL REPLICAS STATUS"),
            ("11.8.2-MariaDB", "11.8.2-MariaDB", "SHOW ALL REPLICAS STATUS"),
            ("5.5.5-10.4.30-MariaDB", "10.4.30-MariaDB", "SHOW ALL SLAVES STATUS"),
            ("8.0.36", "8.0.36", "SHOW REPLICA STATUS"),
            ("9.1.0-commercial", "9.1.0-commercial", "SHOW REPLICA STATUS"),
            ("5.7.44-log", "5.7.44-log", "SHOW SLAVE STATUS"),
            ("8.0.21\u{1b}[2J", "8.0.21[2J", "SHOW SLAVE STATUS"),
            ("", "", "SHOW SLAVE STATUS"),
        ] {
            let dialect = Dialect::new(greeting);
            assert_eq!((&*dialect.version, dialect.replication()), (version, question));
        }
    }
}
