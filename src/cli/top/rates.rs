//! How much each session moves: the difference between two answers.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Deserialize;

use crate::cli::status::size;

/// An answer of `/api/v1/connections` or `/api/v1/pools/{pool}/connections`, oldest first.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Sessions {
    now: String,
    total: usize,
    truncated: bool,
    pool: Option<String>,
    connections: Vec<Connection>,
}

#[derive(Clone, Debug, Deserialize)]
struct Connection {
    pool: Option<String>,
    worker: usize,
    id: u64,
    client: String,
    listener: String,
    backend: String,
    since: String,
    upstream_bytes: u64,
    downstream_bytes: u64,
}

/// A session, with what it moves.
#[derive(Clone, Debug)]
pub(super) struct RatedSession {
    pub(super) pool: String,
    pub(super) client: String,
    pub(super) listener: String,
    pub(super) backend: String,
    pub(super) age: Duration,
    /// Bytes from the client to the backend, and back.
    pub(super) bytes: (u64, u64),
    /// The same in a second; `None` while nothing can be said.
    pub(super) rates: Option<(f64, f64)>,
}

/// All sessions of an answer.
#[derive(Clone, Debug)]
pub(super) struct Rated {
    at: SystemTime,
    pub(super) total: usize,
    pub(super) truncated: bool,
    /// Oldest first.
    pub(super) sessions: Vec<RatedSession>,
    /// Bytes of each session at that time.
    counted: HashMap<Identity, (u64, u64)>,
}

/// Numbers of connections start again with the process.
type Identity = (usize, u64, String);

impl Default for Rated {
    fn default() -> Self {
        Self { at: UNIX_EPOCH, total: 0, truncated: false, sessions: Vec::new(), counted: HashMap::new() }
    }
}

impl Rated {
    /// Of an answer before which there was none.
    pub(super) fn first(sessions: Sessions) -> Self {
        Self::of(sessions, None)
    }

    /// Of the next answer.
    pub(super) fn then(self, sessions: Sessions) -> Self {
        Self::of(sessions, Some(&self))
    }

    fn of(answer: Sessions, before: Option<&Self>) -> Self {
        let at = moment(&answer.now).unwrap_or_else(SystemTime::now);
        let seconds = before.and_then(|before| at.duration_since(before.at).ok()).map(|passed| passed.as_secs_f64());
        let mut counted = HashMap::with_capacity(answer.connections.len());
        let mut sessions = Vec::with_capacity(answer.connections.len());
        for connection in answer.connections {
            let bytes = (connection.upstream_bytes, connection.downstream_bytes);
            let since = moment(&connection.since).unwrap_or(at);
            let identity = (connection.worker, connection.id, connection.since);
            let known = before.and_then(|before| {
                // All bytes of a session that is younger than the last answer moved since then.
                before.counted.get(&identity).copied().or((since >= before.at).then_some((0, 0)))
            });
            let rate = |now: u64, known: u64, seconds: f64| now.saturating_sub(known) as f64 / seconds;
            let rates = known.zip(seconds.filter(|seconds| *seconds > 0.0));
            let rates = rates.map(|(known, seconds)| (rate(bytes.0, known.0, seconds), rate(bytes.1, known.1, seconds)));
            counted.insert(identity, bytes);
            sessions.push(RatedSession {
                pool: connection.pool.or_else(|| answer.pool.clone()).unwrap_or_default(),
                client: connection.client,
                listener: connection.listener,
                backend: connection.backend,
                age: at.duration_since(since).unwrap_or_default(),
                bytes,
                rates,
            });
        }
        Self { at, total: answer.total, truncated: answer.truncated, sessions, counted }
    }

    /// All of it in one line.
    pub(super) fn sentence(&self) -> String {
        let rates = self.sessions.iter().filter_map(|session| session.rates);
        let (up, down) = rates.fold((0.0, 0.0), |sum, rates| (sum.0 + rates.0, sum.1 + rates.1));
        let only = if self.truncated { format!(" (the oldest {} are looked at)", self.sessions.len()) } else { String::new() };
        let sessions = if self.total == 1 { "session" } else { "sessions" };
        format!("{} {sessions}{only}, {}/s up, {}/s down", self.total, size(whole(up)), size(whole(down)))
    }
}

impl RatedSession {
    /// Both ways together; nothing known is nothing.
    pub(super) fn rate(&self) -> f64 {
        self.rates.map_or(0.0, |(up, down)| up + down)
    }

    pub(super) const fn total(&self) -> u64 {
        self.bytes.0.saturating_add(self.bytes.1)
    }

    /// The client without its port.
    pub(super) fn host(&self) -> String {
        self.client.parse::<SocketAddr>().map_or_else(|_| self.client.clone(), |address| address.ip().to_string())
    }
}

fn moment(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes in a second")]
pub(super) fn whole(bytes: f64) -> u64 {
    bytes as u64
}

#[cfg(test)]
impl Sessions {
    /// An answer at this second of sessions: id, client, when it began, bytes up and down.
    pub(super) fn answered(second: u64, sessions: &[(u64, &str, u64, u64, u64)]) -> Self {
        let at = |second: u64| format!("2026-11-28T02:00:{second:02}.000Z");
        let connections = sessions.iter().map(|(id, client, since, up, down)| Connection {
            pool: None,
            worker: 0,
            id: *id,
            client: (*client).to_owned(),
            listener: "rw".to_owned(),
            backend: "db-a".to_owned(),
            since: at(*since),
            upstream_bytes: *up,
            downstream_bytes: *down,
        });
        let connections = connections.collect();
        Self { now: at(second), total: sessions.len(), truncated: false, pool: Some("orders".to_owned()), connections }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_and_nothing_is_said_without_two_answers() {
        let first = Rated::first(Sessions::answered(10, &[(1, "10.0.0.1:1", 1, 100, 1000)]));
        assert_eq!((first.sessions[0].rates, first.sessions[0].age.as_secs()), (None, 9));
        let sessions = [(1, "10.0.0.1:1", 1, 300, 2000), (2, "10.0.0.2:1", 11, 50, 70), (3, "10.0.0.3:1", 2, 9, 9)];
        let next = first.then(Sessions::answered(12, &sessions));
        let rates: Vec<_> = next.sessions.iter().map(|session| session.rates).collect();
        assert_eq!(
            rates,
            [Some((100.0, 500.0)), Some((25.0, 35.0)), None],
            "of one that was not listed before, nothing is known"
        );
        // The same number under another process is another session.
        let restarted = next.then(Sessions::answered(14, &[(1, "10.0.0.1:1", 13, 8, 8)]));
        assert_eq!(restarted.sessions[0].rates, Some((4.0, 4.0)));
        assert_eq!(restarted.sentence(), "1 session, 4 B/s up, 4 B/s down");
    }
}
