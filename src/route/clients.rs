//! What clients feel of a failure: data → admin. Bounded: what nobody has read for long makes room.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::clock::Clock;
use crate::failover::{Epoch, Time};

/// How the wait of a client for a backend ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitEnd {
    /// A backend serves it.
    Served,
    /// It was rejected, after a wait.
    TurnedAway,
    /// It was rejected at once: too many waited.
    Refused,
    /// It left, or mainstay stops.
    Left,
}

/// What some clients felt at about the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// The epoch of sessions that ended; `None` for clients that waited.
    pub epoch: Option<Epoch>,
    /// When the first of them began to wait, or ended.
    pub from: Time,
    /// When the last of these waits ended, or the last of the sessions.
    pub until: Time,
    /// Sessions that were lost: the backend ended them, or its route was revoked.
    pub lost: u64,
    /// Sessions that their clients ended.
    pub left: u64,
    /// Clients that waited.
    pub held: u64,
    /// Those of them that were served in the end.
    pub served_late: u64,
    /// Clients that were rejected, after a wait or at once.
    pub turned_away: u64,
    /// The longest of the waits.
    pub longest: Duration,
}

/// What the clients of a pool felt lately. A session costs one atomic read when it begins, and a lock for a moment when it ends.
#[derive(Debug, Default)]
pub struct ClientLog {
    /// The newest epoch under which a client was served.
    served: AtomicU64,
    book: Mutex<Book>,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    /// When the first of what it holds ended.
    begun: Time,
    trouble: Trouble,
}

#[derive(Debug, Default)]
struct Book {
    last: u64,
    /// Up to this one they were read: they change no more.
    read: u64,
    troubles: VecDeque<Entry>,
    /// The first session of each epoch.
    first: VecDeque<(Epoch, Time)>,
}

impl ClientLog {
    const KEPT: usize = 1024;
    const EPOCHS: usize = 16;
    /// What is this close together is one entry.
    const CLOSE: Duration = Duration::from_millis(10);

    /// A client waited for a backend.
    pub fn waited(&self, from: Time, until: Time, end: WaitEnd) {
        let is = |is: bool| u64::from(is);
        self.note(Trouble {
            epoch: None,
            from,
            until,
            lost: 0,
            left: 0,
            held: is(end != WaitEnd::Refused),
            served_late: is(end == WaitEnd::Served),
            turned_away: is(matches!(end, WaitEnd::TurnedAway | WaitEnd::Refused)),
            longest: until.since(from),
        });
    }

    /// A session under this epoch was lost.
    pub fn lost(&self, epoch: Epoch, at: Time) {
        self.note(Trouble { epoch: Some(epoch), from: at, until: at, lost: 1, ..Trouble::default() });
    }

    /// A session under this epoch was ended by its client.
    pub fn left(&self, epoch: Epoch, at: Time) {
        self.note(Trouble { epoch: Some(epoch), from: at, until: at, left: 1, ..Trouble::default() });
    }

    /// A client is served under this epoch now.
    pub fn served(&self, epoch: Epoch, clock: Clock) {
        if epoch.0 <= self.served.load(Ordering::Relaxed) || self.served.fetch_max(epoch.0, Ordering::Relaxed) >= epoch.0 {
            return;
        }
        let mut book = self.lock();
        if book.first.len() == Self::EPOCHS {
            book.first.pop_front();
        }
        book.first.push_back((epoch, clock.now()));
    }

    /// When the first client was served under this epoch.
    pub fn first_served(&self, epoch: Epoch) -> Option<Time> {
        self.lock().first.iter().find(|(known, _)| *known == epoch).map(|(_, at)| *at)
    }

    /// What was noted after `seen`, oldest first, and what to give as `seen` the next time.
    pub fn since(&self, seen: u64) -> (Vec<Trouble>, u64) {
        let mut book = self.lock();
        book.read = book.last;
        let new = book.troubles.iter().filter(|entry| entry.number > seen).map(|entry| entry.trouble).collect();
        (new, book.last)
    }

    /// What was over before `at` makes room: without an incident, nobody asks for it.
    pub fn forget(&self, at: Time) {
        let mut book = self.lock();
        while book.troubles.front().is_some_and(|entry| entry.trouble.until < at) {
            book.troubles.pop_front();
        }
    }

    fn note(&self, trouble: Trouble) {
        let mut book = self.lock();
        let read = book.read;
        let is_close = |entry: &&mut Entry| {
            let is_same = entry.number > read && entry.trouble.epoch == trouble.epoch;
            is_same && trouble.until.since(entry.begun) <= Self::CLOSE
        };
        // Waits and lost sessions of two epochs alternate at most.
        if let Some(Entry { trouble: known, .. }) = book.troubles.iter_mut().rev().take(3).find(is_close) {
            known.from = known.from.min(trouble.from);
            known.until = known.until.max(trouble.until);
            known.lost += trouble.lost;
            known.left += trouble.left;
            known.held += trouble.held;
            known.served_late += trouble.served_late;
            known.turned_away += trouble.turned_away;
            known.longest = known.longest.max(trouble.longest);
            return;
        }
        book.last += 1;
        if book.troubles.len() == Self::KEPT {
            book.troubles.pop_front();
        }
        let number = book.last;
        book.troubles.push_back(Entry { number, begun: trouble.until, trouble });
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn what_is_close_together_is_one_entry_until_it_is_read() {
        let log = ClientLog::default();
        log.lost(Epoch(1), at(1000));
        log.waited(at(1001), at(1003), WaitEnd::Refused);
        log.lost(Epoch(1), at(1005));
        log.waited(at(1002), at(1009), WaitEnd::Served);
        let (seen, number) = log.since(0);
        assert_eq!((seen.len(), seen[0].lost, seen[0].until), (2, 2, at(1005)));
        let waits = Trouble { from: at(1001), until: at(1009), held: 1, served_late: 1, turned_away: 1, ..Trouble::default() };
        assert_eq!(seen[1], Trouble { longest: Duration::from_millis(7), ..waits });
        log.waited(at(1002), at(1010), WaitEnd::Left);
        let (new, number) = log.since(number);
        assert_eq!((new.len(), new[0].held, new[0].served_late), (1, 1, 0), "and what was read stays as it was");
        assert_eq!(log.since(number).0, []);
    }

    #[test]
    fn it_is_bounded_and_keeps_the_newest() {
        let log = ClientLog::default();
        for number in 0..3000 {
            log.waited(at(0), at(100 * number), WaitEnd::Served);
            log.served(Epoch(number), Clock::start());
        }
        let (seen, _) = log.since(0);
        assert_eq!((seen.len(), seen[0].until, seen[1023].until), (1024, at(100 * 1976), at(100 * 2999)));
        assert!(log.first_served(Epoch(2999)).is_some() && log.first_served(Epoch(2900)).is_none());
        log.forget(at(100 * 2990));
        assert_eq!(log.since(0).0.len(), 10);
        let first = log.first_served(Epoch(2999));
        log.served(Epoch(2999), Clock::start());
        log.served(Epoch(2998), Clock::start());
        assert_eq!(log.first_served(Epoch(2999)), first);
    }
}
