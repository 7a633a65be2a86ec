//! What `INFO` says of a server (Redis documentation, "INFO": lines of `key:value`).

use std::{num::NonZeroU64, sync::Arc};

use super::super::finding::Finding;
use crate::failover::{Facts, Outcome, Printable, Role};

/// Longest version that is passed on; it is untrusted.
const LONGEST_VERSION: usize = 40;

/// The value of a key.
pub(in crate::control) fn value<'a>(info: &'a str, key: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim_end)
}

/// The server's version, from the section `server`.
///
/// # Errors
/// When this is not a server of data: a Sentinel speaks the same protocol.
pub(crate) fn version(info: &str) -> Result<Option<Printable>, String> {
    if value(info, "redis_mode") == Some("sentinel") {
        return Err("this is a Sentinel, not a server of data".into());
    }
    // Valkey names both; its own is the one people know.
    let version = value(info, "valkey_version").or_else(|| value(info, "redis_version"));
    Ok(version.map(|version| version.chars().filter(char::is_ascii_graphic).take(LONGEST_VERSION).collect::<String>().into()))
}

/// Which process this is, from the section `server`: another after each start.
pub(super) fn run_id(info: &str) -> Option<Arc<str>> {
    value(info, "run_id").filter(|id| id.len() <= 64).map(Arc::from)
}

/// The first part of a replication id: offsets count from its beginning, and say nothing about those of another.
fn history(id: &str) -> Option<u32> {
    u32::from_str_radix(id.get(..8)?, 16).ok()
}

/// Reads the section `replication`.
pub(crate) fn read(info: &str, version: Option<Printable>) -> Finding {
    let role = match value(info, "role") {
        Some("master") => Role::Primary,
        Some("slave") => Role::Standby,
        // It is alive, and a role that is not known (KeyDB's active-replica) is not to be guessed.
        Some(other) if !other.is_empty() => {
            let other: String = other.chars().filter(char::is_ascii_graphic).take(LONGEST_VERSION).collect();
            let facts = Facts { role: Some(Role::Unknown), version, ..Facts::default() };
            return Finding {
                outcome: Outcome::Ok,
                facts,
                evidence: format!("its role is \"{other}\", which is not known").into(),
            };
        }
        _ => return Finding::new(Outcome::Misconfigured, "the answer to INFO does not name a role"),
    };
    let number = |key| value(info, key).and_then(|text| text.parse::<u64>().ok());
    // What a replica has received and not applied yet; what it has not received, it cannot know.
    let lag_bytes = match (role, number("slave_read_repl_offset"), number("slave_repl_offset")) {
        (Role::Standby, Some(received), Some(applied)) => Some(received.saturating_sub(applied)),
        _ => None,
    };
    // A primary counts its writes only for the sake of replicas, which the backlog is for.
    let position = match role {
        Role::Standby => number("slave_repl_offset"),
        _ => number("master_repl_offset").filter(|_| value(info, "repl_backlog_active") == Some("1")),
    };
    let link = value(info, "master_link_status").filter(|_| role == Role::Standby);
    // While the primary sends a whole copy, the link counts as down.
    let hears_primary = link.map(|status| status == "up" || value(info, "master_sync_in_progress") == Some("1"));
    let mut evidence = role.to_string();
    match role {
        Role::Primary => evidence.extend(number("connected_slaves").map(|count| format!(", replicas connected: {count}"))),
        _ => {
            evidence.extend(value(info, "master_link_status").filter(|status| *status != "up").map(|_| ", has lost its primary"));
        }
    }
    let history = value(info, "master_replid").and_then(history).unwrap_or_default();
    // The next byte: a new primary has written none.
    let position = position.and_then(|offset| NonZeroU64::MIN.checked_add(offset));
    let facts = Facts { role: Some(role), lag_bytes, position, history, hears_primary, version, ..Facts::default() };
    Finding { outcome: Outcome::Ok, facts, evidence: evidence.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primaries_and_replicas_say_what_they_are() {
        let primary =
            read("# Replication\r\nrole:master\r\nconnected_slaves:1\r\nmaster_repl_offset:28\r\n", Some("7.0.15".into()));
        assert_eq!((primary.outcome, primary.facts.role), (Outcome::Ok, Some(Role::Primary)));
        assert_eq!(&*primary.evidence, "primary, replicas connected: 1");
        assert_eq!((primary.facts.lag_bytes, primary.facts.version.as_deref()), (None, Some("7.0.15")));
        let replica =
            read("role:slave\r\nmaster_link_status:down\r\nslave_read_repl_offset:128\r\nslave_repl_offset:28\r\n", None);
        assert_eq!((replica.facts.role, replica.facts.lag_bytes), (Some(Role::Standby), Some(100)));
        assert_eq!(&*replica.evidence, "standby, has lost its primary");
    }

    #[test]
    fn positions_count_only_where_the_server_counts_them() {
        const ID: &str = "master_replid:8371b4fb1155b71f4a04d3e1bc3e18c4a990aeeb\r\n";
        let found = |info: &str| {
            let facts = read(&format!("{ID}{info}"), None).facts;
            assert_eq!(facts.history, 0x8371_b4fb);
            (facts.position.map(NonZeroU64::get), facts.hears_primary)
        };
        assert_eq!(found("role:master\r\nmaster_repl_offset:28\r\nrepl_backlog_active:1\r\n"), (Some(29), None));
        // Without a backlog it does not count what it writes.
        assert_eq!(found("role:master\r\nmaster_repl_offset:28\r\nrepl_backlog_active:0\r\n"), (None, None));
        // Its own offset goes on to exist for its own replicas; what it read and has not applied ends with the link.
        let replica = |link: &str, more: &str| {
            found(&format!(
                "role:slave\r\nmaster_link_status:{link}\r\n{more}slave_read_repl_offset:90\r\nslave_repl_offset:80\r\n\
                 master_repl_offset:70\r\nrepl_backlog_active:1\r\n"
            ))
        };
        assert_eq!(replica("up", ""), (Some(81), Some(true)));
        assert_eq!(replica("down", ""), (Some(81), Some(false)));
        assert_eq!(replica("down", "master_sync_in_progress:1\r\n"), (Some(81), Some(true)));
        assert_eq!(found("role:slave\r\nslave_repl_offset:1\r\n"), (Some(2), None));
        for id in ["", "master_replid:?\r\n", "master_replid:8371\r\n", "master_replid:1234567é\r\n"] {
            assert_eq!(read(&format!("role:master\r\n{id}"), None).facts.history, 0);
        }
    }

    #[test]
    fn what_names_no_role_is_no_answer() {
        for info in ["", "role:\r\n", "xrole:master\r\n"] {
            assert_eq!(read(info, None).outcome, Outcome::Misconfigured, "{info:?}");
        }
        // As KeyDB says in a ring of servers that all take writes.
        let finding = read("role:active-replica\r\n", None);
        assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Unknown)));
        assert!(finding.evidence.contains("active-replica"), "{}", finding.evidence);
    }

    #[test]
    fn a_sentinel_is_told_apart_and_valkey_by_its_own_name() {
        assert!(version("redis_version:7.0.15\r\nredis_mode:sentinel\r\n").is_err());
        assert_eq!(version("redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n").unwrap().as_deref(), Some("8.0.1"));
        assert_eq!(version("redis_version:7.0.15\x1b[2J\r\n").unwrap().as_deref(), Some("7.0.15[2J"));
    }
}
