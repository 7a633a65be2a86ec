//! How many connections each client address has.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The clients of a listener, counted by address. Its lock is taken when a client comes and when it goes, never while bytes move.
#[derive(Debug, Default)]
pub(super) struct PerIpLimiter {
    /// Never 0: an address without connections has no entry.
    counts: Mutex<HashMap<IpAddr, usize>>,
}

impl PerIpLimiter {
    /// Counts one more client of this address, unless there are `limit` already. An IPv4 client of an IPv6 socket counts as IPv4.
    pub(super) fn permit(self: &Arc<Self>, address: IpAddr, limit: usize) -> Option<Permit> {
        let address = address.to_canonical();
        let mut counts = self.lock();
        match counts.entry(address) {
            Entry::Occupied(count) if *count.get() >= limit => return None,
            Entry::Vacant(_) if limit == 0 => return None,
            entry => *entry.or_insert(0) += 1,
        }
        drop(counts);
        Some(Permit { limiter: Arc::clone(self), address })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that counts until this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    limiter: Arc<PerIpLimiter>,
    address: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.limiter.lock();
        if let Entry::Occupied(mut count) = counts.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_address_has_its_own_limit_and_gets_its_permits_back() {
        let limiter = Arc::new(PerIpLimiter::default());
        let permits = [limiter.permit(ip("10.0.0.1"), 2), limiter.permit(ip("10.0.0.1"), 2)];
        assert!(permits.iter().all(Option::is_some) && limiter.permit(ip("10.0.0.1"), 2).is_none());
        assert!(limiter.permit(ip("10.0.0.2"), 2).is_some(), "another address");
        assert!(limiter.permit(ip("::ffff:10.0.0.1"), 2).is_none(), "the same address, mapped");
        drop(permits);
        assert!(limiter.lock().is_empty(), "an address without connections is remembered");
        assert!(limiter.permit(ip("::ffff:10.0.0.1"), 1).is_some());
    }

    #[test]
    fn a_lower_limit_lets_nobody_in_until_enough_have_left() {
        let limiter = Arc::new(PerIpLimiter::default());
        let mut permits: Vec<_> = (0..5).map(|_| limiter.permit(ip("::1"), 5).unwrap()).collect();
        assert!(limiter.permit(ip("::1"), 3).is_none());
        permits.truncate(3);
        assert!(limiter.permit(ip("::1"), 3).is_none());
        permits.truncate(2);
        assert!(limiter.permit(ip("::1"), 3).is_some());
    }

    #[test]
    fn nothing_is_lost_among_threads() {
        let limiter = Arc::new(PerIpLimiter::default());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let limiter = Arc::clone(&limiter);
                std::thread::spawn(move || (0..2000).filter(|_| limiter.permit(ip("10.0.0.1"), 2).is_some()).count())
            })
            .collect();
        let permitted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!(permitted >= 2000, "{permitted}");
        assert!(limiter.lock().is_empty());
    }
}
