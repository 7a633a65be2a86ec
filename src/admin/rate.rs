//! How often something may happen.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const WINDOW: Duration = Duration::from_secs(1);
/// Wrong tokens of one address in a window; after them no token of it is looked at until the window is over.
const WRONG_TOKENS: u32 = 5;
/// Addresses share this many counters, so that no crowd of addresses takes memory. Which ones share is secret.
const COUNTERS: usize = 64;
/// The shortest time between two log lines.
const QUIET: Duration = Duration::from_secs(10);

/// What happened within the present window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    began: Option<Instant>,
    count: u32,
}

impl Window {
    fn at(&mut self, now: Instant) -> &mut u32 {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= WINDOW) {
            *self = Self { began: Some(now), count: 0 };
        }
        &mut self.count
    }
}

/// At most so many in each second.
#[derive(Debug)]
pub(super) struct RateLimit {
    most: u32,
    window: Mutex<Window>,
}

impl RateLimit {
    pub(super) fn new(most: u32) -> Self {
        Self { most, window: Mutex::default() }
    }

    /// Whether one more is allowed at `now`; counts it if so.
    pub(super) fn take(&self, now: Instant) -> bool {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let count = window.at(now);
        let is_allowed = *count < self.most;
        *count += u32::from(is_allowed);
        is_allowed
    }
}

/// Wrong tokens by address, and how many of them no log line has told of yet.
#[derive(Debug)]
pub(super) struct WrongTokens {
    hasher: RandomState,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    windows: [Window; COUNTERS],
    untold: u64,
    told: Option<Instant>,
}

impl WrongTokens {
    pub(super) fn new() -> Self {
        let counts = Counts { windows: [Window::default(); COUNTERS], untold: 0, told: None };
        Self { hasher: RandomState::new(), counts: Mutex::new(counts) }
    }

    /// Whether no token of this address is to be looked at.
    pub(super) fn is_barred(&self, from: IpAddr, now: Instant) -> bool {
        *self.lock().windows[self.counter(from)].at(now) >= WRONG_TOKENS
    }

    /// Counts an attempt that failed. Returns how many failed since the last log line, if it is time for one.
    pub(super) fn count(&self, from: IpAddr, now: Instant) -> Option<u64> {
        let mut counts = self.lock();
        let count = counts.windows[self.counter(from)].at(now);
        *count = count.saturating_add(1);
        counts.untold += 1;
        if counts.told.is_some_and(|told| now.saturating_duration_since(told) < QUIET) {
            return None;
        }
        counts.told = Some(now);
        Some(std::mem::take(&mut counts.untold))
    }

    fn counter(&self, from: IpAddr) -> usize {
        // The remainder is below `COUNTERS`.
        usize::try_from(self.hasher.hash_one(from) % COUNTERS as u64).unwrap_or(0)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_limit_holds_within_a_second_and_ends_with_it() {
        let (limit, start) = (RateLimit::new(3), Instant::now());
        assert_eq!([0, 1, 500, 999].map(|ms| limit.take(start + Duration::from_millis(ms))), [true, true, true, false]);
        assert!(limit.take(start + WINDOW));
    }

    #[test]
    fn an_address_is_barred_after_a_few_wrong_tokens_until_the_second_is_over() {
        let (wrong, start) = (WrongTokens::new(), Instant::now());
        let at = |number: u8| IpAddr::from(Ipv4Addr::new(10, 0, 0, number));
        for _ in 0..WRONG_TOKENS {
            assert!(!wrong.is_barred(at(1), start));
            wrong.count(at(1), start);
        }
        assert!(wrong.is_barred(at(1), start) && !wrong.is_barred(at(1), start + WINDOW));
        let others = (2..=255).filter(|number| wrong.is_barred(at(*number), start)).count();
        assert!(others < 60, "{others} of 254 addresses share the counter of one");
    }

    #[test]
    fn the_log_tells_of_all_wrong_tokens_but_not_each_by_a_line() {
        let (wrong, start) = (WrongTokens::new(), Instant::now());
        let from = IpAddr::from(Ipv4Addr::LOCALHOST);
        let told: Vec<_> = (0..=20).map(|second| wrong.count(from, start + Duration::from_secs(second))).collect();
        assert_eq!((told[0], told[10], told[20]), (Some(1), Some(10), Some(10)));
        assert_eq!(told.iter().flatten().count(), 3);
    }
}
