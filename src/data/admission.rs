//! How many connections there may be, given the limit of open files.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Descriptors the process needs besides clients, and how many clients that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Clients at most; each needs two descriptors.
    pub connections: usize,
    /// Clients over the limit that may get their error at the same time.
    pub refusals: usize,
    /// Admin connections at most.
    pub admin: usize,
    /// Pipes of each worker at most; each has two descriptors.
    pub pipes: usize,
}

impl Budget {
    /// Divides `descriptors` (the limit of open files) among clients and what must always work: listening sockets, event loops,
    /// `checks`, admin connections, refusals, pipes.
    ///
    /// # Errors
    /// The number of descriptors that one client would need, when there are fewer.
    pub fn divide(descriptors: usize, listeners: usize, checks: usize, workers: usize) -> Result<Self, usize> {
        let admin = (descriptors / 8).clamp(4, 32);
        let refusals = (descriptors / 16).clamp(2, 256);
        // stdio, the reserve descriptor, the log and state files, signals; an event loop has three descriptors.
        let fixed = 10 + 3 * (workers + 3) + listeners + checks;
        // A worker can use as many as it has sessions with slow readers; the rest is copied.
        let pipes = (descriptors / 64 / workers).min(64);
        let reserved = fixed + admin + refusals + 2 * pipes * workers;
        if descriptors < reserved + 2 {
            return Err(reserved + 2);
        }
        Ok(Self { connections: (descriptors - reserved) / 2, refusals, admin, pipes })
    }
}

/// Counts the taken places.
#[derive(Debug)]
pub struct Admission {
    limit: AtomicUsize,
    used: AtomicUsize,
    /// A place taken here is also taken there.
    whole: Option<Arc<Self>>,
}

impl Admission {
    /// At most `limit` places.
    pub const fn new(limit: usize) -> Self {
        Self { limit: AtomicUsize::new(limit), used: AtomicUsize::new(0), whole: None }
    }

    /// At most `limit` places of `whole`.
    pub(super) const fn of(whole: Arc<Self>, limit: usize) -> Self {
        Self { limit: AtomicUsize::new(limit), used: AtomicUsize::new(0), whole: Some(whole) }
    }

    /// Places in all.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Places that are taken.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Changes the limit; taken places stay taken.
    pub fn resize(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Takes a place if one is free.
    pub fn admit(self: &Arc<Self>) -> Option<Place> {
        self.take().then(|| Place(Arc::clone(self)))
    }

    fn take(&self) -> bool {
        let is_free = self.used.fetch_add(1, Ordering::Relaxed) < self.limit();
        let is_taken = is_free && self.whole.as_ref().is_none_or(|whole| whole.take());
        if !is_taken {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
        is_taken
    }

    fn give_back(&self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give_back();
        }
    }
}

/// A place, taken until this is dropped.
#[derive(Debug)]
pub struct Place(Arc<Admission>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let admission = Arc::new(Admission::new(2));
        let (a, b) = (admission.admit(), admission.admit());
        assert!(a.is_some() && b.is_some() && admission.admit().is_none());
        drop(a);
        assert!(admission.admit().is_some());
        drop(b);
        assert_eq!(admission.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_part_has_no_more_places_than_the_whole_and_gives_back_both() {
        let whole = Arc::new(Admission::new(3));
        let [few, many] = [2, 9].map(|limit| Arc::new(Admission::of(Arc::clone(&whole), limit)));
        let of_few = [few.admit(), few.admit()];
        assert!(of_few.iter().all(Option::is_some) && few.admit().is_none());
        let of_many = many.admit();
        assert!(of_many.is_some() && many.admit().is_none() && few.admit().is_none());
        drop(of_few);
        let used = || [&whole, &few, &many].map(|admission| admission.used.load(Ordering::Relaxed));
        assert_eq!(used(), [1, 0, 1]);
        many.resize(1);
        assert!(many.admit().is_none(), "as many as there may be came before");
        drop(of_many);
        assert_eq!(used(), [0; 3]);
    }

    #[test]
    fn a_small_limit_leaves_room_for_what_must_work() {
        let budget = Budget::divide(64, 1, 6, 1).unwrap();
        assert!(budget.connections >= 1, "{budget:?}");
        assert!(budget.admin >= 4 && budget.refusals >= 2);
        assert!(Budget::divide(20, 1, 6, 2).is_err());
        let large = Budget::divide(20_000, 2, 9, 2).unwrap();
        let beside_many = Budget::divide(20_000, 2, 9 + 200, 2).unwrap();
        assert_eq!(large.connections - beside_many.connections, 100, "two descriptors less for clients each");
        assert!(large.connections > 9_000 && large.connections * 2 < 20_000);
    }
}
