//! What one server must have of another.

use std::time::Duration;

use super::{
    result::Latency,
    server::{Capacity, Look},
};
use crate::config::BuiltIn;

/// Probes may take so many times as long as those of the active one.
const SLOWER: u32 = 3;
/// A difference of less is none.
const SLOWER_BY: Duration = Duration::from_millis(5);

/// Whether a proof compares two servers.
pub(super) const fn is_one(proof: BuiltIn) -> bool {
    matches!(proof, BuiltIn::MaxConnections | BuiltIn::VersionOrder | BuiltIn::Memory)
}

/// Compares a server with the active one.
pub(super) fn compare(proof: BuiltIn, here: &Capacity, active: &Capacity) -> Look {
    match proof {
        BuiltIn::MaxConnections => connections(here, active),
        BuiltIn::VersionOrder => version(here, active),
        _ => memory(here, active),
    }
}

fn connections(here: &Capacity, active: &Capacity) -> Look {
    let (Some(room), Some(used)) = (here.connections, active.sessions) else {
        return Look::Unasked("the servers do not tell how many sessions they take or have".into());
    };
    let words = format!("{} takes {room} sessions, and the active one has {used}", here.connections_by);
    if used <= room { Look::Holds(words) } else { Look::Fails(words) }
}

fn version(here: &Capacity, active: &Capacity) -> Look {
    let (Some(own), Some(other)) = (number(&here.version), number(&active.version)) else {
        return Look::Unasked(format!("the versions {:?} and {:?} cannot be compared", here.version, active.version));
    };
    let words = format!("it has version {}, and the active one {}", here.version, active.version);
    if own >= other {
        return Look::Holds(words);
    }
    Look::Fails(format!("{words}: a standby that is older than its primary may not understand what it is sent"))
}

/// The first numbers of a version.
fn number(version: &str) -> Option<Vec<u64>> {
    let start = version.find(|c: char| c.is_ascii_digit())?;
    let numbers = version[start..].split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    numbers.split('.').map(|part| part.parse().ok()).collect()
}

fn memory(here: &Capacity, active: &Capacity) -> Look {
    let (Some(limit), Some(other), Some(used)) = (here.max_memory, active.max_memory, active.used_memory) else {
        return Look::Unasked("the servers do not tell how much memory they may use".into());
    };
    let shown = |limit: u64| if limit == 0 { "no limit".to_owned() } else { format!("{limit} bytes") };
    let words = format!("maxmemory is {}; the active one has {}, and uses {used} bytes", shown(limit), shown(other));
    let is_less = limit != 0 && (other == 0 || limit < other);
    if is_less { Look::Fails(words) } else { Look::Holds(words) }
}

/// Whether the probes are not much slower.
pub(super) fn latency(times: Option<Latency>) -> Look {
    let Some(Latency { subject, active }) = times else {
        return Look::Unasked("the times of the probes are not known yet, or there is nothing to compare with".into());
    };
    let words = format!("95 of 100 probes took at most {subject:.1?}; on the active one {active:.1?}");
    let is_slow = subject > active * SLOWER && subject > active + SLOWER_BY;
    if is_slow { Look::Fails(words) } else { Look::Holds(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: &str) -> Capacity {
        Capacity { version: version.into(), ..Capacity::default() }
    }

    #[test]
    fn a_standby_must_not_be_older() {
        for (here, active, holds) in [
            ("15.18", "15.17", true),
            ("15.17", "15.17", true),
            ("15.9", "15.17", false),
            ("10.11.6-MariaDB-1", "10.11.14-MariaDB", false),
            ("PostgreSQL 15.17 (Debian)", "15.17", true),
            ("7.2.0", "7.0.15", true),
        ] {
            let look = version(&of(here), &of(active));
            assert_eq!(matches!(look, Look::Holds(_)), holds, "{here} {active} {look:?}");
        }
        assert!(matches!(version(&of("devel"), &of("15")), Look::Unasked(_)));
    }

    #[test]
    fn memory_without_a_limit_is_the_most() {
        let limit = |max| Capacity { max_memory: Some(max), used_memory: Some(5), ..of("7") };
        for (here, active, holds) in [(0, 0, true), (0, 100, true), (100, 0, false), (100, 100, true), (99, 100, false)] {
            assert_eq!(matches!(memory(&limit(here), &limit(active)), Look::Holds(_)), holds, "{here} {active}");
        }
    }

    #[test]
    fn probes_are_slow_by_a_factor_and_by_more_than_noise() {
        let ms = Duration::from_micros;
        for (subject, active, holds) in
            [(900, 300, true), (4_000, 300, true), (9_000, 1_000, false), (30_000, 10_000, true), (31_000, 10_000, false)]
        {
            let look = latency(Some(Latency { subject: ms(subject), active: ms(active) }));
            assert_eq!(matches!(look, Look::Holds(_)), holds, "{look:?}");
        }
    }
}
