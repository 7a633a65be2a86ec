//! The sessions of an embedded node, as `pg_stat_activity` shows them to whoever moves them to another one, and ends them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::catalog::Table;

/// The sessions of a node, each by its client's port.
#[derive(Debug, Default)]
pub(crate) struct Seats(Mutex<Room>);

#[derive(Debug, Default)]
struct Room {
    last: u64,
    taken: BTreeMap<u16, Seat>,
    logins: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Seat {
    id: u64,
    is_idle: bool,
    /// Rises with each change of that.
    stamp: u64,
    end: CancellationToken,
}

/// A session; it is over when this is dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    seats: Arc<Seats>,
    port: u16,
    /// Somebody ends it.
    pub(crate) end: CancellationToken,
}

impl Seats {
    /// A client of this name has logged in.
    pub(crate) fn take(self: &Arc<Self>, port: u16, user: &str) -> Taken {
        let (mut room, end) = (self.lock(), CancellationToken::new());
        room.last += 1;
        let id = room.last;
        *room.logins.entry(user.to_owned()).or_default() += 1;
        room.taken.insert(port, Seat { id, is_idle: true, stamp: 1, end: end.clone() });
        Taken { seats: Arc::clone(self), port, end }
    }

    /// How many clients of this name have logged in so far.
    pub(crate) fn logins(&self, user: &str) -> u64 {
        self.lock().logins.get(user).copied().unwrap_or(0)
    }

    /// Sessions at present.
    pub(crate) fn count(&self) -> usize {
        self.lock().taken.len()
    }

    /// Answers who drains: shows the sessions it asks for, and ends those it names, if they are idle still or whatever they do.
    pub(crate) fn show(&self, sql: &str) -> Table {
        let ports = numbers(between(sql, "a.client_port in (", ")"));
        let now = numbers(between(sql, "or a.pid in (", ")"));
        let idle = numbers(between(sql, "bigint) in (", " or a.pid in ("));
        let names = ["id", "address", "port", "state", "waits", "stamp", "open", "may", "ended"];
        let mut table = Table::new(&names);
        for (port, seat) in self.lock().taken.iter().filter(|(port, _)| ports.contains(&u64::from(**port))) {
            let is_named = idle.chunks_exact(2).any(|pair| pair == [seat.id, seat.stamp]);
            let ends = now.contains(&seat.id) || (seat.is_idle && is_named);
            if ends {
                seat.end.cancel();
            }
            let (id, port, stamp) = (seat.id.to_string(), port.to_string(), seat.stamp.to_string());
            let (state, open) = if seat.is_idle { ("idle", "f") } else { ("active", "t") };
            table.add(&[
                Some(&id),
                Some("127.0.0.1"),
                Some(&port),
                Some(state),
                None,
                Some(&stamp),
                Some(open),
                Some("t"),
                ends.then_some("t"),
            ]);
        }
        table
    }

    fn lock(&self) -> MutexGuard<'_, Room> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// It has a request.
    pub(crate) fn begins(&self) {
        self.change(|seat| seat.is_idle = false);
    }

    /// It has none any more.
    pub(crate) fn ends(&self) {
        self.change(|seat| seat.is_idle = true);
    }

    fn change(&self, change: impl FnOnce(&mut Seat)) {
        if let Some(seat) = self.seats.lock().taken.get_mut(&self.port) {
            change(seat);
            seat.stamp += 1;
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.seats.lock().taken.remove(&self.port);
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let rest = text.split_once(start).map_or("", |(_, rest)| rest);
    rest.split_once(end).map_or(rest, |(inside, _)| inside)
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_idle_still_is_ended_and_whoever_is_named() {
        let seats = Arc::new(Seats::default());
        let [idle, busy, changed] = [10, 11, 12].map(|port| seats.take(port, "app"));
        busy.begins();
        let ask = |idle: &str, now: &str| {
            let ended = format!("(a.state = 'idle' and (a.pid, (x)::bigint) in ((0, 0){idle}) or a.pid in (0{now}))");
            seats.show(&format!("select {ended} from pg_stat_activity a where a.client_port in (-2, 10, 11, 12)"))
        };
        assert_eq!(ask("", "").rows().len(), 3);
        changed.ends();
        ask(", (1, 1), (2, 2), (3, 1)", "");
        assert_eq!([&idle, &busy, &changed].map(|taken| taken.end.is_cancelled()), [true, false, false]);
        ask("", ", 2");
        assert!(busy.end.is_cancelled() && !changed.end.is_cancelled());
        drop((idle, busy));
        assert_eq!((seats.count(), seats.logins("app"), seats.logins("postgres")), (1, 3, 0));
    }
}
