//! Which outcome an error of the server is, by its number (`MySQL` documentation, "Server Error Message Reference"; `MariaDB`
//! documentation, "`MariaDB` Error Codes").

use super::{super::finding::Finding, answer::ServerError};
use crate::{failover::Outcome, wire::mysql};

/// Longest message of a server that is passed on; it is untrusted.
const LONGEST_MESSAGE: usize = 200;

/// `ER_SERVER_SHUTDOWN`, and `ER_CONNECTION_KILLED` of `MariaDB`.
pub(super) const SHUTDOWN: [u16; 2] = [mysql::SHUTDOWN, 1927];

pub(super) fn error(error: &ServerError) -> Finding {
    let message: String = error.message.chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect();
    Finding::new(outcome_of(error.code), format!("the server says: {message} ({})", error.code))
}

fn outcome_of(code: u16) -> Outcome {
    match code {
        // ER_CON_COUNT_ERROR, ER_TOO_MANY_USER_CONNECTIONS, ER_USER_LIMIT_REACHED; ER_OUT_OF_RESOURCES, ER_CANT_CREATE_THREAD.
        1040 | 1203 | 1226 | 1041 | 1135 => Outcome::Saturated,
        // ER_UNKNOWN_COM_ERROR: a Galera node that is not ready. ER_SERVER_SHUTDOWN. ER_SERVER_OFFLINE_MODE, and
        // ER_SERVER_OFFLINE_MODE_REASON with its sibling.
        1047 | 1053 | 3032 | 4165 | 4166 => Outcome::Starting,
        // ER_CONNECTION_KILLED, ER_QUERY_INTERRUPTED; ER_NET_READ_ERROR and its siblings; ER_CLIENT_INTERACTION_TIMEOUT.
        1927 | 1317 | 1158..=1161 | 4031 => Outcome::Closed,
        // ER_ACCESS_DENIED_ERROR, ER_HOST_IS_BLOCKED, ER_HOST_NOT_PRIVILEGED, an account that is locked or has expired: alive and
        // answers in order, but not to a check like this.
        _ => Outcome::Misconfigured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_outcome() {
        for (code, outcome) in [
            (1040, Outcome::Saturated),
            (1203, Outcome::Saturated),
            (1045, Outcome::Misconfigured),
            (1129, Outcome::Misconfigured),
            (1130, Outcome::Misconfigured),
            (1047, Outcome::Starting),
            (1053, Outcome::Starting),
            (3032, Outcome::Starting),
            (1927, Outcome::Closed),
            (1064, Outcome::Misconfigured),
        ] {
            assert_eq!(outcome_of(code), outcome, "{code}");
        }
    }

    #[test]
    fn a_strangers_words_are_one_printable_line() {
        let finding = error(&ServerError { code: 1045, message: "no\u{1b}[2J\nway".into() });
        assert_eq!(&*finding.evidence, "the server says: no[2Jway (1045)");
    }
}
