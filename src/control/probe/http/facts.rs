//! What Patroni's JSON says of a server (Patroni documentation, "Patroni REST API": `GET /patroni` and the health checks answer
//! the same).

use serde_json::Value;

use crate::failover::{Facts, Printable, Role};

/// Longest untrusted word that is passed on.
const LONGEST_WORD: usize = 60;

/// What Patroni said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Patroni {
    /// Of `PostgreSQL`: `running`, `starting`, `start failed`, …; printable.
    pub(crate) state: String,
    /// As it names it; printable.
    pub(crate) role: String,
    /// Patroni is paused: no node is promoted or demoted.
    pub(super) paused: bool,
    /// All but the role, which is not Patroni's alone to say.
    pub(crate) facts: Facts,
}

/// What a body is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Patroni's.
    Patroni(Box<Patroni>),
    /// JSON that ends in the middle.
    Torn,
    /// Anything else.
    Other,
}

/// Parses a body. Total: any input is one of the three.
pub(crate) fn read(body: &[u8]) -> Body {
    let body = body.trim_ascii();
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => patroni(&value).map_or(Body::Other, |patroni| Body::Patroni(Box::new(patroni))),
        Err(error) if error.is_eof() && body.starts_with(b"{") => Body::Torn,
        Err(_) => Body::Other,
    }
}

fn patroni(value: &Value) -> Option<Patroni> {
    // Its own section tells it from another program that has a `state` of its own.
    value.get("patroni")?.as_object()?;
    let state = word(value.get("state")?.as_str()?);
    let mut role = word(value.get("role").and_then(Value::as_str).unwrap_or("unknown"));
    // Timelines have 32 bits; who names another number lies, and is taken for nothing.
    let (timeline, lie) = match value.get("timeline").and_then(Value::as_u64) {
        Some(lie) if u32::try_from(lie).is_err() => (None, Some(lie)),
        timeline => (timeline.filter(|timeline| *timeline > 0), None),
    };
    role.extend(lie.map(|lie| format!(" on timeline {lie}, which no PostgreSQL can have")));
    let location = |name: &str| value.get("xlog").and_then(|xlog| xlog.get(name)).and_then(Value::as_u64);
    // What a standby has received and not applied yet; what it has not received, it cannot know.
    let lag_bytes = location("received_location").zip(location("replayed_location"));
    let facts = Facts {
        db_epoch: timeline,
        system_id: value.get("database_system_identifier").and_then(number),
        lag_bytes: lag_bytes.map(|(received, replayed)| received.saturating_sub(replayed)),
        version: value.get("server_version").and_then(Value::as_u64).and_then(version),
        ..Facts::default()
    };
    Some(Patroni { state, role, paused: value.get("pause") == Some(&Value::Bool(true)), facts })
}

/// The role in our words; the leader lock is checked elsewhere.
pub(super) fn role(patroni: &str) -> Role {
    match patroni {
        // Patroni 4 says `primary` where Patroni 3 says `master`.
        "primary" | "master" => Role::Primary,
        "replica" | "standby_leader" | "sync_standby" | "quorum_standby" | "demoted" => Role::Standby,
        _ => Role::Unknown,
    }
}

fn word(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST_WORD).collect()
}

/// Patroni writes the identifier as a text: it is larger than what JSON numbers hold exactly.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// `server_version_num` as people know it: 150018 is 15.18, and before version 10 there were three parts.
fn version(number: u64) -> Option<Printable> {
    let (major, middle, minor) = (number / 10_000, number / 100 % 100, number % 100);
    match major {
        0 => None,
        1..10 => Some(format!("{major}.{middle}.{minor}").into()),
        _ => Some(format!("{major}.{}", number % 10_000).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Patroni 3.0.2 answers for a running primary.
    const PRIMARY: &str = r#"{"state": "running", "postmaster_start_time": "2026-11-25 01:02:03.456789+00:00", "role": "master",
        "server_version": 150018, "xlog": {"location": 67108960}, "timeline": 3, "replication": [{"usename": "replicator"}],
        "dcs_last_seen": 1795568523, "database_system_identifier": "7440000000000000001",
        "patroni": {"version": "3.0.2", "scope": "orders"}}"#;

    fn known(text: &str) -> Patroni {
        match read(text.as_bytes()) {
            Body::Patroni(patroni) => *patroni,
            other => panic!("{other:?} of {text}"),
        }
    }

    #[test]
    fn a_primarys_facts_are_read() {
        let patroni = known(PRIMARY);
        assert_eq!((patroni.state.as_str(), role(&patroni.role), patroni.paused), ("running", Role::Primary, false));
        let facts = patroni.facts;
        assert_eq!((facts.db_epoch, facts.system_id), (Some(3), Some(7_440_000_000_000_000_001)));
        assert_eq!((facts.lag_bytes, facts.version.as_deref()), (None, Some("15.18")));
    }

    #[test]
    fn a_replicas_lag_and_the_words_of_patroni_4_are_read() {
        let replica = r#"{"state":"running","role":"replica","xlog":{"received_location":300,"replayed_location":100},
            "timeline":null,"pause":true,"patroni":{"version":"4.0.4","scope":"orders","name":"b"}}"#;
        let patroni = known(replica);
        assert_eq!((role(&patroni.role), patroni.facts.lag_bytes, patroni.facts.db_epoch), (Role::Standby, Some(200), None));
        assert!(patroni.paused);
        for (word, expected) in [
            ("primary", Role::Primary),
            ("standby_leader", Role::Standby),
            ("sync_standby", Role::Standby),
            ("uninitialized", Role::Unknown),
            ("", Role::Unknown),
        ] {
            assert_eq!(role(word), expected, "{word}");
        }
    }

    #[test]
    fn versions_are_those_people_know() {
        for (number, text) in [(150_018, Some("15.18")), (90_624, Some("9.6.24")), (100_000, Some("10.0")), (0, None)] {
            assert_eq!(version(number).as_deref(), text);
        }
    }

    #[test]
    fn what_is_not_patronis_is_told_apart() {
        for other in [
            "",
            "ok",
            "[]",
            "null",
            "{}",
            r#"{"state":"running","role":"master"}"#,
            r#"{"patroni":{}}"#,
            r#"{"patroni":1,"state":"x"}"#,
        ] {
            assert_eq!(read(other.as_bytes()), Body::Other, "{other}");
        }
        for end in 1..PRIMARY.len() {
            assert_eq!(read(&PRIMARY.as_bytes()[..end]), Body::Torn, "{end}");
        }
        assert_eq!(read(&vec![b'['; 60_000]), Body::Other, "depth is bounded");
    }

    #[test]
    fn a_strangers_words_and_numbers_do_no_harm() {
        let odd = "{\"state\":\"run\\u001b[2Jning\",\"role\":7,\"timeline\":-1,\"server_version\":1e99,
            \"xlog\":{\"received_location\":1,\"replayed_location\":18446744073709551615},
            \"database_system_identifier\":\"x\",\"patroni\":{}}";
        let patroni = known(odd);
        assert_eq!((patroni.state.as_str(), patroni.role.as_str()), ("run[2Jning", "unknown"));
        assert_eq!(patroni.facts, Facts { lag_bytes: Some(0), ..Facts::default() });
        assert_eq!(known(&format!("{{\"state\":\"{}\",\"patroni\":{{}}}}", "x".repeat(5000))).state.len(), LONGEST_WORD);
    }
}
