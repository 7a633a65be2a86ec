//! Two real servers between which the writer can be moved and moved back, for tests and benches of a switchover. The role of the check
//! has exactly the rights that the documentation names, and the clients are of another one, which has no privilege.
#![allow(missing_docs, clippy::missing_panics_doc, clippy::unwrap_used, reason = "only tests and benches start them")]

pub mod galera;
pub mod mysql;
pub mod patroni;
pub mod postgres;
pub mod redis;

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    directory::{Directory, Owner},
    transactions::Client,
};

/// What the backends are called.
pub const NAMES: [&str; 2] = ["db-a", "db-b"];

/// Two servers. Dropping them ends them.
pub trait Pair: Sized {
    type Client: Client;

    /// One is the primary, and the other may take over.
    fn start() -> Self;

    fn nodes(&self) -> [SocketAddr; 2];

    /// Which of them is the primary at first.
    fn primary(&self) -> usize {
        0
    }

    /// The keys of a pool besides its name, its listener and its backends.
    fn keys(&self) -> Value;

    /// Has a node carry out a statement of its administrator.
    fn administer(&self, node: usize, statement: &str);

    /// How many transactions a node has.
    fn written(&self, node: usize) -> u64;

    /// Returns when the old one follows the new one, which could then be replaced by it.
    fn rejoined(&mut self, old: usize, new: usize);

    /// How long the stop of the old primary took last, where a hook does it.
    fn stopped_in(&self) -> Option<Duration> {
        None
    }
}

/// A pool of these servers, which listens there.
pub fn pool<P: Pair>(pair: &P, listen: &str, more: &Value) -> Value {
    let backends: Vec<_> =
        NAMES.iter().zip(pair.nodes()).map(|(name, at)| json!({"name": name, "address": at.to_string()})).collect();
    let mut pool = json!({"name": "orders", "listen": listen, "backends": backends});
    for keys in [&pair.keys(), more] {
        if let (Value::Object(pool), Value::Object(keys)) = (&mut pool, keys) {
            pool.extend(keys.clone());
        }
    }
    pool
}

fn directory() -> Directory {
    Directory::new(Owner::Ourselves).unwrap()
}

/// A program for /bin/sh; `$DIR` in it is the directory.
fn script(directory: &Path, name: &str, body: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\nDIR='{}'\n{body}\n", directory.display())).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}
