//! How many sessions a backend may have (`max_connections`), and how fast they begin after it became active (`connect_ramp`).
//! Control sets both, the byte path counts. All routes to a backend share one.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, Semaphore, SemaphorePermit, futures::Notified};

use crate::metrics::LiveCount;

/// Why no session may begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// The backend has `max_connections` sessions.
    Full,
    /// The ramp lets the next one begin at this moment.
    Ramp(Instant),
}

/// A token bucket for the clients of a backend that has just become active.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RampRate {
    /// Sessions that begin in a second.
    pub per_second: u32,
    /// Sessions that begin at once.
    pub burst: u32,
}

/// The places for sessions at a backend. One is taken from the dial to the end of the session.
#[derive(Debug)]
pub struct Places {
    /// [`usize::MAX`] without a limit.
    limit: AtomicUsize,
    used: AtomicUsize,
    /// Whether there is a ramp: without one, its lock is not taken.
    is_ramping: AtomicBool,
    ramp: Mutex<Option<Ramp>>,
    /// Turns that exist. Without one, nobody waits for `freed`.
    wanted: AtomicUsize,
    freed: Notify,
    turn: Semaphore,
}

#[derive(Debug)]
struct Ramp {
    /// The time in which one token comes.
    interval: Duration,
    /// The time in which all come.
    whole: Duration,
    /// When the bucket will be full, or was.
    full_at: Instant,
}

impl Ramp {
    /// The bucket is full.
    fn new(rate: RampRate, now: Instant) -> Self {
        // Rounded up: never faster than it was told.
        let interval = Duration::from_nanos(1_000_000_000_u64.div_ceil(rate.per_second.max(1).into()));
        Self { interval, whole: interval.saturating_mul(rate.burst.max(1)), full_at: now }
    }

    fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// How full it would be after one more.
    fn next(&self, now: Instant) -> Instant {
        self.full_at.max(now) + self.interval
    }
}

impl Default for Places {
    /// Any number, at once.
    fn default() -> Self {
        Self {
            limit: AtomicUsize::new(usize::MAX),
            used: AtomicUsize::new(0),
            is_ramping: AtomicBool::new(false),
            ramp: Mutex::new(None),
            wanted: AtomicUsize::new(0),
            freed: Notify::new(),
            turn: Semaphore::new(1),
        }
    }
}

impl Places {
    /// From now on there are so many; taken ones stay taken.
    pub fn resize(&self, limit: Option<usize>) {
        self.limit.store(limit.unwrap_or(usize::MAX), Ordering::SeqCst);
        self.tell();
    }

    /// The present limit.
    pub fn limit(&self) -> Option<usize> {
        Some(self.limit.load(Ordering::Relaxed)).filter(|limit| *limit < usize::MAX)
    }

    /// Places that are taken.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether it has as many sessions as it may, or a client waits for the place that has just become free.
    pub fn is_full(&self) -> bool {
        self.limit().is_some_and(|limit| self.used() >= limit || self.wanted.load(Ordering::Relaxed) > 0)
    }

    /// From now on sessions begin at this rate, until the bucket is full and nobody waits; `None`: at once.
    pub fn ramp(&self, rate: Option<RampRate>) {
        let mut ramp = self.lock();
        *ramp = rate.map(|rate| Ramp::new(rate, Instant::now()));
        self.is_ramping.store(ramp.is_some(), Ordering::Release);
    }

    /// The same for a ramp that is not over.
    pub fn change_ramp(&self, rate: Option<RampRate>) {
        if self.is_ramping() {
            self.ramp(rate);
        }
    }

    /// Whether a ramp is not over.
    pub fn is_ramping(&self) -> bool {
        self.is_ramping.load(Ordering::Acquire)
    }

    /// Takes a place if a session may begin at `now`. `held` is the number of the pool's clients that wait.
    ///
    /// # Errors
    /// Why none may.
    pub(super) fn take(&self, now: Instant, held: &LiveCount) -> Result<(), Busy> {
        if self.is_ramping() { self.take_on_ramp(now, held) } else { self.occupy() }
    }

    #[cold]
    fn take_on_ramp(&self, now: Instant, held: &LiveCount) -> Result<(), Busy> {
        let mut lock = self.lock();
        let Some(ramp) = lock.as_mut() else { return self.occupy() };
        if ramp.is_full(now) && held.get() == 0 {
            *lock = None;
            self.is_ramping.store(false, Ordering::Release);
            return self.occupy();
        }
        let next = ramp.next(now);
        if next > now + ramp.whole {
            return Err(Busy::Ramp(next.checked_sub(ramp.whole).unwrap_or(now)));
        }
        self.occupy()?;
        ramp.full_at = next;
        Ok(())
    }

    fn occupy(&self) -> Result<(), Busy> {
        // Compared and exchanged: a number that is too high for a moment would turn others away, whom nobody wakes.
        let limit = self.limit.load(Ordering::SeqCst);
        let taken = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| (used < limit).then_some(used + 1));
        taken.map(drop).map_err(|_| Busy::Full)
    }

    pub(super) fn give_back(&self) {
        self.used.fetch_sub(1, Ordering::SeqCst);
        self.tell();
    }

    /// Whoever has the turn looks again. It has announced itself before it looked for a place, so either it sees this one, or it is
    /// seen here.
    fn tell(&self) {
        if self.wanted.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }

    /// Waits for the turn to take a place, in the order of the calls: clients of several listeners may wait for one backend.
    pub async fn turn(&self) -> PlaceTurn<'_> {
        // `None` only when it is closed, which it never is.
        let permit = self.turn.acquire().await.ok();
        self.wanted.fetch_add(1, Ordering::SeqCst);
        PlaceTurn { places: self, _permit: permit }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Ramp>> {
        self.ramp.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turn to take a place, until this is dropped.
#[derive(Debug)]
pub struct PlaceTurn<'a> {
    places: &'a Places,
    _permit: Option<SemaphorePermit<'a>>,
}

impl PlaceTurn<'_> {
    /// Resolves after a place became free.
    pub fn freed(&self) -> Notified<'_> {
        self.places.freed.notified()
    }
}

impl Drop for PlaceTurn<'_> {
    fn drop(&mut self) {
        self.places.wanted.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    fn limited(limit: usize) -> Places {
        let places = Places::default();
        places.resize(Some(limit));
        places
    }

    #[test]
    fn there_are_as_many_places_as_the_limit_says_at_any_time() {
        let (places, nobody, now) = (Places::default(), LiveCount::default(), Instant::now());
        for _ in 0..5 {
            places.take(now, &nobody).unwrap();
        }
        places.resize(Some(3));
        assert!(places.is_full() && places.limit() == Some(3), "those from before a limit count");
        for _ in 0..3 {
            assert_eq!(places.take(now, &nobody), Err(Busy::Full));
            places.give_back();
        }
        assert_eq!((places.take(now, &nobody), places.take(now, &nobody)), (Ok(()), Err(Busy::Full)));
        places.resize(None);
        assert_eq!((places.take(now, &nobody), places.used(), places.limit()), (Ok(()), 4, None));
    }

    #[test]
    fn threads_never_take_more_than_there_are_and_none_is_lost() {
        let (places, nobody) = (Arc::new(limited(3)), LiveCount::default());
        let most = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (places, nobody, most) = (Arc::clone(&places), nobody.clone(), Arc::clone(&most));
                thread::spawn(move || {
                    for _ in 0..20_000 {
                        if places.take(Instant::now(), &nobody).is_ok() {
                            let inside = most.0.fetch_add(1, Ordering::SeqCst) + 1;
                            most.1.fetch_max(inside, Ordering::SeqCst);
                            most.0.fetch_sub(1, Ordering::SeqCst);
                            places.give_back();
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert!(most.1.load(Ordering::SeqCst) <= 3);
        assert_eq!(places.used(), 0);
    }

    #[test]
    fn a_ramp_lets_the_burst_pass_and_then_so_many_in_a_second() {
        let (places, held) = (Places::default(), LiveCount::default());
        let _waits = held.guard();
        places.ramp(Some(RampRate { per_second: 500, burst: 100 }));
        let begin = Instant::now();
        let at = |micros: u64| begin + Duration::from_micros(micros);
        let mut passed = 0_u64;
        // Asked far more often than a token comes, and at uneven times.
        for micros in (0..1_000_000).step_by(173) {
            while places.take(at(micros), &held).is_ok() {
                passed += 1;
            }
            // Tokens come from the moment the ramp began, which is a little earlier.
            assert!(passed <= 100 + micros / 2000 + 1, "{passed} after {micros} µs");
        }
        assert!(passed >= 100 + 499, "{passed}");
        let next = loop {
            if let Err(Busy::Ramp(next)) = places.take(at(1_000_000), &held) {
                break next;
            }
        };
        assert!(next > at(1_000_000) && next <= at(1_002_000));
        assert_eq!(places.take(next, &held), Ok(()), "at the moment that was told");
    }

    #[test]
    fn a_ramp_is_over_when_the_bucket_is_full_and_nobody_waits() {
        let (places, held) = (Places::default(), LiveCount::default());
        let waits = held.guard();
        places.ramp(Some(RampRate { per_second: 10, burst: 2 }));
        let later = |millis: u64| Instant::now() + Duration::from_millis(millis);
        let now = later(0);
        assert_eq!((places.take(now, &held), places.take(now, &held)), (Ok(()), Ok(())));
        assert!(matches!(places.take(now, &held), Err(Busy::Ramp(_))));
        assert_eq!(places.take(later(60_000), &held), Ok(()));
        assert!(places.is_ramping(), "somebody waits");
        drop(waits);
        let now = later(60_001);
        assert_eq!(places.take(now, &held), Ok(()));
        assert!(places.is_ramping(), "the bucket is not full");
        let now = later(120_000);
        for _ in 0..50 {
            assert_eq!(places.take(now, &held), Ok(()));
        }
        assert!(!places.is_ramping());
    }

    #[test]
    fn a_session_that_finds_no_place_costs_no_token() {
        let (places, held) = (limited(1), LiveCount::default());
        let _waits = held.guard();
        places.ramp(Some(RampRate { per_second: 1, burst: 2 }));
        let now = Instant::now();
        places.take(now, &held).unwrap();
        for _ in 0..9 {
            assert_eq!(places.take(now, &held), Err(Busy::Full));
        }
        places.give_back();
        assert_eq!(places.take(now, &held), Ok(()));
        places.give_back();
        assert!(matches!(places.take(now, &held), Err(Busy::Ramp(_))));
        places.change_ramp(None);
        assert_eq!(places.take(now, &held), Ok(()), "it was switched off");
    }
}
