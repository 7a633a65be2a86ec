//! What is known of the backends of a pool, also of those that are not configured any more, and over a restart.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::print::{Fingerprints, KeptKey};
use crate::{
    route::Print,
    state::{self, StateFile, StateWriter},
};

/// So many backends are remembered that are not configured any more.
const REMEMBERED: usize = 16;

type IsSame = fn((&str, &str), (&str, &str)) -> bool;

/// Whether two backends, each a name and an address, are the same server: surely, probably, or as far as anybody knows.
const SAME: [IsSame; 3] = [|a, b| a == b, |a, b| a.1 == b.1, |a, b| a.0 == b.0];

/// What outlives the process of one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The print that was proven.
    pub(super) proven: Option<Arc<Print>>,
    /// The print that an operator approved, who and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) approved: Option<(Arc<Print>, String)>,
    /// The print that an operator rejected, who and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rejected: Option<(Arc<Print>, String)>,
    /// The print that was seen last, if it is not good, and what was said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) open: Option<Open>,
    /// When the backend was last configured, if it no longer is: seconds of the wall clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) left: Option<u64>,
}

/// A print that is not good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) print: Arc<Print>,
    pub(super) failed: bool,
    pub(super) what: String,
}

/// A print that was kept, and does not differ: the present one in its place, if that shows more, or as much under another key.
pub(super) fn renew(kept: Option<&mut Arc<Print>>, present: &Arc<Print>) {
    let is_older =
        |kept: &&mut Arc<Print>| kept.len() < present.len() || (kept.len() == present.len() && kept.key != present.key);
    if let Some(kept) = kept.filter(is_older) {
        *kept = Arc::clone(present);
    }
}

/// The same of all: the address of each, and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Prints(BTreeMap<String, (String, Kept)>);

impl state::Kept for Prints {
    const NAME: &'static str = "prints";
    // A print of PostgreSQL is 30 KiB, and there are up to four for each backend.
    const MAX_LEN: u64 = 64 << 20;
    const LOST: &'static str = "every backend is trusted as it is now";
}

/// What is known of the backends of a pool.
pub(super) struct Known {
    /// Backends that are not configured: they may come back.
    left: BTreeMap<String, (String, Kept)>,
    file: Option<StateFile<Prints>>,
    saved: Prints,
    /// A key that is yet to be saved: before the first print that has its fingerprints.
    new_key: Option<(StateFile<KeptKey>, KeptKey)>,
}

impl Known {
    /// What an earlier process knew, and how it made fingerprints.
    pub(super) async fn read(state: Option<&StateWriter>, pool: &str) -> (Self, Fingerprints) {
        let (file, key_file) = (state.map(|state| state.file::<Prints>(pool)), state.map(|state| state.file::<KeptKey>(pool)));
        let (mut saved, mut key) = (Prints::default(), KeptKey::default());
        if let (Some(file), Some(key_file)) = (&file, &key_file) {
            (saved, key) = tokio::join!(file.read(), key_file.read());
        }
        let is_new = key.complete();
        let fingerprints = Fingerprints::new(&key);
        let new_key = key_file.filter(|_| is_new).map(|file| (file, key));
        (Self { left: saved.0.clone(), file, saved, new_key }, fingerprints)
    }

    /// A backend is not configured any more.
    pub(super) fn part(&mut self, name: &str, address: String, kept: Kept) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if kept.proven.is_some() {
            self.left.insert(name.to_owned(), (address, Kept { left: Some(now), ..kept }));
        }
    }

    /// What is known of backends that are configured from now on. It follows the address, and else the name: one that was renamed,
    /// that moved, or that comes back is no new one.
    pub(super) fn meet(&mut self, mut backends: Vec<(Arc<str>, String)>) -> Vec<(Arc<str>, String, Kept)> {
        let mut met = Vec::new();
        for is_same in SAME {
            backends.retain(|(name, address)| {
                let known = self.left.iter().find(|(known, (at, _))| is_same((name, address), (known, at)));
                let Some(known) = known.map(|(known, _)| known.clone()) else { return true };
                let (_, kept) = self.left.remove(&known).unwrap_or_default();
                met.push((Arc::clone(name), address.clone(), Kept { left: None, ..kept }));
                false
            });
        }
        while self.left.len() > REMEMBERED {
            let oldest = self.left.iter().min_by_key(|(_, (_, kept))| kept.left).map(|(name, _)| name.clone());
            self.left.remove(&oldest.unwrap_or_default());
        }
        met.extend(backends.into_iter().map(|(name, address)| (name, address, Kept::default())));
        met
    }

    /// Whether it outlives the process.
    pub(super) const fn is_remembered(&self) -> bool {
        self.file.is_some()
    }

    /// Saves what has changed.
    pub(super) fn save<'a>(&mut self, present: impl Iterator<Item = (&'a str, &'a str, Kept)>) {
        let present = present.filter(|(.., kept)| *kept != Kept::default());
        let present = present.map(|(name, address, kept)| (name.to_owned(), (address.to_owned(), kept)));
        let now = Prints(self.left.clone().into_iter().chain(present).collect());
        if now != self.saved
            && let Some(file) = &self.file
        {
            if let Some((file, key)) = self.new_key.take() {
                file.write(&key);
            }
            file.write(&now);
        }
        self.saved = now;
    }

    /// From now on another one saves it.
    pub(super) fn leave(&mut self) {
        self.file = None;
    }
}

#[cfg(test)]
impl Known {
    /// As after a restart.
    pub(super) fn restart(&mut self) {
        let file = serde_json::to_string(&self.saved).unwrap();
        self.left = serde_json::from_str::<Prints>(&file).unwrap().0;
    }

    /// How many backends are known that are not configured, and how many are saved.
    pub(super) fn lengths(&self) -> (usize, usize) {
        (self.left.len(), self.saved.0.len())
    }
}
