//! The source of a server, and the state of replication (`MySQL` documentation, "SHOW REPLICA STATUS"; `MariaDB` documentation,
//! "SHOW REPLICA STATUS").

use std::{fmt, time::Duration};

use super::{answer::Table, gtids};

/// Longest name of a source that is passed on; it is untrusted.
const LONGEST_SOURCE: usize = 80;

/// A present or former source.
pub(super) struct Source<'a> {
    host: &'a str,
    /// The server replicates from it now, or would if it answered.
    pub(super) is_followed: bool,
    /// Both threads run.
    pub(super) is_whole: bool,
    /// The applying thread runs.
    applies: bool,
    /// The error that stopped a thread, or keeps it from its source; 0 for none.
    error: u64,
    seconds: Option<u64>,
    /// What the receiving thread does.
    receives: &'a str,
    /// The last transaction that it has received in each domain (`MariaDB`).
    received: &'a str,
    /// Received and not applied, in bytes.
    pub(super) unapplied: Option<u64>,
}

impl<'a> Source<'a> {
    fn all(table: &'a Table) -> impl Iterator<Item = Self> {
        (0..table.rows.len()).filter_map(|row| Self::row(table, row))
    }

    /// Whether a server that has these sources is connected to any.
    pub(super) fn any_is_heard(table: &'a Table) -> bool {
        Self::all(table).any(|source| !matches!(source.receives, "No" | "Connecting"))
    }

    /// What the only source has sent, as its transactions are numbered; `None` if there are more.
    pub(super) fn received(table: &'a Table) -> Option<&'a str> {
        let mut sources = Self::all(table);
        sources.next().filter(|_| sources.next().is_none()).map(|source| source.received)
    }

    /// The only source's identity, and the numbers of its transactions that were received, and applied (`MySQL`).
    pub(super) fn numbers(table: &'a Table) -> Option<(&'a str, [&'a str; 2])> {
        let mut sources = (0..table.rows.len()).filter(|row| !table.is_of_group(*row));
        let row = sources.next().filter(|_| sources.next().is_none())?;
        let uuid = table.get(row, "Source_UUID").or_else(|| table.get(row, "Master_UUID")).filter(|uuid| !uuid.is_empty())?;
        let of = |column| gtids::of(table.get(row, column).unwrap_or_default(), uuid);
        Some((uuid, ["Retrieved_Gtid_Set", "Executed_Gtid_Set"].map(of)))
    }

    /// The source that is furthest behind, if any is configured.
    pub(super) fn of(table: &'a Table) -> Option<Self> {
        Self::all(table).max_by_key(|source| (source.is_followed, !source.is_whole, source.seconds, source.unapplied))
    }

    fn row(table: &'a Table, row: usize) -> Option<Self> {
        let either = |new: &str, old: &str| table.get(row, new).or_else(|| table.get(row, old));
        if table.is_of_group(row) {
            return None;
        }
        let io_thread = either("Replica_IO_Running", "Slave_IO_Running")?;
        let sql_thread = either("Replica_SQL_Running", "Slave_SQL_Running")?;
        let number = |new, old| either(new, old).and_then(|text| text.parse::<u64>().ok());
        let error = |name| number(name, name).filter(|error| *error != 0);
        let applying = error("Last_SQL_Errno").or_else(|| error("Last_Errno"));
        let same_file = either("Source_Log_File", "Master_Log_File") == either("Relay_Source_Log_File", "Relay_Master_Log_File");
        let received = number("Read_Source_Log_Pos", "Read_Master_Log_Pos");
        let applied = number("Exec_Source_Log_Pos", "Exec_Master_Log_Pos");
        let unapplied = if same_file {
            received.zip(applied).map(|(received, applied)| received.saturating_sub(applied))
        } else {
            // The distance from one file to a later one is unknown: everything here that is not applied is at most this.
            number("Relay_Log_Space", "Relay_Log_Space")
        };
        Some(Self {
            host: either("Source_Host", "Master_Host").unwrap_or_default(),
            // A receiving thread that fails stops alone; the other one stops by an order, or by an error of its own. The error that
            // a dead source left behind (2003) stays after the order.
            is_followed: io_thread != "No" || sql_thread != "No" || applying.is_some(),
            is_whole: io_thread == "Yes" && sql_thread == "Yes",
            applies: sql_thread == "Yes",
            receives: io_thread,
            received: table.get(row, "Gtid_IO_Pos").unwrap_or_default(),
            error: applying.or_else(|| error("Last_IO_Errno")).unwrap_or(0),
            seconds: number("Seconds_Behind_Source", "Seconds_Behind_Master"),
            unapplied,
        })
    }
}

impl Source<'_> {
    /// The age of the change that is being applied. A server that applies nothing reports nothing, and falls behind without end;
    /// one that has lost its source reports nothing either, and has all that there was.
    pub(super) fn lag(&self) -> Option<Duration> {
        if self.applies { self.seconds.map(Duration::from_secs) } else { Some(Duration::MAX) }
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host: String = self.host.chars().filter(char::is_ascii_graphic).take(LONGEST_SOURCE).collect();
        match (self.is_followed, self.is_whole, self.seconds) {
            (false, ..) => write!(f, ", replication from {host} is stopped"),
            (_, false, _) if self.error == 0 => write!(f, " of {host}, replication is broken or has lost its source"),
            (_, false, _) => write!(f, " of {host}, replication is broken or has lost its source (error {})", self.error),
            (_, _, Some(seconds)) => write!(f, " of {host}, {seconds} s behind"),
            (_, _, None) => write!(f, " of {host}"),
        }
    }
}
