//! What an error of the server, of the protocol or of the socket says about the backend.

use std::{error::Error as _, io};

use tokio_postgres::error::{DbError, SqlState};

use super::super::{
    finding::Finding,
    socket::{garbled, io_error},
};
use crate::failover::Outcome;

/// Longest message of a server that is passed on; it is untrusted.
pub(super) const LONGEST_MESSAGE: usize = 200;

/// What went wrong, in the words of the probe.
pub(super) fn error(error: &tokio_postgres::Error) -> Finding {
    if let Some(db) = error.as_db_error() {
        return Finding::new(outcome_of(db.code()), words(db));
    }
    let Some(source) = error.source() else {
        return if error.is_closed() {
            Finding::new(Outcome::Closed, "the server closed the connection in the middle of the check")
        } else {
            Finding::new(Outcome::ProtocolError, "the server answered out of turn")
        };
    };
    match source.downcast_ref::<io::Error>() {
        // The library tells a message that ends too early from a connection that does by its own text alone.
        Some(source) if error.to_string().contains("parsing") => garbled(source),
        Some(source) => io_error(source),
        // The library's own refusals: no password given, or a method of authentication it does not have.
        None => Finding::new(Outcome::Misconfigured, format!("cannot log in: {source}")),
    }
}

/// Reads an SQLSTATE (`PostgreSQL` documentation, appendix A). Never the message: servers speak many languages.
fn outcome_of(state: &SqlState) -> Outcome {
    match state.code().as_bytes() {
        // cannot_connect_now: starting, shutting down, in crash recovery, hot standby not yet open.
        b"57P03" => Outcome::Starting,
        // admin_shutdown, crash_shutdown, database_dropped, idle_session_timeout.
        b"57P01" | b"57P02" | b"57P04" | b"57P05" => Outcome::Closed,
        // query_canceled: the server's own statement_timeout was over first.
        b"57014" => Outcome::Timeout,
        // protocol_violation.
        [b'0', b'8', ..] => Outcome::ProtocolError,
        // Insufficient resources: too_many_connections, out_of_memory, disk_full. Alive, and a failover would not help a
        // client that it drops.
        [b'5', b'3', ..] => Outcome::Saturated,
        // System error, configuration file error, internal error: the server itself gave up.
        [b'5', b'8', ..] | [b'F', b'0', ..] | [b'X', b'X', ..] => Outcome::Closed,
        // Wrong password, no entry in pg_hba.conf, no such database, no privilege, and whatever else the server refuses: it
        // is alive and answers in order, but not to a check like this.
        _ => Outcome::Misconfigured,
    }
}

/// The server's message as one printable line.
pub(super) fn words(error: &DbError) -> String {
    let message: String = error.message().chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect();
    format!("the server says: {message} (SQLSTATE {})", error.code().code().escape_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_outcome() {
        for (code, outcome) in [
            ("57P03", Outcome::Starting),
            ("57P01", Outcome::Closed),
            ("57P02", Outcome::Closed),
            ("57014", Outcome::Timeout),
            ("53300", Outcome::Saturated),
            ("28P01", Outcome::Misconfigured),
            ("28000", Outcome::Misconfigured),
            ("3D000", Outcome::Misconfigured),
            ("42501", Outcome::Misconfigured),
            ("08P01", Outcome::ProtocolError),
            ("XX001", Outcome::Closed),
            ("", Outcome::Misconfigured),
        ] {
            assert_eq!(outcome_of(&SqlState::from_code(code)), outcome, "{code}");
        }
    }
}
