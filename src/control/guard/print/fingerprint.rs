//! Fingerprints of values that may be secrets: enough to see that one has changed.
//!
//! A short value could be found by trying all of them if its fingerprint were a plain hash. So it depends on a random key, which is
//! kept in a file of its own and shown nowhere. Fingerprints of two keys tell nothing about each other: see [`Print::key`].

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::{
    route::{self, Print},
    state,
};

/// What outlives the process.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(in crate::control) struct KeptKey {
    secret: String,
}

impl state::Kept for KeptKey {
    const NAME: &'static str = "key";
    const MAX_LEN: u64 = 1 << 10;
    const LOST: &'static str = "settings that are shown as a fingerprint are trusted as they are now";
}

impl KeptKey {
    /// Random bytes in base64, which have this length.
    const LENGTH: usize = 43;

    /// Another one, if there is none. Returns whether it is.
    pub(in crate::control) fn complete(&mut self) -> bool {
        let is_new = self.secret.len() != Self::LENGTH;
        if is_new {
            self.secret = STANDARD_NO_PAD.encode(rand::random::<[u8; 32]>());
        }
        is_new
    }
}

/// Makes the fingerprints of a pool.
#[derive(Clone)]
pub struct Fingerprints {
    key: hmac::Key,
    /// Tells the key from others.
    name: String,
}

impl Fingerprints {
    /// With a key that nobody has.
    pub fn random() -> Self {
        let mut key = KeptKey::default();
        key.complete();
        Self::new(&key)
    }

    pub(in crate::control) fn new(key: &KeptKey) -> Self {
        let mut fingerprints = Self { key: hmac::Key::new(hmac::HMAC_SHA256, key.secret.as_bytes()), name: String::new() };
        fingerprints.name = fingerprints.of("", "");
        fingerprints
    }

    /// A print without items, which are to have these fingerprints.
    pub(super) fn print(&self) -> Print {
        Print { key: self.name.clone(), ..Print::default() }
    }

    /// Of the value of a setting: 12 hexadecimal digits. Equal values of two settings have different ones.
    pub(super) fn of(&self, name: &str, value: &str) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [name, "\0", value] {
            context.update(part.as_bytes());
        }
        route::short(context.sign().as_ref())
    }
}

impl fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fingerprints").field(&self.name).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_depends_on_the_key_the_name_and_the_value() {
        let mut key = KeptKey::default();
        assert!(key.complete() && !key.complete());
        let (one, again, other) = (Fingerprints::new(&key), Fingerprints::new(&key), Fingerprints::random());
        assert_eq!(one.of("app.pin", "1234"), again.of("app.pin", "1234"));
        assert_ne!(one.of("app.pin", "1234"), one.of("app.pin", "1235"));
        assert_ne!(one.of("app.pin", "1234"), one.of("app.other", "1234"));
        assert_ne!(one.of("app.pin", "1234"), other.of("app.pin", "1234"));
        assert_ne!(one.print().key, other.print().key);
        assert!(!format!("{one:?}").contains(&key.secret));
    }
}
