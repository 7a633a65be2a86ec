//! Sessions in an order, or clients, as a table and as JSON.

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::{Value, json};

use super::rates::{Rated, RatedSession, whole};
use crate::{
    cli::{
        status::{size, span},
        terminal::{Colour, Style, Table},
    },
    failover::escaped,
};

/// More are never shown.
pub(super) const ROWS: usize = 1000;

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Ranking {
    /// The sessions that move the most bytes per second
    Bytes,
    /// The oldest sessions
    Age,
    /// The client addresses that move the most bytes per second
    Client,
}

const SESSIONS: Table<'_> = Table {
    headings: &["BYTES/S", "UP/S", "DOWN/S", "TOTAL", "AGE", "CLIENT", "POOL", "LISTENER", "BACKEND"],
    numbers: &[0, 1, 2, 3, 4],
    // Listener, both ways, pool, all bytes so far, backend.
    go: &[7, 1, 2, 6, 3, 8],
    ends_with_text: false,
};

const CLIENTS: Table<'_> = Table {
    headings: &["BYTES/S", "UP/S", "DOWN/S", "TOTAL", "SESSIONS", "OLDEST", "CLIENT"],
    numbers: &[0, 1, 2, 3, 4, 5],
    go: &[1, 2, 3, 5],
    ends_with_text: false,
};

/// The sessions of one client address.
#[derive(Default)]
struct Client {
    host: String,
    sessions: usize,
    bytes: u64,
    rates: Option<(f64, f64)>,
    oldest: u64,
}

impl Ranking {
    /// The heading and `most` rows, with a line more if there are more.
    pub(super) fn lines(self, rated: &Rated, (style, columns): (Style, usize), most: usize) -> Vec<String> {
        let (table, mut rows): (_, Vec<Vec<String>>) = match self {
            Self::Bytes | Self::Age => (SESSIONS, self.sessions(rated).into_iter().map(row).collect()),
            Self::Client => (CLIENTS, clients(rated).iter().map(Client::row).collect()),
        };
        let more = rows.len().saturating_sub(most);
        rows.truncate(most);
        let mut lines = table.lines(&rows, columns);
        lines[0] = style.paint.text(Colour::Quiet, &lines[0]);
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
        lines
    }

    fn sessions(self, rated: &Rated) -> Vec<&RatedSession> {
        let mut sessions: Vec<&RatedSession> = rated.sessions.iter().collect();
        if self == Self::Bytes {
            sessions.sort_by(|a, b| descending(a.rate(), b.rate()).then(b.total().cmp(&a.total())));
        }
        sessions
    }

    pub(super) fn json(self, rated: &Rated) -> Value {
        let both_ways = |moved: Option<(f64, f64)>| {
            let (up, down) = moved.unzip();
            json!({"upstream": up.map(whole), "downstream": down.map(whole)})
        };
        let (key, rows): (_, Vec<Value>) = match self {
            Self::Bytes | Self::Age => (
                "sessions",
                self.sessions(rated)
                    .iter()
                    .take(ROWS)
                    .map(|one| {
                        json!({"pool": one.pool, "listener": one.listener, "backend": one.backend, "client": one.client,
                            "age_seconds": one.age.as_secs(), "upstream_bytes": one.bytes.0, "downstream_bytes": one.bytes.1,
                            "bytes_per_second": both_ways(one.rates)})
                    })
                    .collect(),
            ),
            Self::Client => (
                "clients",
                clients(rated)
                    .iter()
                    .take(ROWS)
                    .map(|one| {
                        json!({"client": one.host, "sessions": one.sessions, "bytes": one.bytes, "oldest_seconds": one.oldest,
                            "bytes_per_second": both_ways(one.rates)})
                    })
                    .collect(),
            ),
        };
        json!({"total": rated.total, "truncated": rated.truncated, key: rows})
    }
}

/// Most bytes per second first.
fn clients(rated: &Rated) -> Vec<Client> {
    let mut clients: BTreeMap<String, Client> = BTreeMap::new();
    for session in &rated.sessions {
        let client = clients.entry(session.host()).or_default();
        client.host = session.host();
        client.sessions += 1;
        client.bytes = client.bytes.saturating_add(session.total());
        client.oldest = client.oldest.max(session.age.as_secs());
        if let Some((up, down)) = session.rates {
            let sum = client.rates.unwrap_or_default();
            client.rates = Some((sum.0 + up, sum.1 + down));
        }
    }
    let mut clients: Vec<Client> = clients.into_values().collect();
    let rate = |client: &Client| client.rates.map_or(0.0, |(up, down)| up + down);
    clients.sort_by(|a, b| descending(rate(a), rate(b)).then(b.sessions.cmp(&a.sessions)));
    clients
}

fn descending(a: f64, b: f64) -> Ordering {
    b.total_cmp(&a)
}

/// Both ways together, and each.
fn rate_cells(rates: Option<(f64, f64)>) -> [String; 3] {
    let rate = |choose: fn((f64, f64)) -> f64| rates.map_or_else(|| "-".to_owned(), |rates| size(whole(choose(rates))));
    [rate(|(up, down)| up + down), rate(|(up, _)| up), rate(|(_, down)| down)]
}

fn row(session: &RatedSession) -> Vec<String> {
    let texts = [&session.client, &session.pool, &session.listener, &session.backend].map(|text| escaped(text));
    rate_cells(session.rates).into_iter().chain([size(session.total()), span(session.age.as_secs())]).chain(texts).collect()
}

impl Client {
    fn row(&self) -> Vec<String> {
        let counts = [size(self.bytes), self.sessions.to_string(), span(self.oldest), escaped(&self.host)];
        rate_cells(self.rates).into_iter().chain(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::rates::Sessions, *};
    use crate::cli::terminal::{Charset, Paint};

    fn lines(by: Ranking, columns: usize, most: usize) -> Vec<String> {
        let before = [(1, "10.0.0.1:1", 1, 0, 0), (2, "[::1]:2", 2, 0, 0), (3, "10.0.0.1:3", 3, 0, 0), (4, "\x1b[2J", 4, 0, 0)];
        let after =
            [(1, "10.0.0.1:1", 1, 10, 0), (2, "[::1]:2", 2, 0, 4096), (3, "10.0.0.1:3", 3, 7, 7), (4, "\x1b[2J", 4, 0, 0)];
        let rated = Rated::first(Sessions::answered(10, &before)).then(Sessions::answered(11, &after));
        by.lines(&rated, (Style { paint: Paint::Off, charset: Charset::Utf8 }, columns), most)
    }

    #[test]
    fn sessions_are_ranked_and_nothing_raw_reaches_the_terminal() {
        assert_eq!(
            lines(Ranking::Bytes, 200, 2),
            [
                "  BYTES/S  UP/S   DOWN/S    TOTAL  AGE  CLIENT      POOL    LISTENER  BACKEND",
                "  4.0 KiB   0 B  4.0 KiB  4.0 KiB  9 s  [::1]:2     orders  rw        db-a",
                "     14 B   7 B      7 B     14 B  8 s  10.0.0.1:3  orders  rw        db-a",
                "  and 2 more"
            ]
        );
        let by_age = lines(Ranking::Age, 40, 9);
        assert!(by_age[1].contains("10.0.0.1:1") && by_age[4].contains(r"  \u{1b}[2J"), "{by_age:?}");
        assert!(by_age.iter().all(|line| line.len() <= 40) && by_age[0].contains("AGE"), "{by_age:?}");
    }

    #[test]
    fn sessions_of_one_address_are_one_client() {
        let lines = lines(Ranking::Client, 200, 9);
        assert_eq!(
            lines[1..3],
            [
                "  4.0 KiB   0 B  4.0 KiB  4.0 KiB         1     9 s  ::1",
                "     24 B  17 B      7 B     24 B         2    10 s  10.0.0.1"
            ]
        );
    }
}
