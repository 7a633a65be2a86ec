//! Growing pauses between attempts.

use std::time::Duration;

/// Doubles from `first` to `max`; [`Backoff::reset`] starts over.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses of `first`, twice that, and so on, up to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, next: first }
    }

    /// The pause to make now.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause
    }

    /// The last attempt succeeded.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_its_maximum_and_starts_over() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(10), ms(35));
        assert_eq!(
            [backoff.next_pause(), backoff.next_pause(), backoff.next_pause(), backoff.next_pause()],
            [ms(10), ms(20), ms(35), ms(35)]
        );
        backoff.reset();
        assert_eq!(backoff.next_pause(), ms(10));
    }
}
