//! Notifications, told by a whole mainstay to receivers on loopback: what is told and when, receivers that do harm, and what is
//! never shown.

mod command;
mod formats;
mod harm;
mod receiver;
mod reload;
mod told;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use receiver::Receiver;
use serde_json::{Value, json};

use crate::support::{process::settings, scratch::Scratch};

/// What nobody may ever see.
const SECRET: &str = "S3cr3tT0ken";

/// A file with a key that signs.
fn key(scratch: &Scratch) -> (Vec<u8>, std::path::PathBuf) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let key = format!("{SECRET}-of-32-bytes-or-so-{}", COUNT.fetch_add(1, Ordering::Relaxed)).into_bytes();
    let file = scratch.file("webhook.secret", format!("whsec_{}\n", STANDARD.encode(&key)), 0o600);
    (key, file)
}

/// A webhook.
fn webhook(scratch: &Scratch, url: &str) -> Value {
    json!({"webhook": {"url": url, "secret_file": key(scratch).1}})
}

/// Settings of a pool before these backends, which tell `receiver`.
fn telling(scratch: &Scratch, receiver: &Receiver, backends: &[SocketAddr]) -> Value {
    let mut settings = settings(backends);
    settings["notify"] = json!([webhook(scratch, &receiver.url())]);
    settings
}
