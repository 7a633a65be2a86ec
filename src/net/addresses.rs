//! The addresses of one server.

use std::{
    fmt,
    net::SocketAddr,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::endpoint::Endpoint;

/// The addresses of a server's name, in the order of the resolver, and the one where it answered last. The next connect, of a probe
/// or a client, tries that one first; otherwise each would wait behind a silent address. Clones share this.
#[derive(Clone)]
pub struct Addresses(Arc<Shared>);

struct Shared {
    list: Box<[Endpoint]>,
    answered: AtomicUsize,
}

impl Addresses {
    /// In the order to try them, each with its index for [`Addresses::answered_at`].
    pub fn in_order(&self) -> impl ExactSizeIterator<Item = (usize, &Endpoint)> {
        let first = self.0.answered.load(Relaxed);
        (0..self.len()).map(move |turn| {
            let place = match turn {
                0 => first,
                turn if turn <= first => turn - 1,
                turn => turn,
            };
            (place, &self[place])
        })
    }

    /// The server answered a connect at this index.
    pub fn answered_at(&self, place: usize) {
        // Hardly ever another one: a value that many threads read is not written without need.
        if place < self.len() && self.0.answered.load(Relaxed) != place {
            self.0.answered.store(place, Relaxed);
        }
    }
}

impl Deref for Addresses {
    type Target = [Endpoint];

    fn deref(&self) -> &[Endpoint] {
        &self.0.list
    }
}

impl FromIterator<Endpoint> for Addresses {
    fn from_iter<I: IntoIterator<Item = Endpoint>>(list: I) -> Self {
        Self(Arc::new(Shared { list: list.into_iter().collect(), answered: AtomicUsize::new(0) }))
    }
}

impl<const N: usize> From<[Endpoint; N]> for Addresses {
    fn from(list: [Endpoint; N]) -> Self {
        list.into_iter().collect()
    }
}

impl From<SocketAddr> for Addresses {
    fn from(address: SocketAddr) -> Self {
        [address.into()].into()
    }
}

impl Default for Addresses {
    fn default() -> Self {
        [].into()
    }
}

// The addresses alone.
impl PartialEq for Addresses {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ports: &[u16]) -> Addresses {
        ports.iter().map(|&port| SocketAddr::from(([127, 0, 0, 1], port)).into()).collect()
    }

    #[test]
    fn the_one_that_answered_comes_first_and_the_others_as_they_were() {
        let addresses = at(&[1, 2, 3, 4]);
        let clone = addresses.clone();
        let order = || addresses.in_order().map(|(_, address)| address.tcp().unwrap().port()).collect::<Vec<_>>();
        assert_eq!(order(), [1, 2, 3, 4]);
        clone.answered_at(2);
        assert_eq!(order(), [3, 1, 2, 4]);
        assert!(addresses.in_order().all(|(place, address)| addresses[place] == *address));
        clone.answered_at(3);
        assert_eq!(order(), [4, 1, 2, 3]);
        clone.answered_at(4);
        assert_eq!((order(), addresses.in_order().len()), (vec![4, 1, 2, 3], 4));
        assert_eq!(addresses, at(&[1, 2, 3, 4]));
    }

    #[test]
    fn there_may_be_none() {
        let none = Addresses::default();
        none.answered_at(0);
        assert_eq!((none.in_order().count(), format!("{none:?}")), (0, "[]".to_owned()));
    }
}
