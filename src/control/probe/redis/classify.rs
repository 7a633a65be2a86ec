//! Which outcome an error reply is, by its first word (Redis documentation, "Redis serialization protocol specification",
//! "Simple errors"; the words are those of `src/server.c`).

use super::{super::finding::Finding, resp};
use crate::{
    failover::Outcome,
    wire::redis::{LOADING, TOO_MANY},
};

/// Longest message of a server that is passed on; it is untrusted.
const LONGEST_MESSAGE: usize = 200;

pub(super) fn error(error: &str) -> Finding {
    let message: String = error.chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect();
    Finding::new(outcome_of(error), format!("the server says: {message}"))
}

fn outcome_of(error: &str) -> Outcome {
    match resp::code(error) {
        // Reads its data set into memory.
        LOADING => Outcome::Starting,
        // Runs a script or a function that blocks everybody: alive, and a failover would lose what it does.
        "BUSY" => Outcome::Saturated,
        // The one error without a first word of its own that says nothing about the check.
        "ERR" if error.contains(TOO_MANY) => Outcome::Saturated,
        // NOAUTH, WRONGPASS, NOPERM, DENIED (protected mode), ERR: alive and answers in order, but not to a check like this.
        _ => Outcome::Misconfigured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_outcome() {
        for (text, outcome) in [
            ("LOADING Redis is loading the dataset in memory", Outcome::Starting),
            ("BUSY Redis is busy running a script.", Outcome::Saturated),
            ("ERR max number of clients reached", Outcome::Saturated),
            ("NOAUTH Authentication required.", Outcome::Misconfigured),
            ("WRONGPASS invalid username-password pair or user is disabled.", Outcome::Misconfigured),
            ("NOPERM this user has no permissions to run the 'info' command", Outcome::Misconfigured),
            ("DENIED Redis is running in protected mode", Outcome::Misconfigured),
            ("ERR Client sent AUTH, but no password is set", Outcome::Misconfigured),
            ("", Outcome::Misconfigured),
        ] {
            assert_eq!(outcome_of(text), outcome, "{text}");
        }
    }

    #[test]
    fn a_strangers_words_are_one_printable_line() {
        let finding = error("ERR bad\u{1b}[2J\nthing");
        assert_eq!(&*finding.evidence, "the server says: ERR bad[2Jthing");
    }
}
