//! The status as a table.

use std::fmt::Write as _;

use super::answer::{Backend, Older, Operation, Pool, Status, Trial};
use crate::{
    cli::terminal::{Colour, Paint, Table, wrap},
    failover::escaped,
};

/// Of the backends of a pool.
const BACKENDS: Table<'_> = Table {
    headings: &["BACKEND", "ADDRESS", "HEALTH", "ROLE", "SESSIONS", "LAG", "VERSION", "MAY SERVE"],
    numbers: &[],
    // Version, address, lag, role, sessions.
    go: &[6, 1, 5, 3, 4],
    ends_with_text: true,
};

impl Status {
    /// The sentences of all pools first, then their tables.
    pub(super) fn render(&self, paint: Paint) -> String {
        let mut out = String::new();
        for pool in &self.pools {
            let colour = if pool.serves() && !pool.paused { Colour::Good } else { Colour::Bad };
            let _ = writeln!(out, "{}: {}", paint.text(colour, &escaped(&pool.name)), escaped(&pool.summary));
        }
        for pool in &self.pools {
            let under_way = paint.text(Colour::Bad, &pool.under_way());
            let _ = writeln!(out, "\n{} (epoch {}){under_way}", escaped(&pool.name), pool.epoch);
            let _ = writeln!(out, "{}", pool.lines(paint, usize::MAX).join("\n"));
        }
        let _ = writeln!(out, "\n{}", paint.text(Colour::Quiet, &self.process()));
        for older in &self.older {
            let _ = writeln!(out, "{}", paint.text(Colour::Quiet, &older.sentence()));
        }
        out
    }

    pub(super) fn process(&self) -> String {
        format!("mainstay {}, {}, up for {}", escaped(&self.version), escaped(&self.phase), span(self.uptime_seconds))
    }
}

impl Older {
    pub(super) fn sentence(&self) -> String {
        let Self { pid, version, connections, pools } = self;
        let backends = pools.iter().flat_map(|pool| pool.backends.iter().map(move |backend| (&pool.name, backend)));
        let sessions: Vec<_> = backends
            .map(|(pool, backend)| format!("{}/{} {}", escaped(pool), escaped(&backend.name), backend.sessions))
            .collect();
        let each = if sessions.is_empty() { String::new() } else { format!(": {}", sessions.join(", ")) };
        format!("an older mainstay {}, process {pid}, still has clients ({connections}){each}", escaped(version))
    }
}

impl Pool {
    /// The operation that runs and the pause, if there is one.
    pub(super) fn under_way(&self) -> String {
        let left = self.pause_left_seconds.map(|left| format!(", goes on in {}", span(left))).unwrap_or_default();
        let paused = if self.paused { format!(", PAUSED{left}") } else { String::new() };
        let operation = self.operation.as_ref().map(|Operation { id, kind, to, step }| {
            let step = step.as_deref().map(|step| format!(", step {}", escaped(step))).unwrap_or_default();
            format!(", operation {id}: {} to {}{step}", escaped(kind), escaped(to))
        });
        operation.unwrap_or_default() + &paused
    }

    /// Its table, in lines of at most so many columns: what is said in words goes on in the next line, and the table has only the
    /// columns that have room.
    pub(super) fn lines(&self, paint: Paint, columns: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let is_read = self.listeners.iter().any(|listener| listener.route != "primary");
        let rows: Vec<Vec<String>> = self.backends.iter().map(|backend| backend.cells(is_read)).collect();
        let mut table = BACKENDS.lines(&rows, columns).into_iter();
        lines.extend(table.next().map(|heading| paint.text(Colour::Quiet, &heading)));
        for (line, backend) in table.zip(&self.backends) {
            let colour = match (backend.active, backend.health.as_str()) {
                (true, _) => Colour::Good,
                (false, "down") => Colour::Bad,
                _ => Colour::Plain,
            };
            lines.push(paint.text(colour, &line));
        }
        for text in self.sentences() {
            let mut parts = wrap(&text, columns.saturating_sub(4)).into_iter();
            lines.extend(parts.next().map(|first| format!("  {first}")));
            lines.extend(parts.map(|part| format!("    {part}")));
        }
        lines
    }

    /// Its listeners, what is not proven, the trial and the last failover.
    fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        for listener in &self.listeners {
            let of = listener.limit.map(|limit| format!(" of {limit}")).unwrap_or_default();
            let (name, listen, rules) =
                (escaped(&listener.name), escaped(&listener.listen.join(", ")), escaped(&listener.rules()));
            let route =
                if listener.route == "primary" { String::new() } else { format!(" (route {})", escaped(&listener.route)) };
            sentences.push(format!("listener {name} on {listen}{route}: {}{of} connections{rules}", listener.connections));
        }
        for Backend { name, proof, proof_what, .. } in &self.backends {
            if !matches!(proof.as_str(), "" | "proven") {
                let what = proof_what.as_deref().map(|what| format!(": {}", escaped(what))).unwrap_or_default();
                sentences.push(format!("{} is {}{what}", escaped(name), escaped(proof)));
            }
        }
        if let Some(Trial { operation, until, sentence }) = &self.trial {
            sentences.push(format!("trial after operation {operation}, until {}: {}", escaped(until), escaped(sentence)));
        }
        if let Some(last) = &self.last_failover {
            let (from, to, evidence) = (escaped(&last.from), escaped(&last.to), escaped(&last.evidence));
            let (at, cause, gap, closed) = (escaped(&last.at), escaped(&last.cause), last.gap_ms, last.sessions_closed);
            sentences.push(format!(
                "last failover {at}: {from} -> {to}, cause {cause} ({evidence}), no backend served for {gap} ms, {closed} sessions closed"
            ));
        }
        sentences
    }
}

impl Backend {
    fn cells(&self, pool_is_read: bool) -> Vec<String> {
        let mark = if self.active { "* " } else { "  " };
        let serves = match self.reason.as_str() {
            "eligible" => "yes".to_owned(),
            _ if pool_is_read && self.reader => "reads".to_owned(),
            "standby" if pool_is_read && !self.reader_reason.is_empty() => format!("no reads, {}", escaped(&self.reader_reason)),
            reason => format!("no, {}", escaped(reason)),
        };
        vec![
            format!("{mark}{}", escaped(&self.name)),
            escaped(&self.address),
            // What an operator ordered is seen even where it is not the reason.
            match self.admin.as_str() {
                "" | "ready" => escaped(&self.health),
                admin => format!("{}, {}", escaped(&self.health), escaped(admin)),
            },
            escaped(&self.role),
            self.limit.map_or_else(|| self.connections.to_string(), |limit| format!("{}/{limit}", self.connections)),
            self.lag_bytes.map_or_else(|| "-".to_owned(), size),
            self.version.as_deref().map_or_else(|| "-".to_owned(), escaped),
            serves,
        ]
    }
}

pub(in crate::cli) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if bytes < 1024 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

pub(in crate::cli) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status() -> Status {
        serde_json::from_value(json!({"version": "0.1.0", "uptime_seconds": 812, "phase": "running", "pools": [{
            "name": "orders", "summary": "Clients go to db-b. Another backend is ready to take over.", "epoch": 3, "active": "db-b",
            "listeners": [{"name": "rw", "listen": ["127.0.0.1:5432"], "connections": 118, "limit": 9000}],
            "last_failover": {"at": "2026-11-23T02:00:00.000Z", "from": "db-a", "to": "db-b", "cause": "down",
                "evidence": "connect refused", "gap_ms": 51.0, "sessions_closed": 97},
            "backends": [
                {"name": "db-a", "address": "db-a:5432", "health": "down", "role": "unknown", "reason": "down: connect refused",
                 "active": false, "connections": 0, "lag_bytes": null, "version": null},
                {"name": "db-b", "address": "db-b:5432", "health": "up", "role": "primary", "reason": "eligible",
                 "active": true, "connections": 118, "limit": 500, "lag_bytes": 2048, "version": "15.20\u{1b}[2J"}]}]}))
        .unwrap()
    }

    #[test]
    fn piped_output_is_plain_and_starts_with_the_sentence() {
        let expected = "\
orders: Clients go to db-b. Another backend is ready to take over.

orders (epoch 3)
  BACKEND  ADDRESS    HEALTH  ROLE     SESSIONS  LAG      VERSION         MAY SERVE
    db-a   db-a:5432  down    unknown  0         -        -               no, down: connect refused
  * db-b   db-b:5432  up      primary  118/500   2.0 KiB  15.20\\u{1b}[2J  yes
  listener rw on 127.0.0.1:5432: 118 of 9000 connections
  last failover 2026-11-23T02:00:00.000Z: db-a -> db-b, cause down (connect refused), no backend served for 51 ms, 97 sessions closed

mainstay 0.1.0, running, up for 13 min
";
        assert_eq!(status().render(Paint::Off), expected);
    }

    #[test]
    fn what_a_listener_asks_of_clients_stands_behind_its_connections() {
        let listener = json!({"name": "rw", "listen": ["127.0.0.1:5432"], "connections": 1, "limit": 9000, "limit_per_ip": 20,
            "allow": ["10.0.0.0/8", "::1/128"], "deny": ["10.1.0.0/32", "10.2.0.0/32", "10.3.0.0/32", "10.4.0.0/32"],
            "proxy_protocol": {"accept_from": ["10.9.0.0/16"], "send": "v2"}});
        let mut status = status();
        status.pools[0].listeners = vec![serde_json::from_value(listener).unwrap()];
        let expected = "  listener rw on 127.0.0.1:5432: 1 of 9000 connections, 20 per address, allow 10.0.0.0/8 ::1/128, \
                        deny 4 networks, PROXY from 10.9.0.0/16, sends PROXY v2\n";
        assert!(status.render(Paint::Off).contains(expected), "{}", status.render(Paint::Off));
    }

    #[test]
    fn readers_are_shown_where_the_pool_has_listeners_for_them() {
        let backend = |name: &str, reason: &str, reader: bool, why: &str| {
            json!({"name": name, "address": "x:1", "health": "up", "role": "standby", "reason": reason, "active": reason == "eligible",
                "reader": reader, "reader_reason": why, "connections": 1, "lag_bytes": null, "version": null})
        };
        let pool = |routes: &[&str]| -> Status {
            let listeners: Vec<_> = routes
                .iter()
                .map(|route| json!({"name": route, "listen": ["127.0.0.1:1"], "route": route, "connections": 2, "limit": null}))
                .collect();
            serde_json::from_value(
                json!({"version": "1", "uptime_seconds": 1, "pools": [{"name": "p", "epoch": 1, "active": null,
                "last_failover": null, "listeners": listeners, "backends": [backend("a", "eligible", false, "active"),
                backend("b", "standby", true, "reader"), backend("c", "standby", false, "lag")]}]}),
            )
            .unwrap()
        };
        let both = pool(&["primary", "replica"]);
        let text = both.render(Paint::Off);
        let rows: Vec<&str> = text.lines().filter(|line| line.contains("x:1")).collect();
        assert!(rows[0].ends_with(" yes") && rows[1].ends_with(" reads") && rows[2].ends_with(" no reads, lag"), "{text}");
        assert!(text.contains("listener replica on 127.0.0.1:1 (route replica): 2 connections"), "{text}");
        assert!(text.contains("listener primary on 127.0.0.1:1: 2 connections"), "{text}");
        let plain = pool(&["primary"]).render(Paint::Off);
        assert_eq!(plain.matches(" no, standby").count(), 2, "{plain}");
        assert!(
            !both.every_pool_serves() && pool(&["replica", "any"]).every_pool_serves(),
            "a pool for reading needs no active one"
        );
    }

    #[test]
    fn a_pause_and_what_is_not_ready_are_shown() {
        let mut status = status();
        (status.pools[0].paused, status.pools[0].pause_left_seconds) = (true, Some(25));
        status.pools[0].backends[1].admin = "drain".to_owned();
        let text = status.render(Paint::Off);
        assert!(text.contains("\norders (epoch 3), PAUSED, goes on in 25 s\n") && text.contains("  up, drain  "), "{text}");
    }

    #[test]
    fn colours_change_nothing_but_colour() {
        let mut painted = status().render(Paint::On);
        assert!(painted.contains("\x1b[32m"));
        for code in ["\x1b[32m", "\x1b[31;1m", "\x1b[2m", "\x1b[0m"] {
            painted = painted.replace(code, "");
        }
        assert_eq!(painted, status().render(Paint::Off));
    }

    #[test]
    fn a_pool_without_an_active_backend_is_seen() {
        let mut status = status();
        assert!(status.every_pool_serves());
        status.pools[0].suspended = true;
        assert!(!status.every_pool_serves(), "new clients are held, as /readyz says");
        status.pools[0].paused = true;
        assert!(status.every_pool_serves(), "by command, and are to wait here");
        status.pools[0].paused = false;
        status.pools[0].suspended = false;
        status.pools[0].active = None;
        assert!(!status.every_pool_serves());
    }

    #[test]
    fn sizes_and_spans() {
        assert_eq!([0, 1023, 1024, 1 << 20, u64::MAX].map(size), ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "16777216.0 TiB"]);
        assert_eq!([119, 120, 7200, 172_800].map(span), ["119 s", "2 min", "2 h", "2 days"]);
    }
}
