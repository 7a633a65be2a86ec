//! Why the lab could not do what it was told.

use std::{fmt, io, path::PathBuf, time::Duration};

use crate::session::SessionError;

/// How long one start, stop or tool may take. Far above what they need, so that only a real fault reaches it.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_mins(1);

/// Why the lab could not do what it was told, in words for a person.
#[derive(Debug)]
pub enum ClusterError {
    /// The server's programs were not found; where they were looked for.
    MissingBinaries(Vec<PathBuf>),
    /// We are root, which the server refuses to run as, and there is no user `postgres` to become.
    NoPostgresUser,
    /// The temporary directory's path is too long for a unix socket.
    PathTooLong(PathBuf),
    /// The operating system refused something.
    Io(String, io::Error),
    /// A program failed or ended before its time; the end of what it wrote.
    Failed(String, String),
    /// Something did not happen in time; the end of the log.
    Timeout(String, String),
    /// A statement failed.
    Query(String, SessionError),
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingBinaries(looked) => {
                write!(
                    f,
                    "The PostgreSQL server programs (initdb, postgres, pg_basebackup) were not found. Install them \
                     (Debian, Ubuntu: apt-get install postgresql), or set PG_BIN to their directory. Looked in:"
                )?;
                looked.iter().try_for_each(|place| write!(f, " {}", place.display()))
            }
            Self::NoPostgresUser => f.write_str(
                "PostgreSQL refuses to run as root, and this system has no user \"postgres\" to run it as. Install the \
                 server's package (apt-get install postgresql), which makes that user, or start this command as an ordinary user.",
            ),
            Self::PathTooLong(path) => {
                write!(f, "The path {} is too long for a unix socket. Set TMPDIR to a shorter directory.", path.display())
            }
            Self::Io(what, error) => write!(f, "{what}: {error}"),
            Self::Failed(what, log) => write!(f, "{what} failed:\n{log}"),
            Self::Timeout(what, log) => write!(f, "Waited too long: {what}. The end of the log:\n{log}"),
            Self::Query(sql, error) => write!(f, "\"{sql}\" failed: {error}"),
        }
    }
}

impl std::error::Error for ClusterError {}

/// Adds to an I/O error what was being done.
pub(super) fn doing<T>(what: &str, result: io::Result<T>) -> Result<T, ClusterError> {
    result.map_err(|error| ClusterError::Io(what.to_owned(), error))
}
